;; Takes all the memory it can get and outputs how much that was, as a little-endian u64.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory (export "memory") 1)

  (func $output (param $block i64) (param $number i64)
    (call $store_u64 (local.get $block) (local.get $number))
    (call $output_set (local.get $block) (i64.const 8)))

  ;; The pages of the plugin's own memory.
  (func (export "own")
    (block $refused
      (loop $more
        (br_if $refused (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (br $more)))
    (call $output (call $alloc (i64.const 8)) (i64.extend_i32_u (memory.size))))

  ;; The blocks of 64 KiB that the kernel could give.
  (func (export "kernel")
    (local $answer i64) (local $blocks i64)
    (local.set $answer (call $alloc (i64.const 8)))
    (block $refused
      (loop $more
        (br_if $refused (i64.eqz (call $alloc (i64.const 65536))))
        (local.set $blocks (i64.add (local.get $blocks) (i64.const 1)))
        (br $more)))
    (call $output (local.get $answer) (local.get $blocks))))
