//! Free space: blocks that wait, and filed regions.
//!
//! `free` only appends the block to the ring of those that wait, which is cheap and leaves its bytes alone. When an
//! allocation finds neither fresh space nor a filed region that fits, it takes waiting blocks, longest-freed first, and merges
//! each with the filed regions beside it, until the result fits; what doesn't is filed. So the block freed last
//! is looked at last, whatever lies beside it.
//!
//! ```text
//! low memory, bytes:  0 unused | 12 written, never read | 16 always zero | 24 the ring's first | 28 the tree's root | 32
//! ```
//!
//! The filed regions form a priority search tree: each lies on the path that the bits of its age lead along from the
//! root, and has room for at least as many bytes as any region below it. So the oldest of those that have room for a given
//! length lies on one path. The bit that counts at the root is the highest that any age has had (register `root_bit`), at each
//! level below the next lower one: no path has more than 32 steps, nor has any walk over scribbled memory. A region that merged
//! with others counts as freed just now; what is left of a region from which a block was cut keeps its age, so the next
//! blocks come from there too.

use super::Kernel;
use super::records::{
    ADDRESS, AFTER, APART, BEFORE, FILED, LENGTH, NEXT, PREVIOUS, RECORD, WAITING,
};
use crate::machine::Machine;

/// The ring of blocks that wait: a record of which only `AFTER` exists. The register `tail` is its end.
pub(super) const WAITING_RING: u32 = 24 - AFTER;
/// The cell that holds the root of the tree. The other cells are the links to children.
const ROOT: u32 = 28;
/// The end of the low memory, where the heap begins.
pub(super) const LOW_MEMORY: u32 = 32;
/// Filed: the child whose age, and that of all below it, has a 0 at this level. Of no record these two are zero.
const LEFT: u32 = AFTER;
/// Filed: the child whose age has a 1 at this level.
const RIGHT: u32 = BEFORE;

impl<M: Machine> Kernel<M> {
    /// Empties ring and tree where there are no records: a host may have written over them.
    #[inline(always)]
    pub(super) fn clear_low_memory(&mut self) {
        self.machine.store64(LEFT, 0, 0);
        self.machine.store64(WAITING_RING + AFTER, 0, 0);
    }

    /// Appends a freed block to those that wait: `chain` without calls. Its `AFTER` is 0, as of any live block.
    #[inline(always)]
    pub(super) fn enqueue(&mut self, record: u32) {
        let before = self.machine.tail();
        self.machine.store32(record, BEFORE, before);
        self.machine.store32(before, AFTER, record);
        self.machine.set_tail(record);
    }

    /// Lets one block that waits follow another, or the ring; 0: none follows.
    #[inline(never)]
    pub(super) fn chain(&mut self, before: u32, after: u32) {
        self.set(before, AFTER, after);
        if after == 0 {
            self.machine.set_tail(before);
        } else {
            self.set(after, BEFORE, before);
        }
    }

    /// Takes out the oldest of the free regions that have room for `need` bytes; 0 if there is none. Of the filed regions, or
    /// else of the waiting blocks, which are merged one by one, longest-freed first, and filed if they don't fit.
    pub(super) fn take_out_fitting(&mut self, need: u32) -> u32 {
        let filed = self.oldest_fitting(need);
        if filed != 0 {
            self.unfile(filed);
            return filed;
        }
        let mut left = self.machine.top() - self.machine.floor();
        loop {
            let region = self.merge_longest_freed();
            if region == 0 || self.capacity(region) >= need {
                return region;
            }
            self.toggle_apart(region, FILED);
            self.file(region);
            // No more turns than there are records: in scribbled memory the ring may have no end.
            if left == 0 {
                return 0;
            }
            left -= RECORD;
        }
    }

    /// Takes the longest-freed of the waiting blocks out of the ring, and merges it with the filed regions beside it. Returns the
    /// whole, which is in the tree not yet; 0 if none waits.
    fn merge_longest_freed(&mut self) -> u32 {
        let mut record = self.link(WAITING_RING, AFTER);
        if !self.is(record, WAITING) {
            return 0;
        }
        let after = self.link(record, AFTER);
        self.chain(WAITING_RING, after);
        // Its links are no longer the ring's, which counts should its record move while another is given up.
        self.toggle_apart(record, WAITING);
        record = self.merge(record, PREVIOUS);
        record = self.merge(record, NEXT);
        let age = self.machine.clock();
        // Even, so that 32 bits are enough for the 32 levels: two that differ in the last bit would take one more.
        self.machine.set_clock(age.wrapping_add(2));
        self.set(record, LENGTH, age);
        if age / 2 >= self.machine.root_bit() {
            self.raise_root();
        }
        record
    }

    /// Adds a level to the tree, for ages with one bit more: the root stays, and all below it, whose new bit is 0, goes to its
    /// left.
    fn raise_root(&mut self) {
        let root = self.link(ROOT, 0);
        self.unfile(root);
        let rest = self.get(ROOT, 0);
        self.machine.store64(root, LEFT, rest.into());
        self.set(ROOT, 0, root);
        self.machine.set_root_bit(self.machine.root_bit() << 1);
    }

    /// Sets a record in that state apart, or one that was set apart into that state.
    #[inline(always)]
    fn toggle_apart(&mut self, record: u32, state: u32) {
        self.set(record, ADDRESS, self.get(record, ADDRESS) ^ (state ^ APART));
    }

    /// Merges a region that was set apart with the filed one beside it, if there is one on that side. Returns the record of the whole.
    #[inline(never)]
    fn merge(&mut self, mut record: u32, side: u32) -> u32 {
        let mut neighbour = self.link(record, side);
        if self.is(neighbour, FILED) {
            self.unfile(neighbour);
            self.toggle_apart(neighbour, FILED);
            if side == PREVIOUS {
                (record, neighbour) = (neighbour, record);
            }
            record = self.absorb(record, neighbour);
        }
        record
    }

    /// Of the filed regions that have room for `need` bytes the oldest, or 0.
    #[inline(never)]
    fn oldest_fitting(&self, need: u32) -> u32 {
        let mut oldest = 0;
        let mut here = self.link(ROOT, 0);
        let mut bit = self.machine.root_bit();
        while self.capacity(here) >= need {
            if oldest == 0 || self.get(here, LENGTH) < self.get(oldest, LENGTH) {
                oldest = here;
            }
            // All on the left are older than all on the right, and its root is the largest of them.
            let left = self.link(here, LEFT);
            here = if self.capacity(left) < need {
                self.link(here, RIGHT)
            } else {
                left
            };
            bit >>= 1;
            if bit == 0 {
                break;
            }
        }
        oldest
    }

    /// Puts a free region into the tree: it takes the place of the first on its path that is smaller, and that one goes on
    /// down its own path.
    pub(super) fn file(&mut self, mut record: u32) {
        let mut size = self.capacity(record);
        let mut cell = ROOT;
        let mut bit = self.machine.root_bit();
        loop {
            let here = self.link(cell, 0);
            let other = self.capacity(here);
            if other < size {
                self.set(cell, 0, record);
                let children = self.machine.load64(here, LEFT);
                self.machine.store64(record, LEFT, children);
                record = here;
                size = other;
                if record == 0 {
                    break;
                }
            }
            // Checked again: in scribbled memory nothing may have taken the place of what is no record.
            cell = self.child(self.link(cell, 0), record, bit);
            bit >>= 1;
            if bit == 0 {
                break;
            }
        }
    }

    /// Takes a region out of the tree: the larger of its children takes its place, and so on below.
    pub(super) fn unfile(&mut self, record: u32) {
        let mut cell = ROOT;
        let mut bit = self.machine.root_bit();
        loop {
            let here = self.link(cell, 0);
            if here == record {
                let (left, right) = (self.link(record, LEFT), self.link(record, RIGHT));
                let (up, side) = if self.capacity(left) < self.capacity(right) {
                    (right, RIGHT)
                } else {
                    (left, LEFT)
                };
                self.set(cell, 0, up);
                if up == 0 {
                    break;
                }
                let below = self.machine.load64(up, LEFT);
                let beside = self.machine.load64(record, LEFT);
                self.machine.store64(up, LEFT, beside);
                self.machine.store64(record, LEFT, below);
                cell = up + side;
                self.set(cell, 0, record);
            } else {
                cell = self.child(here, record, bit);
            }
            bit >>= 1;
            if bit == 0 {
                break;
            }
        }
    }

    /// The cell below `here` that leads towards `record`, at the level of that bit of the ages.
    fn child(&self, here: u32, record: u32, bit: u32) -> u32 {
        here + if self.get(record, LENGTH) & bit == 0 {
            LEFT
        } else {
            RIGHT
        }
    }

    /// Whether a link led to a record, and to one in that state.
    #[inline(never)]
    fn is(&self, record: u32, state: u32) -> bool {
        record >= LOW_MEMORY && self.state(record) == state
    }
}
