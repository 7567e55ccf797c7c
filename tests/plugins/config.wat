;; Outputs the configuration value that its input names. Nothing if there is none.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))

  (func (export "get")
    (local $value i64)
    (local.set $value (call $config_get (call $input_offset)))
    (call $output_set (local.get $value) (call $length (local.get $value)))))
