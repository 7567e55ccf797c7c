;; The plugin of all clients (`cpp`, `java`, `go`, `node`): what they need of a host, and each way to fail.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
  (import "extism:host/user" "shout" (func $shout (param i64) (result i64)))
  (import "extism:host/user" "note" (func $note (param i64)))
  (import "extism:host/user" "tick" (func $tick))
  (import "sums" "add" (func $add (param i32 i64 f32 f64) (result f64)))
  (memory 1)

  (func $output (param $block i64)
    (call $output_set (local.get $block) (call $length (local.get $block))))
  (func $deeper (param $n i32) (result i32)
    (i32.add (i32.const 1) (call $deeper (i32.add (local.get $n) (i32.const 1)))))

  ;; the output is what the host's `shout` makes of the input
  (func (export "greet")
    (call $output (call $shout (call $input_offset))))
  ;; host functions without results, and one without parameters
  (func (export "tell")
    (call $note (call $input_offset)) (call $tick))
  ;; the output is the 8 bytes of a sum of all types of numbers
  (func (export "add") (local $block i64)
    (local.set $block (call $alloc (i64.const 8)))
    (call $store (local.get $block)
      (i64.reinterpret_f64 (call $add (i32.const -1) (i64.const 0x100000000) (f32.const 0.5) (f64.const 0.25))))
    (call $output (local.get $block)))
  (func (export "echo") (call $output (call $input_offset)))
  (func (export "config") (call $output (call $config_get (call $input_offset))))
  (func (export "log") (call $log_warn (call $input_offset)))

  (func (export "fail") (result i32) (call $error_set (call $input_offset)) (i32.const 3))
  (func (export "unreachable") unreachable)
  (func (export "out_of_bounds") (drop (i32.load (i32.const 0x7fff0000))))
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.load (i32.const 0)))))
  (func (export "overflow") (drop (call $deeper (i32.const 0))))
  (func (export "spin") (loop $again (br $again))))
