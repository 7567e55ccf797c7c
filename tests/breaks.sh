#!/usr/bin/env bash
# Breaks the kernel's promises one by one on a copy of the source, and checks that the test named beside each fails.
# tests/README.md has the table. Arguments, if any, are the names of the breaks to try.
[ -n "${BASH_VERSION-}" ] || { echo "tests/breaks.sh: this needs bash: run 'bash tests/breaks.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

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
try mark-impossible-sizes heap.rs 's/if index < MOST - 1/if n != 0/' contract impossible_sizes_are_0_and_change_nothing
try a-page-too-many growth.rs 's/\.max\(known\);/.max(known) + PAGE;/' contract growth_is_for_exactly_the_pages_that_are_needed
try ask-for-more-than-there-is growth.rs 's/ \|\| end > MOST//' contract more_than_4_gib_is_not_asked_for
try foreign-pages growth.rs 's/if actual != self\.known_end\(\)/if actual == 1/; s/\(actual != known && granted != 0\)/actual == 1/' contract pages_of_somebody_else_are_never_used
try merge-across-a-gap growth.rs 's/\| APART/| FILED/' contract growth_across_a_gap_is_for_exactly_the_pages_that_are_needed
try grow-behind-a-gap-with-room heap.rs 's/if !self\.fits_behind_gap\(need\)/if need != 1/' contract behind_a_gap_fresh_space_comes_before_freed_blocks
try reuse-before-fresh heap.rs 's/if (common \+ rounded)/if self.machine.tail() == 0 \&\& $1/' contract fresh_space_comes_before_freed_blocks
try growth-before-reuse heap.rs 's/let record = self\.reuse\(need as u32\);.*?return 0;\s*\}/if !self.grow(need + OVERHEAD) { let record = self.reuse(need as u32); if record == 0 { self.fail(n); } return record; }/s' contract freed_blocks_come_back_before_growth
try not-the-smallest bins.rs 's/if more < excess/if best == 0 \&\& more < excess/' contract of_filed_regions_the_smallest_that_fits_is_taken
try own-path-only bins.rs 's/here = beside;/here = 0 \& beside;/' contract of_filed_regions_the_smallest_that_fits_is_taken
try edge-ends-early bins.rs 's/\(path != 0 \|\| smaller == 0\)/path != 0/' contract of_filed_regions_the_smallest_that_fits_is_taken
try forget-the-next-bin bins.rs 's/u64::MAX << 1 << bin/0/' contract of_filed_regions_the_smallest_that_fits_is_taken
try key-of-the-size-alone bins.rs 's/ \| address << \(size\.leading_zeros\(\) \+ 4\)/ | address >> 63/' contract of_filed_regions_the_smallest_that_fits_is_taken
try lose-children bins.rs 's/self\.machine\.store64\(leaf, AFTER, children\);/let _ = children;/' contract of_filed_regions_the_smallest_that_fits_is_taken
try bins-never-empty bins.rs 's/self\.machine\.set_bins\(bins \& !\(1 << bin\)\);/let _ = bins;/' contract filed_regions_come_before_blocks_that_wait
try never-exact heap.rs 's/self\.machine\.patience\(\) == 0/false/' contract the_block_that_waited_longest_of_64_counts_as_merged
try list-of-256 bins.rs 's/if self\.get\(to, LENGTH\) < TREES/if self.get(to, LENGTH) <= TREES/' contract a_region_of_256_bytes_is_found_in_its_tree_before_and_after_growth
try last-freed-first waiting.rs 's/self\.machine\.store32\(self\.machine\.tail\(\), AFTER, record\);\s*self\.machine\.set_tail\(record\);/let first = self.link(0, AFTER); self.set(record, AFTER, first); self.set(0, AFTER, record); if self.machine.tail() == 0 { self.machine.set_tail(record); }/' contract blocks_that_wait_come_back_in_the_order_of_their_frees
try wait-before-filed heap.rs 's/let mut region = self\.best_fit\(need\);/let mut region = 0;/' contract filed_regions_come_before_blocks_that_wait
try take-any-that-waits heap.rs 's/self\.machine\.patience\(\) == 0 \&\& //' contract filed_regions_come_before_blocks_that_wait
try never-merge-in-free waiting.rs 's/self\.merge_longest_freed\(\);(?=\s*patience)//' adversary no_call_costs_more_where_there_are_many_blocks
try whole-blocks-that-wait waiting.rs 's/\.wrapping_add\(1\) == need/.wrapping_add(1) >= need/' contract bounded_live_data_takes_bounded_memory
try no-page-for-records heap.rs 's/is_cut = self\.grow\(room\.wrapping_add\(RECORD\.into\(\)\)\);/is_cut = room == 1;/' contract bounded_live_data_takes_bounded_memory
try cut-without-room-for-the-record heap.rs 's/\&\& !self\.has_room_for_record\(\) \{/\&\& need == 0 {/' adversary no_word_of_the_records_makes_a_block
try cut-after-unfiling heap.rs 's/(let mut record = region;)(\s*)(if is_cut \{.*?\n        \})\s*self\.unfile\(region\);/$1$2self.unfile(region);$2$3/s' adversary no_record_lies_over_data_whatever_a_link_leads_to
try fresh-beside-records heap.rs 's/self\.machine\.set_reserve\(self\.machine\.reserve\(\) \+ floor\);/let _ = floor;/' contract bounded_live_data_takes_bounded_memory
try region-that-moved heap.rs 's/(may have moved\.\s*)region = self\.best_fit\(need\);/$1/' contract bounded_live_data_takes_bounded_memory
try waiting-that-moved growth.rs 's/self\.link_back\(\);//' contract blocks_that_wait_come_back_in_order_after_a_page_for_records
try reserve-for-ever growth.rs 's/self\.machine\.set_reserve\(RESERVE \+ beyond\);/let _ = beyond;/' contract after_a_page_for_records_growth_brings_fresh_space_again
try lose-the-rest heap.rs 's/self\.file\(region\);//' contract of_filed_regions_the_smallest_that_fits_is_taken
try larger-records records.rs 's/(add_last_record.*?floor\(\) - )RECORD/$1 2 * RECORD/s' contract a_block_costs_32_bytes
try records-never-come-back records.rs 's/self\.put_first\(SPARE, record, first\);/let _ = first;/' contract records_of_blocks_that_are_no_more_serve_again
try spare-records-do-not-count records.rs 's/self\.first\(0\) != 0\s*\|\| //' contract records_of_blocks_that_are_no_more_serve_again
try no-spare-records records.rs 's/let mut record = self\.first\(0\);/let mut record = 0;/' contract neighbours_merge_so_that_memory_stays_bounded
try no-room-for-a-crossing records.rs 's/GUARD \+ 3 \* u64/GUARD + u64/' contract where_regions_were_cut_to_the_last_record_a_gap_can_be_crossed
try fewer-spare-records layout.rs 's/SPARE_RECORDS: u64 = 23/SPARE_RECORDS: u64 = 20/' contract where_fresh_space_is_used_up_23_regions_can_be_cut_without_a_page
try never-merge waiting.rs 's/self\.is\((next|previous), FILED\)/$1 == 1/g' contract neighbours_merge_so_that_memory_stays_bounded
try as-long-as-the-first waiting.rs 's/self\.set\(record, LENGTH, 0\);//' contract neighbours_that_wait_as_one_all_come_back
try forget-the-last-of-two waiting.rs 's/self\.machine\.set_tail\(record\);(?=\s*\}\s*\/\/ Longer)//' adversary where_fewer_wait_than_the_register_says_the_last_two_may_become_one
try never-merge-below waiting.rs 's/self\.is\(previous, FILED\)/previous == 1/' contract neighbours_merge_on_both_sides
try never-merge-above waiting.rs 's/self\.is\(next, FILED\)/next == 1/' contract neighbours_merge_on_both_sides
try free-anything records.rs 's/\&\& self\.machine\.load32\(record, ADDRESS\) == handle as u32//' contract free_ignores_all_but_live_handles
try poison-freed heap.rs 's/(self\.wait\(record\);)/self.machine.store64(handle as u32, 0, 0); $1/' contract freed_data_stays_until_it_is_handed_out
try keep-freed-input heap.rs 's/(if handle == self\.machine\.input_offset\(\) \{\s*)self\.machine\.set_input_length\(0\);/$1/' contract freeing_the_input_frees_it_and_empties_it
try ignore-the-free heap.rs 's/self\.postpone\(handle\);//' contract freeing_output_or_error_is_put_off_until_they_are_neither
try free-at-once heap.rs 's/if handle == self\.machine\.output_offset\(\) \|\| handle == self\.machine\.error\(\)/if handle == 0/' contract freeing_output_or_error_is_put_off_until_they_are_neither
try free-the-error-at-once heap.rs 's/ \|\| handle == self\.machine\.error\(\)//' contract freeing_output_or_error_is_put_off_until_they_are_neither
try never-take-back io.rs 's/if handle != set/if handle != 1 || set != 1/' contract setting_output_or_error_again_takes_a_free_back
try release-what-is-still-output io.rs 's/self\.free\(handle\);/let output = self.machine.output_offset(); self.machine.set_output_offset(0); self.free(handle); self.machine.set_output_offset(output);/' contract setting_the_error_releases_no_output
try put-off-twice io.rs 's/if others >> 32 != handle \&\& others << 32 >> 32 != handle/if handle != 0/' contract freeing_output_or_error_is_put_off_until_they_are_neither
try put-off-one io.rs 's/others << 32 \| handle/handle/' contract freeing_output_or_error_is_put_off_until_they_are_neither
try keep-output-for-ever io.rs 's/self\.release\(offset\);//' contract freeing_output_or_error_is_put_off_until_they_are_neither
try keep-error-for-ever io.rs 's/self\.release\(handle\);//' contract freeing_output_or_error_is_put_off_until_they_are_neither
try round-the-length heap.rs 's/            length\.into\(\)/            u64::from((length + 7) \& !7)/' contract lengths_are_exact_and_data_is_aligned_and_disjoint
try walk-the-records records.rs 's/(pub\(super\) fn find\(\&self, handle: u64\) -> Option<u32> \{)/$1 let mut walk = self.machine.floor(); while walk < self.machine.peak() { if self.machine.load32(walk, 0) == 1 { return None; } walk += RECORD; }/' adversary no_call_costs_more_where_there_are_many_blocks
try load-past-the-end access.rs 's/self\.end_around\(offset\) - length;/self.end_around(offset) - 1 - 0 * length;/' contract loads_and_stores_reach_the_heap_and_nothing_else
try load-half access.rs 's/self\.machine\.load64\(offset as u32, 0\)/self.machine.load32(offset as u32, 0).into()/' contract values_are_little_endian_and_truncated
try load-big-endian access.rs 's/(self\.machine\.load64\(offset as u32, 0\))/$1.swap_bytes()/' contract values_are_little_endian_and_truncated
try store-untruncated access.rs 's/self\.machine\.store8\(offset as u32, value as u8\)/self.machine.store32(offset as u32, 0, value)/' contract values_are_little_endian_and_truncated
try store-at-address-0 access.rs 's/last\.wrapping_sub\(offset\) <= last - BASE/offset <= last/' contract a_plugin_that_ignores_a_failed_alloc_does_no_harm
try input-past-its-end io.rs 's/if index < self\.machine\.input_length\(\)/if index <= self.machine.input_length()/' contract input_is_read_to_its_end_and_no_further
try input-half-past-its-end io.rs 's/\.wrapping_sub\(8\)/.wrapping_sub(1)/' contract input_is_read_to_its_end_and_no_further
try any-output io.rs 's/\|\| self\.range_in_heap\(offset, length\)/|| offset < u64::MAX \&\& length < u64::MAX/' contract input_and_output_take_any_range_of_the_heap_and_no_other
try any-length-of-output io.rs 's/length <= common - index \|\| self\.range_in_heap\(offset, length\)/true/' contract input_and_output_take_any_range_of_the_heap_and_no_other
try any-error io.rs 's/ \|\| self\.range_in_heap\(handle, 1\)/ || handle != 1/' contract input_and_output_take_any_range_of_the_heap_and_no_other
try forget-growth growth.rs 's/self\.machine\.set_owned\(owned \+ granted\);//' contract growth_is_for_exactly_the_pages_that_are_needed
try fix-a-gap-too-early growth.rs 's/ \|\| owned == self\.machine\.gap_start\(\)//' contract an_alloc_that_fails_changes_nothing_about_pages_of_somebody_else
try ask-behind-a-second-gap growth.rs 's/\(actual != known \&\& granted != 0\)/granted == 1/' contract pages_between_two_regions_of_somebody_else_are_used_again
try give-up-at-a-second-gap growth.rs 's/\(actual != known \&\& granted != 0\)/actual != known/' contract pages_between_two_regions_of_somebody_else_are_used_again
try lose-what-is-fresh-in-front growth.rs 's/self\.merge\(rest\);//' contract what_is_fresh_in_front_of_a_gap_comes_before_freed_blocks
try records-across-the-gap growth.rs 's/top = self\.machine\.gap_end\(\) \+ room;//' contract growth_across_a_gap_is_for_exactly_the_pages_that_are_needed
try forget-records-in-front records.rs 's/record >= self\.machine\.front\(\) \&\& record <= self\.machine\.front_peak\(\)/record == 1/' contract pages_of_somebody_else_are_never_used
try heap-across-the-gap growth.rs 's/self\.machine\.set_island\(gap_end\);//' contract pages_of_somebody_else_are_never_used
try forget-overruns access.rs 's/self\.machine\.set_dirty\(end\)/let _ = end/' contract an_overrun_of_the_last_block_can_be_output
# Section 3
try trust-the-root bins.rs 's/if self\.machine\.bins\(\) >> bin \& 1 == 0/if bin > 63/' adversary a_reset_of_nothing_forgets_what_a_host_wrote_over_the_low_memory
try forget-the-guard heap.rs 's/let used = self\.frontier\(\) \+ GUARD;/let used = self.frontier();/' contract a_store_across_the_end_of_the_last_block_is_zeroed
try forget-failed-allocs heap.rs 's/self\.mark\(n\.min\(self\.known_end\(\)\)\);//' contract what_a_host_copies_where_an_alloc_failed_is_zeroed
try zero-beyond-the-memory heap.rs 's/n\.min\(self\.known_end\(\)\)/n/' contract what_a_host_copies_where_an_alloc_failed_is_zeroed
try zero-what-is-owned heap.rs 's/n\.min\(self\.known_end\(\)\)/n.min(self.machine.owned())/' contract what_a_host_copies_behind_a_gap_where_an_alloc_failed_is_zeroed
try keep-the-low-memory heap.rs 's/self\.machine\.zero\(0, start\);//' contract what_a_host_copies_where_an_alloc_failed_is_zeroed
try forget-the-first-island heap.rs 's/self\.machine\.zero\(start, gap_start as u32\);//' contract pages_of_somebody_else_are_never_used
try keep-the-records heap.rs 's/self\.machine\.zero\(self\.machine\.floor\(\), top\);//' contract reset_zeroes_all_and_keeps_the_memory
try keep-records-behind-a-gap heap.rs 's/self\.machine\.zero\(floor, top\);/let _ = top;/' contract pages_of_somebody_else_are_never_used
try keep-the-ring heap.rs 's/self\.machine\.store64\(0, AFTER, 0\);//' contract reset_zeroes_all_and_keeps_the_memory
try keep-the-bins heap.rs 's/self\.machine\.set_bins\(0\);//' contract of_filed_regions_the_smallest_that_fits_is_taken
try keep-what-was-put-off heap.rs 's/self\.machine\.set_put_off\(0\);//' contract reset_forgets_a_free_that_was_put_off
try forget-overruns-of-nothing heap.rs 's/self\.machine\.common\(\) \| self\.machine\.dirty\(\) != 0/self.machine.common() != 0/' contract loads_and_stores_reach_the_heap_and_nothing_else
# Section 4
try heap-up-to-the-gap access.rs 's/self\.machine\.front\(\)\.into\(\)/self.machine.gap_start()/' contract pages_of_somebody_else_are_never_used
try trust-the-hint records.rs 's/\&\& self\.machine\.load32\(record, ADDRESS\) == handle as u32//' adversary a_fake_record_in_data_is_not_believed
try hint-into-a-record records.rs 's/\(record \| handle as u32\) \& 7 == 0/handle as u32 \& 7 == 0/' adversary a_length_that_looks_like_a_handle_makes_no_block
try keep-what-was-stored records.rs 's/(add_last_record.*?)self\.machine\.store64\(record, AFTER, 0\);/$1/s' adversary bytes_stored_where_a_record_will_lie_make_no_block
try keep-what-was-stored-rarely records.rs 's/self\.machine\.store64\(record, AFTER, 0\);//' adversary no_word_of_the_records_makes_a_block
try keep-links-of-spare-records records.rs 's/self\.machine\.store64\(record, PREVIOUS, 0\);(?=\s*let first)//' adversary no_word_of_the_records_makes_a_block
try hints-above-the-frontier records.rs 's/if index >= self\.machine\.common\(\)\s*\&\& \(self\.machine\.far\(\) == 0 \|\| !self\.range_in_heap\(handle\.wrapping_sub\(HINT\), HINT \+ 1\)\)/if index >= MOST || handle >= u64::from(self.machine.peak())/' adversary no_handle_at_the_floor_leads_into_the_middle_of_a_record
try store-reaches-records access.rs 's/self\.machine\.floor\(\)\.into\(\)/(self.machine.peak() + RECORD).into()/' adversary stores_never_change_the_bookkeeping
try records-on-the-guard records.rs 's/self\.frontier\(\) \+ GUARD \+ 3 \* u64::from\(RECORD\)/self.frontier() + u64::from(RECORD)/' contract records_leave_room_for_a_store_across_the_end_of_the_last_block
try trust-links records.rs 's/if self\.is_record\(link\) \{ link \} else \{ 0 \}/link/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try trust-lengths heap.rs 's/if length <= self\.machine\.peak\(\) \+ RECORD - handle as u32/if length != 0/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try trust-cells bins.rs 's/if cell < BASE as u32 \|\| self\.is_record\(\(cell \& !7\)\.wrapping_sub\(AFTER\)\)/if cell != 1/' adversary what_the_kernel_writes_after_a_scribble_is_zeroed
try read-anywhere bins.rs 's/\|\| here > self\.machine\.peak\(\) \|\| steps == 0/|| steps == 0/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try walk-anywhere bins.rs 's/ \&\& here <= self\.machine\.peak\(\)//' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try trust-regions heap.rs 's/self\.range_in_heap\(start, length\) \&\& //' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try trust-sizes-of-regions heap.rs 's/ \&\& start \+ length <= self\.frontier\(\)//' adversary no_block_reaches_above_the_frontier_whatever_a_record_says
try hints-anywhere growth.rs 's/if self\.range_in_heap\(hint, HINT\) \&\& hint < self\.frontier\(\)/if hint != 1/' adversary scribbling_hosts_get_no_trap_no_hang_and_no_range_that_is_not_there
try endless-search bins.rs 's/steps -= 1;/steps -= 0;/' adversary links_in_circles_end
try endless-walk bins.rs 's/ \&\& key != 0//' adversary links_in_circles_end
try overlap-the-rest heap.rs 's/address\.wrapping_add\(need \+ HINT as u32\)/address.wrapping_add(need)/' contract of_filed_regions_the_smallest_that_fits_is_taken
try ignore-a-stopped-growth growth.rs 's/if self\.machine\.growing\(\) != 0 \{/if room == 1 {/' adversary native_calls_may_be_stopped_twice
try forget-a-stopped-growth heap.rs 's/self\.settle_growth\(\);//' adversary a_first_growth_that_is_stopped_loses_no_memory
try forget-a-first-growth growth.rs 's/self\.mark\(BASE\);//' adversary a_first_growth_that_is_stopped_loses_no_memory
try fail-for-ever growth.rs 's/self\.machine\.set_growing\(0\);//' contract an_alloc_that_fails_changes_nothing_about_pages_of_somebody_else
try peak-after-the-move growth.rs 's/self\.machine\.set_peak\(peak\);(?=\s*let mut record)(.*?)(self\.machine\.zero\(floor, end\);)/$1 self.machine.set_peak(peak); $2/s' adversary native_calls_may_be_stopped_at_any_operation
try floor-before-zeroing-records growth.rs 's/(self\.machine\.zero\(floor, end\);)\s*(self\.machine\.set_floor\(floor \+ rise\);)/$2 $1/' adversary native_calls_may_be_stopped_at_any_operation
try reserve-behind-the-gap-late growth.rs 's/self\.machine\.set_reserve\(BEYOND \+ RESERVE\);(.*?self\.machine\.set_peak\(peak\);)/$1 self.machine.set_reserve(BEYOND + RESERVE);/s' adversary native_calls_may_be_stopped_twice
try floor-before-zeroing heap.rs 's/(self\.machine\.zero\(self\.machine\.floor\(\), top\);)\s*(self\.machine\.set_floor\(top\);)/let low = self.machine.floor(); $2 self.machine.zero(low, top);/' adversary native_calls_may_be_stopped_at_any_operation
try forget-the-frontier-behind heap.rs 's/self\.mark\(self\.frontier\(\) \+ GUARD\);//' adversary native_calls_may_be_stopped_at_any_operation
try record-before-the-floor records.rs 's/(add_last_record.*?)self\.machine\.set_floor\(record\);(\s*self\.machine\.store64\(record, AFTER, 0\);.*?self\.machine\.store64\(record, PREVIOUS, previous\.into\(\)\);)/$1$2 self.machine.set_floor(record);/s' adversary native_calls_may_be_stopped_at_any_operation

echo "$caught caught, $missed missed"
[ "$missed" = 0 ] && [ "$caught" != 0 ]
