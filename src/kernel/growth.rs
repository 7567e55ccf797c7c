//! Growth: more pages, the records' way to the new end, and pages of somebody else.
//!
//! A call may be stopped between any two instructions. So each register is written when what it says is true whether the
//! next is written or not, and no range of records or data ever contains a page of somebody else:
//!
//! * `growing` says how many bytes are being asked for, so that pages that came although the call was stopped are known as ours;
//!   until a reset has settled that, nothing grows;
//! * the records' range reaches to the new end before records move there, and begins above before its old part is forgotten;
//! * when a gap is crossed, the records stay in front of it, and the range of the new ones is empty until it lies behind.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Makes `room` bytes between frontier and floor, with exactly the pages that this takes.
    ///
    /// If somebody else has grown the memory meanwhile, their pages become the gap, and the kernel goes on behind it. So
    /// it does when it gets to the gap again after a reset, mostly without new pages. Where it fails, nothing is changed.
    #[inline(never)]
    pub(super) fn grow(&mut self, room: u64) -> bool {
        // A growth was stopped halfway: only a reset sets that aright.
        if self.machine.growing() != 0 {
            return false;
        }
        // Where the memory ends, and where it does as far as is known.
        let actual = u64::from(self.machine.pages()) * PAGE;
        let owned = self.machine.owned();
        if actual != self.known_end()
            && (self.machine.gap_end() == 0 || owned == self.machine.gap_start())
        {
            // Nothing of ours lies behind.
            self.machine.set_gap_start(owned);
            self.machine.set_gap_end(actual);
        }
        let known = self.known_end();
        let records = self.machine.peak() + RECORD - self.machine.floor();
        let mut top = self.frontier() + room + u64::from(records);
        let crosses = self.frontier() < self.machine.gap_end();
        if crosses {
            // The records stay in front.
            top = self.machine.gap_end() + room;
        }
        top = top.next_multiple_of(RECORD.into());
        let end = ((top + MARGIN + PAGE - 1) & !(PAGE - 1)).max(known);
        let granted = end - known;
        // Behind a second gap nothing is asked for, nor beyond what there can be: under a host's limit that may be a trap.
        if (actual != known && granted != 0) || end > MOST {
            return false;
        }
        // From now on a reset has something to do.
        self.mark(BASE);
        self.machine.set_growing(granted + 1);
        if !self.machine.grow((granted / PAGE) as u32) {
            self.machine.set_growing(0);
            return false;
        }
        self.machine.set_owned(owned + granted);
        let peak = highest_slot(end);
        if crosses {
            self.cross_gap(peak);
        } else {
            self.raise_records(peak);
            let beyond = self.machine.reserve() & BEYOND;
            self.machine.set_reserve(RESERVE + beyond);
        }
        self.machine.set_growing(0);
        true
    }

    /// Where the memory ends, as far as the kernel knows.
    #[inline(never)]
    pub(super) fn known_end(&self) -> u64 {
        let foreign = self
            .machine
            .gap_end()
            .wrapping_sub(self.machine.gap_start());
        self.machine.owned().wrapping_add(foreign)
    }

    /// After a growth that was stopped: adds the pages that were being asked for to those owned, if they came.
    #[inline(always)]
    pub(super) fn settle_growth(&mut self) {
        let asked = self.machine.growing().wrapping_sub(1);
        if self.known_end().wrapping_add(asked) == u64::from(self.machine.pages()) * PAGE {
            self.machine
                .set_owned(self.machine.owned().wrapping_add(asked));
        }
        self.machine.set_growing(0);
    }

    /// Goes on behind the gap. What is fresh in front of it becomes a free region, and the gap itself a block that nobody can
    /// free, so that nothing is merged across it.
    #[inline(always)]
    fn cross_gap(&mut self, peak: u32) {
        let frontier = self.frontier() as u32;
        let rest = self.add_record(self.machine.last(), 0);
        let gap = self.add_record(rest, 0);
        let front = self.machine.floor();
        self.set(gap, ADDRESS, (front + HINT as u32) | APART);
        self.set(rest, ADDRESS, (frontier + HINT as u32) | WAITING);
        self.merge(rest);
        self.machine.set_front(front);
        self.machine.set_front_peak(self.machine.peak());
        // Before the floor is behind: from now on nothing is cut off the common part.
        self.machine.set_reserve(BEYOND + RESERVE);
        let gap_end = self.machine.gap_end();
        self.machine.set_island(gap_end);
        self.machine.set_far(gap_end - BASE - self.machine.common());
        self.machine.set_floor(peak + RECORD);
        self.machine.set_peak(peak);
    }

    /// Moves the records to the new end: those that are in the way, so at most as many as the new pages hold.
    #[inline(always)]
    fn raise_records(&mut self, peak: u32) {
        let old = self.machine.peak();
        let floor = self.machine.floor();
        let rise = peak - old;
        let distance = rise.max(old + RECORD - floor);
        let end = peak + RECORD - distance;
        self.link_back();
        self.machine.set_peak(peak);
        let mut record = floor;
        while record < end {
            self.move_record(record, record + distance);
            record += RECORD;
        }
        // Zeroed first: a reset after an interruption zeroes from the floor on.
        self.machine.zero(floor, end);
        self.machine.set_floor(floor + rise);
    }

    /// Copies a record to a slot that is not in use, and mends what leads to it.
    #[inline(always)]
    fn move_record(&mut self, from: u32, to: u32) {
        self.copy_words(from, to, ADDRESS);
        self.copy_words(from, to, AFTER);
        self.copy_words(from, to, PREVIOUS);
        let previous = self.link(to, PREVIOUS);
        self.set(previous, NEXT, to);
        let next = self.link(to, NEXT);
        self.set(next, PREVIOUS, to);
        if self.machine.last() == from {
            self.machine.set_last(to);
        }
        if self.machine.tail() == from {
            self.machine.set_tail(to);
        }
        let state = self.state(to);
        if state & (WAITING | FILED) != 0 {
            self.refile(from, to);
        } else if state == LIVE {
            let hint = u64::from(self.get(to, ADDRESS)).wrapping_sub(HINT);
            // Not so after a host has scribbled over the records.
            if self.range_in_heap(hint, HINT) && hint < self.frontier() {
                self.machine.store32(hint as u32, 0, to);
            }
        }
    }

    #[inline(always)]
    fn copy_words(&mut self, from: u32, to: u32, field: u32) {
        let words = self.machine.load64(from, field);
        self.machine.store64(to, field, words);
    }
}
