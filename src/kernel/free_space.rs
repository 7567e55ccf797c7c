//! Free space: blocks that wait, and filed regions.
//!
//! `free` only appends the block to the ring of those that wait, which is cheap and leaves its bytes alone. When an
//! allocation finds neither fresh space nor a filed region that fits, it takes waiting blocks, longest-freed first, merges
//! each with the filed regions beside it and files the result, until something fits. So the block freed last
//! is looked at last, whatever lies beside it.
//!
//! ```text
//! low memory, bytes:  0 unused | 8 what nobody reads | 24 ring of the waiting: after, before | 32 root | 36 unused | 40
//! ```
//!
//! The filed regions form a priority search tree over the bits of their keys (capacity, then address): each lies on
//! the path that its key's bits lead along from the root, and is older than the regions below it. So the oldest of
//! those that have room for a given length lies on one path or right beside it, at most 64 steps long.

use super::Kernel;
use super::records::{ADDRESS, AFTER, BEFORE, FILED, LENGTH, NEXT, PREVIOUS, WAITING, pair};
use crate::machine::Machine;

/// The ring of blocks that wait: a record of which only `AFTER` and `BEFORE` exist. The register `tail` is its end.
pub(super) const WAITING_RING: u32 = 24 - AFTER;
/// The cell that holds the root of the tree. The other cells are the links to children.
const ROOT: u32 = 32;
/// The end of the low memory, where the heap begins.
pub(super) const LOW_MEMORY: u32 = 40;
/// Filed: the child whose key has a 0 at this level.
const LEFT: u32 = AFTER;
/// Filed: the child whose key has a 1 at this level.
const RIGHT: u32 = BEFORE;
/// Bits of a key: no path is longer, nor any loop over scribbled memory.
const LEVELS: u32 = 64;

impl<M: Machine> Kernel<M> {
    /// Appends a freed block to those that wait.
    #[inline(always)]
    pub(super) fn enqueue(&mut self, record: u32) {
        let before = self.machine.tail();
        self.machine
            .store64(record, AFTER, pair(WAITING_RING, before));
        self.machine.store32(before, AFTER, record);
        self.machine.set_tail(record);
    }

    /// Takes the longest-freed of the waiting blocks, merges it with the filed regions beside it, and files it.
    /// False if none waits.
    pub(super) fn file_longest_freed(&mut self) -> bool {
        let record = self.link(WAITING_RING, AFTER);
        if !self.is(record, WAITING) {
            return false;
        }
        let after = self.link(record, AFTER);
        self.set(WAITING_RING, AFTER, after);
        self.set(after, BEFORE, WAITING_RING);
        if record == self.machine.tail() {
            self.machine.set_tail(WAITING_RING);
        }
        self.machine.store64(record, AFTER, 0);
        self.merge_and_file(record);
        true
    }

    /// Merges a free block that is in neither ring nor tree with the filed regions beside it, and files it.
    pub(super) fn merge_and_file(&mut self, mut record: u32) {
        let previous = self.unfile_neighbour(record, PREVIOUS);
        if previous != 0 {
            record = self.absorb(previous, record);
        }
        let next = self.unfile_neighbour(record, NEXT);
        if next != 0 {
            record = self.absorb(record, next);
        }
        self.file(record);
    }

    /// Takes the block beside another out of the tree, if it is there. Returns it, or 0.
    fn unfile_neighbour(&mut self, record: u32, side: u32) -> u32 {
        let neighbour = self.link(record, side);
        if !self.is(neighbour, FILED) {
            return 0;
        }
        self.unfile(neighbour);
        neighbour
    }

    /// Of the filed regions that have room for `need` bytes the oldest, or 0.
    pub(super) fn oldest_fitting(&self, need: u64) -> u32 {
        let mut oldest = 0;
        let mut here = self.link(ROOT, 0);
        let mut path = need << 32;
        for _ in 0..LEVELS {
            if here < LOW_MEMORY {
                break;
            }
            oldest = self.older_fitting(here, oldest, need);
            let right = self.link(here, RIGHT);
            // All on the right is at least as large as what is on the path, and its root is the oldest of it.
            oldest = self.older_fitting(right, oldest, need);
            here = if path >> 63 == 0 {
                self.link(here, LEFT)
            } else {
                right
            };
            path <<= 1;
        }
        oldest
    }

    /// The older of two regions (0: none), where the first counts only if it has room for `need` bytes.
    #[inline(never)]
    fn older_fitting(&self, record: u32, oldest: u32, need: u64) -> u32 {
        if record < LOW_MEMORY
            || u64::from(self.capacity(record)) < need
            || (oldest != 0 && self.get(oldest, LENGTH) <= self.get(record, LENGTH))
        {
            oldest
        } else {
            record
        }
    }

    /// Puts a free region into the tree, as the youngest.
    pub(super) fn file(&mut self, record: u32) {
        let age = self.machine.clock();
        self.machine.set_clock(age.wrapping_add(1));
        self.set(record, ADDRESS, self.address(record) | FILED);
        self.set(record, LENGTH, age);
        self.machine.store64(record, LEFT, 0);
        let cell = self.cell_of(record);
        self.set(cell, 0, record);
    }

    /// Whether it is the oldest of all, which is the root, and may have any key.
    pub(super) fn is_oldest(&self, record: u32) -> bool {
        self.link(ROOT, 0) == record
    }

    /// Takes a region out of the tree: the older of its children takes its place, and so on below.
    pub(super) fn unfile(&mut self, record: u32) {
        let mut cell = self.cell_of(record);
        for _ in 0..LEVELS {
            let (left, right) = (self.link(record, LEFT), self.link(record, RIGHT));
            let up = self.older_fitting(left, right, 0);
            self.set(cell, 0, up);
            if up == 0 {
                break;
            }
            let below = self.machine.load64(up, LEFT);
            let beside = self.machine.load64(record, LEFT);
            self.machine.store64(up, LEFT, beside);
            self.machine.store64(record, LEFT, below);
            cell = up + if up == left { LEFT } else { RIGHT };
        }
    }

    /// The cell that leads to a region, or that would lead to the youngest with its key.
    pub(super) fn cell_of(&self, record: u32) -> u32 {
        let mut key = self.key(record);
        let mut cell = ROOT;
        for _ in 0..LEVELS {
            let here = self.link(cell, 0);
            if here == record || here == 0 {
                break;
            }
            cell = child(here, key);
            key <<= 1;
        }
        cell
    }

    fn key(&self, record: u32) -> u64 {
        pair(self.address(record), self.capacity(record))
    }

    /// Whether a link led to a record, and to one in that state.
    #[inline(never)]
    fn is(&self, record: u32, state: u32) -> bool {
        record >= LOW_MEMORY && self.state(record) == state
    }
}

/// The cell of the child that a key leads to whose highest bit counts.
fn child(record: u32, key: u64) -> u32 {
    record + if key >> 63 == 0 { LEFT } else { RIGHT }
}
