;; Attacks on host and kernel. Each is followed by host calls on blocks made before and after it, which have
;; to go as if nothing had happened.
(module
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "memory_bytes" (func $memory_bytes (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "input_set" (func $input_set (param i64 i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "log_info" (func $log_info (param i64)))

  ;; A block of one letter, the name of a variable.
  (func $letter (param $letter i32) (result i64)
    (local $block i64)
    (local.set $block (call $alloc (i64.const 1)))
    (call $store_u8 (local.get $block) (local.get $letter))
    (local.get $block))

  ;; A block of eight bytes: "a value." or "message."
  (func $text (param $text i64) (result i64)
    (local $block i64)
    (local.set $block (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $block) (local.get $text))
    (local.get $block))

  (func $value (result i64) (call $text (i64.const 0x2e65756c61762061)))
  (func $message (result i64) (call $text (i64.const 0x2e6567617373656d)))

  ;; Sets the variable "v" to "a value.", logs "message.", and outputs the variable.
  (func $host_calls
    (local $value i64)
    (call $var_set (call $letter (i32.const 118)) (call $value))
    (call $log_info (call $message))
    (local.set $value (call $var_get (call $letter (i32.const 118))))
    (call $output_set (local.get $value) (call $length (local.get $value))))

  ;; An output of 2^64 - 10 bytes: its end wraps around.
  (func (export "output_wraps")
    (call $output_set (call $alloc (i64.const 16)) (i64.const -10))
    (call $host_calls))

  ;; The same, and nothing after it that would set another output.
  (func (export "output_wraps_last")
    (call $output_set (call $alloc (i64.const 16)) (i64.const -10)))

  ;; The same for the input, which the host doesn't read again but the plugin does.
  (func (export "input_wraps")
    (call $input_set (call $alloc (i64.const 16)) (i64.const -10))
    (drop (call $input_load_u64 (i64.const -12)))
    (call $host_calls))

  ;; Stores over the eight bytes in front of a block, then uses blocks made before and after it.
  (func (export "overwrite_front")
    (local $key i64) (local $victim i64) (local $value i64)
    (local.set $key (call $letter (i32.const 119)))
    (local.set $victim (call $alloc (i64.const 16)))
    (local.set $value (call $value))
    (call $store_u64 (i64.sub (local.get $victim) (i64.const 8)) (i64.const -1))
    (call $free (local.get $victim))
    (call $error_set (local.get $victim))
    (call $error_set (i64.const 0))
    (call $var_set (local.get $key) (local.get $value))
    (call $host_calls))

  ;; The same with the victim itself as a message: its length may be unknown now, but nothing made up.
  (func (export "overwrite_front_and_log")
    (local $victim i64)
    (local.set $victim (call $message))
    (call $store_u64 (i64.sub (local.get $victim) (i64.const 8)) (i64.const -1))
    (call $log_info (local.get $victim)))

  ;; Stores over every byte that stores can reach, and a page beyond, at every alignment.
  (func (export "overwrite_everything")
    (local $address i64) (local $end i64)
    (drop (call $message))
    (local.set $end (i64.add (call $memory_bytes) (i64.const 131072)))
    (loop $next
      (call $store_u64 (local.get $address) (i64.const -1))
      (local.set $address (i64.add (local.get $address) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $address) (local.get $end))))
    (call $host_calls))

  ;; Uses the number in the input as a handle, everywhere that one is expected.
  (func (export "any_handle")
    (local $number i64)
    (local.set $number (call $input_load_u64 (i64.const 0)))
    (call $free (local.get $number))
    (call $error_set (local.get $number))
    (call $error_set (i64.const 0))
    (drop (call $load_u64 (local.get $number)))
    (call $store_u64 (local.get $number) (i64.const -1))
    (call $host_calls))

  (func (export "log_any_handle") (call $log_info (call $input_load_u64 (i64.const 0))))
  (func (export "config_any_handle") (drop (call $config_get (call $input_load_u64 (i64.const 0)))))
  (func (export "var_any_handle")
    (call $var_set (call $letter (i32.const 118)) (call $input_load_u64 (i64.const 0))))
  (func (export "error_any_handle") (call $error_set (call $input_load_u64 (i64.const 0))))

  ;; Burns fuel in the kernel for as long as there is some.
  (func (export "alloc_forever")
    (loop $again
      (call $free (call $alloc (i64.const 100)))
      (br $again)))

  ;; What a fair call answers after any of the above.
  (func (export "fair") (call $host_calls)))
