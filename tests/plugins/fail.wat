;; The ways in which a call can fail. "error text" is always the input.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))

  (func (export "error_text") (result i32)
    (call $error_set (call $input_offset))
    (i32.const 1))

  ;; A text alone is an error too, whatever the function returns.
  (func (export "error_text_and_success") (result i32)
    (call $error_set (call $input_offset))
    (i32.const 0))

  (func (export "error_code") (result i32) (i32.const 7))

  (func (export "trap") unreachable)

  (func (export "error_text_and_trap")
    (call $error_set (call $input_offset))
    unreachable)

  (func (export "endless") (loop $again (br $again)))

  (func (export "http") (drop (call $http_request (call $input_offset) (i64.const 0))))

  (func (export "succeed"))

  ;; Not plugin functions: those have no parameters and return nothing or an i32.
  (func (export "has_parameter") (param i32))
  (func (export "returns_i64") (result i64) (i64.const 0)))
