//! Records: all that is trusted about blocks.
//!
//! ```text
//! record, 24 bytes:  0 address | state   4 length or age   8 previous   12 next   16 after   20 before
//! ```
//!
//! A record is named by its own address. The records fill `floor..top` at the end of the memory without holes. An
//! address of one that was read from memory is used only if it lies there or in the low memory (`checked`), so that even a
//! memory that a host has scribbled over leads to no access outside of it. 0 means "none".

use super::free_space::LOW_MEMORY;
use super::{HINT, Kernel};
use crate::machine::Machine;

/// Bytes of a record: with the hint 32 bytes a block.
pub(super) const RECORD: u32 = 24;

/// The block's address, a multiple of 8, and in its low 3 bits the block's state.
pub(super) const ADDRESS: u32 = 0;
/// Live: the exact length asked for in bytes. Filed: the age, lower is older.
pub(super) const LENGTH: u32 = 4;
/// The record of the block below in memory.
pub(super) const PREVIOUS: u32 = 8;
/// The record of the block above in memory.
pub(super) const NEXT: u32 = 12;
/// Waiting: the record of the block freed next. Filed: a child.
pub(super) const AFTER: u32 = 16;
/// Waiting: the record of the block freed before it, or the ring itself. Filed: the other child.
pub(super) const BEFORE: u32 = 20;

/// Owned by the plugin or the host: address and state together are the handle itself.
const LIVE: u32 = 0;
/// Freed, and in the ring of those that wait to be filed.
pub(super) const WAITING: u32 = 1;
/// Free, merged with its filed neighbours, and in the tree.
pub(super) const FILED: u32 = 3;
/// In neither ring nor tree: pages of somebody else, or a free region while it is merged.
pub(super) const APART: u32 = 4;
/// The bits of an address that hold the state.
const STATE: u32 = 7;

impl<M: Machine> Kernel<M> {
    /// The record's address if one can be there, or an address in the low memory, else 0.
    pub(super) fn checked(&self, record: u32) -> u32 {
        let floor = self.machine.floor();
        if record < LOW_MEMORY || record.wrapping_sub(floor) < self.machine.top() - floor {
            record
        } else {
            0
        }
    }

    pub(super) fn get(&self, record: u32, field: u32) -> u32 {
        self.machine.load32(record, field)
    }

    pub(super) fn set(&mut self, record: u32, field: u32, value: u32) {
        self.machine.store32(record, field, value);
    }

    /// A field that holds a record's address.
    pub(super) fn link(&self, record: u32, field: u32) -> u32 {
        self.checked(self.get(record, field))
    }

    pub(super) fn address(&self, record: u32) -> u32 {
        self.get(record, ADDRESS) & !STATE
    }

    pub(super) fn state(&self, record: u32) -> u32 {
        self.get(record, ADDRESS) & STATE
    }

    /// Bytes of data that the block has room for: up to its neighbour's hint, or to the frontier. 0 if there is no record.
    pub(super) fn capacity(&self, record: u32) -> u32 {
        if record < LOW_MEMORY {
            return 0;
        }
        let next = self.link(record, NEXT);
        let end = if next == 0 {
            self.frontier() as u32
        } else {
            self.address(next).wrapping_sub(HINT as u32)
        };
        end.wrapping_sub(self.address(record))
    }

    /// The record of the live block that starts exactly at `handle`, or 0.
    ///
    /// The hint may hold anything, since plugins can write it: it counts only if it leads to a record that says that a
    /// live block starts right here. It can't lead into the middle of a record: the words there that lie at multiples of 8
    /// hold links to records, which are no handles, or 0 (`alloc` sees to that for a live block).
    #[inline(always)]
    pub(super) fn find(&self, handle: u64) -> Option<u32> {
        let hint = handle.wrapping_sub(HINT);
        if hint >= (self.machine.floor() - HINT as u32).into() {
            return None;
        }
        let record = self.machine.load32(hint as u32, 0);
        let is_its = (record | handle as u32) & 7 == 0
            && record >= self.machine.floor()
            && record < self.machine.top()
            && self.machine.load32(record, ADDRESS) == handle as u32;
        is_its.then_some(record)
    }

    /// Adds the record of a block that lies between the blocks `previous` and `next` (0: the heap's ends).
    ///
    /// There must be room for it below the floor.
    #[inline(never)]
    pub(super) fn add_record(&mut self, previous: u32, next: u32) -> u32 {
        let record = self.machine.floor() - RECORD;
        // Before the record is written, so that a reset after an interruption zeroes it.
        self.machine.set_floor(record);
        self.join(previous, record);
        self.join(record, next);
        record
    }

    /// The same for a block above all others, without a call.
    #[inline(always)]
    pub(super) fn add_last_record(&mut self) -> u32 {
        let previous = self.machine.last();
        let record = self.machine.floor() - RECORD;
        self.machine.set_floor(record);
        // Also that there is no NEXT.
        self.machine.store64(record, PREVIOUS, previous.into());
        self.machine.store32(previous, NEXT, record);
        self.machine.set_last(record);
        record
    }

    /// Makes two blocks neighbours, `next` the one above; 0 stands for the heap's ends.
    #[inline(never)]
    pub(super) fn join(&mut self, previous: u32, next: u32) {
        // For none this writes at NEXT in the unused low memory, which nobody reads.
        self.set(previous, NEXT, next);
        if next == 0 {
            self.machine.set_last(previous);
        } else {
            self.set(next, PREVIOUS, previous);
        }
    }

    /// Merges a free block with the one right behind it, and returns the record of the whole, which may have moved.
    pub(super) fn absorb(&mut self, kept: u32, gone: u32) -> u32 {
        let next = self.link(gone, NEXT);
        self.join(kept, next);
        let moved = kept == self.machine.floor();
        self.give_up(gone);
        if moved { gone } else { kept }
    }

    /// Gives up a record that nothing leads to. The lowest one takes its place, so that the table has no holes.
    pub(super) fn give_up(&mut self, record: u32) {
        let lowest = self.machine.floor();
        if lowest != record {
            self.move_record(lowest, record);
        }
        self.raise_floor(lowest + RECORD, lowest + RECORD);
    }

    /// Copies a record to a place that is not in use, and mends what leads to it.
    fn move_record(&mut self, from: u32, to: u32) {
        let state = self.state(from);
        if state == FILED {
            self.unfile(from);
        }
        self.copy_words(from, to, ADDRESS);
        self.copy_words(from, to, PREVIOUS);
        self.copy_words(from, to, AFTER);
        let previous = self.link(to, PREVIOUS);
        self.join(previous, to);
        let next = self.link(to, NEXT);
        self.join(to, next);
        if state == LIVE {
            let hint = self.address(to).wrapping_sub(HINT as u32);
            // Not so after a host has scribbled over the records.
            if hint < self.machine.floor() {
                self.machine.store32(hint, 0, to);
            }
        } else if state == FILED {
            self.file(to);
        } else if state == WAITING {
            let before = self.link(to, BEFORE);
            self.chain(before, to);
            let after = self.link(to, AFTER);
            self.chain(to, after);
        }
    }

    #[inline(always)]
    fn copy_words(&mut self, from: u32, to: u32, field: u32) {
        let words = self.machine.load64(from, field);
        self.machine.store64(to, field, words);
    }

    /// Moves the records to the new top: those that are in the way, so at most as many as the new pages hold.
    pub(super) fn raise_records(&mut self, floor: u32, old_top: u32) {
        let rise = self.machine.top() - old_top;
        let distance = rise.max(old_top - floor);
        let end = self.machine.top() - distance;
        let mut record = floor;
        while record < end {
            self.move_record(record, record + distance);
            record += RECORD;
        }
        self.raise_floor(end, floor + rise);
    }

    /// Zeroes what lies below `end` and is no record any more, and only then raises the floor: a reset after an interruption
    /// zeroes from the floor on.
    pub(super) fn raise_floor(&mut self, end: u32, floor: u32) {
        self.machine.zero(self.machine.floor(), end);
        self.machine.set_floor(floor);
    }
}
