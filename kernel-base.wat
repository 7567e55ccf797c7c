;; Only for the kernels that the linker puts behind a plugin's memory: where the kernel's part begins, in bytes. The linker sets
;; it, and moves it when the plugin's part grows.
(module
  (global $base (export "base") (mut i32) (i32.const 0))
  (func (export "__base") (result i32) (global.get $base)))
