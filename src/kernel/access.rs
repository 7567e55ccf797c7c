//! Loads and stores by plugins: any byte of the heap, and nothing else.
//!
//! Nothing is called from here: a call in a load or store, even one that is hardly ever made, costs each of them the check of the
//! engine's stack (RATIONALE.md).

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// The byte at `offset`, 0..=255; 0 if it lies outside of the heap.
    #[inline(always)]
    pub fn load_u8(&self, offset: u64) -> u32 {
        if self.is_common(offset) || self.in_heap(offset, 1) {
            self.machine.load8(offset as u32).into()
        } else {
            0
        }
    }

    /// The eight bytes at `offset`, little endian, at any alignment; 0 if any of them lies outside of the heap.
    #[inline(always)]
    pub fn load_u64(&self, offset: u64) -> u64 {
        if self.is_common(offset) || self.in_heap(offset, 8) {
            self.machine.load64(offset as u32, 0)
        } else {
            0
        }
    }

    /// Stores the low 8 bits of `value` at `offset`; does nothing if that lies outside of the heap.
    #[inline(always)]
    pub fn store_u8(&mut self, offset: u64, value: u32) {
        if self.is_common(offset) || self.reach(offset, 1) {
            self.machine.store8(offset as u32, value as u8);
        }
    }

    /// Stores eight bytes at `offset`, little endian, at any alignment; does nothing if any of them lies outside of
    /// the heap.
    #[inline(always)]
    pub fn store_u64(&mut self, offset: u64, value: u64) {
        if self.is_common(offset) || self.reach(offset, 8) {
            self.machine.store64(offset as u32, 0, value);
        }
    }

    /// The common case of an access of at most eight bytes: it begins below the frontier, so it
    /// ends below frontier and guard, which is heap, and which `reset` zeroes.
    #[inline(always)]
    pub(super) fn is_common(&self, offset: u64) -> bool {
        offset.wrapping_sub(BASE) < self.machine.common()
    }

    /// The rare case of a store: beyond what was handed out in front of a gap, or an overrun into fresh space, which
    /// `reset` must zero.
    #[inline(always)]
    fn reach(&mut self, offset: u64, length: u64) -> bool {
        if !self.in_heap(offset, length) {
            return false;
        }
        // `mark` without a call.
        let end = offset + length;
        if end > self.machine.dirty() {
            self.machine.set_dirty(end);
        }
        true
    }

    /// Lets `reset` zero up to `end`.
    #[inline(never)]
    pub(super) fn mark(&mut self, end: u64) {
        if end > self.machine.dirty() {
            self.machine.set_dirty(end);
        }
    }

    /// Whether `length` bytes, 1..=8, from `offset` lie in the heap: above the kernel's low memory, below its records, and in
    /// no gap.
    #[inline(always)]
    fn in_heap(&self, offset: u64, length: u64) -> bool {
        // From the end, or the difference that `is_common` takes would be kept for here, which is an instruction in each access.
        let last = self.end_around(offset) - length;
        last.wrapping_sub(offset) <= last - BASE
    }

    /// The same for a range of any length, of which even an empty one must begin in the heap; where a call does no harm.
    #[inline(never)]
    pub(super) fn range_in_heap(&self, offset: u64, length: u64) -> bool {
        if offset < BASE {
            return false;
        }
        let end = self.end_around(offset);
        offset < end && length <= end - offset
    }

    /// Where the heap around `offset` ends: at the gap, if that was crossed behind it, else at the records.
    #[inline(always)]
    fn end_around(&self, offset: u64) -> u64 {
        if offset < self.machine.island() {
            self.machine.front().into()
        } else {
            self.machine.floor().into()
        }
    }
}
