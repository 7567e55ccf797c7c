;; Calls functions of the embedder: one that takes and returns blocks, one of numbers in a namespace of its own.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "greet" (func $greet (param i64) (result i64)))
  (import "calculator" "add" (func $add (param i32 f64) (result i32)))

  (func (export "greet")
    (local $greeting i64)
    (local.set $greeting (call $greet (call $input_offset)))
    (call $output_set (local.get $greeting) (call $length (local.get $greeting))))

  ;; Outputs the sum of 40 and 2.5, rounded down by the host, as one byte.
  (func (export "add")
    (local $block i64)
    (local.set $block (call $alloc (i64.const 1)))
    (call $store_u8 (local.get $block) (call $add (i32.const 40) (f64.const 2.5)))
    (call $output_set (local.get $block) (i64.const 1))))
