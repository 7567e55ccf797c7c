;; Outputs its input, read and written as plugins do: eight bytes at a time, then the rest one by one.
(module
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))

  (func (export "echo") (result i32)
    (local $length i64) (local $words i64) (local $block i64) (local $i i64)
    (local.set $length (call $input_length))
    (local.set $words (i64.and (local.get $length) (i64.const -8)))
    (local.set $block (call $alloc (local.get $length)))
    (block $words_done
      (loop $next_word
        (br_if $words_done (i64.ge_u (local.get $i) (local.get $words)))
        (call $store_u64
          (i64.add (local.get $block) (local.get $i))
          (call $input_load_u64 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 8)))
        (br $next_word)))
    (block $bytes_done
      (loop $next_byte
        (br_if $bytes_done (i64.ge_u (local.get $i) (local.get $length)))
        (call $store_u8
          (i64.add (local.get $block) (local.get $i))
          (call $input_load_u8 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $next_byte)))
    (call $output_set (local.get $block) (local.get $length))
    (i32.const 0)))
