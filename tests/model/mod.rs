//! What the tests of the memory share: the subjects under test, a naive model of the contract, and a step that
//! runs one operation on both and compares all that can be seen.
//!
//! The model is meant to be obviously right, not fast: maps of blocks, a copy of the memory, three registers.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports)]

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::{self, AssertUnwindSafe},
};

use extism_kernel::{
    Kernel, NativeMachine,
    machine::BASE,
    machine::{Machine, Registers},
    registers_in,
};

mod decode;
#[cfg(not(native_only))]
mod engine;
pub use decode::decode;
#[cfg(not(native_only))]
pub use engine::{Lockstep, Wasm, shipped};

/// Runs a check on a fresh kernel of each kind: the native core, and where there is an engine (not under Miri, nor in a
/// mutant) all shipped modules.
#[allow(unused_macros)]
macro_rules! on_all {
    ($check:expr) => {{
        $check(&mut $crate::model::native());
        #[cfg(not(native_only))]
        for module in $crate::model::shipped() {
            $check(&mut $crate::model::Lockstep::new(module));
        }
    }};
}
pub(crate) use on_all;

/// Bytes of a page.
pub const PAGE: u64 = 65536;
/// More than a block costs beside its data, with the room for records that fresh space keeps back.
const SPARE: u64 = 1024;
/// A budget that only an endless loop exhausts.
pub const ENDLESS: u64 = 1 << 32;
/// The values at which sums wrap, signs change and sizes stop fitting.
pub const EDGES: [u64; 24] = [
    0,
    1,
    7,
    8,
    9,
    15,
    16,
    65535,
    65536,
    65537,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64 - 7,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 8,
    (1 << 32) + 65536,
    1 << 48,
    i64::MAX as u64,
    1 << 63,
    (1 << 63) + 8,
    u64::MAX - 8,
    u64::MAX - 7,
    u64::MAX,
];

/// A call of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Alloc(u64),
    Free(u64),
    Length(u64),
    LengthUnsafe(u64),
    LoadU8(u64),
    LoadU64(u64),
    StoreU8(u64, u32),
    StoreU64(u64, u64),
    InputSet(u64, u64),
    InputOffset,
    InputLength,
    InputLoadU8(u64),
    InputLoadU64(u64),
    OutputSet(u64, u64),
    OutputOffset,
    OutputLength,
    ErrorSet(u64),
    ErrorGet,
    MemoryBytes,
    Reset,
}

impl Call {
    /// Every export, with the two arguments where it takes any.
    pub fn all(a: u64, b: u64) -> [Call; 20] {
        use Call::*;
        [
            Alloc(a),
            Free(a),
            Length(a),
            LengthUnsafe(a),
            LoadU8(a),
            LoadU64(a),
            StoreU8(a, b as u32),
            StoreU64(a, b),
            InputSet(a, b),
            InputOffset,
            InputLength,
            InputLoadU8(a),
            InputLoadU64(a),
            OutputSet(a, b),
            OutputOffset,
            OutputLength,
            ErrorSet(a),
            ErrorGet,
            MemoryBytes,
            Reset,
        ]
    }
}

/// A kernel under test: its exports, and its memory as a host sees it.
pub trait Subject {
    /// Makes a call that may cost `budget` operations; `None` if it trapped. Also says what it cost.
    fn attempt(&mut self, call: Call, budget: u64) -> (Option<u64>, u64);
    /// The memory.
    fn memory(&self) -> &[u8];
    /// The memory, for a host to write into.
    fn memory_mut(&mut self) -> &mut [u8];
    /// Adds pages as somebody else than the kernel does.
    fn grow_by_host(&mut self, pages: u64);
    /// The most pages that the memory may have from now on.
    fn set_limit(&mut self, pages: u64);
    /// Whether growth beyond the limit traps.
    fn set_growth_traps(&mut self, traps: bool);
    /// The registers of the native machine, or of the native machine in lockstep.
    fn registers(&self) -> &Registers;

    /// Makes a call, which must not trap.
    fn call(&mut self, call: Call) -> u64 {
        self.attempt(call, ENDLESS)
            .0
            .unwrap_or_else(|| panic!("{call:?} trapped"))
    }
    fn alloc(&mut self, n: u64) -> u64 {
        self.call(Call::Alloc(n))
    }
    fn free(&mut self, handle: u64) {
        self.call(Call::Free(handle));
    }
    fn length(&mut self, handle: u64) -> u64 {
        self.call(Call::Length(handle))
    }
    fn load_u8(&mut self, offset: u64) -> u64 {
        self.call(Call::LoadU8(offset))
    }
    fn load_u64(&mut self, offset: u64) -> u64 {
        self.call(Call::LoadU64(offset))
    }
    fn store_u8(&mut self, offset: u64, value: u32) {
        self.call(Call::StoreU8(offset, value));
    }
    fn store_u64(&mut self, offset: u64, value: u64) {
        self.call(Call::StoreU64(offset, value));
    }
    fn input_set(&mut self, handle: u64, length: u64) {
        self.call(Call::InputSet(handle, length));
    }
    fn output_set(&mut self, offset: u64, length: u64) {
        self.call(Call::OutputSet(offset, length));
    }
    fn error_set(&mut self, handle: u64) {
        self.call(Call::ErrorSet(handle));
    }
    fn memory_bytes(&mut self) -> u64 {
        self.call(Call::MemoryBytes)
    }
    fn reset(&mut self) {
        self.call(Call::Reset);
    }
    /// Input and output as (offset, length), and the error.
    fn named(&mut self) -> ((u64, u64), (u64, u64), u64) {
        (
            (self.call(Call::InputOffset), self.call(Call::InputLength)),
            (self.call(Call::OutputOffset), self.call(Call::OutputLength)),
            self.call(Call::ErrorGet),
        )
    }
    /// Pages of the memory, whoever owns them.
    fn pages(&self) -> u64 {
        self.memory().len() as u64 / PAGE
    }
    /// Fills a block with a pattern, as a host does.
    fn fill(&mut self, handle: u64, length: u64, seed: u8) {
        for (i, byte) in self.memory_mut()[handle as usize..][..length as usize]
            .iter_mut()
            .enumerate()
        {
            *byte = seed.wrapping_add(i as u8) | 1;
        }
    }
    /// Whether a block still holds that pattern.
    fn is_filled(&self, handle: u64, length: u64, seed: u8) -> bool {
        self.memory()[handle as usize..][..length as usize]
            .iter()
            .enumerate()
            .all(|(i, &byte)| byte == seed.wrapping_add(i as u8) | 1)
    }
    /// Somebody else grows the memory, and fills their pages with 0xEE. Returns where these are.
    fn grow_by_somebody_else(&mut self, pages: u64) -> Range<usize> {
        let start = self.memory().len();
        self.grow_by_host(pages);
        self.memory_mut()[start..].fill(0xEE);
        start..self.memory().len()
    }
    /// Uses up the fresh space, in blocks that stay live, without growth, while nothing is free. Returns them.
    fn use_up(&mut self, block: u64) -> Vec<u64> {
        let pages = self.pages();
        self.set_limit(pages);
        let mut blocks = Vec::new();
        let mut size = block;
        while size > 0 {
            match self.alloc(size) {
                0 => size /= 2,
                handle => blocks.push(handle),
            }
        }
        self.set_limit(65536);
        blocks
    }
    /// The pages that belong to somebody else, as far as the kernel knows of them.
    fn gap(&self) -> Range<u64> {
        self.registers().gap_start..self.registers().gap_end
    }
    /// Where the heap begins.
    fn base(&self) -> u64 {
        BASE
    }
    /// The lowest byte that was never handed out, as the kernel has it.
    fn frontier(&self) -> u64 {
        BASE + self.registers().common + self.registers().far
    }
    /// Where what is no heap begins at the gap: where the kernel went on behind it, its records stayed in front.
    fn front(&self) -> u64 {
        if self.registers().front_peak > 0 {
            self.registers().front.into()
        } else {
            self.gap().start
        }
    }
    /// Where the heap ends and the records begin.
    fn floor(&self) -> u64 {
        self.registers().floor.into()
    }
    /// Whether all of a range (at least one byte) is heap.
    fn in_heap(&self, offset: u64, length: u64) -> bool {
        let range = u128::from(offset)..u128::from(offset) + u128::from(length.max(1));
        let gap = self.gap();
        range.start >= self.base().into()
            && range.end <= self.floor().into()
            && (range.end <= self.front().into() || range.start >= gap.end.into())
    }
    /// All that the kernel trusts: low memory, records, and the registers but for the mark that stores move.
    fn bookkeeping(&self) -> ([Vec<u8>; 3], Registers) {
        let mut registers = self.registers().clone();
        registers.dirty = 0;
        let ranges = [
            0..self.base(),
            self.front()..self.gap().start,
            self.floor()..self.memory().len() as u64,
        ];
        let bytes =
            ranges.map(|range| self.memory()[range.start as usize..range.end as usize].to_vec());
        (bytes, registers)
    }
    /// Checks that what hosts build slices from lies inside of the memory.
    fn check_reported_ranges(&mut self, handles: &[u64]) {
        let end = self.memory().len() as u64;
        let (input, output, error) = self.named();
        let error = (error, self.length(error));
        let handles = handles.iter().map(|&h| (h, self.length(h)));
        for (offset, length) in handles.chain([input, output, error]).collect::<Vec<_>>() {
            assert!(
                length <= end && (length == 0 || offset <= end - length),
                "{offset}+{length} of {end}"
            );
        }
    }
    /// Checks that all of the memory is zero, but for the pages of somebody else and the first eight bytes.
    fn check_zero(&self, foreign: &[Range<usize>]) {
        let mut start = 8;
        let end = self.memory().len();
        for hole in foreign.iter().cloned().chain(std::iter::once(end..end)) {
            let bytes = &self.memory()[start..hole.start];
            // Without optimisation this takes a hundredth of a loop's time.
            if bytes != vec![0; bytes.len()] {
                let dirty = bytes.iter().position(|&byte| byte != 0);
                panic!("the byte at {} is not zero", start + dirty.unwrap());
            }
            start = hole.end;
        }
    }
    /// Checks that nothing tells this kernel from a new one, but for its memory. `foreign` is the memory that
    /// was never used by it.
    fn check_as_new(&mut self, foreign: &[Range<usize>]) {
        let first = self.base() + 8;
        assert_eq!(self.named(), ((0, 0), (0, 0), 0));
        assert_eq!(self.length(first), 0);
        self.check_zero(foreign);
        let bytes = self.memory_bytes();
        assert_eq!(self.alloc(1), first);
        assert_eq!(self.length(first), 1);
        assert_eq!(self.memory_bytes(), bytes);
        self.free(first);
        assert_eq!(self.length(first), 0);
        self.reset();
        assert_eq!(self.memory_bytes(), bytes);
    }
}

/// A native machine that counts memory operations, and stops in the middle of a call when its budget is spent.
#[derive(Clone, Debug, Default)]
pub struct TestMachine {
    registers: Registers,
    native: NativeMachine,
    /// The memory's size, so that `native` may reserve more than it has.
    pages: u32,
    budget: Cell<u64>,
    growth_traps: bool,
}

/// What a stopped call unwinds with.
struct Stopped;

fn stop() -> ! {
    // Unlike `panic!` this prints nothing: tests stop thousands of calls.
    panic::resume_unwind(Box::new(Stopped))
}

impl TestMachine {
    fn spend(&self) {
        match self.budget.get() {
            0 => stop(),
            left => self.budget.set(left - 1),
        }
    }
}

impl Machine for TestMachine {
    fn load8(&self, address: u32) -> u8 {
        self.spend();
        self.native.load8(address)
    }
    fn load32(&self, address: u32, field: u32) -> u32 {
        self.spend();
        self.native.load32(address, field)
    }
    fn load64(&self, address: u32, field: u32) -> u64 {
        self.spend();
        self.native.load64(address, field)
    }
    fn store8(&mut self, address: u32, value: u8) {
        self.spend();
        self.native.store8(address, value);
    }
    fn store32(&mut self, address: u32, field: u32, value: u32) {
        self.spend();
        self.native.store32(address, field, value);
    }
    fn store64(&mut self, address: u32, field: u32, value: u64) {
        self.spend();
        self.native.store64(address, field, value);
    }
    fn zero(&mut self, start: u32, end: u32) {
        if self.budget.get() == 0 {
            // A loop may be stopped anywhere.
            self.native
                .zero(start, start + ((end.wrapping_sub(start) / 2) & !7));
        }
        self.spend();
        self.native.zero(start, end);
    }
    fn pages(&self) -> u32 {
        self.pages
    }
    fn grow(&mut self, pages: u32) -> bool {
        self.spend();
        let wanted = self.pages as usize + pages as usize;
        if wanted > self.native.limit as usize {
            if self.growth_traps {
                stop();
            }
            return false;
        }
        let bytes = wanted * PAGE as usize;
        if self.native.memory.len() < bytes {
            self.native.memory.resize(bytes, 0);
        }
        self.pages = wanted as u32;
        true
    }
    registers_in!(registers, spend);
}

/// The native core. A type of its own, since the kernel's methods have the names of [`Subject`]'s.
#[derive(Clone, Debug)]
pub struct Native(Kernel<TestMachine>);

/// A fresh native kernel.
pub fn native() -> Native {
    Native(Kernel::new(TestMachine {
        pages: 1,
        ..TestMachine::default()
    }))
}

/// A fresh native kernel that can grow to 4 GiB without cost: the operating system gives the zeroes when they are used.
pub fn vast() -> Native {
    let mut kernel = native();
    kernel.0.machine_mut().native.memory = vec![0; 1 << 32];
    kernel
}

impl Subject for Native {
    fn attempt(&mut self, call: Call, budget: u64) -> (Option<u64>, u64) {
        self.0.machine().budget.set(budget);
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            let kernel = &mut self.0;
            match call {
                Call::Alloc(n) => return kernel.alloc(n),
                Call::Free(h) => kernel.free(h),
                Call::Length(h) | Call::LengthUnsafe(h) => return kernel.length(h),
                Call::LoadU8(p) => return kernel.load_u8(p).into(),
                Call::LoadU64(p) => return kernel.load_u64(p),
                Call::StoreU8(p, v) => kernel.store_u8(p, v),
                Call::StoreU64(p, v) => kernel.store_u64(p, v),
                Call::InputSet(h, n) => kernel.input_set(h, n),
                Call::InputOffset => return kernel.input_offset(),
                Call::InputLength => return kernel.input_length(),
                Call::InputLoadU8(i) => return kernel.input_load_u8(i).into(),
                Call::InputLoadU64(i) => return kernel.input_load_u64(i),
                Call::OutputSet(p, n) => kernel.output_set(p, n),
                Call::OutputOffset => return kernel.output_offset(),
                Call::OutputLength => return kernel.output_length(),
                Call::ErrorSet(h) => kernel.error_set(h),
                Call::ErrorGet => return kernel.error_get(),
                Call::MemoryBytes => return kernel.memory_bytes(),
                Call::Reset => kernel.reset(),
            }
            0
        }));
        (result.ok(), budget - self.0.machine().budget.get())
    }
    fn memory(&self) -> &[u8] {
        let machine = self.0.machine();
        &machine.native.memory[..machine.pages as usize * PAGE as usize]
    }
    fn memory_mut(&mut self) -> &mut [u8] {
        let bytes = self.0.machine().pages as usize * PAGE as usize;
        &mut self.0.machine_mut().native.memory[..bytes]
    }
    fn grow_by_host(&mut self, pages: u64) {
        self.0.machine().budget.set(1);
        self.0.machine_mut().grow(pages as u32);
    }
    fn set_limit(&mut self, pages: u64) {
        self.0.machine_mut().native.limit = pages as u32;
    }
    fn set_growth_traps(&mut self, traps: bool) {
        self.0.machine_mut().growth_traps = traps;
    }
    fn registers(&self) -> &Registers {
        &self.0.machine().registers
    }
}

/// A place in memory, named by what lies there when the operation runs, so that shrinking keeps its meaning.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// That far from the start of a live block.
    Live(u8, i8),
    /// That far from the end of a live block.
    LiveEnd(u8, i8),
    /// That far from a handle given earlier.
    Stale(u8, i8),
    /// That far from where the heap begins.
    Base(i8),
    /// That far from the end of the highest block.
    Frontier(i8),
    /// That far from the lowest record.
    Floor(i8),
    /// That far from the pages of somebody else.
    Gap(bool, i8),
    /// That far from the end of the memory.
    MemoryEnd(i8),
    /// Anything.
    Exact(u64),
}

/// An operation of a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// `alloc` of that many bytes.
    Alloc(u64),
    /// `alloc` of what fits into that freed block.
    AllocLike(u8),
    /// `alloc` of blocks of that many bytes, and as many as the fresh space is sure to have room for.
    UseUp(u16),
    /// `free`.
    Free(Place),
    /// `length` and `length_unsafe`.
    Length(Place),
    /// `load_u8` and `load_u64`.
    Load(Place),
    /// `store_u8`.
    StoreU8(Place, u32),
    /// `store_u64`.
    StoreU64(Place, u64),
    /// `input_set` with a length.
    InputSet(Place, u64),
    /// `input_set` of a whole live block.
    InputBlock(u8),
    /// `input_load_u8` and `input_load_u64`.
    InputLoad(u64),
    /// `input_load_u8` and `input_load_u64` that far from the end of the input.
    InputLoadEnd(i8),
    /// `output_set` with a length.
    OutputSet(Place, u64),
    /// `output_set` up to that far from the end of the heap.
    OutputToFloor(Place, i8),
    /// `error_set`.
    ErrorSet(Place),
    /// `reset`.
    Reset,
    /// The host fills a live block.
    HostFill(u8, u8),
    /// The host grows the memory.
    HostGrow(u8),
}

/// The contract, naively.
#[derive(Default)]
pub struct Model {
    /// Handle and exact length of every block that was handed out and not freed.
    live: BTreeMap<u64, u64>,
    /// Where the space of a block ends that may have been given more than it asked for: a region is cut only while
    /// there is room for one more record.
    swallowed: BTreeMap<u64, u64>,
    /// Live blocks whose eight bytes in front were stored over: they may answer as unknown.
    doubtful: BTreeSet<u64>,
    /// What is left of the data of freed blocks.
    freed: Vec<Range<u64>>,
    /// Handle and length of the block freed last, while it is free.
    freed_last: Option<(u64, u64)>,
    /// All handles ever given, also before a reset.
    given: Vec<u64>,
    /// The bytes as they must be, in live blocks and in `freed`.
    expected: Vec<u8>,
    /// The end of the highest block, since the last reset.
    frontier: u64,
    /// Blocks handed out since the last reset.
    handed_out: u64,
    /// Pages that the host has added.
    foreign: Vec<Range<u64>>,
    input: (u64, u64),
    output: (u64, u64),
    error: u64,
    /// Output and error, where they were freed meanwhile.
    put_off: BTreeSet<u64>,
    memory_bytes: u64,
    limit: u64,
}

fn rounded(length: u64) -> u64 {
    length.next_multiple_of(8)
}

impl Model {
    /// A model of a fresh kernel whose memory may have `limit` pages.
    pub fn new<S: Subject>(subject: &mut S, limit: u64) -> Self {
        subject.set_limit(limit);
        Self {
            memory_bytes: subject.memory_bytes(),
            expected: subject.memory().to_vec(),
            limit,
            ..Self::default()
        }
    }

    fn nth_live(&self, n: u8) -> Option<(u64, u64)> {
        let n = usize::from(n).checked_rem(self.live.len())?;
        self.live.iter().nth(n).map(|(&h, &length)| (h, length))
    }

    fn place<S: Subject>(&self, place: Place, subject: &S) -> u64 {
        let (start, delta) = match place {
            Place::Live(n, delta) => (self.nth_live(n).map_or(0, |(h, _)| h), delta),
            Place::LiveEnd(n, delta) => {
                (self.nth_live(n).map_or(0, |(h, length)| h + length), delta)
            }
            Place::Stale(n, delta) => {
                let n = usize::from(n).checked_rem(self.given.len());
                (n.map_or(0, |n| self.given[n]), delta)
            }
            Place::Base(delta) => (subject.base(), delta),
            Place::Frontier(delta) => (self.frontier, delta),
            Place::Floor(delta) => (subject.floor(), delta),
            Place::Gap(end, delta) => {
                let gap = self.foreign.first().cloned().unwrap_or_default();
                (if end { gap.end } else { gap.start }, delta)
            }
            Place::MemoryEnd(delta) => (subject.memory().len() as u64, delta),
            Place::Exact(value) => (value, 0),
        };
        start.wrapping_add_signed(delta.into())
    }

    /// The free space below the frontier, the block `without` counted as live.
    fn free_regions<S: Subject>(
        &self,
        without: Option<(u64, u64)>,
        subject: &S,
    ) -> Vec<Range<u64>> {
        let (base, front) = (subject.base(), subject.front());
        let occupied = |(&h, &length): (&u64, &u64)| {
            let end = self.swallowed.get(&h).copied().unwrap_or(0);
            h - 8..end.max(h + rounded(length))
        };
        let mut spans: Vec<_> = self.live.iter().map(occupied).collect();
        spans.extend(without.iter().map(|(h, length)| occupied((h, length))));
        // The last bytes of memory are never used, so neither are those in front of somebody else's pages, nor the records that
        // stayed there.
        let unused = |gap: &Range<u64>| (gap.start - 48).min(front.max(base))..gap.end;
        spans.extend(self.foreign.iter().map(unused));
        spans.push(self.frontier..u64::MAX);
        spans.sort_by_key(|span| span.start);
        let mut end = base;
        let mut regions = Vec::new();
        for span in spans {
            if end < span.start.min(self.frontier) {
                regions.push(end..span.start.min(self.frontier));
            }
            end = end.max(span.end);
        }
        regions
    }

    /// Whether free space below the frontier, `without` left out, surely has room for `n` bytes.
    ///
    /// A block may have up to eight bytes more than it asked for, which are too few for another.
    fn has_free_region<S: Subject>(
        &self,
        n: u64,
        without: Option<(u64, u64)>,
        subject: &S,
    ) -> bool {
        let regions = self.free_regions(without, subject);
        n < 1 << 32
            && regions
                .iter()
                .any(|region| region.end - region.start >= rounded(n) + 16)
    }

    /// From now on these bytes must stay as they are.
    fn see<S: Subject>(&mut self, range: Range<u64>, subject: &S) {
        let range = range.start as usize..range.end as usize;
        self.expected.resize(subject.memory().len(), 0);
        self.expected[range.clone()].copy_from_slice(&subject.memory()[range]);
    }

    fn alloc<S: Subject>(&mut self, n: u64, subject: &mut S) {
        let pages = subject.pages();
        // The kernel's own frontier: it may have gone on behind a gap without a block there.
        let cramped = subject.floor() < subject.frontier() + 80;
        // Nothing is, where a page was taken for records.
        let is_for_records = subject.registers().reserve != Registers::default().reserve;
        let fresh = if is_for_records {
            0
        } else {
            subject.floor().saturating_sub(self.frontier)
        };
        let reusable = self.has_free_region(n, None, subject);
        let last = self.freed_last;
        let searched = n < 1 << 32 && fresh < rounded(n) + SPARE;
        let only_last_fits = !self.has_free_region(n, last, subject);
        let handle = subject.alloc(n);
        let grown = subject.pages() - pages;
        if handle == 0 || grown > 0 || (searched && only_last_fits) {
            // The search has filed it, and merged it with its neighbours: it can't be told from them any more. That is so
            // even where a merge gave room for one more record, and the block then came from fresh space.
            self.freed_last = None;
        }
        if handle == 0 {
            assert_eq!(grown, 0, "growth, but no block");
            if n == 0 || n >= 1 << 32 {
                return;
            }
            assert!(!reusable, "alloc({n}) failed although a freed region fits");
            // Behind a gap it needs room for the records too.
            let most = (rounded(n) + SPARE + 24 * self.handed_out).div_ceil(PAGE);
            assert!(
                pages + most > self.limit || self.foreign.len() > 1,
                "alloc({n}) failed although {most} pages could be had"
            );
            return;
        }
        let end = handle + n;
        assert!(n > 0 && n < 1 << 32, "alloc({n}) can't be");
        assert_eq!(handle % 8, 0);
        assert!(handle < 1 << 32);
        assert!(subject.in_heap(handle, n), "{handle}+{n} isn't in the heap");
        self.memory_bytes += grown * PAGE;
        let is_fresh = handle >= self.frontier;
        // A page for the record of what is cut off a region is the one other reason to grow.
        let for_a_record = !is_fresh && grown == 1 && cramped;
        if grown > 0 && !for_a_record {
            assert!(!reusable, "alloc({n}) grew although a freed region fits");
            assert!(
                fresh < rounded(n) + SPARE,
                "alloc({n}) grew although {fresh} fresh bytes were left"
            );
            // With one page less it would not fit.
            let rest = subject.floor() - (handle + rounded(n));
            assert!(rest < PAGE + SPARE, "{rest} bytes more than needed");
        }
        assert!(
            is_fresh || fresh < rounded(n) + SPARE,
            "alloc({n}) reused although {fresh} fresh bytes were left"
        );
        if last.is_some_and(|last| last.0 == handle) {
            assert!(
                only_last_fits,
                "alloc({n}) took the block freed last, although another region fits"
            );
        }
        for (&other, &length) in &self.live {
            assert!(
                handle >= other + length || end <= other,
                "{handle}+{n} overlaps {other}+{length}"
            );
        }
        for foreign in &self.foreign {
            assert!(handle >= foreign.end || end <= foreign.start);
        }
        // Handed out, with the eight bytes in front: the freed data there is gone.
        let taken = handle - 8..handle + rounded(n);
        self.freed = self
            .freed
            .iter()
            .flat_map(|old| {
                [
                    old.start..old.end.min(taken.start),
                    old.start.max(taken.end)..old.end,
                ]
            })
            .filter(|rest| rest.start < rest.end)
            .collect();
        if self
            .freed_last
            .is_some_and(|(h, length)| taken.start < h + length && h < taken.end)
        {
            self.freed_last = None;
        }
        self.frontier = self.frontier.max(taken.end);
        self.given.push(handle);
        self.swallowed.remove(&handle);
        // A block that seemed to reach over this one did not.
        for (_, swallowed) in self.swallowed.range_mut(..handle) {
            *swallowed = (*swallowed).min(handle - 8);
        }
        if cramped {
            let above = self.live.keys().map(|other| other - 8);
            let above = above.chain(self.foreign.iter().map(|gap| gap.start));
            let region_end = above.filter(|&start| start >= handle).min();
            self.swallowed
                .insert(handle, region_end.unwrap_or(self.frontier));
        }
        self.handed_out += 1;
        self.live.insert(handle, n);
        self.see(handle..end, subject);
    }

    fn free<S: Subject>(&mut self, handle: u64, subject: &mut S) {
        let known = subject.length(handle) != 0;
        subject.free(handle);
        if known {
            self.release(handle);
        }
    }

    /// The block is free, or as soon as it is neither output nor error.
    fn release(&mut self, handle: u64) {
        let Some(&length) = self.live.get(&handle) else {
            return;
        };
        if handle == self.output.0 || handle == self.error {
            self.put_off.insert(handle);
            return;
        }
        self.live.remove(&handle);
        self.doubtful.remove(&handle);
        self.freed.push(handle..handle + length);
        self.freed_last = Some((handle, length));
        if handle == self.input.0 {
            self.input.1 = 0;
        }
    }

    fn store<S: Subject>(&mut self, offset: u64, bytes: &[u8], subject: &mut S) {
        let before = subject.memory().to_vec();
        let bookkeeping = subject.bookkeeping();
        match *bytes {
            [byte] => subject.store_u8(offset, 0xABCD_EF00 | u32::from(byte)),
            _ => subject.store_u64(offset, u64::from_le_bytes(bytes.try_into().unwrap())),
        }
        assert!(
            bookkeeping == subject.bookkeeping(),
            "a store changed the bookkeeping"
        );
        let mut after = before;
        let length = bytes.len() as u64;
        if subject.in_heap(offset, length) {
            after[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            self.expected[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            let hit = |h: &&u64| offset < **h && offset + length > **h - 8;
            self.doubtful.extend(self.live.keys().filter(hit));
        }
        assert!(after == subject.memory(), "a store did something else");
    }

    fn load<S: Subject>(&self, offset: u64, subject: &mut S) {
        for length in [1, 8] {
            let mut bytes = [0; 8];
            if subject.in_heap(offset, length) {
                bytes[..length as usize]
                    .copy_from_slice(&subject.memory()[offset as usize..][..length as usize]);
            }
            let call = [Call::LoadU8(offset), Call::LoadU64(offset)][usize::from(length == 8)];
            assert_eq!(subject.call(call), u64::from_le_bytes(bytes), "{call:?}");
        }
    }

    fn input_load<S: Subject>(&self, index: u64, subject: &mut S) {
        let (offset, input_length) = self.input;
        for length in [1, 8] {
            let mut bytes = [0; 8];
            if u128::from(index) + length as u128 <= input_length.into() {
                bytes[..length]
                    .copy_from_slice(&subject.memory()[(offset + index) as usize..][..length]);
            }
            let call =
                [Call::InputLoadU8(index), Call::InputLoadU64(index)][usize::from(length == 8)];
            assert_eq!(subject.call(call), u64::from_le_bytes(bytes), "{call:?}");
        }
    }

    fn reset<S: Subject>(&mut self, subject: &mut S) {
        subject.reset();
        let foreign = self.foreign.iter();
        let foreign: Vec<_> = foreign
            .map(|range| range.start as usize..range.end as usize)
            .collect();
        subject.check_zero(&foreign);
        *self = Self {
            given: std::mem::take(&mut self.given),
            foreign: std::mem::take(&mut self.foreign),
            expected: subject.memory().to_vec(),
            memory_bytes: self.memory_bytes,
            limit: self.limit,
            ..Self::default()
        };
        // The next handle is the first one that a fresh kernel gives. One more reset takes it back.
        assert_eq!(subject.alloc(1), subject.base() + 8);
        subject.reset();
    }

    /// Runs one operation on the subject and the model, and compares all that can be seen.
    pub fn step<S: Subject>(&mut self, op: Op, subject: &mut S) {
        let before = (self.memory_bytes, subject.pages());
        match op {
            Op::Alloc(n) => self.alloc(n, subject),
            Op::AllocLike(n) => {
                let freed = self.freed.iter().rev().nth(n.into());
                self.alloc(freed.map_or(1, |range| range.end - range.start), subject);
            }
            Op::UseUp(n) => {
                let n = u64::from(n).max(8);
                while subject.floor() >= self.frontier + rounded(n) + SPARE {
                    let given = self.given.len();
                    self.alloc(n, subject);
                    if self.given.len() == given {
                        break;
                    }
                }
            }
            Op::Free(place) => self.free(self.place(place, subject), subject),
            Op::Length(place) => {
                let handle = self.place(place, subject);
                let length = subject.length(handle);
                assert_eq!(length, subject.call(Call::LengthUnsafe(handle)));
                let expected = self.live.get(&handle).copied().unwrap_or(0);
                let unknown = length == 0 && self.doubtful.contains(&handle);
                assert!(length == expected || unknown, "length({handle}) = {length}");
            }
            Op::Load(place) => self.load(self.place(place, subject), subject),
            Op::StoreU8(place, value) => {
                self.store(self.place(place, subject), &[value as u8], subject);
            }
            Op::StoreU64(place, value) => {
                self.store(self.place(place, subject), &value.to_le_bytes(), subject);
            }
            Op::InputSet(place, length) => {
                let offset = self.place(place, subject);
                self.input_set(offset, length, subject);
            }
            Op::InputBlock(n) => {
                let (handle, length) = self.nth_live(n).unwrap_or_default();
                self.input_set(handle, length, subject);
            }
            Op::InputLoad(index) => self.input_load(index, subject),
            Op::InputLoadEnd(delta) => {
                self.input_load(self.input.1.wrapping_add_signed(delta.into()), subject);
            }
            Op::OutputSet(place, length) => {
                let offset = self.place(place, subject);
                self.output_set(offset, length, subject);
            }
            Op::OutputToFloor(place, delta) => {
                let offset = self.place(place, subject);
                let end = subject.floor().wrapping_add_signed(delta.into());
                self.output_set(offset, end.wrapping_sub(offset), subject);
            }
            Op::ErrorSet(place) => {
                let handle = self.place(place, subject);
                let known = self.known_put_off(subject);
                subject.error_set(handle);
                if handle == 0 || subject.in_heap(handle, 1) {
                    self.error = handle;
                    self.make_up(known, handle);
                }
            }
            Op::Reset => self.reset(subject),
            Op::HostFill(n, seed) => {
                if let Some((handle, length)) = self.nth_live(n) {
                    subject.fill(handle, length, seed);
                    self.see(handle..handle + length, subject);
                }
            }
            Op::HostGrow(pages) => {
                let start = subject.memory().len();
                subject.grow_by_host(pages.into());
                subject.memory_mut()[start..].fill(0xEE);
                let end = subject.memory().len() as u64;
                if end > start as u64 {
                    self.foreign.push(start as u64..end);
                    self.see(start as u64..end, subject);
                }
            }
        }
        if !matches!(
            op,
            Op::Alloc(_) | Op::AllocLike(_) | Op::UseUp(_) | Op::HostGrow(_)
        ) {
            assert_eq!(before, (self.memory_bytes, subject.pages()), "it grew");
        }
        self.check(subject);
    }

    fn input_set<S: Subject>(&mut self, offset: u64, length: u64, subject: &mut S) {
        subject.input_set(offset, length);
        if subject.in_heap(offset, length) {
            self.input = (offset, length);
        }
    }

    fn output_set<S: Subject>(&mut self, offset: u64, length: u64, subject: &mut S) {
        let known = self.known_put_off(subject);
        subject.output_set(offset, length);
        if subject.in_heap(offset, length) {
            self.output = (offset, length);
            self.make_up(known, offset);
        }
    }

    /// What was put off, less blocks of which a plugin has stored over what leads to them.
    fn known_put_off<S: Subject>(&self, subject: &mut S) -> Vec<u64> {
        let put_off = self.put_off.iter().copied();
        put_off
            .filter(|&handle| subject.length(handle) != 0)
            .collect()
    }

    /// Makes up for what was put off; of what is output or error again the free is taken back.
    fn make_up(&mut self, known: Vec<u64>, set: u64) {
        self.put_off.clear();
        for handle in known.into_iter().filter(|&handle| handle != set) {
            self.release(handle);
        }
    }

    /// What must hold at all times.
    fn check<S: Subject>(&self, subject: &mut S) {
        assert_eq!(subject.named(), (self.input, self.output, self.error));
        assert_eq!(subject.memory_bytes(), self.memory_bytes);
        let foreign: u64 = self
            .foreign
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        assert_eq!(self.memory_bytes + foreign, subject.memory().len() as u64);
        assert!(subject.pages() <= self.limit);
        for (&handle, &length) in &self.live {
            let answer = subject.length(handle);
            let unknown = answer == 0 && self.doubtful.contains(&handle);
            assert!(answer == length || unknown, "length({handle}) = {answer}");
        }
        for &stale in self.given.iter().rev().take(16) {
            let unknown = self.doubtful.contains(&stale);
            let expected = self.live.get(&stale).copied().unwrap_or(0);
            assert!(unknown || subject.length(stale) == expected);
        }
        let live = self.live.iter().map(|(&h, &length)| h..h + length);
        let known = live
            .chain(self.freed.iter().cloned())
            .chain(self.foreign.iter().cloned());
        for range in known {
            let range = range.start as usize..range.end as usize;
            assert!(
                subject.memory()[range.clone()] == self.expected[range.clone()],
                "the bytes at {range:?} have changed"
            );
        }
        // 32 bytes a block, eight of them in front of its data.
        let blocks = self.handed_out + 2;
        // They lie in front of the first pages of somebody else that the kernel hasn't got to.
        let behind = self.foreign.iter().map(|range| range.start);
        let owned_end = behind
            .filter(|&start| start > subject.floor())
            .min()
            .unwrap_or(subject.memory().len() as u64);
        assert!(
            owned_end - subject.floor() <= 24 * blocks + 48,
            "{blocks} records lie from {} to {owned_end}",
            subject.floor()
        );
        assert!(subject.base() < 256);
    }

    /// Runs all operations on a fresh subject, and at last a reset; says how many steps that took.
    pub fn run<S: Subject>(mut subject: S, limit: u64, ops: &[Op]) -> usize {
        let mut model = Self::new(&mut subject, limit);
        for &op in ops {
            model.step(op, &mut subject);
        }
        model.step(Op::Reset, &mut subject);
        ops.len() + 1
    }

    /// Live blocks as (handle, length).
    pub fn live(&self) -> Vec<(u64, u64)> {
        self.live.iter().map(|(&h, &length)| (h, length)).collect()
    }
}
