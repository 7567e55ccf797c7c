;; A guest that exports its constructors and no `_initialize`: the host has to call them, once.
(module
  (global $calls (mut i32) (i32.const 0))

  (func (export "__wasm_call_ctors") (global.set $calls (i32.add (global.get $calls) (i32.const 1))))

  ;; Fails unless it was initialised.
  (func (export "initialised") (result i32) (i32.ne (global.get $calls) (i32.const 1))))
