//! Whoever means harm: plugins that store anything anywhere, hosts that scribble over the memory, frees of blocks that
//! are somebody else's by now, and calls that are stopped anywhere.

mod model;

use std::ops::Range;

use model::{Call, EDGES, PAGE, Subject, native, on_all, vast};
#[cfg(not(native_only))]
use model::{Lockstep, Wasm, shipped};

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Brings a kernel into a state with every kind of block: live, waiting, filed, merged, and the registers set.
fn settle(kernel: &mut dyn Subject) -> Vec<u64> {
    let mut blocks: Vec<_> = (0..60).map(|i| kernel.alloc(8 + i * 29 % 300)).collect();
    blocks.extend(kernel.use_up(3000));
    for block in blocks
        .iter()
        .step_by(3)
        .chain(blocks.iter().skip(1).step_by(6))
    {
        kernel.free(*block);
    }
    // Files some; the rest wait.
    blocks.push(kernel.alloc(900));
    kernel.free(blocks[2]);
    kernel.free(blocks[8]);
    kernel.input_set(blocks[5], 20);
    kernel.output_set(blocks[11], 20);
    kernel.error_set(blocks[14]);
    blocks
}

/// What a plugin would store to fake bookkeeping: addresses of records and blocks, their neighbours, flags.
fn forged(random: &mut Random, kernel: &dyn Subject, blocks: &[u64]) -> u64 {
    let word = |random: &mut Random| match random.below(5) {
        0 => kernel.floor() + 8 * random.below(40),
        1 => random.pick(blocks) + random.below(4),
        2 => random.pick(&EDGES),
        3 => random.below(64),
        _ => random.next(),
    };
    word(random) & 0xFFFF_FFFF | word(random) << 32
}

#[test]
fn stores_never_change_the_bookkeeping() {
    fn check(kernel: &mut dyn Subject, seed: u64) {
        let mut random = Random(seed);
        let blocks = settle(kernel);
        let lengths: Vec<_> = blocks.iter().map(|&handle| kernel.length(handle)).collect();
        let before = kernel.bookkeeping();
        for _ in 0..300 {
            let offset = match random.below(6) {
                // The hint, the only thing in reach that leads anywhere.
                0 => random.pick(&blocks) - 8,
                1 => random.pick(&blocks) - 12 + random.below(24),
                2 => kernel.floor() - random.below(20),
                3 => random.pick(&EDGES),
                4 => random.next(),
                _ => random.below(kernel.memory().len() as u64 + 16),
            };
            let value = forged(&mut random, kernel, &blocks);
            if random.below(3) == 0 {
                kernel.store_u8(offset, value as u32);
            } else {
                kernel.store_u64(offset, value);
            }
        }
        assert!(before == kernel.bookkeeping());
        // The worst that it gets: handles answer as unknown.
        for (&handle, &length) in blocks.iter().zip(&lengths) {
            let answer = kernel.length(handle);
            assert!(
                answer == length || answer == 0,
                "{handle}: {answer}, not {length}"
            );
        }
        for inside in kernel.base()..kernel.floor() {
            if !blocks.contains(&inside) {
                assert_eq!(kernel.length(inside), 0, "a block was forged at {inside}");
            }
        }
        // Going on with forged hints hands out nothing twice.
        let mut live: Vec<Range<u64>> = Vec::new();
        for &handle in &blocks {
            match kernel.length(handle) {
                0 => (),
                _ if random.below(2) == 0 => kernel.free(handle),
                length => live.push(handle..handle + length),
            }
        }
        live.retain(|range| kernel.length(range.start) != 0);
        for _ in 0..40 {
            let n = 1 + random.below(2000);
            let handle = kernel.alloc(n);
            assert!(
                live.iter()
                    .all(|other| handle >= other.end || handle + n <= other.start)
            );
            live.push(handle..handle + n);
        }
        kernel.reset();
        kernel.check_as_new(&[]);
    }
    for seed in 1..60 {
        check(&mut native(), seed);
    }
    #[cfg(not(native_only))]
    for module in shipped() {
        (1..4).for_each(|seed| check(&mut Lockstep::new(module), seed));
    }
}

#[test]
fn a_fake_record_in_data_is_not_believed() {
    fn check(kernel: &mut dyn Subject) {
        let live = kernel.alloc(100);
        let fake = kernel.alloc(100);
        let spare = kernel.alloc(100);
        kernel.free(spare);
        for target in [fake, live, spare, fake + 8, fake + 48] {
            for at in [fake, fake + 16, spare + 8] {
                // As a record is: the handle, a length; and what leads to it.
                kernel.store_u64(at, target | 5000 << 32);
                kernel.store_u64(target - 8, at);
                let honest = if target == live || target == fake {
                    100
                } else {
                    0
                };
                let answer = kernel.length(target);
                assert!(
                    answer == 0 || answer == honest,
                    "{answer} bytes at {target}"
                );
                let before = kernel.bookkeeping();
                if answer == 0 {
                    kernel.free(target);
                    assert!(before == kernel.bookkeeping());
                }
            }
        }
        kernel.reset();
        kernel.check_as_new(&[]);
    }
    on_all!(check);
}

#[test]
fn no_handle_at_the_floor_leads_into_the_middle_of_a_record() {
    // The words of a record that lead to other records are no handles, since a record lies where no block can; but
    // the floor is both where the lowest record lies and the end of the last place that a plugin can store a hint at.
    fn check(kernel: &mut dyn Subject) {
        settle(kernel);
        let floor = kernel.floor();
        let lowest_is_named = |kernel: &dyn Subject, field| {
            let mut records = kernel.memory()[floor as usize..].chunks_exact(24);
            records.any(|record| record[field..][..4] == (floor as u32).to_le_bytes())
        };
        // As `previous`, so that there is something to find.
        assert!(lowest_is_named(kernel, 16));
        let before = kernel.bookkeeping();
        for handle in floor - 32..=floor + 48 {
            for hint in (floor..PAGE).step_by(8) {
                kernel.store_u64(handle.wrapping_sub(8), hint);
                assert_eq!(kernel.length(handle), 0, "{handle} by {hint}");
                kernel.free(handle);
            }
        }
        assert!(before == kernel.bookkeeping());
    }
    on_all!(check);
}

#[test]
fn a_length_that_looks_like_a_handle_makes_no_block() {
    fn check(kernel: &mut dyn Subject) {
        let block = kernel.alloc(1000);
        for inside in block + 32..block + 64 {
            // The word behind its record's address is its length now.
            assert_ne!(kernel.alloc(inside), 0);
            let record = kernel.floor();
            let before = kernel.bookkeeping();
            kernel.store_u64(inside - 8, record + 4);
            assert_eq!(kernel.length(inside), 0);
            kernel.free(inside);
            assert!(before == kernel.bookkeeping(), "freed {inside}");
        }
    }
    on_all!(check);
}

/// A review found that a plugin could store a handle and a length just below the floor, have the next record laid over
/// it, and so own a block that nobody allocated: freed, it made room for a block over somebody else's.
#[test]
fn bytes_stored_where_a_record_will_lie_make_no_block() {
    fn check(kernel: &mut dyn Subject) {
        let mine = kernel.alloc(1000);
        for word in 1..=6 {
            kernel.store_u64(kernel.floor() - 8 * word, (mine + 16) | 500 << 32);
        }
        kernel.alloc(8);
        let theirs = kernel.alloc(1000);
        kernel.use_up(3000);
        let pages = kernel.pages();
        kernel.set_limit(pages);
        for record in (kernel.floor()..pages * PAGE).step_by(8) {
            kernel.store_u64(mine + 8, record);
            assert_eq!(
                kernel.length(mine + 16),
                0,
                "{record} is taken for a record"
            );
            kernel.free(mine + 16);
        }
        let thief = kernel.alloc(2000);
        assert!(thief == 0 || thief + 2000 <= theirs || thief >= theirs + 1000);
    }
    on_all!(check);
}

/// Likewise for the old links in the record of a block that was handed out again: when growth has moved the records, they are places
/// in the heap.
#[test]
fn old_links_make_no_block() {
    fn check(kernel: &mut dyn Subject) {
        let a = kernel.alloc(1000);
        kernel.alloc(8);
        let b = kernel.alloc(2000);
        kernel.alloc(8);
        kernel.use_up(3000);
        kernel.free(a);
        kernel.free(b);
        let record = |kernel: &mut dyn Subject, handle| kernel.load_u64(handle - 8) & 0xFFFF_FFFF;
        let b_record = record(kernel, b);
        kernel.set_limit(1);
        assert_eq!(kernel.alloc(1000), a);
        kernel.set_limit(65536);
        let large = kernel.alloc(3 * PAGE);
        assert!((large..large + 3 * PAGE).contains(&b_record));
        let a_record = record(kernel, a);
        for word in [8, 16] {
            kernel.store_u64(b_record - 8, a_record + word);
            assert_eq!(kernel.length(b_record), 0);
            // The word behind an old link may be 0, so a length of 0 alone says nothing.
            let before = kernel.bookkeeping();
            kernel.free(b_record);
            assert!(before == kernel.bookkeeping());
        }
    }
    on_all!(check);
}

/// Whatever was stored where records came to lie, and whatever records were before: no word of them is taken for a record's first.
#[test]
fn no_word_of_the_records_makes_a_block() {
    fn check(kernel: &mut dyn Subject, seed: u64) {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        kernel.set_limit(3 + random.below(4));
        let mut live: Vec<Range<u64>> = Vec::new();
        let mut given = vec![kernel.base() + 8];
        for _ in 0..200 {
            match random.below(8) {
                0..=2 => {
                    let n = random.pick(&[10, 100, 3000, 20_000, 70_000]);
                    let n = 1 + random.below(n);
                    let handle = kernel.alloc(n);
                    let block = handle..handle + n;
                    let is_apart =
                        |other: &Range<u64>| block.start >= other.end || block.end <= other.start;
                    if handle != 0 {
                        assert!(live.iter().all(is_apart), "seed {seed}: {block:?}");
                        given.push(handle);
                        live.push(block);
                    }
                }
                3 | 4 => {
                    for _ in 0..random.below(4).min(live.len() as u64) {
                        let block = live.swap_remove(random.below(live.len() as u64) as usize);
                        kernel.free(block.start);
                    }
                }
                5 | 6 => {
                    for word in 1..=random.below(30) {
                        let handle = random.pick(&given) + 8 * random.below(4);
                        let offset = kernel.floor() - 8 * word;
                        if !live.iter().any(|block| offset < block.end) {
                            kernel.store_u64(offset, handle | random.below(3000) << 32);
                        }
                    }
                }
                _ => {
                    let top = u64::from(kernel.registers().peak) + 24;
                    for record in (kernel.floor()..top).step_by(8) {
                        let word = &kernel.memory()[record as usize..][..4];
                        let handle = u64::from(u32::from_le_bytes(word.try_into().unwrap()));
                        let near = |block: &Range<u64>| {
                            (block.start - 15..block.end + 8).contains(&handle)
                        };
                        if handle < kernel.base() + 8 || live.iter().any(near) {
                            continue;
                        }
                        kernel.store_u64(handle - 8, record);
                        assert_eq!(kernel.length(handle), 0, "seed {seed}: at {record}");
                    }
                }
            }
        }
        for block in live {
            assert_eq!(
                kernel.length(block.start),
                block.end - block.start,
                "seed {seed}"
            );
        }
    }
    for seed in 1..200 {
        check(&mut native(), seed);
    }
    #[cfg(not(native_only))]
    for module in shipped() {
        for seed in 1..10 {
            check(&mut Lockstep::new(module), seed);
        }
    }
}

/// Calls every export with hostile arguments after a host has scribbled, on a budget.
///
/// Growth for an honest block may move a page full of records, and `reset` fills memory at a fuel a byte.
fn call_everything(kernel: &mut dyn Subject, random: &mut Random, blocks: &[u64], budget: u64) {
    for _ in 0..12 {
        let a = match random.below(4) {
            0 => random.pick(&EDGES),
            1 => random.below(kernel.memory().len() as u64 + 16),
            2 => random.below(3000),
            _ => random.pick(blocks),
        };
        let b = forged(random, kernel, blocks) >> random.below(64);
        for call in Call::all(a, b) {
            // Not before all others have seen the memory as it is.
            if call == Call::Reset {
                continue;
            }
            let (result, cost) = kernel.attempt(call, budget);
            assert!(
                result.is_some(),
                "{call:?} trapped, or took more than {cost}"
            );
        }
        let handles = [a, random.pick(blocks), random.below(PAGE) & !7];
        kernel.check_reported_ranges(&handles);
    }
}

/// A host scribbles, everything is called, and after `reset` all is as new.
fn check_scribbling(
    kernel: &mut dyn Subject,
    seed: u64,
    budget: u64,
    scribble: impl Fn(&mut [u8], &mut Random, Range<usize>),
) {
    let mut random = Random(seed);
    let mut blocks = settle(kernel);
    kernel.set_limit(3);
    for _ in 0..3 {
        // Where the records are: half of the time that is what is hit.
        let end = kernel.memory().len();
        let records = if end == PAGE as usize {
            end - 3000..end
        } else {
            end - 5000..end
        };
        scribble(kernel.memory_mut(), &mut random, records);
        call_everything(kernel, &mut random, &blocks, budget);
        blocks.push(kernel.alloc(1 + random.below(100)));
    }
    kernel.memory_mut().fill(0);
    kernel.error_set(0);
    kernel.reset();
    kernel.check_as_new(&[]);
    // All promises hold again.
    let mut handles = settle(kernel);
    handles.retain(|&handle| kernel.length(handle) != 0);
    // A freed one may have come back.
    handles.sort_unstable();
    handles.dedup();
    for (i, &handle) in handles.iter().enumerate() {
        let length = kernel.length(handle);
        kernel.fill(handle, length, i as u8);
    }
    for (i, &handle) in handles.iter().enumerate() {
        let length = kernel.length(handle);
        assert!(kernel.is_filled(handle, length, i as u8));
    }
    kernel.reset();
    kernel.check_as_new(&[]);
}

/// Memory with words over it that look like bookkeeping.
fn scribble_words(memory: &mut [u8], random: &mut Random, records: Range<usize>) {
    for _ in 0..1 + random.below(60) {
        let at = match random.below(3) {
            0 => random.below(64) as usize * 4,
            1 => (records.start as u64 + random.below(records.len() as u64 / 4) * 4) as usize,
            _ => random.below(memory.len() as u64 / 4) as usize * 4,
        };
        let value = match random.below(6) {
            0 => 0,
            1 => random.below(200) as u32,
            2 | 3 => (records.start as u64 + random.below(records.len() as u64 / 8) * 8) as u32,
            4 => random.below(memory.len() as u64) as u32,
            _ => random.next() as u32,
        };
        // Copies of real words make the most plausible lies.
        let source =
            (records.start as u64 + random.below(records.len() as u64 / 4 - 1) * 4) as usize;
        let word: [u8; 4] = match random.below(3) {
            0 => memory[source..][..4].try_into().unwrap(),
            _ => value.to_le_bytes(),
        };
        let at = at.min(memory.len() - 4);
        memory[at..][..4].copy_from_slice(&word);
    }
}

/// All of the memory, or a large part, with one byte or noise.
fn scribble_all(memory: &mut [u8], random: &mut Random, _: Range<usize>) {
    let start = if random.below(2) == 0 {
        0
    } else {
        random.below(memory.len() as u64) as usize
    };
    match random.below(3) {
        0 => memory[start..].fill(random.next() as u8),
        1 => memory[start..].fill(random.pick(&[0, 1, 2, 8, 0xFF])),
        _ => memory[start..]
            .iter_mut()
            .for_each(|byte| *byte = random.next() as u8),
    }
}

/// More than any call may cost natively: growth moves a page full of records at some 20 operations each.
const NATIVE_BUDGET: u64 = 60_000;
/// The same in fuel.
#[cfg(not(native_only))]
const FUEL: u64 = 1_000_000;

#[test]
fn scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there() {
    for seed in 1..400 {
        check_scribbling(&mut native(), seed, NATIVE_BUDGET, scribble_words);
    }
    for seed in 1..30 {
        check_scribbling(&mut native(), seed, NATIVE_BUDGET, scribble_all);
    }
    #[cfg(not(native_only))]
    for module in shipped() {
        for seed in 1..12 {
            check_scribbling(&mut Lockstep::new(module), seed, FUEL, scribble_words);
        }
        check_scribbling(&mut Lockstep::new(module), 1, FUEL, scribble_all);
    }
}

/// After a host's one-word scribble version 0.1.0 itself wrote where no reset zeroes: a hint into fresh space, and an unaligned record
/// up to 22 bytes behind the others. So here nothing is zeroed by the test but what the host wrote.
#[test]
fn what_the_kernel_writes_after_a_scribble_is_zeroed() {
    let settled = &mut native();
    let blocks = settle(settled);
    settled.set_limit(2);
    let floor = settled.floor();
    let mut random = Random(11);
    for address in (8..settled.base())
        .step_by(4)
        .chain((floor..PAGE).step_by(4))
    {
        let lies = [
            floor + 24 * random.below(60),
            floor + 4 * random.below(300),
            PAGE - 48 - random.below(24),
            settled.frontier() + random.below(400),
            blocks[random.below(blocks.len() as u64) as usize] + random.below(3),
            random.below(64),
        ];
        for lie in lies {
            let kernel = &mut settled.clone();
            kernel.memory_mut()[address as usize..][..4]
                .copy_from_slice(&(lie as u32).to_le_bytes());
            for call in [
                Call::Free(blocks[4]),
                Call::Alloc(100),
                Call::Free(blocks[16]),
                Call::Alloc(16),
                Call::Alloc(65_000),
                Call::Free(blocks[10]),
                Call::Alloc(700),
            ] {
                let (result, _) = kernel.attempt(call, NATIVE_BUDGET);
                assert!(result.is_some(), "{call:?} with {lie} at {address}");
            }
            kernel.reset();
            kernel.check_zero(&[]);
        }
    }
}

/// In version 0.1.0 the ages of free regions came round after 2^31 of them, 94 seconds of a plugin's time, and blocks then overlapped.
/// Now nothing counts: a plugin that does the same for ever comes back to the same registers.
#[test]
fn nothing_counts_up() {
    fn check(kernel: &mut dyn Subject, turns: u64) {
        let blocks = settle(kernel);
        kernel.set_limit(kernel.pages());
        let mut seen: Vec<extism_kernel::machine::Registers> = Vec::new();
        let mut handles = blocks.clone();
        for turn in 0..turns {
            let i = (turn * 7 % handles.len() as u64) as usize;
            kernel.free(handles[i]);
            handles[i] = kernel.alloc(8 + turn * 31 % 40);
            if handles[i] == 0 {
                handles[i] = kernel.alloc(8);
            }
            if turn > turns / 2 {
                seen.push(kernel.registers().clone());
            }
        }
        let most = |of: fn(&extism_kernel::machine::Registers) -> u64| {
            let half = seen.len() / 2;
            let most = |some: &[_]| some.iter().map(of).max();
            (most(&seen[..half]), most(&seen[half..]))
        };
        for (early, late) in [
            most(|r| r.common),
            most(|r| r.far),
            most(|r| r.dirty),
            most(|r| r.reserve),
            most(|r| r.owned),
            most(|r| r.growing),
        ] {
            assert_eq!(early, late);
        }
        assert!(seen.iter().all(|r| r.patience <= 64));
    }
    check(&mut native(), 20_000);
    // Also from where the one register that counts is at its ends.
    for patience in 0..=64 {
        let kernel = &mut native();
        let blocks: Vec<_> = (0..200).map(|_| kernel.alloc(24)).collect();
        for block in blocks.iter().step_by(2).take(64 - patience) {
            kernel.free(*block);
        }
        assert_eq!(kernel.registers().patience, patience as u32);
        for block in blocks.iter().skip(1).step_by(2) {
            kernel.free(*block);
            assert!(kernel.registers().patience <= 64);
        }
        kernel.use_up(100);
        for _ in 0..200 {
            kernel.alloc(24);
        }
        kernel.reset();
        kernel.check_as_new(&[]);
    }
}

/// A reset where nothing was used zeroes only the words that lead to free blocks: of those none may be left.
#[test]
fn a_reset_of_nothing_forgets_what_a_host_wrote_over_the_low_memory() {
    fn check(kernel: &mut dyn Subject, word: u32) {
        let mut as_ever = native();
        for _ in 0..2 {
            for word_of_low_memory in kernel.memory_mut()[..32].chunks_mut(4) {
                word_of_low_memory.copy_from_slice(&word.to_le_bytes());
            }
            kernel.reset();
            let lengths = |kernel: &mut dyn Subject| -> Vec<_> {
                let handles = settle(kernel);
                handles.iter().map(|&h| (h, kernel.length(h))).collect()
            };
            assert_eq!(lengths(kernel), lengths(&mut as_ever), "{word:#x}");
            kernel.reset();
            as_ever.reset();
        }
    }
    let record = PAGE as u32 - 40 - 24;
    for word in [1, 8, 16, 24, 40, record - 24 * 20, record - 24, record, !0] {
        on_all!(|kernel: &mut dyn Subject| check(kernel, word));
    }
}

/// A review found words, laid across each other, that let a block wait again as often as it was filed: `alloc` would have
/// ended after 2^31 turns. Whatever leads in a circle, lists, trees, and those that wait, it ends soon.
#[test]
fn links_in_circles_end() {
    fn check(kernel: &mut dyn Subject, seed: u64, budget: u64) {
        let mut random = Random(seed);
        let blocks = settle(kernel);
        kernel.set_limit(3);
        let base = kernel.base() as usize;
        let floor = kernel.floor() as u32;
        let count = (PAGE as u32 - 40 - floor) / 24;
        for _ in 0..4 {
            // All links lead to a handful of records, and all roots too.
            let few: Vec<u32> = (0..3)
                .map(|_| floor + 24 * random.below(count.into()) as u32)
                .collect();
            let memory = kernel.memory_mut();
            for cell in memory[8..base].chunks_exact_mut(4) {
                cell.copy_from_slice(&random.pick(&few).to_le_bytes());
            }
            for record in 0..count {
                let at = (floor + 24 * record) as usize;
                for field in [8, 12, 16, 20] {
                    memory[at + field..][..4].copy_from_slice(&random.pick(&few).to_le_bytes());
                }
            }
            for call in [
                Call::Alloc(8),
                Call::Free(blocks[3]),
                Call::Alloc(3000),
                Call::Free(blocks[7]),
                Call::Alloc(300),
                Call::Alloc(60_000),
                Call::Alloc(100),
            ] {
                let (answer, cost) = kernel.attempt(call, budget);
                assert!(
                    answer.is_some(),
                    "{call:?} not done after {cost}, seed {seed}"
                );
            }
        }
        kernel.memory_mut().fill(0);
        kernel.reset();
        kernel.check_as_new(&[]);
    }
    for seed in 1..200 {
        check(&mut native(), seed, NATIVE_BUDGET);
    }
    #[cfg(not(native_only))]
    for module in shipped() {
        (1..20).for_each(|seed| check(&mut Lockstep::new(module), seed, FUEL));
    }
}

/// After calls were stopped fewer blocks may wait than the register says. The last two of them become one, which then is the last:
/// else what is freed next would be linked to a spare record.
#[test]
fn where_fewer_wait_than_the_register_says_the_last_two_may_become_one() {
    let mut kernel = extism_kernel::Kernel::new(extism_kernel::NativeMachine::default());
    let blocks: Vec<_> = (0..20).map(|_| kernel.alloc(24)).collect();
    kernel.free(blocks[0]);
    kernel.machine_mut().registers.patience = 0;
    kernel.free(blocks[1]);
    let registers = &kernel.machine().registers;
    assert_eq!(registers.bins, 1, "a record is spare");
    assert_eq!(
        registers.tail, registers.peak,
        "the record of the first block"
    );
    for block in blocks.iter().skip(3).step_by(2) {
        kernel.free(*block);
    }
    kernel.machine_mut().limit = 1;
    let mut live: Vec<_> = blocks.iter().skip(2).step_by(2).copied().collect();
    for n in [8, 24, 56].into_iter().cycle() {
        match kernel.alloc(n) {
            0 => break,
            block => live.push(block),
        }
    }
    live.sort_unstable();
    for pair in live.windows(2) {
        assert!(pair[0] + kernel.length(pair[0]) <= pair[1] - 8, "{pair:?}");
    }
}

/// A block of exactly the size is handed out unmerged, and was so without a look at where it lies: after a host had written over its
/// record, `alloc` wrote the hint outside of the memory.
#[test]
fn a_block_that_waits_where_no_memory_is_is_not_handed_out() {
    fn check(kernel: &mut dyn Subject, address: u32, state: u32, frees: usize) {
        kernel.set_limit(1);
        let handles: Vec<_> = (0..frees).map(|_| kernel.alloc(64)).collect();
        // Until only what is freed is left.
        while kernel.alloc(64) != 0 {}
        handles.iter().for_each(|&handle| kernel.free(handle));
        let first = u64::from(kernel.registers().peak);
        let records = first as usize + 24 - 24 * frees..first as usize + 24;
        for record in records.step_by(24) {
            let word = &mut kernel.memory_mut()[record..][..4];
            if word[0] & 7 != 0 {
                word.copy_from_slice(&(address | state).to_le_bytes());
            }
        }
        for n in [64, 64, 57, 1000] {
            let (answer, _) = kernel.attempt(Call::Alloc(n), model::ENDLESS);
            let handle = answer.expect("alloc does not trap");
            assert!(handle == 0 || handle + n <= kernel.floor(), "{handle}");
        }
    }
    for address in [0, 8, 248, 256, 65_528, 65_536, 0x8000_0000, 0xFFFF_FFF8] {
        for (state, frees) in [(1, 1), (1, 64), (1, 90), (2, 90)] {
            on_all!(|kernel: &mut dyn Subject| check(kernel, address, state, frees));
        }
    }
}

/// The proofs found that `cut` looked for room for a record first, then took a region out of its list, and then added the record: after
/// a host had written over the region's link, taking it out could empty the list of spare records, and the new record lay
/// over the guard.
#[test]
fn no_record_lies_over_data_whatever_a_link_leads_to() {
    fn check(kernel: &mut dyn Subject) {
        const SPARE: u32 = 24; // the root of the spare records
        let pairs: Vec<_> = (0..60)
            .map(|_| [kernel.alloc(100), kernel.alloc(100), kernel.alloc(8)])
            .collect();
        kernel.use_up(4096);
        let pages = kernel.pages();
        kernel.set_limit(pages);
        for [first, second, _] in pairs {
            kernel.free(first);
            kernel.free(second);
        }
        let room = |kernel: &dyn Subject| kernel.floor().checked_sub(kernel.frontier());
        let word = |kernel: &dyn Subject, at: u64| {
            let bytes = &kernel.memory()[at as usize..][..4];
            u32::from_le_bytes(bytes.try_into().unwrap())
        };
        // Cut, until there is no room for records, which is so as long as it would do for three.
        while room(kernel).unwrap() >= 80 {
            assert_ne!(kernel.alloc(8), 0);
        }
        for times in 0..4 {
            // Of a region that is merged and taken whole, one is spare.
            while word(kernel, SPARE.into()) == 0 {
                assert_ne!(kernel.alloc(205), 0);
            }
            let peak = u64::from(kernel.registers().peak);
            let region = (kernel.floor()..=peak)
                .step_by(24)
                .find(|&record| word(kernel, record) & 7 == 2 && word(kernel, record + 4) >= 24);
            let Some(region) = region else {
                assert_ne!(times, 0, "no region that can be cut");
                break;
            };
            kernel.memory_mut()[region as usize + 12..][..4].copy_from_slice(&SPARE.to_le_bytes());
            kernel.alloc(8);
            assert!(room(kernel) >= Some(8), "{:?}", room(kernel));
        }
        for _ in 0..5000 {
            let (answer, _) = kernel.attempt(Call::Alloc(8), model::ENDLESS);
            answer.expect("alloc does not trap");
            assert!(room(kernel) >= Some(8), "{:?}", room(kernel));
        }
    }
    on_all!(check);
}

/// A region's record says how long it is, and a host may have written there.
#[test]
fn no_block_reaches_above_the_frontier_whatever_a_record_says() {
    fn check(kernel: &mut dyn Subject) {
        let first = kernel.alloc(33_000);
        kernel.use_up(4096);
        let pages = kernel.pages();
        kernel.set_limit(pages);
        kernel.free(first);
        assert_eq!(kernel.alloc(60_000), 0, "more than was freed");
        let region = (kernel.floor()..=u64::from(kernel.registers().peak))
            .step_by(24)
            .find(|&record| kernel.memory()[record as usize..][..4] == [2, 1, 0, 0])
            .expect("the region at 256 is filed");
        let length = region as usize + 4;
        kernel.memory_mut()[length..][..4].copy_from_slice(&65_528_u32.to_le_bytes());
        // Below the records, but above what was handed out.
        let end = kernel.frontier() + 100;
        assert!(end < kernel.floor());
        assert_eq!(kernel.alloc(end - first), 0);
    }
    on_all!(check);
}

#[test]
fn every_word_of_bookkeeping_may_be_any_plausible_lie() {
    let settled = &mut native();
    let blocks = settle(settled);
    settled.set_limit(2);
    let records = settled.floor()..PAGE;
    let lies = [
        0,
        8,
        records.start,
        records.start + 24,
        records.start + 25,
        PAGE - 48,
        PAGE - 4,
        blocks[3],
        blocks[3] + 1,
        blocks[4] + 2,
        0xFFFF_FFFF,
    ];
    for address in (0..64).step_by(4).chain((records.start..PAGE).step_by(4)) {
        for lie in lies {
            let kernel = &mut settled.clone();
            kernel.memory_mut()[address as usize..][..4]
                .copy_from_slice(&(lie as u32).to_le_bytes());
            for call in [
                Call::Alloc(16),
                Call::Free(blocks[4]),
                Call::Alloc(2000),
                Call::Free(blocks[16]),
                Call::Alloc(30_000),
                Call::Alloc(65_000),
                Call::Alloc(500),
            ] {
                let (result, _) = kernel.attempt(call, NATIVE_BUDGET);
                assert!(result.is_some(), "{call:?} with {lie} at {address}");
            }
            kernel.check_reported_ranges(&blocks);
        }
    }
}

/// In version 0.1.0 one `alloc` merged all blocks that had been freed since the last: with a million of them 872 ms.
#[test]
fn no_call_costs_more_where_there_are_many_blocks() {
    // Reads, writes and registers, of which no call but growth and reset takes more.
    const MOST: u64 = 20_000;
    let kernel = &mut native();
    let mut most = [0; 3];
    let mut cost = |kernel: &mut dyn Subject, call| {
        let cost = kernel.attempt(call, model::ENDLESS).1;
        let kind = match call {
            Call::Alloc(_) => 0,
            Call::Free(_) => 1,
            _ => 2,
        };
        most[kind] = cost.max(most[kind]);
    };
    // 30,000 regions that can't merge, of sizes that lie close together.
    let blocks: Vec<_> = (0..30_000)
        .map(|i| (kernel.alloc(8 + i % 64 * 8), kernel.alloc(8)))
        .collect();
    kernel.use_up(3000);
    for &(block, neighbour) in &blocks {
        cost(kernel, Call::Length(neighbour));
        cost(kernel, Call::Length(neighbour + 8));
        cost(kernel, Call::Free(block));
    }
    kernel.set_limit(kernel.pages());
    for i in 0..10_000 {
        cost(kernel, Call::Alloc(1 + i * 37 % 512));
        cost(kernel, Call::Alloc(60_000));
    }
    // And then all merge.
    for &(block, neighbour) in &blocks {
        cost(kernel, Call::Free(neighbour));
        cost(kernel, Call::Free(block));
    }
    cost(kernel, Call::Alloc(1 << 31));
    println!("at most {most:?} operations for alloc, free and length");
    assert!(most[0] < MOST && most[1] < 1000 && most[2] < 16, "{most:?}");
}

#[test]
fn stale_second_frees_lose_no_value() {
    fn check(kernel: &mut dyn Subject, calls: u64, sizes: &[(u64, u64)], before_length: bool) {
        for call in 0..calls {
            let (a, b) = sizes[call as usize % sizes.len()];
            let key = kernel.alloc(a);
            // The host frees the key, and allocates the value.
            kernel.free(key);
            let value = kernel.alloc(b);
            let seed = call as u8;
            kernel.fill(value, b, seed);
            // moonbit-pdk frees the key before it asks for the value's length, go-pdk after.
            if before_length {
                kernel.free(key);
            }
            assert_eq!(kernel.length(value), b, "call {call}: {a}, {b}");
            kernel.free(key);
            let next = kernel.alloc(a);
            assert_eq!(kernel.length(value), b, "call {call}: {a}, {b}");
            assert!(kernel.is_filled(value, b, seed), "call {call}: {a}, {b}");
            kernel.free(value);
            kernel.free(next);
        }
        assert!(kernel.pages() <= 2, "{} pages", kernel.pages());
    }
    const SIZES: [(u64, u64); 6] = [(5, 5), (5, 200), (200, 5), (64, 64), (9, 16), (1000, 300)];
    for before_length in [false, true] {
        check(&mut native(), 100_000, &SIZES, before_length);
        for sizes in SIZES.chunks(1) {
            check(&mut native(), 10_000, sizes, before_length);
        }
        #[cfg(not(native_only))]
        for module in shipped() {
            check(&mut Wasm::new(module), 10_000, &SIZES, before_length);
        }
    }
}

/// A script through every path of the kernel: bump, reuse, split, merge, growth, records that move, pages of
/// somebody else, free, reset. `go` makes the calls, until one is stopped; then the script ends.
fn script(
    kernel: &mut dyn Subject,
    with_gap: bool,
    go: &mut dyn FnMut(&mut dyn Subject, Call) -> Option<u64>,
) -> Option<Vec<Range<usize>>> {
    let mut foreign = Vec::new();
    let mut stopped = false;
    let mut run = |kernel: &mut dyn Subject, call| {
        if stopped {
            return 0;
        }
        let result = go(kernel, call);
        stopped = result.is_none();
        result.unwrap_or(0)
    };
    let mut blocks = Vec::new();
    for n in [10, 200, 8, 64, 5000, 30_000] {
        blocks.push(run(kernel, Call::Alloc(n)));
    }
    run(kernel, Call::StoreU64(blocks[5], u64::MAX));
    run(kernel, Call::StoreU64(60_000, u64::MAX));
    run(kernel, Call::Free(blocks[1]));
    run(kernel, Call::Free(blocks[2]));
    run(kernel, Call::Free(blocks[4]));
    if with_gap {
        foreign.push(kernel.grow_by_somebody_else(1));
    }
    for n in [40_000, 70_000, 20_000, 100, 4000, 3000, 190, 50_000] {
        blocks.push(run(kernel, Call::Alloc(n)));
    }
    let odd: Vec<_> = blocks.iter().copied().skip(5).step_by(2).collect();
    for block in odd {
        run(kernel, Call::Free(block));
    }
    for n in [25_000, 30_000, 100_000, 16, 1000, 140_000] {
        blocks.push(run(kernel, Call::Alloc(n)));
    }
    run(kernel, Call::InputSet(blocks[0], 10));
    run(kernel, Call::OutputSet(blocks[3], 64));
    run(kernel, Call::ErrorSet(blocks[0]));
    run(kernel, Call::StoreU8(blocks[3] + 70, 9));
    run(kernel, Call::Reset);
    stopped.then_some(foreign)
}

/// The same for a first block that takes growth, so that nothing lay in the memory before.
fn growth_first(
    kernel: &mut dyn Subject,
    with_gap: bool,
    go: &mut dyn FnMut(&mut dyn Subject, Call) -> Option<u64>,
) -> Option<Vec<Range<usize>>> {
    let mut foreign = Vec::new();
    if with_gap {
        foreign.push(kernel.grow_by_somebody_else(1));
    }
    let calls = [Call::Alloc(70_000), Call::Reset, Call::Alloc(140_000)];
    let stopped = calls.into_iter().any(|call| go(kernel, call).is_none());
    stopped.then_some(foreign)
}

type Script = fn(
    &mut dyn Subject,
    bool,
    &mut dyn FnMut(&mut dyn Subject, Call) -> Option<u64>,
) -> Option<Vec<Range<usize>>>;

/// Checks that nobody wrote into pages of somebody else, which hold 0xEE.
fn check_untouched(kernel: &dyn Subject, foreign: &[Range<usize>]) {
    for range in foreign {
        assert!(kernel.memory()[range.clone()] == vec![0xEE; range.len()]);
    }
}

/// Stops the script after `budget`; then everything must be as new.
fn check_interruption(
    kernel: &mut dyn Subject,
    script: Script,
    with_gap: bool,
    budget: u64,
) -> bool {
    let mut left = budget;
    let foreign = script(kernel, with_gap, &mut |kernel, call| {
        let (result, cost) = kernel.attempt(call, left);
        left -= cost.min(left);
        result
    });
    let Some(foreign) = foreign else {
        return false;
    };
    kernel.error_set(0);
    kernel.reset();
    kernel.check_as_new(&foreign);
    check_untouched(kernel, &foreign);
    // And of use: also what needs growth.
    for n in [100, 40_000, 70_000] {
        let handle = kernel.alloc(n);
        assert_eq!(kernel.length(handle), n, "stopped after {budget}");
    }
    check_untouched(kernel, &foreign);
    true
}

#[test]
fn native_calls_may_be_stopped_at_any_operation() {
    let scripts: [(Script, usize); 2] = [(script, 300), (growth_first, 10)];
    for (script, expected) in scripts {
        for with_gap in [false, true] {
            let points = (0..)
                .take_while(|&budget| check_interruption(&mut native(), script, with_gap, budget));
            let points = points.count();
            println!("{points} operations, each of them stopped");
            assert!(points > expected, "{points}");
        }
    }
}

/// In version 0.1.0 a call that was stopped while it crossed a gap, and made again without a reset, zeroed all of somebody else's
/// page; stopped between two writes of registers, growth was lost, or `reset` trapped. Stopped twice anywhere, with a reset between
/// or without, no call traps, no page of somebody else's is touched, and a reset makes all as new.
#[test]
fn native_calls_may_be_stopped_twice() {
    fn calls(kernel: &mut dyn Subject, budget: u64) -> bool {
        let mut left = budget;
        // Within the page, growth, what was freed, a region that is cut, and growth again.
        let [first, large] = [256, 256 + 30_008];
        let calls = [
            Call::Alloc(30_000),
            Call::Alloc(34_000),
            Call::Free(first),
            Call::Alloc(70_000),
            Call::Free(large),
            Call::Alloc(900),
            Call::Alloc(140_000),
        ];
        calls.into_iter().any(|call| {
            let (result, cost) = kernel.attempt(call, left);
            left -= cost.min(left);
            result.is_none()
        })
    }
    let mut pairs = 0;
    for (with_gap, with_reset) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut first = 0;
        loop {
            let once = &mut native();
            let foreign = if with_gap {
                vec![once.grow_by_somebody_else(1)]
            } else {
                vec![]
            };
            if !calls(once, first) {
                break;
            }
            if with_reset {
                once.reset();
            }
            // Every place near the beginning, then some.
            let mut second = 0;
            loop {
                let twice = &mut once.clone();
                let stopped = calls(twice, second);
                check_untouched(twice, &foreign);
                let bytes = twice.memory().len() as u64;
                twice.error_set(0);
                twice.reset();
                twice.check_as_new(&foreign);
                check_untouched(twice, &foreign);
                // No growth is lost: all of the memory can be had again, less what lies in front of a gap.
                let most = bytes - if with_gap { 2 * PAGE } else { 0 };
                if most > 0 {
                    let handle = twice.alloc(most - 1100);
                    assert_ne!(handle, 0, "stopped after {first} and {second}");
                    assert!(
                        twice.memory().len() as u64 == bytes,
                        "stopped after {first} and {second}"
                    );
                }
                pairs += 1;
                if !stopped {
                    break;
                }
                second += 1 + second / 16;
            }
            first += 1;
        }
    }
    println!("{pairs} pairs of places");
    assert!(pairs > 10_000);
}

/// Where growth comes first, nothing but the growth itself tells the reset that something was done: it must set aright
/// what the growth left halfway, or the new pages are lost.
#[test]
fn a_first_growth_that_is_stopped_loses_no_memory() {
    fn check(kernel: &mut dyn Subject, budget: u64) -> bool {
        let stopped = kernel.attempt(Call::Alloc(70_000), budget).0.is_none();
        kernel.reset();
        let bytes = kernel.memory_bytes();
        assert_ne!(kernel.alloc(bytes - 1000), 0, "stopped after {budget}");
        assert_eq!(kernel.memory_bytes(), bytes, "stopped after {budget}");
        stopped
    }
    let points = (0..).take_while(|&budget| check(&mut native(), budget));
    assert!(points.count() > 5);
    #[cfg(not(native_only))]
    for module in shipped() {
        let points = (1..).take_while(|&budget| check(&mut Wasm::new(module), budget));
        assert!(points.count() > 100);
    }
}

/// The fuel that the script takes.
#[cfg(not(native_only))]
fn total_fuel(module: &wasmtime::Module, script: Script, with_gap: bool) -> u64 {
    let mut total = 0;
    script(&mut Wasm::new(module), with_gap, &mut |kernel, call| {
        let (result, cost) = kernel.attempt(call, model::ENDLESS);
        total += cost;
        result
    });
    total
}

#[cfg(not(native_only))]
#[test]
fn shipped_calls_may_be_stopped_at_any_fuel() {
    for module in shipped() {
        for (script, with_gap) in [
            (script as Script, false),
            (script, true),
            (growth_first, false),
            (growth_first, true),
        ] {
            let total = total_fuel(module, script, with_gap);
            // The last call is the reset, at a fuel a byte or more: where its fill stops makes no difference, so
            // only some points of it are tried.
            let (mut budget, mut points) = (1, 0);
            while check_interruption(&mut Wasm::new(module), script, with_gap, budget) {
                points += 1;
                budget += if budget > 20_000 { total / 200 } else { 1 };
            }
            println!("{points} of {total} fuel");
        }
    }
}

#[test]
fn the_last_pages_of_4_gib() {
    let kernel = &mut vast();
    let largest = (1 << 32) - 3 * PAGE;
    let low = kernel.alloc(1000);
    let block = kernel.alloc(largest);
    assert_eq!(kernel.length(block), largest);
    assert!(block + largest < 1 << 32);
    let mut blocks = Vec::new();
    for n in [70_000, 30_000, 8000, 1000, 100, 8] {
        loop {
            let handle = kernel.alloc(n);
            if handle == 0 {
                break;
            }
            assert!(handle + n <= kernel.floor());
            kernel.fill(handle, n, n as u8);
            blocks.push((handle, n));
        }
    }
    assert_eq!(kernel.memory_bytes(), 1 << 32);
    for edge in [kernel.floor(), 1 << 32] {
        for delta in -40..=40 {
            let offset = edge.wrapping_add_signed(delta);
            let before = kernel.registers().clone();
            let inside = kernel.in_heap(offset, 8);
            let expected = if inside { kernel.load_u64(offset) } else { 0 };
            assert_eq!(kernel.load_u64(offset), expected);
            if !inside {
                kernel.store_u64(offset, u64::MAX);
                kernel.output_set(offset, 8);
                assert!(before == *kernel.registers());
            }
        }
    }
    assert!(
        blocks
            .iter()
            .all(|&(handle, n)| kernel.is_filled(handle, n, n as u8))
    );
    assert_eq!(kernel.length(low), 1000);
    // Reuse, where sums come closest to 2^32.
    for &(handle, _) in &blocks {
        kernel.free(handle);
    }
    let (last, _) = blocks[0];
    assert_eq!(kernel.alloc(70_000), last);
    kernel.free(block);
    assert_eq!(kernel.alloc(largest), block);
    for n in [
        largest + 8 * PAGE,
        (1 << 32) - 1,
        (1 << 32) - 8,
        (1 << 32) - 64,
    ] {
        assert_eq!(kernel.alloc(n), 0);
    }
    assert_eq!(kernel.memory_bytes(), 1 << 32);
}
