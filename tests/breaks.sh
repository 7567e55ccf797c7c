#!/usr/bin/env bash
# Breaks the kernel's promises one by one on a copy of the source, and checks that the test named beside each fails.
# tests/README.md has the table. Arguments, if any, are the names of the breaks to try.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$PWD/target/breaks
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z | xargs -0 cp --parents --target-directory="$copy"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/breaks-build PROPTEST_CASES=16
wanted=" $* "
missed=0 caught=0

try() { # NAME FILE PERL-SUBSTITUTION TARGET TEST
  case "$wanted" in "  " | *" $1 "*) ;; *) return ;; esac
  local file=$copy/src/kernel/$2 log=$copy/$1.log status
  if ! grep -qF "\`$1\` | \`$4\`: \`$5\` |" tests/README.md; then
    echo "STALE   $1: tests/README.md has another test beside it, or none"
    missed=$((missed + 1))
  fi
  cp "src/kernel/$2" "$file"
  perl -0pi -e "$3" "$file"
  if cmp -s "src/kernel/$2" "$file"; then
    echo "STALE   $1: nothing in $2 matches any more"
    missed=$((missed + 1))
    return
  fi
  local package=(--quiet --package extism-kernel-native --test "$4")
  # Built apart, since what doesn't compile shows nothing, nor does a slow build.
  if ! (cd "$copy" && cargo test "${package[@]}" --no-run) >"$log" 2>&1; then
    echo "STALE   $1: doesn't compile (see $log)"
    missed=$((missed + 1))
  else
    (cd "$copy" && timeout 120 cargo test "${package[@]}" -- --exact "$5") >>"$log" 2>&1 && status=0 || status=$?
    # Ends with 124 if it didn't end.
    if [ "$status" = 124 ] || { [ "$status" != 0 ] && grep -q "^test result: FAILED" "$log"; }; then
      echo "caught  $1 by $4: $5"
      caught=$((caught + 1))
    else
      echo "MISSED  $1 by $4: $5 (see $log)"
      missed=$((missed + 1))
    fi
  fi
  cp "src/kernel/$2" "$file"
}

# Were a test to fail anyway, it would catch everything.
(cd "$copy" && cargo test --quiet --package extism-kernel-native --test contract --test adversary --test model_test) >"$copy/unbroken.log" 2>&1 ||
  { echo "breaks: the tests fail on the source as it is (see $copy/unbroken.log)" >&2; exit 1; }

# Section 2
try wrap-the-size heap.rs 's/if index >= MOST - HINT/let n = n % MOST; let index = n.wrapping_sub(1); if n == 0/' contract impossible_sizes_are_0_and_change_nothing
try a-page-too-many heap.rs 's/\.max\(known\);/.max(known) + PAGE;/' contract growth_is_for_exactly_the_pages_that_are_needed
try foreign-pages heap.rs 's/if base != known \&\& gap_end == 0/if gap_end == 1/; s/\(base != known \&\& end != known\)/foreign == 1/' contract pages_of_somebody_else_are_never_used
try reuse-before-fresh heap.rs "s/('cut: \{)/\$1 let freed = self.reuse(need); if freed.0 != 0 { break 'cut freed; }/" contract fresh_space_comes_before_freed_blocks
try growth-before-reuse heap.rs "s/let cut = self\.reuse\(need\);.*?return 0;\s*\}/if !self.grow(need) { let cut = self.reuse(need); if cut.0 == 0 { return 0; } break 'cut cut; }/s" contract freed_blocks_come_back_before_growth
try youngest-first free_space.rs 's/(self\.get\(here, LENGTH\)) < (self\.get\(oldest, LENGTH\))/$1 > $2/' contract the_longest_freed_of_those_that_fit_comes_first
try youngest-rest heap.rs 's/(self\.file\(region\);)/let age = self.machine.clock(); self.machine.set_clock(age + 2); self.set(region, LENGTH, age); $1/' contract what_is_left_of_a_region_keeps_its_age
try lose-the-path free_space.rs 's/self\.child\(self\.link\(cell, 0\), record, bit\)/self.child(self.link(cell, 0), self.link(cell, 0), bit)/' contract what_is_left_of_a_region_keeps_its_age
try lose-a-level free_space.rs 's/self\.machine\.store64\(root, LEFT, rest\.into\(\)\);//' contract the_longest_freed_of_those_that_fit_comes_first
try no-new-levels free_space.rs 's/self\.raise_root\(\);//' contract the_longest_freed_of_those_that_fit_comes_first
try larger-records records.rs 's/RECORD: u32 = 24/RECORD: u32 = 48/' contract a_block_costs_32_bytes
try never-merge free_space.rs 's/if self\.is\(neighbour, FILED\)/if neighbour == 1/' contract neighbours_merge_so_that_memory_stays_bounded
try never-merge-below free_space.rs 's/self\.merge\(record, PREVIOUS\)/record/' contract neighbours_merge_on_both_sides
try never-merge-above free_space.rs 's/self\.merge\(record, NEXT\)/record/' contract neighbours_merge_on_both_sides
try move-with-stale-links free_space.rs 's/self\.toggle_apart\(record, WAITING\);(.*?)(let age = )/$1 if self.state(record) == WAITING { self.toggle_apart(record, WAITING); } $2/s' contract records_that_move_while_they_merge_keep_ring_and_tree_whole
try free-anything records.rs 's/&& self\.machine\.load32\(record, ADDRESS\) == handle as u32//' contract free_ignores_all_but_live_handles
try poison-freed heap.rs 's/(self\.enqueue\(record\);)/self.machine.store64(handle as u32, 0, 0); $1/' contract freed_data_stays_until_it_is_handed_out
try keep-freed-input heap.rs 's/(if handle == self\.machine\.input_offset\(\) \{\s*)self\.machine\.set_input_length\(0\);/$1/' contract freeing_the_input_frees_it_and_empties_it
try skip-the-pin heap.rs 's/if handle == self\.machine\.output_offset\(\) \|\| handle == self\.machine\.error\(\)/if handle == 0/' contract output_and_error_are_pinned_until_others_are_set
try round-the-length heap.rs 's/            length\.into\(\)/            u64::from((length + 7) & !7)/' contract lengths_are_exact_and_data_is_aligned_and_disjoint
try walk-the-records records.rs 's/(pub\(super\) fn find\(&self, handle: u64\) -> Option<u32> \{)/$1 let mut walk = self.machine.floor(); while walk < self.machine.top() { if self.machine.load32(walk, 0) == 1 { return None; } walk += RECORD; }/' adversary no_call_costs_more_where_there_are_many_blocks
try load-past-the-end access.rs 's/\(BASE \+ length - 1\)/(BASE + 0 * length)/' contract loads_and_stores_reach_the_heap_and_nothing_else
try load-half access.rs 's/self\.machine\.load64\(offset as u32, 0\)/self.machine.load32(offset as u32, 0).into()/' contract values_are_little_endian_and_truncated
try load-big-endian access.rs 's/(self\.machine\.load64\(offset as u32, 0\))/$1.swap_bytes()/' contract values_are_little_endian_and_truncated
try store-untruncated access.rs 's/self\.machine\.store8\(offset as u32, value as u8\)/self.machine.store32(offset as u32, 0, value)/' contract values_are_little_endian_and_truncated
try store-at-address-0 access.rs 's/offset\.wrapping_sub\(BASE\) < self\.end_around\(offset\) - \(BASE \+ length - 1\)/offset < self.end_around(offset) - (length - 1)/' contract a_plugin_that_ignores_a_failed_alloc_does_no_harm
try forget-overruns access.rs 's/self\.machine\.set_dirty\(end\)/let _ = end/' contract an_overrun_of_the_last_block_can_be_output
try forget-growth heap.rs 's/self\.machine\.set_owned\(.*?\);//' contract growth_is_for_exactly_the_pages_that_are_needed
try ask-behind-a-second-gap heap.rs 's/\(base != known \&\& end != known\)/foreign == 1/' contract pages_between_two_regions_of_somebody_else_are_used_again
try give-up-at-a-second-gap heap.rs 's/\(base != known \&\& end != known\)/base != known/' contract pages_between_two_regions_of_somebody_else_are_used_again
# Section 3
try forget-the-first-island heap.rs 's/self\.machine\.zero\(LOWEST, top\);//' contract pages_of_somebody_else_are_never_used
try forget-overruns-of-nothing heap.rs 's/\(self\.machine\.span\(\) \| self\.machine\.dirty\(\)\) as u32 == 0/self.machine.span() == 0/' model_test native_follows_the_model
try keep-the-ring heap.rs 's/self\.clear_low_memory\(\);//' adversary a_reset_of_nothing_forgets_what_a_host_wrote_over_the_low_memory
try keep-links-of-none free_space.rs 's/self\.machine\.store64\(LEFT, 0, 0\);//' adversary a_reset_of_nothing_forgets_what_a_host_wrote_over_the_low_memory
# Section 4
try keep-old-links heap.rs 's/self\.machine\.store64\(record, AFTER, 0\);//' adversary bytes_stored_where_a_record_will_lie_make_no_block
try keep-old-links-only heap.rs 's/self\.machine\.store64\(record, AFTER, 0\);/if self.frontier() == handle + need { self.machine.store64(record, AFTER, 0); }/' adversary old_links_make_no_block
try trust-the-ring free_space.rs 's/left -= RECORD;//' adversary a_ring_without_an_end_ends
try trust-the-hint records.rs 's/&& self\.machine\.load32\(record, ADDRESS\) == handle as u32//' adversary a_fake_record_in_data_is_not_believed
try handle-at-the-floor records.rs 's/if hint >= \(self\.machine\.floor\(\) - HINT as u32\)\.into\(\)/if hint >= self.machine.floor().into()/' adversary no_handle_at_the_floor_leads_into_the_middle_of_a_record
try store-reaches-records access.rs 's/self\.machine\.floor\(\)\.into\(\)/self.machine.top().into()/' adversary stores_never_change_the_bookkeeping
try records-on-the-guard heap.rs 's/(let room = self\.frontier\(\)) \+ GUARD/$1 - GUARD/' contract records_leave_room_for_a_store_across_the_end_of_the_last_block
try any-output io.rs 's/if self\.range_in_heap\(offset, length\)/if offset < u64::MAX \&\& length < u64::MAX/' contract input_and_output_take_any_range_of_the_heap_and_no_other
try trust-links records.rs 's/(pub\(super\) fn checked.*?\{)/$1 if record != 1 { return record; }/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try trust-lengths heap.rs 's/if length <= self\.machine\.top\(\) - handle as u32/if length != 0/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try overlap-the-rest heap.rs 's/\(start \+ HINT \+ need \+ HINT\) as u32 \| FILED/(start + need) as u32 | FILED/' model_test native_follows_the_model
try floor-before-zeroing records.rs 's/(self\.machine\.zero\(self\.machine\.floor\(\), end\);)\s*(self\.machine\.set_floor\(floor\);)/let low = self.machine.floor(); $2 self.machine.zero(low, end);/' adversary native_calls_may_be_stopped_at_any_operation
try registers-before-zeroing heap.rs 's/(self\.machine\.zero\(start, used as u32\);)/self.machine.set_span(0); $1/' adversary native_calls_may_be_stopped_at_any_operation
try floor-in-front-of-the-gap heap.rs 's/self\.machine\.set_floor\(self\.machine\.floor\(\)\.max\(start\)\);//' adversary native_calls_may_be_stopped_at_any_operation
try forget-the-crossing heap.rs 's/self\.machine\.set_dirty\(start\);/self.machine.set_dirty(1);/' adversary native_calls_may_be_stopped_at_any_operation
try forget-a-first-growth heap.rs 's/if start > self\.machine\.dirty\(\) \{/if start > frontier {/' adversary a_first_growth_that_is_stopped_loses_no_memory

echo "$caught caught, $missed missed"
[ "$missed" = 0 ] && [ "$caught" != 0 ]
