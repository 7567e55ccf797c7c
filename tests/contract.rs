//! The contract's promises one by one, with its own numbers, on the native core and on all shipped modules.

mod model;

use extism_kernel::{Kernel, NativeMachine, machine::Machine};
use model::{Call, EDGES, PAGE, Subject, native, on_all};

/// What fresh space keeps beside a block's data, in bytes: a hint and a guard, and room for 24 records.
const OVERHEAD: u64 = 8 + 8 + 24 * 24;

/// The largest block that the first page has room for.
fn largest() -> u64 {
    let fits = |n: &u64| {
        let mut kernel = native();
        kernel.set_limit(1);
        kernel.alloc(*n) != 0
    };
    (1..PAGE).rev().find(fits).expect("some block fits")
}

#[test]
fn any_export_may_come_first() {
    for call in Call::all(1000, 8) {
        on_all!(|kernel: &mut dyn Subject| {
            kernel.call(call);
            kernel.error_set(0);
            kernel.reset();
            kernel.check_as_new(&[]);
        });
    }
}

#[test]
fn impossible_sizes_are_0_and_change_nothing() {
    on_all!(|kernel: &mut dyn Subject| {
        // Even to ask the host for them would be a trap.
        kernel.set_limit(1);
        kernel.set_growth_traps(true);
        let live = kernel.alloc(100);
        let freed = kernel.alloc(50);
        kernel.free(freed);
        let before = (kernel.memory().to_vec(), kernel.registers().clone());
        for edge in EDGES.into_iter().filter(|&n| n == 0 || n >= 1 << 32) {
            for n in [edge, edge.wrapping_sub(1 << 12), edge.wrapping_add(1 << 12)] {
                if n == 0 || n >= 1 << 32 {
                    assert_eq!(kernel.alloc(n), 0, "{n}");
                }
            }
        }
        assert!(before == (kernel.memory().to_vec(), kernel.registers().clone()));
        assert_eq!(kernel.length(live), 100);
    });
}

#[test]
fn more_than_4_gib_is_not_asked_for() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.set_growth_traps(true);
        for less in [1, 8, 100, 512] {
            assert_eq!(kernel.alloc((1 << 32) - less), 0);
        }
    });
}

#[test]
fn lengths_are_exact_and_data_is_aligned_and_disjoint() {
    on_all!(|kernel: &mut dyn Subject| {
        let mut end = 0;
        for n in 1..200 {
            let handle = kernel.alloc(n);
            assert!(handle >= end && handle % 8 == 0 && handle != 0);
            assert_eq!(kernel.length(handle), n);
            assert_eq!(kernel.call(Call::LengthUnsafe(handle)), n);
            for inside in handle.saturating_sub(16)..handle + n {
                if inside != handle && inside >= end {
                    assert_eq!(kernel.length(inside), 0);
                }
            }
            end = handle + n;
        }
    });
}

#[test]
fn growth_is_for_exactly_the_pages_that_are_needed() {
    let largest = largest();
    assert!(
        largest > 64_640,
        "the first page serves an ordinary call: {largest}"
    );
    on_all!(|kernel: &mut dyn Subject| {
        for pages in 1..4 {
            kernel.reset();
            let before = kernel.pages();
            // The whole of the memory so far and one byte more.
            let n = largest.next_multiple_of(8) + (before - 1) * PAGE + 64;
            // Were a page more asked for than needed, this would trap.
            kernel.set_limit(before + 1);
            kernel.set_growth_traps(true);
            assert_ne!(kernel.alloc(n), 0);
            assert_eq!(kernel.pages(), before + 1, "{pages}");
            assert_eq!(kernel.memory_bytes(), (before + 1) * PAGE);
        }
    });
    on_all!(|kernel: &mut dyn Subject| {
        assert_ne!(kernel.alloc(largest), 0);
        assert_eq!(kernel.pages(), 1);
        // The rest of the first page counts: nothing is left of it, so a record and a guard make a page.
        assert_ne!(kernel.alloc(1), 0);
        assert_eq!(kernel.pages(), 2);
    });
}

#[test]
fn growth_is_for_no_page_that_could_be_done_without() {
    for pages in 2..5 {
        for n in (pages * PAGE - 1200..pages * PAGE - 600).step_by(8) {
            let grown = &mut native();
            assert_ne!(grown.alloc(n), 0);
            // A kernel that has so many pages already.
            let roomy = &mut native();
            roomy.alloc((pages - 1) * PAGE);
            assert_eq!(roomy.pages(), pages);
            roomy.reset();
            roomy.set_limit(pages);
            let fits = roomy.alloc(n) != 0;
            assert_eq!(grown.pages() == pages, fits, "{n} bytes, {pages} pages");
        }
    }
}

#[test]
fn growth_across_a_gap_is_for_exactly_the_pages_that_are_needed() {
    on_all!(|kernel: &mut dyn Subject| {
        let first = kernel.alloc(30_000);
        kernel.grow_by_somebody_else(3);
        // Were a page more asked for than needed, this would trap.
        kernel.set_growth_traps(true);
        kernel.set_limit(5);
        let behind = kernel.alloc(64_000);
        assert!(behind >= 4 * PAGE);
        // What was fresh in front of the gap is a free region now, from behind a hint up to the gap.
        let in_front = first + 30_000 + 8;
        let room = kernel.front() - in_front;
        kernel.set_growth_traps(false);
        assert_eq!(kernel.alloc(room + 1), 0);
        kernel.free(behind);
        assert_eq!(kernel.alloc(room + 1), behind);
        assert_eq!(kernel.alloc(room), in_front);
    });
}

#[test]
fn more_records_than_a_page_holds_survive_growth() {
    let kernel = &mut native();
    let blocks: Vec<_> = (0..10_000)
        .map(|i| (kernel.alloc(1 + i % 16), 1 + i % 16))
        .collect();
    assert!(kernel.memory().len() as u64 - kernel.floor() > 3 * PAGE);
    for (handle, n) in blocks {
        assert_eq!(kernel.length(handle), n);
    }
}

#[test]
fn a_limit_can_be_reached_to_the_byte() {
    let largest = largest();
    for pages in 1..6 {
        on_all!(|kernel: &mut dyn Subject| {
            kernel.set_limit(pages);
            // The records' own alignment may waste a few bytes.
            let most = (0..64)
                .map(|waste| largest + 32 + (pages - 1) * PAGE - waste)
                .find(|&n| kernel.alloc(n) != 0)
                .expect("so much fits");
            assert_eq!(kernel.pages(), pages);
            kernel.reset();
            let handle = kernel.alloc(most);
            let bytes = kernel.memory_bytes();
            assert_eq!(kernel.alloc(PAGE), 0);
            assert_eq!(
                (kernel.length(handle), kernel.memory_bytes()),
                (most, bytes)
            );
            kernel.free(handle);
            assert_eq!(kernel.alloc(most), handle);
        });
    }
}

#[test]
fn growth_that_traps_leaves_the_kernel_usable() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.set_limit(2);
        kernel.set_growth_traps(true);
        let live = kernel.alloc(100);
        kernel.fill(live, 100, 5);
        assert_eq!(
            kernel.attempt(Call::Alloc(2 * PAGE), model::ENDLESS).0,
            None
        );
        assert!(kernel.is_filled(live, 100, 5));
        assert_eq!(kernel.length(live), 100);
        kernel.error_set(0);
        kernel.reset();
        kernel.check_as_new(&[]);
    });
}

#[test]
fn freed_blocks_come_back_before_growth() {
    on_all!(|kernel: &mut dyn Subject| {
        let p = kernel.alloc(65535);
        let pages = kernel.pages();
        kernel.free(p);
        assert_eq!(kernel.alloc(65535), p);
        kernel.free(p);
        assert_eq!(kernel.alloc(65511), p);
        assert_eq!(kernel.pages(), pages);
    });
}

#[test]
fn fresh_space_comes_before_freed_blocks() {
    on_all!(|kernel: &mut dyn Subject| {
        let p = kernel.alloc(1);
        kernel.free(p);
        assert_ne!(kernel.alloc(2), p);
        assert_ne!(kernel.alloc(1), p);
    });
}

/// A break of `fits_behind_gap` was caught by no test: behind a gap freed blocks came first.
#[test]
fn behind_a_gap_fresh_space_comes_before_freed_blocks() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.alloc(64_000);
        kernel.grow_by_somebody_else(1);
        let behind = kernel.alloc(20_000);
        assert!(behind > 2 * PAGE);
        kernel.free(behind);
        assert!(kernel.alloc(20_000) > behind);
    });
}

/// Blocks with live neighbours, so that nothing merges, in a memory that is used up.
fn separate_blocks(kernel: &mut dyn Subject, sizes: impl Iterator<Item = u64>) -> Vec<u64> {
    let blocks = sizes
        .map(|n| (kernel.alloc(n), kernel.alloc(8)).0)
        .collect();
    kernel.use_up(4096);
    kernel.set_limit(kernel.pages());
    blocks
}

#[test]
fn blocks_that_wait_come_back_in_the_order_of_their_frees() {
    on_all!(|kernel: &mut dyn Subject| {
        let blocks = separate_blocks(kernel, (0..40).map(|i| 8 + i % 3 * 40));
        let order: Vec<_> = (0..40).map(|i| i * 7 % 40).collect();
        for &i in &order {
            kernel.free(blocks[i]);
        }
        // The longest-freed that fits; those before it are too small, and filed.
        for &i in order.iter().filter(|&&i| i % 3 == 2) {
            assert_eq!(kernel.alloc(88), blocks[i]);
        }
        // Now all are filed.
        for i in (0..40).filter(|i| i % 3 != 2) {
            let handle = kernel.alloc(8 + i % 3 * 40);
            assert!(blocks.contains(&handle));
        }
    });
}

#[test]
fn filed_regions_come_before_blocks_that_wait() {
    on_all!(|kernel: &mut dyn Subject| {
        let blocks = separate_blocks(kernel, [200, 100, 100, 3000].into_iter());
        kernel.free(blocks[0]);
        kernel.free(blocks[3]);
        // Searched for in vain, so that they are filed.
        assert_eq!(kernel.alloc(30_000), 0);
        // Of exactly the size one waits, and another somewhat larger is filed.
        kernel.free(blocks[1]);
        kernel.free(blocks[2]);
        assert_eq!(kernel.alloc(100), blocks[0]);
        // What is left of that, 92 bytes, is too small; what is filed and larger comes first.
        assert_eq!(kernel.alloc(100), blocks[3]);
    });
}

/// The filed region that is handed out, or from whose front a block is cut, is one of the smallest that fit: so also where
/// regions have come and gone, in lists and in trees.
#[test]
fn of_filed_regions_the_smallest_that_fits_is_taken() {
    on_all!(|kernel: &mut dyn Subject| {
        for (round, unit) in (0u64..48).zip(
            [8, 8, 24, 40, 104, 8, 8, 24, 40, 104, 200, 72]
                .into_iter()
                .cycle(),
        ) {
            kernel.reset();
            kernel.set_limit(65536);
            let size = |i: u64| unit * (1 + (i * 37 + round * 13) % 101);
            let blocks = separate_blocks(kernel, (0..60).map(size));
            for &handle in &blocks {
                kernel.free(handle);
            }
            // Filed, each by itself, as (handle, bytes).
            assert_eq!(kernel.alloc(1 << 30), 0);
            let mut regions: Vec<_> = (0..60).map(|i| (blocks[i], size(i as u64))).collect();
            // No more than there are spare records to cut regions with.
            for i in 0..20 {
                let n = unit * (1 + (i * 29 + round * 7) % 61);
                let fitting = regions.iter().filter(|region| region.1 >= n);
                let smallest = fitting.map(|region| region.1).min();
                let handle = kernel.alloc(n);
                let Some(bytes) = smallest else {
                    assert_eq!(handle, 0, "alloc({n}), round {round}");
                    continue;
                };
                let taken = regions.iter().position(|&region| region == (handle, bytes));
                let taken =
                    taken.unwrap_or_else(|| panic!("alloc({n}) is {handle}, round {round}"));
                if bytes - n < 16 {
                    regions.remove(taken);
                } else {
                    regions[taken] = (handle + n + 8, bytes - n - 8);
                }
            }
        }
    });
}

/// Regions of 256 bytes are the smallest of a tree, in whose root another size of that bin may lie. Mutants that took the root, or treated such a
/// region as one of a list when its record moved, had survived.
#[test]
fn a_region_of_256_bytes_is_found_in_its_tree_before_and_after_growth() {
    on_all!(|kernel: &mut dyn Subject| {
        let blocks = separate_blocks(kernel, [504, 256, 264, 256].into_iter());
        for &handle in &blocks {
            kernel.free(handle);
        }
        assert_eq!(kernel.alloc(600), 0, "more than any of them");
        let two = [kernel.alloc(256), kernel.alloc(249)];
        assert!(two.contains(&blocks[1]) && two.contains(&blocks[3]));
        kernel.free(two[0]);
        assert_eq!(kernel.alloc(600), 0, "it is filed again");
        kernel.set_limit(65536);
        assert_ne!(kernel.alloc(200_000), 0);
        // All of what is fresh now, less what is kept for records.
        let rest = kernel.floor() - kernel.frontier() - OVERHEAD;
        assert_ne!(kernel.alloc(rest & !7), 0);
        for (n, handle) in [(256, two[0]), (264, blocks[2]), (504, blocks[0])] {
            assert_eq!(kernel.alloc(n), handle);
        }
    });
}

/// A mutant that never took it unmerged had survived.
#[test]
fn the_block_that_waited_longest_of_64_counts_as_merged() {
    on_all!(|kernel: &mut dyn Subject| {
        let sizes = [1000].into_iter().chain((0..64).map(|i| 57 + i % 8));
        let blocks = separate_blocks(kernel, sizes);
        kernel.free(blocks[0]);
        assert_eq!(kernel.alloc(2000), 0, "more than was freed");
        for &handle in &blocks[1..] {
            kernel.free(handle);
        }
        assert_eq!(kernel.alloc(58), blocks[1]);
        // Now 63 wait, and the region comes first.
        assert_eq!(kernel.alloc(58), blocks[0]);
    });
}

/// Mutants that asked whether two registers differ, instead of whether one of them isn't 0, had survived.
#[test]
fn a_reset_is_whole_where_two_registers_are_equal() {
    on_all!(|kernel: &mut dyn Subject| {
        // What was handed out, and how far a host may have written.
        kernel.set_limit(1);
        let handle = kernel.alloc(59_992);
        kernel.memory_mut()[handle as usize..][..59_992].fill(7);
        assert_eq!(kernel.alloc(60_000), 0);
        assert_eq!(kernel.registers().common, kernel.registers().dirty);
        kernel.reset();
        kernel.check_as_new(&[]);
        // The bins, and the same: a region of 128 bytes alone, and a host that may have written over all of a page.
        let region = separate_blocks(kernel, [128].into_iter())[0];
        kernel.free(region);
        assert_eq!(kernel.alloc(1 << 31), 0);
        assert_eq!(kernel.registers().bins, kernel.registers().dirty);
        kernel.reset();
        kernel.check_as_new(&[]);
    });
}

/// Their paths differ in the bits of their addresses alone. A mutant that lost most of these had survived.
#[test]
fn all_of_many_regions_of_one_size_come_back() {
    on_all!(|kernel: &mut dyn Subject| {
        let mut blocks = separate_blocks(kernel, [256; 200].into_iter());
        assert!(blocks.iter().all(|&handle| handle != 0));
        for &handle in &blocks {
            kernel.free(handle);
        }
        assert_eq!(kernel.alloc(1 << 30), 0);
        let mut again: Vec<_> = blocks.iter().map(|_| kernel.alloc(256)).collect();
        blocks.sort();
        again.sort();
        assert_eq!(again, blocks);
    });
}

/// Where the records begin decides how much fits.
#[test]
fn records_begin_where_they_did_after_a_reset_in_front_of_a_gap() {
    on_all!(|kernel: &mut dyn Subject| {
        let floor = kernel.floor();
        let foreign = kernel.grow_by_somebody_else(3);
        assert!(kernel.alloc(100_000) > foreign.end as u64);
        let highest = u64::from(kernel.registers().peak);
        assert_eq!(kernel.floor(), highest, "only the block's own");
        kernel.reset();
        assert_eq!(kernel.floor(), floor);
        kernel.check_as_new(&[foreign]);
    });
}

/// README ("Limits"): a block takes 32 bytes, the kernel what lies below the heap, and room for 23 records more is kept.
#[test]
fn the_largest_block_of_a_page_leaves_room_for_24_records() {
    let floor = native().floor();
    assert_eq!(floor, PAGE - 40);
    assert_eq!(native().base(), 248);
    assert_eq!(largest(), floor - 248 - OVERHEAD);
}

/// Version 0.1.0 counted what was fresh in front of a gap as freed last, so the block that really was came back while never-used
/// space fitted.
#[test]
fn what_is_fresh_in_front_of_a_gap_comes_before_freed_blocks() {
    on_all!(|kernel: &mut dyn Subject| {
        let before = kernel.alloc(2000);
        kernel.alloc(8);
        kernel.grow_by_somebody_else(1);
        kernel.set_limit(4);
        let behind = (0..2 * PAGE / 8).rev().map(|n| kernel.alloc(8 * n));
        let behind = behind.into_iter().find(|&handle| handle != 0);
        assert!(behind.is_some_and(|handle| handle > 2 * PAGE));
        kernel.free(before);
        let next = kernel.alloc(2000);
        assert!(next != before && next < PAGE, "{next}");
    });
}

/// `key = alloc(a); free(key); value = alloc(b); free(key)`: the value survives.
fn check_stale_free(kernel: &mut dyn Subject, a: u64, b: u64) {
    let key = kernel.alloc(a);
    kernel.free(key);
    let value = kernel.alloc(b);
    assert_ne!(value, 0);
    kernel.fill(value, b, 3);
    kernel.free(key);
    assert_eq!(kernel.length(value), b, "key of {a}, value of {b}");
    let other = kernel.alloc(a);
    assert!(kernel.is_filled(value, b, 3));
    kernel.free(other);
    kernel.free(value);
}

#[test]
fn a_stale_second_free_loses_nothing() {
    const SIZES: [u64; 14] = [1, 7, 8, 9, 16, 23, 24, 40, 63, 64, 100, 255, 1000, 5000];
    on_all!(|kernel: &mut dyn Subject| {
        for a in SIZES {
            for b in SIZES {
                check_stale_free(kernel, a, b);
            }
        }
    });
    // After memory was used up and merged, and with another block that fits.
    on_all!(|kernel: &mut dyn Subject| {
        for round in 0..3 {
            for (i, a) in SIZES.into_iter().enumerate() {
                kernel.reset();
                let spare = kernel.alloc(16_000);
                let blocks = kernel.use_up(700 + 100 * round);
                for block in blocks.iter().skip(i % 4).step_by(2 + i % 3) {
                    kernel.free(*block);
                }
                kernel.free(spare);
                for b in SIZES {
                    check_stale_free(kernel, a, b);
                }
            }
        }
    });
}

#[test]
fn a_stale_free_behind_many_too_small_regions_loses_nothing() {
    // A bug of an early version, which looked at 16 regions of a class: the fitting one stayed hidden, and the
    // block freed last was handed out.
    on_all!(|kernel: &mut dyn Subject| {
        let small: Vec<_> = (0..40)
            .map(|_| (kernel.alloc(40), kernel.alloc(8)).0)
            .collect();
        let old = kernel.alloc(56);
        kernel.alloc(8);
        let key = kernel.alloc(100);
        kernel.alloc(8);
        kernel.use_up(4096);
        small
            .into_iter()
            .chain([old, key])
            .for_each(|handle| kernel.free(handle));
        let value = kernel.alloc(56);
        kernel.free(key);
        assert_eq!(kernel.length(value), 56);
    });
}

#[test]
fn bounded_live_data_keeps_large_memory_bounded() {
    // A bug of an early version: the list of the largest regions was open-ended, and the one that fitted lay
    // behind those that did not.
    let kernel = &mut native();
    let held: Vec<_> = (0..16)
        .map(|_| (kernel.alloc(520 << 10), kernel.alloc(8)).0)
        .collect();
    held.into_iter().for_each(|handle| kernel.free(handle));
    let block = kernel.alloc(600 << 10);
    kernel.free(block);
    let pages = kernel.pages();
    for _ in 0..50 {
        let block = kernel.alloc(600 << 10);
        kernel.free(block);
    }
    assert_eq!(kernel.pages(), pages);
}

#[test]
fn neighbours_merge_so_that_memory_stays_bounded() {
    on_all!(|kernel: &mut dyn Subject| {
        let mut pages = Vec::new();
        for round in 0..30u64 {
            let blocks: Vec<_> = (0..60)
                .map(|i| kernel.alloc(1 + (i * 37 + round * 101) % 2000))
                .collect();
            let order = (0..60).map(|i| (i * 17) % 60);
            order.for_each(|i| kernel.free(blocks[i]));
            let whole = kernel.alloc(60_000);
            kernel.free(whole);
            pages.push(kernel.pages());
        }
        assert!(pages[29] <= 4, "{pages:?}");
    });
}

#[test]
fn records_that_move_while_they_merge_keep_ring_and_tree_whole() {
    // A bug of an early version: a block that was just taken off the ring merged, and its record, the lowest, took the
    // place of the one that this gave up. It still said that it waits, so its stale links were mended: the ring lost
    // blocks, the tree got a cycle, and memory grew without end. The test above showed it, by chance.
    on_all!(|kernel: &mut dyn Subject| {
        let [large, b, c] = [1000, 304, 304].map(|n| {
            let block = kernel.alloc(n);
            kernel.alloc(8);
            block
        });
        kernel.use_up(4096);
        kernel.set_limit(1);
        for _ in 0..3 {
            kernel.free(large);
            assert_eq!(kernel.alloc(60_000), 0);
            // Cut off what is filed now, so its record is the lowest, and merges with the rest.
            let a = kernel.alloc(104);
            assert_eq!(a, large);
            for block in [a, b, c] {
                kernel.free(block);
            }
            assert_eq!(kernel.alloc(60_000), 0);
            assert_eq!([1000, 304, 304].map(|n| kernel.alloc(n)), [large, b, c]);
        }
    });
}

/// Blocks that lie side by side and were freed one after the other become one that waits. Handed out as if it were as long as the first of
/// them, it would take the others along.
#[test]
fn neighbours_that_wait_as_one_all_come_back() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.set_limit(1);
        let mut blocks = Vec::new();
        loop {
            match kernel.alloc(64) {
                0 => break,
                block => blocks.push(block),
            }
        }
        // Some more than may wait.
        let freed = &blocks[10..100];
        freed.iter().for_each(|&block| kernel.free(block));
        let mut again: Vec<_> = freed.iter().map(|_| kernel.alloc(64)).collect();
        again.sort_unstable();
        assert_eq!(again, freed);
    });
}

#[test]
fn neighbours_merge_on_both_sides() {
    on_all!(|kernel: &mut dyn Subject| {
        for order in [
            [0, 1, 2],
            [2, 1, 0],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
        ] {
            kernel.reset();
            let blocks = [kernel.alloc(104), kernel.alloc(200), kernel.alloc(48)];
            kernel.alloc(8);
            kernel.use_up(4096);
            kernel.set_limit(kernel.pages());
            for i in order {
                kernel.free(blocks[i]);
                // Searched for in vain, so that it is filed.
                assert_eq!(kernel.alloc(60_000), 0);
            }
            // With the two hints between them.
            assert_eq!(kernel.alloc(104 + 8 + 200 + 8 + 48), blocks[0], "{order:?}");
        }
    });
}

#[test]
fn records_leave_room_for_a_store_across_the_end_of_the_last_block() {
    on_all!(|kernel: &mut dyn Subject| {
        // The records' own alignment may leave a few bytes between them and the data.
        for more in [0, 8, 16] {
            kernel.reset();
            let region = kernel.alloc(30_000 + more);
            kernel.use_up(4096);
            kernel.set_limit(1);
            kernel.free(region);
            // Cuts pieces off it until there is no room for another record, and then hands out the rest.
            while kernel.alloc(8) != 0 {
                let end = kernel.frontier();
                let before = kernel.bookkeeping();
                kernel.store_u64(end - 1, u64::MAX);
                assert!(before == kernel.bookkeeping());
            }
        }
    });
}

#[test]
fn where_fresh_space_is_used_up_23_regions_can_be_cut_without_a_page() {
    // In the first page, after growth, and behind pages of somebody else.
    for (pages, foreign) in [(1, 0), (2, 0), (2, 3)] {
        let filled = |n| {
            let mut kernel = native();
            let region = kernel.alloc(4000);
            // Else it would merge with what is in front of the gap, and give up a record.
            kernel.alloc(8);
            kernel.grow_by_somebody_else(foreign);
            kernel.set_limit(pages + foreign);
            (kernel.alloc(n) != 0).then_some((kernel, region))
        };
        let most = if foreign == 0 { pages * PAGE } else { PAGE };
        let (mut kernel, region) = (0..most / 8)
            .rev()
            .find_map(|n| filled(8 * n))
            .expect("some block fits");
        kernel.free(region);
        // Two slots are kept for crossing a gap.
        for cut in 0..21 {
            assert_ne!(kernel.alloc(8), 0, "cut {cut}, {pages} pages");
        }
    }
}

/// Growth for a page of records is the one that finds blocks waiting: their records move, and with them what leads from one to the next. Kernels
/// that left that out passed all tests.
#[test]
fn blocks_that_wait_come_back_in_order_after_a_page_for_records() {
    let mut kernel = native();
    let region = kernel.alloc(2000);
    kernel.alloc(8);
    let mut apart = || {
        let handle = kernel.alloc(3000);
        kernel.alloc(8);
        handle
    };
    let waiting: Vec<u64> = (0..64).map(|_| apart()).collect();
    kernel.set_limit(kernel.pages());
    let mut rest = PAGE;
    while kernel.alloc(rest) == 0 {
        rest -= 8;
    }
    kernel.set_limit(kernel.pages() + 1);
    // It is the first freed of more than may wait, so it is filed.
    kernel.free(region);
    for &handle in &waiting {
        kernel.free(handle);
    }
    let pages = kernel.pages();
    while kernel.pages() == pages {
        let cut = kernel.alloc(8);
        assert!((region..region + 2000).contains(&cut), "{cut}");
    }
    let back: Vec<u64> = waiting.iter().map(|_| kernel.alloc(3000)).collect();
    assert_eq!(back, waiting);
}

/// In version 0.1.0 a region went out whole to the smallest block when there was no room for a record of the rest: memory grew
/// without bound although live data did not, 15.2 times as much for the results of 100 files, and for an adversary 90 times.
#[test]
fn bounded_live_data_takes_bounded_memory() {
    // A freed MiB serves small blocks to its end.
    on_all!(|kernel: &mut dyn Subject| {
        let large = kernel.alloc(1 << 20);
        kernel.alloc(1);
        kernel.free(large);
        let pages = kernel.pages();
        let end = large + (1 << 20);
        let mut inside = 0;
        while inside < 9000 {
            let handle = kernel.alloc(100);
            inside += u64::from((large..end).contains(&handle));
            if kernel.pages() > pages + 6 {
                break;
            }
        }
        // 112 bytes each, less what goes out of fresh space before.
        assert!(
            inside > 8500,
            "{inside} of 9362 blocks, {} pages",
            kernel.pages()
        );
    });
    // 100 files of 1 MiB, one after another, of each of which 700 results of 64 bytes stay.
    let kernel = &mut native();
    let mut live = 0;
    for _ in 0..100 {
        let file = kernel.alloc(1 << 20);
        for _ in 0..700 {
            assert_ne!(kernel.alloc(64), 0);
        }
        live += 700 * 64;
        kernel.free(file);
    }
    let ratio = kernel.memory_bytes() as f64 / f64::from(live + (1 << 20));
    println!("{ratio:.2} times the live data");
    assert!(ratio <= 2.0, "{ratio}");
}

/// A break that kept the register `reserve` as it is after a page for records was caught by no test.
#[test]
fn after_a_page_for_records_growth_brings_fresh_space_again() {
    on_all!(|kernel: &mut dyn Subject| {
        let region = kernel.alloc(20_000);
        kernel.use_up(4096);
        kernel.free(region);
        while kernel.pages() == 1 {
            assert!((region..region + 20_000).contains(&kernel.alloc(8)));
        }
        let large = kernel.alloc(100_000);
        assert!(kernel.floor() - kernel.frontier() > 1000);
        assert!(kernel.alloc(8) > large);
    });
}

/// A break that counted only fresh space as room for records was caught by no test.
#[test]
fn records_of_blocks_that_are_no_more_serve_again() {
    on_all!(|kernel: &mut dyn Subject| {
        let region = kernel.alloc(20_000);
        kernel.use_up(4096);
        kernel.set_limit(1);
        let mut most = 0;
        for round in 0..4 {
            kernel.free(region);
            let cut = std::iter::repeat_with(|| kernel.alloc(8)).take_while(|&handle| handle != 0);
            let cut: Vec<_> = cut.collect();
            assert!(cut.len() >= most, "{} in round {round}", cut.len());
            most = cut.len();
            for handle in cut {
                kernel.free(handle);
            }
            assert_eq!(kernel.alloc(20_000), region);
        }
    });
}

/// A break that kept no room for the two records that crossing a gap takes was caught by no test.
#[test]
fn where_regions_were_cut_to_the_last_record_a_gap_can_be_crossed() {
    for more in [0, 8, 16] {
        on_all!(|kernel: &mut dyn Subject| {
            let region = kernel.alloc(20_000 + more);
            let blocks = kernel.use_up(4096);
            let blocks: Vec<_> = blocks.iter().map(|&h| (h, kernel.length(h))).collect();
            for &(handle, n) in &blocks {
                kernel.fill(handle, n, 5);
            }
            kernel.set_limit(1);
            kernel.free(region);
            while kernel.alloc(8) != 0 {}
            kernel.set_limit(65536);
            kernel.grow_by_somebody_else(1);
            assert_ne!(kernel.alloc(70_000), 0);
            for &(handle, n) in &blocks {
                assert!(kernel.length(handle) == n && kernel.is_filled(handle, n, 5));
            }
        });
    }
}

/// Pages for records are no pages for blocks, and where growth is refused, or traps, the rest of a region is handed out whole.
#[test]
fn where_no_page_can_be_had_for_a_record_a_region_is_handed_out_whole() {
    on_all!(|kernel: &mut dyn Subject| {
        let region = kernel.alloc(20_000);
        kernel.use_up(4096);
        let pages = kernel.pages();
        kernel.set_limit(pages);
        kernel.free(region);
        let mut cut = Vec::new();
        loop {
            match kernel.alloc(8) {
                0 => break,
                handle => cut.push(handle),
            }
        }
        assert!(
            cut.iter()
                .all(|&handle| (region..region + 20_000).contains(&handle))
        );
        assert!(cut.len() > 20, "{}", cut.len());
        for handle in cut {
            kernel.free(handle);
        }
        assert_eq!(kernel.alloc(20_000), region);
    });
}

#[test]
fn a_block_costs_32_bytes() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.set_limit(1);
        let mut blocks = 0;
        while kernel.alloc(8) != 0 {
            blocks += 1;
        }
        // What is left is for low memory, some spare records, and the end of the page.
        assert!(blocks >= (PAGE - 1024) / (8 + 32), "{blocks}");
    });
}

#[test]
fn free_ignores_all_but_live_handles() {
    on_all!(|kernel: &mut dyn Subject| {
        let blocks = [kernel.alloc(64), kernel.alloc(64), kernel.alloc(64)];
        kernel.free(blocks[1]);
        let before = kernel.bookkeeping();
        let inside = (blocks[0] - 24..blocks[2] + 100).filter(|h| !blocks.contains(h));
        let garbage = EDGES.into_iter().filter(|h| !blocks.contains(h));
        for handle in inside
            .chain(garbage)
            .chain([blocks[1], kernel.floor(), PAGE - 24])
        {
            kernel.free(handle);
        }
        assert!(before == kernel.bookkeeping());
        assert_eq!(blocks.map(|handle| kernel.length(handle)), [64, 0, 64]);
    });
}

#[test]
fn freed_data_stays_until_it_is_handed_out() {
    on_all!(|kernel: &mut dyn Subject| {
        let spare = kernel.alloc(3000);
        let blocks: Vec<_> = (1..60).map(|n| (kernel.alloc(n), n)).collect();
        kernel.use_up(4096);
        for &(handle, n) in &blocks {
            kernel.fill(handle, n, n as u8);
        }
        kernel.free(spare);
        for &(handle, _) in &blocks {
            kernel.free(handle);
        }
        // Files and merges all, in vain.
        kernel.set_limit(1);
        assert_eq!(kernel.alloc(60_000), 0);
        assert_eq!(kernel.alloc(2900), spare);
        for &(handle, n) in &blocks {
            assert!(kernel.is_filled(handle, n, n as u8), "block of {n}");
            assert_eq!(
                kernel.load_u8(handle),
                kernel.memory()[handle as usize].into()
            );
        }
    });
}

#[test]
fn freeing_the_input_frees_it_and_empties_it() {
    on_all!(|kernel: &mut dyn Subject| {
        let input = kernel.alloc(20);
        kernel.input_set(input, 20);
        kernel.free(input);
        assert_eq!(kernel.length(input), 0);
        assert_eq!(kernel.named().0, (input, 0));
        assert_eq!(kernel.call(Call::InputLoadU8(0)), 0);
    });
}

#[test]
fn freeing_output_or_error_is_put_off_until_they_are_neither() {
    on_all!(|kernel: &mut dyn Subject| {
        let [output, error, next] = [kernel.alloc(20), kernel.alloc(30), kernel.alloc(40)];
        kernel.output_set(output, 10);
        kernel.error_set(error);
        kernel.free(output);
        kernel.free(error);
        kernel.free(error);
        assert_eq!((kernel.length(output), kernel.length(error)), (20, 30));
        assert_eq!(kernel.named(), ((0, 0), (output, 10), error));
        // What is refused sets nothing.
        kernel.output_set(0, 0);
        kernel.error_set(1);
        assert_eq!((kernel.length(output), kernel.length(error)), (20, 30));
        kernel.output_set(next, 40);
        assert_eq!((kernel.length(output), kernel.length(error)), (0, 30));
        kernel.error_set(0);
        assert_eq!(kernel.length(error), 0);
        // An emptied output is one still, an empty one elsewhere another.
        kernel.output_set(next, 0);
        kernel.free(next);
        assert_eq!(kernel.length(next), 40);
        kernel.output_set(next + 8, 0);
        assert_eq!(kernel.length(next), 0);
        kernel.reset();
        assert_eq!(kernel.named(), ((0, 0), (0, 0), 0));
    });
}

#[test]
fn setting_output_or_error_again_takes_a_free_back() {
    on_all!(|kernel: &mut dyn Subject| {
        let [one, two] = [kernel.alloc(20), kernel.alloc(30)];
        kernel.output_set(one, 20);
        kernel.free(one);
        kernel.output_set(one, 5);
        kernel.output_set(two, 30);
        assert_eq!(kernel.length(one), 20);
        kernel.error_set(one);
        kernel.free(one);
        kernel.error_set(one);
        kernel.error_set(0);
        assert_eq!(kernel.length(one), 20);
        // What is both is released when it is neither.
        kernel.error_set(two);
        kernel.free(two);
        kernel.output_set(one, 20);
        assert_eq!(kernel.length(two), 30);
        kernel.free(one);
        kernel.error_set(one);
        assert_eq!((kernel.length(one), kernel.length(two)), (20, 0));
        kernel.output_set(two, 0);
        kernel.error_set(0);
        assert_eq!(
            kernel.length(one),
            20,
            "setting it as error took the free back"
        );
    });
}

/// A break that freed the output when an error was set was caught by no test.
#[test]
fn setting_the_error_releases_no_output() {
    on_all!(|kernel: &mut dyn Subject| {
        let [output, error] = [kernel.alloc(20), kernel.alloc(30)];
        kernel.output_set(output, 20);
        kernel.free(output);
        for handle in [error, 0] {
            kernel.error_set(handle);
            assert_eq!(kernel.length(output), 20);
        }
        kernel.output_set(error, 30);
        assert_eq!(kernel.length(output), 0);
    });
}

/// A break that kept it was caught by no test: it freed the next plugin's block.
#[test]
fn reset_forgets_a_free_that_was_put_off() {
    on_all!(|kernel: &mut dyn Subject| {
        let output = kernel.alloc(20);
        kernel.output_set(output, 20);
        kernel.free(output);
        kernel.reset();
        assert_eq!(kernel.alloc(20), output);
        let other = kernel.alloc(30);
        kernel.output_set(other, 30);
        assert_eq!(kernel.length(output), 20);
    });
}

/// A host that never resets frees what it has read: in version 0.1.0, which ignored that, it had 930 pages after 20,000 calls.
#[test]
fn a_host_that_frees_its_output_and_never_resets_stays_small() {
    on_all!(|kernel: &mut dyn Subject| {
        for _ in 0..3000 {
            let output = kernel.alloc(3000);
            kernel.output_set(output, 3000);
            let error = kernel.alloc(100);
            kernel.error_set(error);
            kernel.free(output);
            kernel.free(error);
            kernel.error_set(0);
        }
        assert!(kernel.pages() <= 5, "{} pages", kernel.pages());
    });
}

/// A review found that hosts don't look whether `alloc` failed, and copy their input to address 0: the next call could read it.
#[test]
fn what_a_host_copies_where_an_alloc_failed_is_zeroed() {
    for gap in [false, true] {
        on_all!(|kernel: &mut dyn Subject| {
            let foreign = if gap {
                kernel.grow_by_somebody_else(1)
            } else {
                0..0
            };
            let foreign = if gap {
                std::slice::from_ref(&foreign)
            } else {
                &[]
            };
            for n in [
                1,
                7,
                300,
                60_000,
                65_535,
                70_000,
                250_000,
                (1 << 32) - 9,
                (1 << 32) - 1,
            ] {
                kernel.set_limit(1);
                let live = kernel.alloc(64_000);
                assert_eq!(kernel.alloc(n.max(2000)), 0);
                let end = kernel.memory().len().min(n.max(2000) as usize);
                let mut at = 0;
                for range in foreign.iter().cloned().chain(std::iter::once(end..end)) {
                    kernel.memory_mut()[at..range.start.min(end)].fill(7);
                    at = range.end.min(end);
                }
                kernel.length(live);
                kernel.error_set(0);
                kernel.reset();
                assert!(kernel.memory()[..8] == [0; 8]);
                kernel.check_zero(foreign);
                check_untouched(kernel, foreign);
                kernel.check_as_new(foreign);
            }
        });
    }
}

/// A break that zeroed only as many bytes as the kernel owns was caught by no test: behind a gap there are more to zero.
#[test]
fn what_a_host_copies_behind_a_gap_where_an_alloc_failed_is_zeroed() {
    on_all!(|kernel: &mut dyn Subject| {
        let foreign = kernel.grow_by_somebody_else(1);
        kernel.set_limit(4);
        assert!(kernel.alloc(70_000) > 2 * PAGE);
        assert_eq!(kernel.alloc(250_000), 0);
        let frontier = kernel.frontier() as usize;
        kernel.memory_mut()[frontier..250_000].fill(7);
        kernel.reset();
        kernel.check_as_new(std::slice::from_ref(&foreign));
    });
}

fn check_untouched(kernel: &dyn Subject, foreign: &[std::ops::Range<usize>]) {
    for range in foreign {
        assert!(
            kernel.memory()[range.clone()]
                .iter()
                .all(|&byte| byte == 0xEE)
        );
    }
}

#[test]
fn input_and_output_take_any_range_of_the_heap_and_no_other() {
    on_all!(|kernel: &mut dyn Subject| {
        let handle = kernel.alloc(100);
        let (base, floor) = (kernel.base(), kernel.floor());
        let good = [
            (handle, 100),
            (handle + 3, 5),
            (handle, 0),
            (base, 1),
            (base, floor - base),
            (floor - 1, 1),
            (floor - 1, 0),
            (handle + 500, 1000),
        ];
        let bad = [
            (0, 0),
            (0, 1),
            (base - 1, 1),
            (base - 1, 0),
            (floor, 0),
            (floor, 1),
            (floor - 1, 2),
            (base, floor - base + 1),
            (handle, u64::MAX),
            (handle, u64::MAX - 9),
            (handle, 1 << 32),
            (1 << 32, 0),
            ((1 << 32) + handle, 10),
            (u64::MAX, 1),
            (u64::MAX, 2),
            (u64::MAX - 3, 8),
            (handle, 0u64.wrapping_sub(handle)),
            (handle, 0u64.wrapping_sub(handle) + 8),
            (1 << 63, 1 << 63),
        ];
        for (offset, length) in good {
            kernel.output_set(offset, length);
            kernel.input_set(offset, length);
            assert_eq!(kernel.named(), ((offset, length), (offset, length), 0));
            for (offset, length) in bad {
                kernel.output_set(offset, length);
                kernel.input_set(offset, length);
            }
            assert_eq!(kernel.named(), ((offset, length), (offset, length), 0));
        }
        for (handle, stored) in [
            (handle, true),
            (base, true),
            (floor - 1, true),
            (floor, false),
            (base - 1, false),
            (1 << 32, false),
            (u64::MAX, false),
        ] {
            kernel.error_set(0);
            kernel.error_set(handle);
            assert_eq!(kernel.call(Call::ErrorGet), if stored { handle } else { 0 });
        }
    });
}

#[test]
fn input_is_read_to_its_end_and_no_further() {
    on_all!(|kernel: &mut dyn Subject| {
        let handle = kernel.alloc(40);
        kernel.fill(handle, 40, 0xF0);
        kernel.input_set(handle + 1, 21);
        for index in (0..40).chain(EDGES) {
            let byte = |i: u64| u64::from(0xF0u8.wrapping_add(1 + i as u8) | 1);
            let expected = if index < 21 { byte(index) } else { 0 };
            assert_eq!(kernel.call(Call::InputLoadU8(index)), expected);
            let inside = index <= 21 - 8;
            let expected = if inside {
                (0..8).map(|i| byte(index + i) << (8 * i)).sum()
            } else {
                0
            };
            assert_eq!(kernel.call(Call::InputLoadU64(index)), expected);
        }
    });
}

/// Every offset near both ends of the heap, of a gap and of the memory, and those where sums wrap.
fn boundaries(kernel: &dyn Subject) -> Vec<u64> {
    let gap = kernel.gap();
    [
        0,
        kernel.base(),
        kernel.floor(),
        kernel.memory().len() as u64,
        gap.start,
        gap.end,
        1 << 32,
        1 << 63,
    ]
    .into_iter()
    .flat_map(|edge| (-16..=16).map(move |delta| edge.wrapping_add_signed(delta)))
    .chain(EDGES)
    .collect()
}

/// Loads and stores at all boundaries: those inside the heap work, the others do nothing.
fn check_boundaries(kernel: &mut dyn Subject) {
    for offset in boundaries(kernel) {
        for length in [1usize, 8] {
            let before = (kernel.memory().to_vec(), kernel.bookkeeping());
            let value = 0x8877_6655_4433_2291u64;
            let (load, store) = match length {
                1 => (Call::LoadU8(offset), Call::StoreU8(offset, value as u32)),
                _ => (Call::LoadU64(offset), Call::StoreU64(offset, value)),
            };
            kernel.call(store);
            let mut expected = before.0;
            let mut loaded = 0;
            if kernel.in_heap(offset, length as u64) {
                expected[offset as usize..][..length]
                    .copy_from_slice(&value.to_le_bytes()[..length]);
                loaded = if length == 1 { 0x91 } else { value };
            }
            assert!(expected == kernel.memory(), "{store:?}");
            assert!(
                before.1 == kernel.bookkeeping(),
                "{store:?} changed the bookkeeping"
            );
            assert_eq!(kernel.call(load), loaded, "{load:?}");
        }
    }
}

#[test]
fn loads_and_stores_reach_the_heap_and_nothing_else() {
    on_all!(|kernel: &mut dyn Subject| {
        check_boundaries(kernel);
        kernel.alloc(1000);
        let freed = kernel.alloc(1000);
        kernel.free(freed);
        check_boundaries(kernel);
        kernel.use_up(4096);
        check_boundaries(kernel);
        kernel.alloc(PAGE);
        check_boundaries(kernel);
        kernel.reset();
        kernel.check_as_new(&[]);
        check_boundaries(kernel);
        // What was stored in fresh space is zeroed too.
        kernel.reset();
        kernel.check_as_new(&[]);
    });
}

#[test]
fn values_are_little_endian_and_truncated() {
    on_all!(|kernel: &mut dyn Subject| {
        let handle = kernel.alloc(32);
        kernel.store_u64(handle + 3, 0x0807_0605_0403_0201);
        kernel.store_u8(handle + 11, 0xFFFF_FF80);
        for i in 0..8 {
            assert_eq!(kernel.load_u8(handle + 3 + i), i + 1);
        }
        assert_eq!(kernel.load_u8(handle + 11), 0x80);
        assert_eq!(kernel.load_u64(handle + 4), 0x8008_0706_0504_0302);
        assert_eq!(kernel.load_u8(handle + 12), 0);
    });
}

#[test]
fn a_plugin_that_ignores_a_failed_alloc_does_no_harm() {
    on_all!(|kernel: &mut dyn Subject| {
        let live = kernel.alloc(8);
        let before = kernel.bookkeeping();
        let failed = kernel.alloc(u64::MAX);
        for i in 0..70_000 {
            kernel.store_u8(failed + i, 0xAA);
        }
        assert!(before == kernel.bookkeeping());
        let answer = kernel.length(live);
        assert!(
            answer == 8 || answer == 0,
            "its own hint is gone at most: {answer}"
        );
        assert_ne!(kernel.alloc(8), 0);
        kernel.reset();
        kernel.check_as_new(&[]);
    });
}

#[test]
fn an_overrun_of_the_last_block_can_be_output() {
    on_all!(|kernel: &mut dyn Subject| {
        let last = kernel.alloc(10);
        for i in 0..300 {
            kernel.store_u8(last + i, 7);
        }
        kernel.output_set(last, 300);
        assert_eq!(kernel.named().1, (last, 300));
        assert_eq!(kernel.memory()[last as usize..][..300], [7; 300]);
        kernel.reset();
        kernel.check_as_new(&[]);
    });
}

#[test]
fn a_store_across_the_end_of_the_last_block_is_zeroed() {
    on_all!(|kernel: &mut dyn Subject| {
        for n in 1..40 {
            let last = kernel.alloc(n);
            kernel.store_u64(last + n - 1, u64::MAX);
            kernel.reset();
            kernel.check_as_new(&[]);
        }
    });
}

#[test]
fn reset_zeroes_all_and_keeps_the_memory() {
    on_all!(|kernel: &mut dyn Subject| {
        for n in [10, 5000, 70_000, 200_000] {
            let blocks = [kernel.alloc(n), kernel.alloc(3), kernel.alloc(n)];
            kernel.fill(blocks[0], n, 9);
            kernel.fill(blocks[2], n, 9);
            kernel.free(blocks[0]);
            kernel.input_set(blocks[1], 3);
            kernel.output_set(blocks[2], 3);
            kernel.error_set(blocks[1]);
            let bytes = kernel.memory_bytes();
            kernel.reset();
            assert_eq!(blocks.map(|handle| kernel.length(handle)), [0; 3]);
            assert_eq!(kernel.memory_bytes(), bytes);
            kernel.check_as_new(&[]);
        }
    });
}

#[test]
fn a_store_right_in_front_of_a_gap_is_zeroed() {
    on_all!(|kernel: &mut dyn Subject| {
        let foreign = kernel.grow_by_somebody_else(3);
        assert!(kernel.alloc(70_000) > foreign.end as u64);
        kernel.reset();
        // The heap ends there as long as there are no records.
        let last = kernel.floor() - 8;
        kernel.store_u64(last, u64::MAX);
        assert_eq!(kernel.load_u64(last), u64::MAX);
        kernel.reset();
        kernel.check_as_new(std::slice::from_ref(&foreign));
    });
}

/// A review found that a second region of somebody else's made `alloc` answer 0 although the kernel's own pages between the two
/// were free.
#[test]
fn pages_between_two_regions_of_somebody_else_are_used_again() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.alloc(100);
        kernel.grow_by_host(1);
        let handle = kernel.alloc(70_000);
        assert_ne!(handle, 0);
        kernel.grow_by_host(1);
        let bytes = kernel.memory_bytes();
        kernel.reset();
        assert_eq!(kernel.alloc(100), kernel.base() + 8);
        assert_eq!(kernel.alloc(70_000), handle);
        assert_eq!(kernel.memory_bytes(), bytes);
        // Behind the second region nothing is had, and nothing asked for.
        let pages = kernel.pages();
        assert_eq!(kernel.alloc(200_000), 0);
        assert_eq!(kernel.pages(), pages);
    });
}

/// A review found that growth that failed fixed where the pages of somebody else end, though they may still become more.
#[test]
fn an_alloc_that_fails_changes_nothing_about_pages_of_somebody_else() {
    on_all!(|kernel: &mut dyn Subject| {
        kernel.alloc(100);
        kernel.grow_by_host(1);
        kernel.set_limit(2);
        assert_eq!(kernel.alloc(70_000), 0);
        assert_ne!(kernel.alloc(100), 0);
        kernel.set_limit(65536);
        kernel.grow_by_host(1);
        assert!(kernel.alloc(70_000) >= 3 * PAGE);
    });
}

#[test]
fn pages_of_somebody_else_are_never_used() {
    on_all!(|kernel: &mut dyn Subject| {
        let first = kernel.alloc(30_000);
        let foreign = kernel.grow_by_somebody_else(3);
        assert_eq!(kernel.memory_bytes(), PAGE);
        for round in 0..3 {
            let blocks: Vec<_> = [20_000, 20_000, 5000, 70_000, 8, 300_000, 1]
                .into_iter()
                .map(|n| (kernel.alloc(n), n))
                .collect();
            for &(handle, n) in &blocks {
                assert_eq!(kernel.length(handle), n);
                assert!(handle + n <= foreign.start as u64 || handle >= foreign.end as u64);
                kernel.fill(handle, n, 1);
            }
            assert!(
                kernel.memory()[foreign.clone()]
                    .iter()
                    .all(|&byte| byte == 0xEE)
            );
            assert_eq!(kernel.memory_bytes(), (kernel.pages() - 3) * PAGE);
            check_boundaries(kernel);
            for offset in [foreign.start, foreign.start + 5000, foreign.end - 8] {
                assert_eq!(kernel.load_u64(offset as u64), 0);
                assert_eq!(kernel.load_u8(offset as u64), 0);
            }
            // There the records stayed.
            let all = kernel.front() - first;
            kernel.output_set(first, all);
            assert_eq!(kernel.named().1, (first, all));
            for longer in [all + 1, all + 41, foreign.end as u64 + 8 - first] {
                kernel.output_set(first, longer);
                assert_eq!(kernel.named().1, (first, all));
            }
            // Reuse on both sides, and merging, which must not reach across.
            for &(handle, _) in &blocks {
                kernel.free(handle);
            }
            let again = [
                kernel.alloc(30_000),
                kernel.alloc(200_000),
                kernel.alloc(60_000),
            ];
            for handle in again {
                assert!(handle != 0 && !foreign.contains(&(handle as usize)));
            }
            assert!(
                kernel.memory()[foreign.clone()]
                    .iter()
                    .all(|&byte| byte == 0xEE)
            );
            let pages = kernel.pages();
            kernel.reset();
            assert_eq!(kernel.pages(), pages, "round {round}");
            kernel.check_as_new(std::slice::from_ref(&foreign));
            assert_eq!(kernel.alloc(30_000), first);
        }
    });
}

#[test]
fn the_memory_may_be_larger_than_declared_from_the_start() {
    on_all!(|kernel: &mut dyn Subject| {
        let foreign = kernel.grow_by_somebody_else(2);
        assert_eq!(kernel.memory_bytes(), PAGE);
        assert_eq!(kernel.load_u64(PAGE), 0);
        kernel.store_u64(PAGE, 1);
        let first = kernel.alloc(100);
        assert!(first < PAGE);
        let large = kernel.alloc(PAGE);
        assert!(large >= 3 * PAGE);
        assert!(
            kernel.memory()[foreign.clone()]
                .iter()
                .all(|&byte| byte == 0xEE)
        );
        kernel.reset();
        kernel.check_as_new(&[foreign]);
    });
}

#[test]
fn what_a_host_writes_at_address_0_is_forgotten_by_reset() {
    // Hosts write at address 0 when an alloc failed. A bug of an early version: as "no record" it once was looked at.
    on_all!(|kernel: &mut dyn Subject| {
        for value in 0..=255 {
            kernel.memory_mut()[..64].fill(value);
            kernel.reset();
            kernel.memory_mut()[..8].fill(value);
            let live = kernel.alloc(10_000);
            let p = kernel.alloc(54_000);
            kernel.fill(live, 10_000, 1);
            kernel.free(p);
            for _ in 0..20 {
                let handle = kernel.alloc(2500);
                assert!(handle >= p);
            }
            assert!(kernel.is_filled(live, 10_000, 1));
            assert_eq!(kernel.length(live), 10_000);
        }
    });
}

#[test]
fn what_a_host_writes_at_address_0_is_no_free_space() {
    // A bug of an early version: "no region" was looked up like a region, so a failing alloc answered with the
    // handle that a host had written at address 0, even before the last reset.
    on_all!(|kernel: &mut dyn Subject| {
        for word in [1000u32, 1002, 4096, 60_000] {
            kernel.set_limit(1);
            kernel.memory_mut()[..4].copy_from_slice(&word.to_le_bytes());
            kernel.reset();
            let live = kernel.alloc(40_000);
            assert_eq!(kernel.alloc(30_000), 0);
            assert_eq!(kernel.alloc(25_000), 0);
            assert_eq!(kernel.length(live), 40_000);
        }
    });
}

/// The machine that others test with. The tests here have one of their own, which counts what it does.
#[test]
fn a_native_machine_has_as_many_pages_as_it_may() {
    let mut machine = NativeMachine {
        limit: 3,
        ..NativeMachine::default()
    };
    assert_eq!(machine.pages(), 1);
    assert!(!machine.grow(3));
    assert_eq!(machine.pages(), 1);
    assert!(machine.grow(2));
    assert_eq!(machine.pages(), 3);
    assert_eq!(machine.memory, vec![0; 3 * PAGE as usize]);
    assert!(!machine.grow(1));

    let mut kernel = Kernel::new(NativeMachine {
        limit: 2,
        ..NativeMachine::default()
    });
    assert_ne!(kernel.alloc(100_000), 0);
    assert_eq!(kernel.memory_bytes(), 2 * PAGE);
    assert_eq!(kernel.alloc(100_000), 0);
}
