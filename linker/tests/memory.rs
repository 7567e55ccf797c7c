//! One memory for two: the plugin sees its part as if it had it alone, and the kernel's part goes along.

mod common;

use common::{Host, LINKED, PAGE, Way};
use proptest::{prelude::*, test_runner::Config as Cases};
use wasmtime::Val;

/// A plugin of two pages, at most nine, that does what it is told to.
fn plugin() -> Vec<u8> {
    wat::parse_str(
        r#"(module
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "free" (func $free (param i64)))
        (import "extism:host/env" "length" (func $length (param i64) (result i64)))
        (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
        (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
        (import "extism:host/env" "reset" (func $reset))
        (memory (export "memory") 2 9)
        (data (i32.const 131068) "tail")
        (export "alloc" (func $alloc)) (export "free" (func $free)) (export "length" (func $length))
        (export "load" (func $load_u64)) (export "store" (func $store_u64)) (export "reset" (func $reset))
        (func (export "size") (result i32) (memory.size))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "own_load") (param i32) (result i64) (i64.load (local.get 0)))
        (func (export "own_store") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
        (func (export "echo")))"#,
    )
    .unwrap()
}

const ONE: [Way; 3] = [
    Way::One(true, true),
    Way::One(false, true),
    Way::One(true, false),
];

struct Running(Host);

impl Running {
    fn new(way: Way) -> Self {
        Self(Host::new(&plugin(), way, &[]).unwrap())
    }

    /// Calls an export; numbers are as wide as it wants them. `None` if the call was ended.
    fn call(&mut self, name: &str, arguments: &[u64]) -> Option<u64> {
        let host = &mut self.0;
        let function = host.instance.get_func(&mut host.store, name).expect(name);
        let ty = function.ty(&host.store);
        let arguments: Vec<Val> = ty
            .params()
            .zip(arguments)
            .map(|(ty, &value)| match ty {
                wasmtime::ValType::I32 => Val::I32(value as i32),
                _ => Val::I64(value as i64),
            })
            .collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        function
            .call(&mut host.store, &arguments, &mut results)
            .ok()?;
        Some(match results[..] {
            [Val::I32(value)] => value as u32 as u64,
            [Val::I64(value)] => value as u64,
            _ => 0,
        })
    }

    fn fuel(&mut self, fuel: u64) {
        self.0.store.set_fuel(fuel).unwrap();
    }

    /// The plugin's part of the memory.
    fn own(&mut self) -> Vec<u8> {
        let size = self.call("size", &[]).unwrap() as usize * PAGE;
        let memory = self
            .0
            .instance
            .get_memory(&mut self.0.store, "memory")
            .unwrap();
        memory.data(&self.0.store)[..size].to_vec()
    }

    fn kernels(&mut self) -> Vec<u8> {
        self.0.kernel.bytes(&mut self.0.store).to_vec()
    }

    fn base(&mut self) -> usize {
        self.0.kernel.base(&mut self.0.store)
    }
}

#[test]
fn the_plugin_sees_only_its_part() {
    for way in LINKED {
        let mut plugin = Running::new(way);
        assert_eq!(plugin.call("size", &[]), Some(2));
        assert_eq!(plugin.call("grow", &[0]), Some(2));
        assert_eq!(
            plugin.call("own_load", &[131_064]),
            Some(u64::from_le_bytes(*b"\0\0\0\0tail"))
        );
        assert_eq!(plugin.call("grow", &[3]), Some(2));
        assert_eq!(plugin.call("size", &[]), Some(5));
        assert!(
            plugin.own()[2 * PAGE..].iter().all(|&byte| byte == 0),
            "{way:?}: new pages are zero"
        );
        // Nine is the most it declared, whatever comes behind.
        for too_many in [5, 9, 65_535, 65_536, u32::MAX, 1 << 31] {
            assert_eq!(
                plugin.call("grow", &[too_many.into()]),
                Some(u32::MAX.into()),
                "{way:?}"
            );
        }
        assert_eq!(plugin.call("size", &[]), Some(5));
        assert_eq!(plugin.call("grow", &[4]), Some(5));
        assert_eq!(plugin.call("grow", &[0]), Some(9));
        assert_eq!(plugin.call("grow", &[1]), Some(u32::MAX.into()));
    }
}

#[test]
fn the_kernels_part_goes_along_when_the_plugins_grows() {
    for way in ONE {
        let mut plugin = Running::new(way);
        assert_eq!(plugin.base(), 2 * PAGE);
        let blocks: Vec<u64> = [1, 100, 70_000]
            .iter()
            .map(|&n| plugin.call("alloc", &[n]).unwrap())
            .collect();
        for &block in &blocks {
            plugin.call("store", &[block, !block]);
        }
        let before = plugin.kernels();
        // Less than the kernel's part, as much, and more.
        for (pages, sum) in [(1, 3), (2, 5), (4, 9)] {
            plugin.call("grow", &[pages]).unwrap();
            assert_eq!(plugin.base(), sum * PAGE, "{way:?}");
            assert!(
                plugin.kernels() == before,
                "{way:?}: the kernel's bytes are the same"
            );
            assert!(
                plugin.own()[2 * PAGE..].iter().all(|&byte| byte == 0),
                "{way:?}: and none is the plugin's"
            );
        }
        assert_eq!(
            blocks
                .iter()
                .map(|&block| plugin.call("length", &[block]).unwrap())
                .sum::<u64>(),
            70_101
        );
        assert!(
            blocks
                .iter()
                .all(|&block| plugin.call("load", &[block]).unwrap() == !block)
        );
        // It can itself grow where it is now.
        let large = plugin.call("alloc", &[500_000]).unwrap();
        plugin.call("store", &[large + 499_992, 7]);
        assert_eq!(plugin.call("load", &[large + 499_992]), Some(7));
        assert_eq!(plugin.call("size", &[]), Some(9));
    }
}

#[test]
fn a_growth_that_the_host_refuses_changes_nothing() {
    for way in ONE {
        let mut plugin = Running::new(way);
        // The test's host gives 64 MiB.
        let block = plugin.call("alloc", &[64 << 20]).unwrap();
        assert_eq!(block, 0);
        let block = plugin
            .call("alloc", &[(64 << 20) - 5 * PAGE as u64])
            .unwrap();
        assert!(block > 0);
        plugin.call("store", &[block, 42]);
        assert_eq!(plugin.call("grow", &[7]), Some(u32::MAX.into()));
        assert_eq!(
            (plugin.call("size", &[]), plugin.call("load", &[block])),
            (Some(2), Some(42))
        );
        assert_eq!(plugin.base(), 2 * PAGE);
    }
}

/// A growth that is stopped anywhere has happened or not; what the plugin gets is zero; and the kernel, whose part may have been on the
/// way, is as new after a reset.
#[test]
fn a_growth_may_be_stopped_anywhere() {
    for way in ONE {
        let mut costs = Running::new(way);
        costs.fuel(1_000_000_000);
        costs.call("alloc", &[100_000]).unwrap();
        let before = costs.0.store.get_fuel().unwrap();
        costs.call("grow", &[1]).unwrap();
        let cost = before - costs.0.store.get_fuel().unwrap();
        // All points where it is short, else some.
        let points: Vec<u64> = if cost < 2000 {
            (0..cost).collect()
        } else {
            (0..80).map(|i| i * cost / 80 + i).collect()
        };
        let mut stopped = 0;
        for fuel in points {
            let mut plugin = Running::new(way);
            let block = plugin.call("alloc", &[100_000]).unwrap();
            for at in (0..99_992).step_by(1000) {
                plugin.call("store", &[block + at, u64::MAX]);
            }
            plugin.fuel(fuel);
            let grown = plugin.call("grow", &[1]);
            stopped += u32::from(grown.is_none());
            plugin.fuel(1_000_000_000);
            let size = plugin.call("size", &[]).unwrap();
            assert!(
                size == 2 || size == 3 && grown.is_some_and(|pages| pages == 2),
                "{way:?}, {fuel}: {size} {grown:?}"
            );
            assert_eq!(plugin.base(), size as usize * PAGE);
            assert!(
                plugin.own()[2 * PAGE..].iter().all(|&byte| byte == 0),
                "{way:?}, {fuel}"
            );
            // As the host resets; and more than was used before, since a move brings bytes beyond that.
            plugin
                .0
                .kernel
                .call(&mut plugin.0.store, "reset", &[])
                .unwrap();
            let fresh = plugin.call("alloc", &[250_000]).unwrap();
            assert_eq!(
                plugin.call("length", &[fresh]),
                Some(250_000),
                "{way:?}, {fuel}"
            );
            let block = plugin.kernels()[fresh as usize..][..250_000].to_vec();
            assert!(block.iter().all(|&byte| byte == 0), "{way:?}, {fuel}");
            assert_eq!(plugin.call("grow", &[1]), Some(size));
            assert!(
                plugin.own()[2 * PAGE..].iter().all(|&byte| byte == 0),
                "{way:?}, {fuel}"
            );
        }
        assert!(stopped > 0);
    }
}

/// Something that the plugin does.
#[derive(Clone, Debug)]
enum Op {
    Alloc(u64),
    /// One of the blocks that it got.
    Free(usize),
    Length(usize),
    Load(usize, u64),
    Store(usize, u64, u64),
    Grow(u64),
    OwnLoad(u64),
    OwnStore(u64, u64),
    Reset,
}

fn any_op() -> impl Strategy<Value = Op> {
    let own = 0..9 * PAGE as u64;
    prop_oneof![
        4 => prop_oneof![1..5000u64, Just(65_536), 1..400_000u64].prop_map(Op::Alloc),
        2 => any::<usize>().prop_map(Op::Free),
        1 => any::<usize>().prop_map(Op::Length),
        3 => (any::<usize>(), 0..70_000u64).prop_map(|(block, at)| Op::Load(block, at)),
        4 => (any::<usize>(), 0..70_000u64, any::<u64>()).prop_map(|(block, at, value)| Op::Store(block, at, value)),
        2 => (0..4u64).prop_map(Op::Grow),
        2 => own.clone().prop_map(Op::OwnLoad),
        2 => (own, any::<u64>()).prop_map(|(at, value)| Op::OwnStore(at, value)),
        1 => Just(Op::Reset),
    ]
}

impl Running {
    fn op(&mut self, op: &Op, blocks: &mut Vec<u64>) -> Option<u64> {
        let own_bytes = self.call("size", &[]).unwrap() * PAGE as u64;
        let block = |at: usize| {
            if blocks.is_empty() {
                0
            } else {
                blocks[at % blocks.len()]
            }
        };
        match *op {
            Op::Alloc(n) => {
                let handle = self.call("alloc", &[n])?;
                blocks.push(handle);
                Some(handle)
            }
            Op::Free(at) => self.call("free", &[block(at)]),
            Op::Length(at) => self.call("length", &[block(at)]),
            Op::Load(at, offset) => self.call("load", &[block(at) + offset]),
            Op::Store(at, offset, value) => self.call("store", &[block(at) + offset, value]),
            Op::Grow(pages) => self.call("grow", &[pages]),
            // Behind its end a plugin gets a trap only if it has its memory alone.
            Op::OwnLoad(at) => self.call("own_load", &[at.min(own_bytes - 8)]),
            Op::OwnStore(at, value) => self.call("own_store", &[at.min(own_bytes - 8), value]),
            Op::Reset => self.call("reset", &[]),
        }
    }
}

proptest! {
    #![proptest_config(Cases { cases: 24, ..Cases::default() })]

    #[test]
    fn both_parts_are_as_if_they_were_memories(ops in proptest::collection::vec(any_op(), 1..60)) {
        let mut usual = Running::new(Way::Usual);
        let mut others: Vec<Running> = ONE.into_iter().map(Running::new).collect();
        let mut blocks = Vec::new();
        for op in &ops {
            let mut same_blocks = blocks.clone();
            let expected = usual.op(op, &mut same_blocks);
            for other in &mut others {
                prop_assert_eq!(other.op(op, &mut blocks.clone()), expected, "{:?}", op);
            }
            blocks = same_blocks;
        }
        let (own, kernels) = (usual.own(), usual.kernels());
        for other in &mut others {
            prop_assert!(other.own() == own);
            prop_assert!(other.kernels() == kernels);
        }
    }
}
