//! Blocks: where they are cut from, and how the memory grows.

use super::free_space::WAITING_RING;
use super::records::{ADDRESS, FILED, LENGTH, LIVE, PREVIOUS, RECORD, WAITING};
use super::{BASE, GUARD, HINT, Kernel, LOWEST, MARGIN, MOST, PAGE};
use crate::machine::Machine;

/// Records for which blocks cut off the fresh space leave room, so that free regions can be split when it is used up.
const SPARE_RECORDS: u64 = 32;
/// Bytes that must be free beside a block's data to cut it off the fresh space.
const OVERHEAD: u64 = HINT + GUARD + (1 + SPARE_RECORDS) * RECORD as u64;
/// Stands for no region, and is the address of none: the block is to be cut off the fresh space.
const IN_FRESH_SPACE: u32 = 1;

impl<M: Machine> Kernel<M> {
    /// Reserves `n` bytes and returns their handle: non-zero, a multiple of 8, below 2^32.
    ///
    /// Returns 0, and changes nothing, if `n` is 0 or the memory can't be had; any `n` may be asked for.
    #[inline(always)]
    pub fn alloc(&mut self, n: u64) -> u64 {
        // 0 also where the sum wraps.
        let need = n.wrapping_add(7) & !7;
        if need.wrapping_sub(8) >= MOST - 8 {
            return 0;
        }
        if self.gap_ahead() || !self.fits_fresh(need) {
            let filed = self.make_room(need);
            if filed != IN_FRESH_SPACE {
                return self.take_filed(filed, n, need);
            }
        }
        self.take_fresh(n, need)
    }

    /// Releases the block that starts exactly at `handle`, and leaves its bytes as they are.
    ///
    /// Does nothing for anything that is not a live block's handle, nor for the current output or error.
    /// Freeing the current input sets its length to 0.
    #[inline(always)]
    pub fn free(&mut self, handle: u64) {
        let record = self.find(handle);
        if record == 0 || handle == self.machine.output_offset() || handle == self.machine.error() {
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
        let record = self.find(handle);
        if record == 0 {
            return 0;
        }
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
        let used = (self.frontier() + GUARD).max(self.machine.dirty());
        self.zero(LOWEST, used);
        self.raise_floor(self.machine.top(), self.machine.top());
        self.machine.set_last(0);
        self.machine.set_tail(WAITING_RING);
        self.machine.set_clock(0);
        self.machine.set_input_offset(0);
        self.machine.set_input_length(0);
        self.machine.set_output_offset(0);
        self.machine.set_output_length(0);
        self.machine.set_error(0);
        self.machine.set_island(BASE);
        self.machine.set_span(0);
        self.machine.set_dirty(0);
    }

    /// Zeroes memory, but not the gap.
    pub(super) fn zero(&mut self, mut start: u64, end: u64) {
        let (gap_start, gap_end) = (self.machine.gap_start(), self.machine.gap_end());
        if start < gap_start && gap_end < end {
            self.machine.zero(start as u32, (gap_start - start) as u32);
            start = gap_end;
        }
        self.machine.zero(start as u32, (end - start) as u32);
    }

    /// The lowest byte that was never handed out; everything above it, up to the records or a gap, is fresh.
    #[inline(always)]
    pub(super) fn frontier(&self) -> u64 {
        self.machine.island() + self.machine.span()
    }

    /// Whether the gap, if there is one, lies above the frontier.
    #[inline(always)]
    fn gap_ahead(&self) -> bool {
        self.machine.island() < self.machine.gap_end()
    }

    /// Whether the last island has fresh space for a block, its record and the spare records.
    #[inline(always)]
    fn fits_fresh(&self, need: u64) -> bool {
        self.frontier() + (need + OVERHEAD) <= self.machine.floor().into()
    }

    /// The order of use behind the common case: fresh space, also behind the gap, then freed blocks, then growth, after
    /// which there is fresh space. Returns the filed region to use, `IN_FRESH_SPACE`, or 0 if there is no room.
    #[inline(never)]
    fn make_room(&mut self, need: u64) -> u32 {
        let mut progress = true;
        while progress {
            if self.gap_ahead() {
                // Crossing the gap takes two records, the block itself a third.
                progress = self.grow(self.machine.gap_end(), GUARD + 3 * u64::from(RECORD));
                if progress {
                    if self.frontier() + HINT + need + GUARD <= self.machine.gap_start() {
                        return IN_FRESH_SPACE;
                    }
                    self.cross_gap();
                }
            } else if self.fits_fresh(need) {
                return IN_FRESH_SPACE;
            } else {
                let filed = self.oldest_fitting(need);
                if filed != 0 {
                    return filed;
                }
                progress = self.file_longest_freed() || self.grow(self.frontier(), need + OVERHEAD);
            }
        }
        0
    }

    /// Cuts a block off the fresh space, which must have room for it.
    #[inline(always)]
    fn take_fresh(&mut self, n: u64, need: u64) -> u64 {
        let start = self.frontier();
        let handle = start + HINT;
        self.machine.set_span(self.machine.span() + HINT + need);
        let record = self.add_record(handle as u32 | LIVE, n as u32, self.machine.last(), 0);
        self.machine.store32(start as u32, 0, record);
        handle
    }

    /// Cuts a block off the front of a filed region. What is left of the oldest stays the oldest, so that the
    /// next blocks come from there too; what is left of another becomes the youngest.
    #[inline(always)]
    fn take_filed(&mut self, region: u32, n: u64, need: u64) -> u64 {
        let handle = u64::from(self.address(region));
        // A host may have put the region elsewhere by scribbling over the records.
        if region == 0 || !self.in_heap(handle.wrapping_sub(HINT), HINT + need) {
            return 0;
        }
        let rest = u64::from(self.capacity(region)) - need;
        let mut record = region;
        let room = self.frontier() + GUARD + u64::from(RECORD) <= self.machine.floor().into();
        if rest < 2 * HINT || !room {
            self.unfile(region);
        } else {
            let previous = self.link(region, PREVIOUS);
            let stays = self.is_oldest(region);
            if !stays {
                self.unfile(region);
            }
            record = self.add_record_rarely(0, 0, previous, region);
            self.set(region, ADDRESS, (handle + need + HINT) as u32 | FILED);
            if !stays {
                self.file(region);
            }
        }
        self.set(record, ADDRESS, handle as u32 | LIVE);
        self.set(record, LENGTH, n as u32);
        self.machine.store32((handle - HINT) as u32, 0, record);
        handle
    }

    #[inline(never)]
    fn add_record_rarely(&mut self, address: u32, length: u32, previous: u32, next: u32) -> u32 {
        self.add_record(address, length, previous, next)
    }

    /// Makes room between `start` and the records for that many more bytes, with exactly the pages that this takes, if
    /// any.
    ///
    /// If somebody else has grown the memory meanwhile, their pages become the gap, and the room lies behind it.
    fn grow(&mut self, start: u64, bytes: u64) -> bool {
        let floor = u64::from(self.machine.floor());
        let mut needed = start + bytes;
        if needed <= floor {
            return true;
        }
        let old_top = u64::from(self.machine.top());
        let old_end = (old_top + MARGIN + PAGE - 1) & !(PAGE - 1);
        let base = u64::from(self.machine.pages()) * PAGE;
        if base != old_end {
            if self.machine.gap_end() != 0 {
                return false;
            }
            // Everything comes behind the gap, and to cross it takes two records.
            needed += base - start + 2 * u64::from(RECORD);
        }
        // The floor rises by whole records.
        let record = u64::from(RECORD);
        #[expect(clippy::manual_div_ceil, reason = "div_ceil takes 11 bytes more")]
        let rise = (needed - floor + record - 1) / record * record;
        let pages = (old_top + rise + MARGIN + PAGE - 1 - base) / PAGE;
        let end = base + pages * PAGE;
        // Even to ask for more may be a trap under a host's limit.
        if end > MOST || !self.machine.grow(pages as u32) {
            return false;
        }
        if base != old_end {
            self.machine.set_gap_start(old_end);
            self.machine.set_gap_end(base);
        }
        self.machine.set_owned(self.machine.owned() + pages * PAGE);
        self.machine
            .set_top((end - MARGIN) as u32 / RECORD * RECORD);
        self.raise_records(old_top as u32);
        true
    }

    /// Goes on behind the gap: what is fresh before it becomes a free region, and the gap itself a block that nobody
    /// can free.
    fn cross_gap(&mut self) {
        let rest = (self.frontier() + HINT) as u32;
        let rest = self.add_record_rarely(rest, 0, self.machine.last(), 0);
        let gap = (self.machine.gap_start() + HINT) as u32;
        self.add_record_rarely(gap | LIVE, 0, rest, 0);
        self.machine.set_island(self.machine.gap_end());
        self.machine.set_span(0);
        self.merge_and_file(rest);
    }
}
