;; Keeps its input in the variable "v". The input's own block serves as the value: the host frees it.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))

  (func $key (result i64)
    (local $block i64)
    (local.set $block (call $alloc (i64.const 1)))
    (call $store_u8 (local.get $block) (i32.const 118)) ;; "v"
    (local.get $block))

  (func (export "set") (call $var_set (call $key) (call $input_offset)))

  (func (export "delete") (call $var_set (call $key) (i64.const 0)))

  (func (export "get")
    (local $value i64)
    (local.set $value (call $var_get (call $key)))
    (call $output_set (local.get $value) (call $length (local.get $value))))

  ;; The same block as name and value: frees it twice, if the host isn't careful.
  (func (export "set_to_itself") (call $var_set (call $input_offset) (call $input_offset))))
