;; As what GHC makes: works only if the host has called, once each and before anything else, `_initialize` and then
;; `hs_init(0, 0)`; `__wasm_call_ctors` is then called by the former, so not by the host.
(module
  (global $stage (mut i32) (i32.const 0))

  ;; To that stage, if all that comes before was done and nothing else; else to one from where there is no way on.
  (func $to (param $stage i32)
    (global.set $stage
      (select (local.get $stage) (i32.const 9)
        (i32.eq (global.get $stage) (i32.sub (local.get $stage) (i32.const 1))))))

  (func $constructors (export "__wasm_call_ctors") (call $to (i32.const 1)))
  (func (export "_initialize") (call $constructors))
  (func (export "hs_init") (param $argc i32) (param $argv i32)
    (call $to (select (i32.const 9) (i32.const 2) (i32.or (local.get $argc) (local.get $argv)))))

  ;; Fails unless it was initialised.
  (func (export "initialised") (result i32) (i32.ne (global.get $stage) (i32.const 2))))
