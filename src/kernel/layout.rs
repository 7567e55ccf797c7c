//! Where what lies: all constants of the memory's layout, in bytes.
//!
//! ```text
//! low memory:        0 unused | 8 the record of none | 24 the bins' roots | 248
//! record, 24 bytes:  0 address, state | 4 length or size | 8 after | 12 before | 16 previous | 20 next
//! ```
//!
//! A record is named by its own address, and 0, "none", names one too: a link of none may be written like any other,
//! which lets the list of waiting blocks and the chain of neighbours do without special cases.

/// Bytes of a WebAssembly page.
pub(super) const PAGE: u64 = 65536;
/// Bytes of the largest memory: no block is that long.
pub(super) const MOST: u64 = 1 << 32;
/// Bytes at the end of memory that are never used, so that sums of addresses stay below 2^32.
pub(super) const MARGIN: u64 = 24;

/// Where the bins' roots lie, four bytes each.
pub(super) const ROOTS: u32 = 24;
/// The first of the spare records: bin 0, as no region is that small.
pub(super) const SPARE: u32 = ROOTS;
/// The size, in bytes, from which on a bin has several sizes and is a tree; below, it is a list.
pub(super) const TREES: u32 = 256;
/// How many bins there are: less than the register of 64 bits that says which are not empty.
pub(super) const BINS: u32 = 56;
/// The end of the low memory: the first byte of the heap.
pub const BASE: u64 = (ROOTS + 4 * BINS) as u64;

/// Bytes in front of a block's data that lead to its record.
pub(super) const HINT: u64 = 8;
/// Bytes kept free between data and whatever follows, so that an eight-byte store that begins below the frontier
/// stays inside the heap.
pub(super) const GUARD: u64 = 8;
/// Bytes of the smallest region: of a hint, and of data.
pub(super) const SMALLEST: u32 = 2 * HINT as u32;

/// Bytes of a record: with the hint 32 bytes a block.
pub(super) const RECORD: u32 = 24;
/// Records for which fresh space keeps room, so that regions can be cut when it is used up.
const SPARE_RECORDS: u64 = 23;
/// What must lie between frontier and floor, beside a block's data, to cut the block off the fresh space.
pub(super) const OVERHEAD: u64 = HINT + GUARD + (1 + SPARE_RECORDS) * RECORD as u64;
/// More than any floor: added to the register `reserve` where the fresh space lies behind a gap, so nothing is cut off the common part.
pub(super) const BEYOND: u64 = 1 << 40;
/// How many blocks wait at most, between calls.
pub(crate) const PATIENCE: u32 = 64;
/// Where the register `reserve` starts. A byte more, since `alloc` counts one less.
pub(crate) const RESERVE: u64 = BASE + OVERHEAD + 1;

/// The address, a multiple of 8, of the block's data, and in the low 3 bits its state.
pub(super) const ADDRESS: u32 = 0;
/// Live: the exact length asked for. Filed: the size, a multiple of 8; 0 of a spare record.
pub(super) const LENGTH: u32 = 4;
/// Waiting: the record of the block freed next. Filed: the next in a list, or the child whose next bit is 0. Live: 0.
pub(super) const AFTER: u32 = 8;
/// Filed: in a list the cell that leads here, in a tree the child whose next bit is 1.
pub(super) const BEFORE: u32 = 12;
/// The record of the block below in memory.
pub(super) const PREVIOUS: u32 = 16;
/// The record of the block above in memory.
pub(super) const NEXT: u32 = 20;

/// Owned by the plugin or the host: address and state together are the handle itself.
pub(super) const LIVE: u32 = 0;
/// Freed, and waits to be merged.
pub(super) const WAITING: u32 = 1;
/// Free, merged with its neighbours, and in a bin; or a spare record.
pub(super) const FILED: u32 = 2;
/// Neither waiting nor in a bin: pages of somebody else, or a free region in hand.
pub(super) const APART: u32 = 4;
/// The bits of an address that hold the state.
pub(super) const STATE: u32 = 7;

/// The highest slot for a record in a memory, or part of one, that ends there: records lie at multiples of their size.
#[inline(never)]
pub(super) fn highest_slot(end: u64) -> u32 {
    ((end - MARGIN) as u32 / RECORD - 1) * RECORD
}
