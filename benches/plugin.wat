;; What a plugin does with its kernel, for benchmarks. Wasmtime and V8 run these same loops; a host only starts them.
;; Blocks that stay live are kept in this module's own memory: handle and length, 16 bytes a slot.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "reset" (func $reset))
  (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
  (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "input_set" (func $input_set (param i64 i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))

  ;; Room for 1,000,000 slots.
  (memory (export "slots") 245)
  ;; Two blocks to copy between.
  (global $from (mut i64) (i64.const 0))
  (global $to (mut i64) (i64.const 0))
  ;; Bytes asked for and not freed: now, and at most.
  (global $live (mut i64) (i64.const 0))
  (global $peak (mut i64) (i64.const 0))
  (global $random (mut i32) (i32.const 123456789))

  ;; A block, which there must be room for: a benchmark of failing calls would look fast.
  (func $get (param $bytes i32) (result i64)
    (local $handle i64)
    (local.set $handle (call $alloc (i64.extend_i32_u (local.get $bytes))))
    (if (i64.eqz (local.get $handle)) (then unreachable))
    (local.get $handle))

  ;; Marsaglia's xorshift.
  (func $next_random (result i32)
    (local $x i32)
    (local.set $x (global.get $random))
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
    (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
    (global.set $random (local.get $x))
    (local.get $x))

  ;; Frees what is in a slot, if anything is, and puts a new block there.
  (func $replace (param $slot i32) (param $bytes i32)
    (local $at i32)
    (local.set $at (i32.shl (local.get $slot) (i32.const 4)))
    (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then
      (call $free (i64.load (local.get $at)))
      (global.set $live (i64.sub (global.get $live) (i64.load offset=8 (local.get $at))))))
    (call $fill_slot (local.get $at) (local.get $bytes)))

  (func $fill_slot (param $at i32) (param $bytes i32)
    (i64.store (local.get $at) (call $get (local.get $bytes)))
    (i64.store offset=8 (local.get $at) (i64.extend_i32_u (local.get $bytes)))
    (global.set $live (i64.add (global.get $live) (i64.extend_i32_u (local.get $bytes))))
    (if (i64.gt_u (global.get $live) (global.get $peak)) (then
      (global.set $peak (global.get $live)))))

  ;; --- before a measurement ---------------------------------------------------------------------------------------

  (func (export "begin")
    (call $reset))

  (func (export "two_blocks") (param $bytes i32)
    (global.set $from (call $get (local.get $bytes)))
    (global.set $to (call $get (local.get $bytes))))

  (func (export "make_input") (param $bytes i32)
    (call $input_set (call $get (local.get $bytes)) (i64.extend_i32_u (local.get $bytes))))

  ;; So many live blocks in the slots.
  (func (export "fill") (param $count i32) (param $bytes i32)
    (local $i i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $count)) (then
        (call $fill_slot (i32.shl (local.get $i) (i32.const 4)) (local.get $bytes))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))))

  ;; Uses up the fresh space, under a limit that forbids growth: ever smaller blocks, until none can be had.
  (func (export "use_up") (param $bytes i32)
    (loop $next
      (if (local.get $bytes) (then
        (if (i64.eqz (call $alloc (i64.extend_i32_u (local.get $bytes)))) (then
          (local.set $bytes (i32.shr_u (local.get $bytes) (i32.const 1)))))
        (br $next)))))

  ;; --- what is measured -------------------------------------------------------------------------------------------

  (func (export "copy_u64") (param $bytes i32)
    (local $i i64) (local $n i64)
    (local.set $n (i64.extend_i32_u (local.get $bytes)))
    (loop $next
      (call $store_u64
        (i64.add (global.get $to) (local.get $i))
        (call $load_u64 (i64.add (global.get $from) (local.get $i))))
      (br_if $next (i64.lt_u
        (local.tee $i (i64.add (local.get $i) (i64.const 8)))
        (local.get $n)))))

  (func (export "copy_u8") (param $bytes i32)
    (local $i i64) (local $n i64)
    (local.set $n (i64.extend_i32_u (local.get $bytes)))
    (loop $next
      (call $store_u8
        (i64.add (global.get $to) (local.get $i))
        (call $load_u8 (i64.add (global.get $from) (local.get $i))))
      (br_if $next (i64.lt_u
        (local.tee $i (i64.add (local.get $i) (i64.const 1)))
        (local.get $n)))))

  (func (export "read_input") (param $bytes i32) (result i64)
    (local $i i64) (local $n i64) (local $sum i64)
    (local.set $n (i64.extend_i32_u (local.get $bytes)))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (call $input_load_u64 (local.get $i))))
      (br_if $next (i64.lt_u
        (local.tee $i (i64.add (local.get $i) (i64.const 8)))
        (local.get $n))))
    (local.get $sum))

  ;; Loads eight bytes of the one block, then of the other.
  (func (export "alternate") (param $bytes i32) (result i64)
    (local $i i64) (local $n i64) (local $sum i64)
    (local.set $n (i64.extend_i32_u (local.get $bytes)))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (i64.xor
        (call $load_u64 (i64.add (global.get $from) (local.get $i)))
        (call $load_u64 (i64.add (global.get $to) (local.get $i))))))
      (br_if $next (i64.lt_u
        (local.tee $i (i64.add (local.get $i) (i64.const 8)))
        (local.get $n))))
    (local.get $sum))

  (func (export "pairs") (param $count i32) (param $bytes i32)
    (loop $next
      (call $free (call $get (local.get $bytes)))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))

  ;; Rounds, each from a reset on: blocks of 10, 11, 12 ... bytes, of which every third is freed at once.
  (func (export "thirds") (param $count i32) (param $rounds i32)
    (local $i i32) (local $handle i64)
    (loop $next_round
      (call $reset)
      (local.set $i (i32.const 0))
      (loop $next
        (local.set $handle (call $get (i32.add (local.get $i) (i32.const 10))))
        (if (i32.eqz (i32.rem_u (local.get $i) (i32.const 3))) (then (call $free (local.get $handle))))
        (br_if $next (i32.lt_u
          (local.tee $i (i32.add (local.get $i) (i32.const 1)))
          (local.get $count))))
      (br_if $next_round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1))))))

  (func (export "reset") (call $reset))

  ;; Replaces blocks at random. A length has at most so many bits, and is halved at random less than `spread` times.
  (func (export "session") (param $slots i32) (param $steps i32) (param $bits i32) (param $spread i32)
    (local $bytes i32)
    (loop $next
      (local.set $bytes (i32.shr_u
        (i32.and
          (call $next_random)
          (i32.sub (i32.shl (i32.const 1) (local.get $bits)) (i32.const 1)))
        (i32.rem_u (call $next_random) (local.get $spread))))
      (call $replace
        (i32.rem_u (call $next_random) (local.get $slots))
        (i32.add (local.get $bytes) (i32.const 1)))
      (br_if $next (local.tee $steps (i32.sub (local.get $steps) (i32.const 1))))))

  ;; Buffers that grow by half in turn, as vectors do, each into a new block before the old one is freed.
  (func (export "growing") (param $buffers i32) (param $most i32)
    (local $bytes i32) (local $slot i32) (local $old i64) (local $old_bytes i64)
    (local.set $bytes (i32.const 16))
    (loop $next_size
      (local.set $slot (i32.const 0))
      (loop $next_buffer
        (local.set $old (i64.load (i32.shl (local.get $slot) (i32.const 4))))
        (local.set $old_bytes (i64.load offset=8 (i32.shl (local.get $slot) (i32.const 4))))
        (call $fill_slot (i32.shl (local.get $slot) (i32.const 4)) (local.get $bytes))
        (call $free (local.get $old))
        (global.set $live (i64.sub (global.get $live) (local.get $old_bytes)))
        (br_if $next_buffer (i32.lt_u
          (local.tee $slot (i32.add (local.get $slot) (i32.const 1)))
          (local.get $buffers))))
      (local.set $bytes (i32.add (local.get $bytes) (i32.shr_u (local.get $bytes) (i32.const 1))))
      (br_if $next_size (i32.le_u (local.get $bytes) (local.get $most)))))

  (func (export "peak") (result i64) (global.get $peak))

  ;; Outputs its input, read and written as PDKs do: words, then bytes.
  (func (export "echo")
    (local $length i64) (local $words i64) (local $block i64) (local $i i64)
    (local.set $length (call $input_length))
    (local.set $words (i64.and (local.get $length) (i64.const -8)))
    (local.set $block (call $alloc (local.get $length)))
    (block $words_done
      (loop $next
        (br_if $words_done (i64.ge_u (local.get $i) (local.get $words)))
        (call $store_u64
          (i64.add (local.get $block) (local.get $i))
          (call $input_load_u64 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 8)))
        (br $next)))
    (block $bytes_done
      (loop $next
        (br_if $bytes_done (i64.ge_u (local.get $i) (local.get $length)))
        (call $store_u8
          (i64.add (local.get $block) (local.get $i))
          (call $input_load_u8 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $next)))
    (call $output_set (local.get $block) (local.get $length))))
