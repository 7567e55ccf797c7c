;; Logs at each level, or tells which level the host wants.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "log_trace" (func $log_trace (param i64)))
  (import "extism:host/env" "log_debug" (func $log_debug (param i64)))
  (import "extism:host/env" "log_info" (func $log_info (param i64)))
  (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
  (import "extism:host/env" "log_error" (func $log_error (param i64)))
  (import "extism:host/env" "get_log_level" (func $get_log_level (result i32)))

  (func $letter (param $letter i32) (result i64)
    (local $block i64)
    (local.set $block (call $alloc (i64.const 1)))
    (call $store_u8 (local.get $block) (local.get $letter))
    (local.get $block))

  ;; Outputs the length of the last message's block after the call: the host has freed it, so "0".
  (func (export "log_each_level")
    (local $last i64)
    (call $log_trace (call $letter (i32.const 116)))
    (call $log_debug (call $letter (i32.const 100)))
    (call $log_info (call $letter (i32.const 105)))
    (call $log_warn (call $letter (i32.const 119)))
    (local.set $last (call $letter (i32.const 101)))
    (call $log_error (local.get $last))
    (call $output_set
      (call $letter (i32.add (i32.const 48) (i32.wrap_i64 (call $length (local.get $last)))))
      (i64.const 1)))

  ;; Outputs the level as a digit.
  (func (export "level")
    (call $output_set (call $letter (i32.add (i32.const 48) (call $get_log_level))) (i64.const 1)))

  ;; An empty message has the handle that alloc(0) gives.
  (func (export "log_nothing") (call $log_error (call $alloc (i64.const 0)))))
