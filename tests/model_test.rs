//! Sequences of operations with hostile arguments on the native core and on all shipped modules, each step compared
//! with the model.

mod model;

use std::{cell::Cell, fmt};

use model::{EDGES, Model, Op, Place, native};
#[cfg(not(native_only))]
use model::{Lockstep, shipped};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

fn near() -> impl Strategy<Value = i8> {
    prop_oneof![3 => Just(0i8), 4 => -17..=17i8, 1 => any::<i8>()]
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(&EDGES[..]),
        2 => (select(&EDGES[..]), -17..=17i64).prop_map(|(edge, delta)| edge.wrapping_add_signed(delta)),
        1 => any::<u64>(),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    let n = any::<u8>;
    prop_oneof![
        6 => (n(), near()).prop_map(|(n, delta)| Place::Live(n, delta)),
        3 => (n(), near()).prop_map(|(n, delta)| Place::LiveEnd(n, delta)),
        2 => (n(), near()).prop_map(|(n, delta)| Place::Stale(n, delta)),
        1 => near().prop_map(Place::Base),
        1 => near().prop_map(Place::Frontier),
        1 => near().prop_map(Place::Floor),
        1 => (any::<bool>(), near()).prop_map(|(end, delta)| Place::Gap(end, delta)),
        1 => near().prop_map(Place::MemoryEnd),
        2 => edge().prop_map(Place::Exact),
    ]
}

/// Handles as plugins free them: mostly live ones, often stale ones.
fn handle() -> impl Strategy<Value = Place> {
    prop_oneof![
        6 => any::<u8>().prop_map(|n| Place::Live(n, 0)),
        2 => any::<u8>().prop_map(|n| Place::Stale(n, 0)),
        1 => place(),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 1..100u64,
        4 => 1..3000u64,
        4 => 8000..70_000u64,
        2 => (0..3u64, 65_200..65_600u64).prop_map(|(pages, rest)| pages * model::PAGE + rest),
        1 => 0..400_000u64,
        1 => edge(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let n = any::<u8>;
    let length = || prop_oneof![3 => 0..200u64, 1 => edge()];
    prop_oneof![
        12 => size().prop_map(Op::Alloc),
        3 => (0..4u8).prop_map(Op::AllocLike),
        10 => handle().prop_map(Op::Free),
        2 => place().prop_map(Op::Length),
        2 => place().prop_map(Op::Load),
        2 => (place(), any::<u32>()).prop_map(|(place, value)| Op::StoreU8(place, value)),
        3 => (place(), any::<u64>()).prop_map(|(place, value)| Op::StoreU64(place, value)),
        1 => (place(), length()).prop_map(|(place, length)| Op::InputSet(place, length)),
        1 => n().prop_map(Op::InputBlock),
        1 => edge().prop_map(Op::InputLoad),
        1 => near().prop_map(Op::InputLoadEnd),
        1 => (place(), length()).prop_map(|(place, length)| Op::OutputSet(place, length)),
        1 => (place(), near()).prop_map(|(place, delta)| Op::OutputToFloor(place, delta)),
        1 => place().prop_map(Op::ErrorSet),
        1 => Just(Op::Reset),
        3 => (n(), n()).prop_map(|(n, seed)| Op::HostFill(n, seed)),
    ]
}

/// Operations, of which a failure prints one a line.
struct Sequence(Vec<Op>);

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| write!(f, "\n    {op:?},"))
    }
}

/// A page of small blocks without fresh space, and frees and allocations in it: where regions are filed, merged and split.
fn tight() -> impl Strategy<Value = Sequence> {
    let op = prop_oneof![
        6 => any::<u8>().prop_map(|n| Op::Free(Place::Live(n, 0))),
        6 => (1..200u64).prop_map(Op::Alloc),
        1 => (1..5000u64).prop_map(Op::Alloc),
        1 => op(),
    ];
    let ops = prop::collection::vec(op, 1..400);
    (300..2000u16, ops).prop_map(|(size, mut ops)| {
        ops.insert(0, Op::UseUp(size));
        Sequence(ops)
    })
}

/// Operations with, in some sequences, growth by the host.
fn sequence(longest: usize) -> impl Strategy<Value = Sequence> {
    let host_grow = (1..4u8).prop_map(Op::HostGrow);
    prop_oneof![
        3 => prop::collection::vec(op(), 1..longest),
        1 => prop::collection::vec(prop_oneof![20 => op(), 1 => host_grow], 1..longest),
    ]
    .prop_map(Sequence)
}

/// Few pages, so that memory is used up; or as many as no sequence needs.
fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1..=3u64, 1 => Just(64u64)]
}

/// Runs that many sequences, shrinks one that fails, and prints how many steps were compared.
///
/// `PROPTEST_CASES` scales the number, which is for its default of 256.
fn follow<S: Strategy>(cases: u32, sequences: S, run: impl Fn(S::Value) -> usize) {
    // Miri is a thousand times slower.
    let cases = if cfg!(miri) { 4 } else { cases };
    let default = Config::default();
    let mut runner = TestRunner::new(Config {
        cases: (cases * default.cases / 256).max(1),
        // A failure is kept as a named test, not as a seed.
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..default
    });
    let steps = Cell::new(0);
    let result = runner.run(&sequences, |sequence| {
        steps.set(steps.get() + run(sequence));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    println!("{} steps", steps.get());
}

/// Operations a sequence, of which Miri has time for few.
const LENGTH: usize = if cfg!(miri) { 20 } else { 80 };

#[test]
fn native_follows_the_model() {
    follow(8000, (sequence(LENGTH), limit()), |(ops, limit)| {
        Model::run(native(), limit, &ops.0)
    });
}

#[cfg_attr(miri, ignore = "a page full of blocks takes minutes")]
#[test]
fn native_follows_the_model_in_a_tight_page() {
    follow(300, tight(), |ops| Model::run(native(), 1, &ops.0));
}

#[cfg_attr(miri, ignore = "long sequences take minutes")]
#[test]
fn native_follows_the_model_for_long() {
    follow(100, (sequence(1500), limit()), |(ops, limit)| {
        Model::run(native(), limit, &ops.0)
    });
}

#[cfg(not(native_only))]
#[test]
fn shipped_modules_follow_the_model() {
    let subject = 0..3usize;
    follow(
        500,
        (sequence(LENGTH), limit(), subject),
        |(ops, limit, n)| Model::run(Lockstep::new(&shipped()[n]), limit, &ops.0),
    );
}
