//! Freed blocks: they wait before they are merged.
//!
//! `free` only appends the block to the list of those that wait, which is cheap and leaves its bytes alone. They are merged with
//! the free regions beside them, and filed in bins, longest-freed first: when an allocation finds neither fresh space nor a filed
//! region that fits, until one does; and one at a time when more than [`PATIENCE`] wait, so that no call has many to merge. So the
//! block freed last is looked at last, whatever lies beside it.
//!
//! A block that is asked for again at exactly its size is not merged first, and the one that waited longest of so many as may wait
//! counts as merged: a plugin that allocates and frees blocks of one size goes round among them, and nothing is filed.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Appends a freed block to those that wait. Its `AFTER` is 0, as of any live block.
    #[inline(always)]
    pub(super) fn wait(&mut self, record: u32) {
        self.machine.store32(self.machine.tail(), AFTER, record);
        self.machine.set_tail(record);
        let mut patience = self.machine.patience();
        if patience == 0 {
            self.merge_longest_freed();
            patience = 1;
        }
        self.machine.set_patience(patience - 1);
    }

    /// The block that waits longest; 0 if none does.
    #[inline(never)]
    pub(super) fn longest_freed(&self) -> u32 {
        let record = self.link(0, AFTER);
        if self.is(record, WAITING) { record } else { 0 }
    }

    /// Takes the block that waits longest out of those that wait.
    #[inline(never)]
    pub(super) fn take(&mut self, record: u32) {
        self.set(0, AFTER, self.get(record, AFTER));
        self.machine.set_patience(self.machine.patience() + 1);
        if record == self.machine.tail() {
            self.machine.set_tail(0);
        }
    }

    /// Whether a block has exactly `need` bytes, so that it need not be merged.
    pub(super) fn is_exact(&self, record: u32, need: u32) -> bool {
        (self.get(record, LENGTH).wrapping_sub(1) | 7).wrapping_add(1) == need
    }

    /// One block less that waits: the one that waited longest is merged, or takes in the next, if that lies right behind it.
    #[inline(never)]
    fn merge_longest_freed(&mut self) {
        let record = self.longest_freed();
        if record == 0 {
            return;
        }
        let next = self.link(record, NEXT);
        if next == self.get(record, AFTER) && self.is(next, WAITING) {
            self.set(record, AFTER, self.get(next, AFTER));
            if next == self.machine.tail() {
                self.machine.set_tail(record);
            }
            // Longer than it says, so not exactly any size.
            self.set(record, LENGTH, 0);
            self.swallow(record, next);
        } else {
            self.take(record);
            self.merge(record);
        }
    }

    /// Lets each block that waits know the cell that leads to it, as in any other list, since its record may move.
    #[inline(always)]
    pub(super) fn link_back(&mut self) {
        // After calls were stopped there may be more than the register says.
        let mut left = 2 * PATIENCE;
        let mut cell = AFTER;
        loop {
            let record = self.link(cell, 0);
            if left == 0 || !self.is(record, WAITING) {
                break;
            }
            self.set(record, BEFORE, cell);
            cell = record + AFTER;
            left -= 1;
        }
    }

    /// Merges a free block with the filed regions beside it, and files the whole. Returns its record.
    #[inline(never)]
    pub(super) fn merge(&mut self, mut record: u32) -> u32 {
        let mut next = self.link(record, NEXT);
        if self.is(next, FILED) {
            self.unfile(next);
            next = self.swallow(record, next);
        }
        let previous = self.link(record, PREVIOUS);
        if self.is(previous, FILED) {
            self.unfile(previous);
            self.swallow(previous, record);
            record = previous;
        }
        let end = if next == 0 {
            self.frontier() as u32
        } else {
            self.address(next).wrapping_sub(HINT as u32)
        };
        let address = self.address(record);
        let size = end.wrapping_sub(address) & !7;
        self.machine.store64(
            record,
            ADDRESS,
            u64::from(size) << 32 | u64::from(address | FILED),
        );
        self.file(record);
        record
    }

    /// Lets a free block take in the one right behind it. Returns the record of what is behind both.
    #[inline(never)]
    fn swallow(&mut self, record: u32, next: u32) -> u32 {
        let beyond = self.link(next, NEXT);
        self.join(record, beyond);
        self.give_up(next);
        beyond
    }

    /// Whether a link led to a record, and to one in that state.
    #[inline(never)]
    pub(super) fn is(&self, record: u32, state: u32) -> bool {
        record != 0 && self.state(record) == state
    }
}
