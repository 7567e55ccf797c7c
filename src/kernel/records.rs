//! Records: all that is trusted about blocks.
//!
//! They fill `floor..=peak`, slot by slot, at the end of the memory. Of a block that is no more the record becomes spare: it is
//! filed in bin 0, as a region of no bytes, and serves the next that is cut. Only growth moves records.
//!
//! A link that was read from memory is used only if it leads to where records are (`link`), so even a memory that a host has
//! scribbled over leads to no access outside of it, nor to a write that `reset` wouldn't zero.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Whether a record may lie there.
    #[inline(always)]
    pub(super) fn is_record(&self, record: u32) -> bool {
        (record >= self.machine.floor() && record <= self.machine.peak())
            || self.is_in_front(record)
    }

    /// Whether one may in front of a gap that was crossed: there the records stayed.
    #[inline(never)]
    fn is_in_front(&self, record: u32) -> bool {
        record >= self.machine.front() && record <= self.machine.front_peak()
    }

    pub(super) fn get(&self, record: u32, field: u32) -> u32 {
        self.machine.load32(record, field)
    }

    pub(super) fn set(&mut self, record: u32, field: u32, value: u32) {
        self.machine.store32(record, field, value);
    }

    /// A field that holds a record's address, or 0.
    #[inline(never)]
    pub(super) fn link(&self, record: u32, field: u32) -> u32 {
        let link = self.get(record, field);
        if self.is_record(link) { link } else { 0 }
    }

    pub(super) fn address(&self, record: u32) -> u32 {
        self.get(record, ADDRESS) & !STATE
    }

    pub(super) fn state(&self, record: u32) -> u32 {
        self.get(record, ADDRESS) & STATE
    }

    /// The record of the live block that starts exactly at `handle`, or none.
    ///
    /// The hint may hold anything, since plugins can write it: it counts only if it leads to a record that says that a
    /// live block starts right here. It can't lead into the middle of a record: the words there that lie at multiples of 8, `AFTER`
    /// and `PREVIOUS`, are links to where records are now, or 0, and there no block is.
    #[inline(always)]
    pub(super) fn find(&self, handle: u64) -> Option<u32> {
        let index = handle.wrapping_sub(BASE + HINT);
        // Beyond what was handed out first is a block only where a gap was crossed.
        if index >= self.machine.common()
            && (self.machine.far() == 0 || !self.range_in_heap(handle.wrapping_sub(HINT), HINT + 1))
        {
            return None;
        }
        let record = self.machine.load32(index as u32, BASE as u32);
        let is_its = (record | handle as u32) & 7 == 0
            && self.is_record(record)
            && self.machine.load32(record, ADDRESS) == handle as u32;
        is_its.then_some(record)
    }

    /// Whether there is a slot for one more record, and for the two that crossing a gap takes.
    pub(super) fn has_room_for_record(&self) -> bool {
        // A host may have written over the root of the spare ones.
        self.first(0) != 0
            || self.frontier() + GUARD + 3 * u64::from(RECORD) <= self.machine.floor().into()
    }

    /// Adds the record of a block that lies between the blocks `previous` and `next` (0: the heap's ends), for which there must be
    /// room.
    pub(super) fn add_record(&mut self, previous: u32, next: u32) -> u32 {
        let mut record = self.first(0);
        if record != 0 {
            self.lead(SPARE, self.link(record, AFTER));
        } else {
            record = self.machine.floor() - RECORD;
            // Before the record is written, so that a reset after an interruption zeroes it.
            self.machine.set_floor(record);
        }
        self.machine.store64(record, AFTER, 0);
        self.join(previous, record);
        self.join(record, next);
        record
    }

    /// The same for a block above all others, off the fresh space, without a call.
    #[inline(always)]
    pub(super) fn add_last_record(&mut self) -> u32 {
        let previous = self.machine.last();
        let record = self.machine.floor() - RECORD;
        self.machine.set_floor(record);
        self.machine.store64(record, AFTER, 0);
        // Also that there is no NEXT.
        self.machine.store64(record, PREVIOUS, previous.into());
        self.machine.store32(previous, NEXT, record);
        self.machine.set_last(record);
        record
    }

    /// Makes two blocks neighbours, `next` the one above; 0 stands for the heap's ends.
    #[inline(never)]
    pub(super) fn join(&mut self, previous: u32, next: u32) {
        self.set(previous, NEXT, next);
        self.set(next, PREVIOUS, previous);
        if next == 0 {
            self.machine.set_last(previous);
        }
    }

    /// Makes the record of a block that is no more a spare one.
    pub(super) fn give_up(&mut self, record: u32) {
        // Address and size 0. No link stays, since none of them would be mended when records move.
        self.machine.store64(record, ADDRESS, FILED.into());
        self.machine.store64(record, PREVIOUS, 0);
        let first = self.first(0);
        self.machine.set_bins(self.machine.bins() | 1);
        self.put_first(SPARE, record, first);
    }
}
