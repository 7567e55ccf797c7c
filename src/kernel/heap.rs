//! Blocks: where they are cut from, and how the memory grows.

use super::free_space::WAITING_RING;
use super::records::{ADDRESS, AFTER, APART, FILED, LENGTH, PREVIOUS, RECORD, WAITING};
use super::{BASE, GUARD, HINT, Kernel, LOWEST, MARGIN, MOST, PAGE};
use crate::machine::Machine;

/// Records for which blocks cut off the fresh space leave room, so that free regions can be split when it is used up.
const SPARE_RECORDS: u64 = 32;
/// Bytes that must be free beside a block's data to cut it off the fresh space.
const OVERHEAD: u64 = HINT + GUARD + (1 + SPARE_RECORDS) * RECORD as u64;

impl<M: Machine> Kernel<M> {
    /// Reserves `n` bytes and returns their handle: non-zero, a multiple of 8, below 2^32.
    ///
    /// Returns 0, and changes nothing that its caller could see, if `n` is 0 or the memory can't be had; any `n` may be asked for.
    #[inline(always)]
    pub fn alloc(&mut self, n: u64) -> u64 {
        // 0 wraps.
        let index = n.wrapping_sub(1);
        if index >= MOST - HINT {
            return 0;
        }
        let need = (index | 7) + 1;
        let (record, start) = 'cut: {
            if !self.fits_fresh(need) {
                let cut = self.reuse(need);
                if cut.0 != 0 {
                    break 'cut cut;
                }
                if !self.grow(need) {
                    return 0;
                }
            }
            self.take_fresh(need)
        };
        let handle = start + HINT;
        self.set(record, ADDRESS, handle as u32);
        self.set(record, LENGTH, n as u32);
        // Here may lie old links, or what a plugin stored before the record was here: `find` would take these for a record.
        self.machine.store64(record, AFTER, 0);
        self.machine.store32(start as u32, 0, record);
        handle
    }

    /// Releases the block that starts exactly at `handle`, and leaves its bytes as they are.
    ///
    /// Does nothing for anything that is not a live block's handle, nor for the current output or error.
    /// Freeing the current input sets its length to 0.
    #[inline(always)]
    pub fn free(&mut self, handle: u64) {
        let Some(record) = self.find(handle) else {
            return;
        };
        if handle == self.machine.output_offset() || handle == self.machine.error() {
            return;
        }
        if handle == self.machine.input_offset() {
            self.machine.set_input_length(0);
        }
        self.machine
            .store32(record, ADDRESS, handle as u32 | WAITING);
        self.enqueue(record);
    }

    /// The exact number of bytes asked for, if a live block starts exactly at `handle`, else 0.
    #[inline(always)]
    pub fn length(&self, handle: u64) -> u64 {
        let Some(record) = self.find(handle) else {
            return 0;
        };
        let length = self.machine.load32(record, LENGTH);
        // Only a host that scribbled over the records can have made it longer than the memory.
        if length <= self.machine.top() - handle as u32 {
            length.into()
        } else {
            0
        }
    }

    /// Bytes of memory that the kernel owns: 65,536 at first, and as many more for each page.
    #[inline(always)]
    pub fn memory_bytes(&self) -> u64 {
        self.machine.owned()
    }

    /// Makes the kernel as new, but for the memory that it holds: all that was used is zero again, all handles
    /// are dead, and there is no input, output or error.
    #[inline(always)]
    pub fn reset(&mut self) {
        // Both are below 2^32.
        if (self.machine.span() | self.machine.dirty()) as u32 == 0 {
            self.clear_low_memory();
        } else {
            self.clear_all();
        }
        self.machine.set_input_offset(0);
        self.machine.set_input_length(0);
        self.machine.set_output_offset(0);
        self.machine.set_output_length(0);
        self.machine.set_error(0);
    }

    /// Zeroes all that was used, and sets all registers of the heap to where they started.
    #[inline(always)]
    fn clear_all(&mut self) {
        let used = (self.frontier() + GUARD).max(self.machine.dirty());
        let mut start = LOWEST;
        let mut top = self.machine.top();
        if used > self.machine.gap_start() {
            // Everything starts again in front of the gap, all of which was handed out.
            top = self.machine.gap_start() as u32;
            self.machine.zero(LOWEST, top);
            start = self.machine.gap_end() as u32;
            // Growth that was stopped may have left the floor in front of the gap.
            self.machine.set_floor(self.machine.floor().max(start));
        }
        self.machine.zero(start, used as u32);
        self.raise_floor(self.machine.top(), top);
        self.machine.set_top(top);
        self.machine.set_last(0);
        self.machine.set_tail(WAITING_RING);
        self.machine.set_clock(0);
        self.machine.set_root_bit(1);
        self.machine.set_island(BASE);
        // These come last: as long as one of them isn't 0, the next reset begins anew.
        self.machine.set_span(0);
        self.machine.set_dirty(0);
    }

    /// The lowest byte that was never handed out; everything above it, up to the records, is fresh.
    #[inline(always)]
    pub(super) fn frontier(&self) -> u64 {
        self.machine.island() + self.machine.span()
    }

    /// Whether there is fresh space for a block, its record and the spare records.
    #[inline(always)]
    fn fits_fresh(&self, need: u64) -> bool {
        self.frontier() + (need + OVERHEAD) <= self.machine.floor().into()
    }

    /// Cuts a block off the oldest free region that fits. Returns its record and where its hint lies; (0, 0) if none fits.
    #[inline(always)]
    fn reuse(&mut self, need: u64) -> (u32, u64) {
        let region = self.take_out_fitting(need as u32);
        if region == 0 {
            return (0, 0);
        }
        self.cut(region, need)
    }

    /// Cuts a block off the fresh space, which must have room for it. Returns its record and where its hint lies.
    #[inline(always)]
    fn take_fresh(&mut self, need: u64) -> (u32, u64) {
        let start = self.frontier();
        self.machine.set_span(self.machine.span() + HINT + need);
        (self.add_last_record(), start)
    }

    /// Cuts a block off the front of a region that is not in the tree, or takes all of it, if the rest would be no block or there is no
    /// room for another record.
    #[inline(always)]
    fn cut(&mut self, region: u32, need: u64) -> (u32, u64) {
        let start = u64::from(self.address(region).wrapping_sub(HINT as u32));
        // A host that scribbled over the records may have put the region elsewhere.
        if !self.range_in_heap(start, HINT + need) {
            return (0, 0);
        }
        let rest = self.capacity(region) - need as u32;
        let room = self.frontier() + GUARD + u64::from(RECORD) <= self.machine.floor().into();
        let mut record = region;
        if rest >= 2 * HINT as u32 && room {
            record = self.add_record(self.link(region, PREVIOUS), region);
            self.set(region, ADDRESS, (start + HINT + need + HINT) as u32 | FILED);
            self.file(region);
        }
        (record, start)
    }

    /// Makes room for a block of `need` bytes in fresh space, with exactly the pages that this takes.
    ///
    /// If somebody else has grown the memory meanwhile, their pages become the gap, and the kernel goes on behind it. So
    /// it does when it gets to the gap again after a reset, mostly without new pages. Where it fails, nothing is changed.
    fn grow(&mut self, need: u64) -> bool {
        let old_top = self.machine.top();
        let mut gap_end = self.machine.gap_end();
        let foreign = gap_end.wrapping_sub(self.machine.gap_start()) & !(PAGE - 1);
        // Where the memory ends, as far as is known, and where it does.
        let mut known = self.machine.owned().wrapping_add(foreign);
        let base = u64::from(self.machine.pages()) * PAGE;
        if base != known && gap_end == 0 {
            gap_end = base;
            known = base;
        }
        let frontier = self.frontier();
        let mut start = frontier;
        if start < gap_end {
            start = gap_end + 2 * u64::from(RECORD);
        }
        let floor = self.machine.floor();
        let records = u64::from(old_top - floor);
        let record = u64::from(RECORD);
        #[expect(clippy::manual_div_ceil, reason = "div_ceil takes 13 bytes more")]
        let top = (start + need + OVERHEAD + records + record - 1) / record * record;
        let end = ((top + MARGIN + PAGE - 1) & !(PAGE - 1)).max(known);
        let granted = end - known;
        // Behind a second gap nothing is asked for, nor beyond what there can be: under a host's limit that may be a trap.
        if (base != known && end != known)
            || end > MOST
            || !self.machine.grow((granted / PAGE) as u32)
        {
            return false;
        }
        self.machine.set_owned(self.machine.owned() + granted);
        if start != frontier {
            self.machine.set_gap_start(old_top.into());
            self.machine.set_gap_end(gap_end);
        }
        // Wherever the call is stopped from now on, a reset knows that something was used, and whether behind the gap.
        if start > self.machine.dirty() {
            self.machine.set_dirty(start);
        }
        self.machine
            .set_top((end - MARGIN) as u32 / RECORD * RECORD);
        self.raise_records(floor, old_top);
        if start != frontier {
            self.cross_gap(frontier, old_top, gap_end);
        }
        true
    }

    /// Goes on behind the gap: what is fresh in front of it becomes a free block, and the gap itself a block that nobody can
    /// free.
    #[inline(always)]
    fn cross_gap(&mut self, frontier: u64, gap_start: u32, gap_end: u64) {
        let rest = self.add_record(self.machine.last(), 0);
        self.set(rest, ADDRESS, (frontier + HINT) as u32 + WAITING);
        let gap = self.add_record(rest, 0);
        self.set(gap, ADDRESS, gap_start + HINT as u32 + APART);
        self.machine.set_span(0);
        self.machine.set_island(gap_end);
        self.chain(self.machine.tail(), rest);
        self.chain(rest, 0);
    }
}
