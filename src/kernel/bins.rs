//! Bins: the free regions by size.
//!
//! Below 256 bytes each size has a bin of its own, a list. Above, each power of two has one, a digital search tree: a region hangs
//! in the first free place of the path that the bits of its key lead along from the root. The key is what tells sizes of the
//! bin apart, the highest bit first, and then the address, so no two are equal, and no path has more than 60 steps. The smallest
//! region that fits a size lies on that size's own path, or on the lower edge of a tree beside it, or of the next bin.
//!
//! The register `bins` says which bins are not empty: of another not even the root is read.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

/// Steps of a walk, after which it ends even in scribbled memory.
const STEPS: u32 = 64;

/// The bin of a size.
#[inline(never)]
fn bin_of(size: u32) -> u32 {
    if size < TREES {
        size / 8
    } else {
        55 - size.leading_zeros()
    }
}

/// The bits of a size below its highest, which tell apart the sizes of a bin.
fn path_of(size: u32) -> u32 {
    size << 1 << size.leading_zeros()
}

/// The bits that lead to a region in its tree. They end with one that is set, after which nothing is left.
fn key_of(size: u32, address: u32) -> u64 {
    // Of addresses, multiples of 8, the low bits differ most: the product brings them up.
    let address = u64::from(address.wrapping_mul(0x9E37_79B1) | 1);
    u64::from(path_of(size)) << 32 | address << (size.leading_zeros() + 4)
}

impl<M: Machine> Kernel<M> {
    /// The first of a list, or the root of a tree; 0 if the bin is empty.
    pub(super) fn first(&self, bin: u32) -> u32 {
        if self.machine.bins() >> bin & 1 == 0 {
            0
        } else {
            self.link(ROOTS + 4 * bin, 0)
        }
    }

    /// The smallest of the filed regions that have room for `need` bytes, or 0.
    #[inline(never)]
    pub(super) fn best_fit(&self, need: u32) -> u32 {
        let mut best = 0;
        // By how much a region is too large: of one that is too small that is more.
        let mut excess = need.wrapping_neg();
        let bin = bin_of(need);
        let mut here = self.first(bin);
        // Where the path leads to smaller regions, what is beside it is the next larger.
        let mut beside = 0;
        let mut path = path_of(need);
        let mut steps = 2 * STEPS;
        loop {
            if here == 0 {
                here = beside;
                beside = 0;
                path = 0;
                if best | here == 0 {
                    let larger = self.machine.bins() & u64::MAX << 1 << bin;
                    if larger != 0 {
                        here = self.first(larger.trailing_zeros());
                    }
                }
            }
            steps -= 1;
            // What is only read may lie anywhere below the end of the memory.
            if here == 0 || here > self.machine.peak() || steps == 0 {
                break;
            }
            let size = self.get(here, LENGTH);
            let more = size.wrapping_sub(need);
            if more < excess {
                best = here;
                excess = more;
            }
            if size < TREES {
                break;
            }
            let smaller = self.get(here, AFTER);
            let larger = self.get(here, BEFORE);
            if path >> 31 != 0 {
                here = larger;
            } else {
                here = smaller;
                // On the edge only where there is nothing smaller.
                if larger != 0 && (path != 0 || smaller == 0) {
                    beside = larger;
                }
            }
            path <<= 1;
        }
        if self.is_record(best) { best } else { 0 }
    }

    /// Puts a region into the bin of its size.
    #[inline(never)]
    pub(super) fn file(&mut self, region: u32) {
        let size = self.get(region, LENGTH);
        let bin = bin_of(size);
        // First the bit: a reset after an interruption zeroes the roots where one is set.
        let bins = self.machine.bins() | 1 << bin;
        if size < TREES {
            let first = self.first(bin);
            self.machine.set_bins(bins);
            self.put_first(ROOTS + 4 * bin, region, first);
        } else {
            self.machine.store64(region, AFTER, 0);
            let cell = self.place(region, 0);
            self.machine.set_bins(bins);
            self.set(cell, 0, region);
        }
    }

    /// Takes a region out of its bin.
    #[inline(never)]
    pub(super) fn unfile(&mut self, region: u32) {
        let size = self.get(region, LENGTH);
        if size < TREES {
            let cell = self.cell_or_next(self.get(region, BEFORE));
            self.lead(cell, self.link(region, AFTER));
        } else {
            let cell = self.place(region, region);
            // A leaf takes its place: what hangs below a place may hang there.
            let mut leaf = region;
            let mut last = cell;
            let mut steps = STEPS;
            loop {
                let mut side = leaf + BEFORE;
                if self.get(side, 0) == 0 {
                    side = leaf + AFTER;
                }
                let below = self.link(side, 0);
                if below == 0 || steps == 0 {
                    break;
                }
                last = side;
                leaf = below;
                steps -= 1;
            }
            self.set(last, 0, 0);
            if leaf != region {
                self.set(cell, 0, leaf);
                let children = self.machine.load64(region, AFTER);
                self.machine.store64(leaf, AFTER, children);
            }
        }
        let bin = bin_of(size);
        if self.get(ROOTS + 4 * bin, 0) == 0 {
            let bins = self.machine.bins();
            self.machine.set_bins(bins & !(1 << bin));
        }
    }

    /// Puts a record in front of the one that is `first` in a list.
    #[inline(never)]
    pub(super) fn put_first(&mut self, root: u32, record: u32, first: u32) {
        self.lead(record + AFTER, first);
        self.lead(root, record);
    }

    /// Lets a cell of a list lead to a record, and that know it; 0 ends the list.
    #[inline(never)]
    pub(super) fn lead(&mut self, cell: u32, record: u32) {
        self.set(cell, 0, record);
        self.set(record, BEFORE, cell);
    }

    /// Lets what leads to a record lead to where it is now.
    pub(super) fn refile(&mut self, from: u32, to: u32) {
        if self.get(to, LENGTH) < TREES || self.state(to) == WAITING {
            let cell = self.cell_or_next(self.get(to, BEFORE));
            self.lead(cell, to);
            self.lead(to + AFTER, self.link(to, AFTER));
        } else {
            let cell = self.place(to, from);
            self.set(cell, 0, to);
        }
    }

    /// The root or link of another region in a tree that holds the link `leads_to`, to a region: where the walk along
    /// its key comes upon that.
    #[inline(never)]
    fn place(&self, region: u32, leads_to: u32) -> u32 {
        let size = self.get(region, LENGTH);
        let bin = bin_of(size);
        let mut cell = ROOTS + 4 * bin;
        let mut here = self.first(bin);
        let mut key = key_of(size, self.address(region));
        while here != leads_to && here <= self.machine.peak() && key != 0 {
            cell = here + AFTER + (key >> 63 << 2) as u32;
            here = self.get(cell, 0);
            key <<= 1;
        }
        self.cell_or_next(cell)
    }

    /// A cell that was read from memory, or found there. After a host has scribbled it may be elsewhere: then what nobody reads
    /// is written.
    #[inline(never)]
    fn cell_or_next(&self, cell: u32) -> u32 {
        if cell < BASE as u32 || self.is_record((cell & !7).wrapping_sub(AFTER)) {
            cell
        } else {
            NEXT
        }
    }
}
