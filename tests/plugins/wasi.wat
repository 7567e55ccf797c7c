;; A WASI reactor: counts how often it was initialised, asks WASI for its arguments, leaves through WASI.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $initialized (mut i32) (i32.const 0))

  (func (export "_initialize")
    (global.set $initialized (i32.add (global.get $initialized) (i32.const 1))))

  ;; Outputs three bytes: the number of initialisations, WASI's error number, the number of arguments.
  (func (export "ask")
    (local $block i64)
    (local.set $block (call $alloc (i64.const 3)))
    (call $store_u8 (local.get $block) (global.get $initialized))
    (call $store_u8
      (i64.add (local.get $block) (i64.const 1))
      (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $store_u8 (i64.add (local.get $block) (i64.const 2)) (i32.load (i32.const 0)))
    (call $output_set (local.get $block) (i64.const 3)))

  (func (export "exit_0") (call $proc_exit (i32.const 0)))
  (func (export "exit_3") (call $proc_exit (i32.const 3))))
