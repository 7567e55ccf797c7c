//! Blocks: where they are cut from, how they are freed, and how everything is forgotten.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Reserves `n` bytes and returns their handle: non-zero, a multiple of 8, below 2^32.
    ///
    /// Returns 0, and changes nothing that its caller could see, if `n` is 0 or the memory can't be had; any `n` may be asked for.
    #[inline(always)]
    pub fn alloc(&mut self, n: u64) -> u64 {
        // 0 wraps.
        let index = n.wrapping_sub(1);
        if index >= MOST - HINT {
            if index < MOST - 1 {
                self.fail(n);
            }
            return 0;
        }
        // One less than the block's bytes, which the reserve makes up for.
        let rounded = index | 7;
        let common = self.machine.common();
        let (record, place) =
            if common + rounded + self.machine.reserve() <= self.machine.floor().into() {
                self.machine.set_common(common + HINT + rounded + 1);
                (self.add_last_record(), common)
            } else {
                let record = self.find_room(n);
                if record == 0 {
                    return 0;
                }
                (record, u64::from(self.address(record)) - HINT - BASE)
            };
        let handle = place + HINT + BASE;
        self.machine.store64(record, ADDRESS, n << 32 | handle);
        self.machine.store32(place as u32, BASE as u32, record);
        handle
    }

    /// Finds a block for `n` bytes among what is free, or what growth brings, and returns its record, with its address; 0 if it can't
    /// be had.
    #[inline(never)]
    fn find_room(&mut self, n: u64) -> u32 {
        let need = ((n - 1) | 7) + 1;
        if !self.fits_behind_gap(need) {
            let record = self.reuse(need as u32);
            if record != 0 {
                return record;
            }
            if !self.grow(need + OVERHEAD) {
                self.fail(n);
                return 0;
            }
        }
        let start = self.frontier();
        let far = self.machine.far();
        if far == 0 {
            self.machine.set_common(self.machine.common() + HINT + need);
        } else {
            self.machine.set_far(far + HINT + need);
        }
        let record = self.add_record(self.machine.last(), 0);
        self.set(record, ADDRESS, (start + HINT) as u32);
        record
    }

    /// Whether a gap was crossed, and there is fresh space behind it for a block of `need` bytes, its record and the spare records.
    #[inline(always)]
    fn fits_behind_gap(&self, need: u64) -> bool {
        self.machine.far() != 0 && self.frontier() + need + OVERHEAD <= self.machine.floor().into()
    }

    /// No block of `n` bytes. Hosts copy their input to address 0 without looking, so `reset` zeroes there.
    #[inline(never)]
    fn fail(&mut self, n: u64) {
        self.mark(n.min(self.known_end()));
    }

    /// Releases the block that starts exactly at `handle`, and leaves its bytes as they are.
    ///
    /// Does nothing for anything that is not a live block's handle. The current output or error is released when it
    /// is neither any more. Freeing the current input sets its length to 0.
    #[inline(never)]
    pub fn free(&mut self, handle: u64) {
        let Some(record) = self.find(handle) else {
            return;
        };
        if handle == self.machine.output_offset() || handle == self.machine.error() {
            self.postpone(handle);
            return;
        }
        if handle == self.machine.input_offset() {
            self.machine.set_input_length(0);
        }
        self.machine
            .store32(record, ADDRESS, handle as u32 | WAITING);
        self.wait(record);
    }

    /// The exact number of bytes asked for, if a live block starts exactly at `handle`, else 0.
    #[inline(always)]
    pub fn length(&self, handle: u64) -> u64 {
        let Some(record) = self.find(handle) else {
            return 0;
        };
        let length = self.machine.load32(record, LENGTH);
        // Only a host that scribbled over the records can have made it longer than the memory.
        if length <= self.machine.peak() + RECORD - handle as u32 {
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
        // Growth leaves a mark, too.
        if self.machine.common() | self.machine.dirty() != 0 {
            self.clear_all();
        }
        self.machine.set_input_offset(0);
        self.machine.set_input_length(0);
        self.machine.set_output_offset(0);
        self.machine.set_output_length(0);
        self.machine.set_error(0);
        self.machine.set_put_off(0);
    }

    /// Zeroes all that was used, and sets all registers of the heap to where they started.
    #[inline(always)]
    fn clear_all(&mut self) {
        let mut start = BASE as u32;
        // The record of none.
        self.machine.store64(0, AFTER, 0);
        self.machine.store64(0, PREVIOUS, 0);
        if self.machine.bins() | self.machine.dirty() | self.machine.gap_end() != 0 {
            start = self.clear_rare();
        }
        let used = self.frontier() + GUARD;
        self.machine
            .zero(start, used.max(self.machine.dirty()) as u32);
        let top = self.machine.peak() + RECORD;
        self.machine.zero(self.machine.floor(), top);
        self.machine.set_floor(top);
        self.machine.set_bins(0);
        self.machine.set_patience(PATIENCE);
        self.machine.set_tail(0);
        self.machine.set_last(0);
        // These come last: as long as one of them isn't 0, the next reset begins anew.
        self.machine.set_common(0);
        self.machine.set_dirty(0);
    }

    /// Zeroes the low memory, and goes back in front of a gap. Returns from where on the rest is to be zeroed.
    #[inline(never)]
    fn clear_rare(&mut self) -> u32 {
        let mut start = BASE as u32;
        if self.machine.growing() != 0 {
            self.settle_growth();
        }
        self.machine.zero(0, start);
        self.mark(self.frontier() + GUARD);
        let gap_end = self.machine.gap_end();
        let gap_start = self.machine.gap_start();
        if gap_end != 0 && self.machine.dirty() > gap_start {
            self.mark(gap_end);
            self.machine.zero(start, gap_start as u32);
            start = gap_end as u32;
            let floor = self.machine.floor();
            if u64::from(floor) > gap_end {
                let top = highest_slot(self.known_end()) + RECORD;
                self.machine.zero(floor, top);
            }
            // In this order the records' range is empty, or lies on one side of the gap.
            let peak = highest_slot(gap_start);
            self.machine.set_peak(peak);
            self.machine.set_floor(peak + RECORD);
        }
        self.machine.set_reserve(RESERVE);
        self.machine.set_front_peak(0);
        self.machine.set_island(0);
        self.machine.set_far(0);
        start
    }

    /// The lowest byte that was never handed out; everything above it, up to the records, is fresh.
    #[inline(never)]
    pub(super) fn frontier(&self) -> u64 {
        BASE + self.machine.common() + self.machine.far()
    }

    /// Finds a block of `need` bytes among what is free, and returns its record; 0 if nothing fits.
    #[inline(never)]
    fn reuse(&mut self, need: u32) -> u32 {
        let mut record = self.longest_freed();
        // What waited longest of so many counts as merged.
        if record != 0 && self.machine.patience() == 0 && self.is_exact(record, need) {
            self.take(record);
        } else {
            record = self.cut(need);
        }
        self.set(record, AFTER, 0);
        let start = u64::from(self.address(record)).wrapping_sub(HINT);
        let length = HINT + u64::from(need);
        // Not so after a host has scribbled over the records.
        if self.range_in_heap(start, length) && start + length <= self.frontier() {
            record
        } else {
            0
        }
    }

    /// Cuts a block off the front of the smallest region that fits, or takes all of it, if the rest would be no block or there is no
    /// room for another record. Merges what waits until one fits. Returns the block's record, 0 if nothing does.
    #[inline(always)]
    fn cut(&mut self, need: u32) -> u32 {
        if need < TREES {
            let region = self.first(need / 8);
            if region != 0 {
                self.unfile(region);
                return region;
            }
        }
        let mut region = self.best_fit(need);
        while region == 0 {
            let record = self.longest_freed();
            if record == 0 {
                return 0;
            }
            self.take(record);
            if self.is_exact(record, need) {
                return record;
            }
            region = self.merge(record);
            if self.get(region, LENGTH) < need {
                region = 0;
            }
        }
        let mut is_cut = self.get(region, LENGTH) - need >= SMALLEST;
        if is_cut && !self.has_room_for_record() {
            // A page for records alone: else regions could be had only whole.
            let room = u64::from(self.machine.floor()).wrapping_sub(self.frontier());
            is_cut = self.grow(room.wrapping_add(RECORD.into()));
            if is_cut {
                // Nothing is cut off the fresh space any more.
                let floor = u64::from(self.machine.floor());
                self.machine.set_reserve(self.machine.reserve() + floor);
                // Its record may have moved.
                region = self.best_fit(need);
            }
        }
        let mut record = region;
        if is_cut {
            // Before anything is written: after a host has scribbled, that could take the room away.
            record = self.add_record(self.link(region, PREVIOUS), region);
        }
        self.unfile(region);
        if !is_cut {
            return record;
        }
        let address = self.get(region, ADDRESS);
        let rest = self.get(region, LENGTH).wrapping_sub(need);
        let beyond = address.wrapping_add(need + HINT as u32);
        self.machine.store64(
            region,
            ADDRESS,
            u64::from(rest - HINT as u32) << 32 | u64::from(beyond),
        );
        self.file(region);
        self.set(record, ADDRESS, address);
        record
    }
}
