;; What Rust can't declare: the global that carries the host's context, the kernel's registers, and a bare memory.fill.
;;
;; In globals the registers lie where no store reaches them, need no initialisation on the first call, and cost one
;; instruction. wasm-merge joins this module with the compiled crate, wasm-opt inlines the accessors to plain
;; global.get and global.set, and all exports but extism_context go. src/machine.rs says what each register is; a
;; test compares the initial values.
(module
  (import "kernel" "memory" (memory 1))

  (global (export "extism_context") (mut externref) (ref.null extern))

  (global $common (mut i64) (i64.const 0))
  (func (export "__common") (result i64) (global.get $common))
  (func (export "__set_common") (param i64) (global.set $common (local.get 0)))

  (global $far (mut i64) (i64.const 0))
  (func (export "__far") (result i64) (global.get $far))
  (func (export "__set_far") (param i64) (global.set $far (local.get 0)))

  (global $dirty (mut i64) (i64.const 0))
  (func (export "__dirty") (result i64) (global.get $dirty))
  (func (export "__set_dirty") (param i64) (global.set $dirty (local.get 0)))

  (global $reserve (mut i64) (i64.const 841))
  (func (export "__reserve") (result i64) (global.get $reserve))
  (func (export "__set_reserve") (param i64) (global.set $reserve (local.get 0)))

  (global $owned (mut i64) (i64.const 65536))
  (func (export "__owned") (result i64) (global.get $owned))
  (func (export "__set_owned") (param i64) (global.set $owned (local.get 0)))

  (global $growing (mut i64) (i64.const 0))
  (func (export "__growing") (result i64) (global.get $growing))
  (func (export "__set_growing") (param i64) (global.set $growing (local.get 0)))

  (global $gap_start (mut i64) (i64.const 0))
  (func (export "__gap_start") (result i64) (global.get $gap_start))
  (func (export "__set_gap_start") (param i64) (global.set $gap_start (local.get 0)))

  (global $gap_end (mut i64) (i64.const 0))
  (func (export "__gap_end") (result i64) (global.get $gap_end))
  (func (export "__set_gap_end") (param i64) (global.set $gap_end (local.get 0)))

  (global $floor (mut i32) (i32.const 65496))
  (func (export "__floor") (result i32) (global.get $floor))
  (func (export "__set_floor") (param i32) (global.set $floor (local.get 0)))

  (global $peak (mut i32) (i32.const 65472))
  (func (export "__peak") (result i32) (global.get $peak))
  (func (export "__set_peak") (param i32) (global.set $peak (local.get 0)))

  (global $front (mut i32) (i32.const 1))
  (func (export "__front") (result i32) (global.get $front))
  (func (export "__set_front") (param i32) (global.set $front (local.get 0)))

  (global $front_peak (mut i32) (i32.const 0))
  (func (export "__front_peak") (result i32) (global.get $front_peak))
  (func (export "__set_front_peak") (param i32) (global.set $front_peak (local.get 0)))

  (global $island (mut i64) (i64.const 0))
  (func (export "__island") (result i64) (global.get $island))
  (func (export "__set_island") (param i64) (global.set $island (local.get 0)))

  (global $last (mut i32) (i32.const 0))
  (func (export "__last") (result i32) (global.get $last))
  (func (export "__set_last") (param i32) (global.set $last (local.get 0)))

  (global $tail (mut i32) (i32.const 0))
  (func (export "__tail") (result i32) (global.get $tail))
  (func (export "__set_tail") (param i32) (global.set $tail (local.get 0)))

  (global $patience (mut i32) (i32.const 64))
  (func (export "__patience") (result i32) (global.get $patience))
  (func (export "__set_patience") (param i32) (global.set $patience (local.get 0)))

  (global $bins (mut i64) (i64.const 0))
  (func (export "__bins") (result i64) (global.get $bins))
  (func (export "__set_bins") (param i64) (global.set $bins (local.get 0)))

  (global $put_off (mut i64) (i64.const 0))
  (func (export "__put_off") (result i64) (global.get $put_off))
  (func (export "__set_put_off") (param i64) (global.set $put_off (local.get 0)))

  (global $input_offset (mut i64) (i64.const 0))
  (func (export "__input_offset") (result i64) (global.get $input_offset))
  (func (export "__set_input_offset") (param i64) (global.set $input_offset (local.get 0)))

  (global $input_length (mut i64) (i64.const 0))
  (func (export "__input_length") (result i64) (global.get $input_length))
  (func (export "__set_input_length") (param i64) (global.set $input_length (local.get 0)))

  (global $output_offset (mut i64) (i64.const 0))
  (func (export "__output_offset") (result i64) (global.get $output_offset))
  (func (export "__set_output_offset") (param i64) (global.set $output_offset (local.get 0)))

  (global $output_length (mut i64) (i64.const 0))
  (func (export "__output_length") (result i64) (global.get $output_length))
  (func (export "__set_output_length") (param i64) (global.set $output_length (local.get 0)))

  (global $error (mut i64) (i64.const 0))
  (func (export "__error") (result i64) (global.get $error))
  (func (export "__set_error") (param i64) (global.set $error (local.get 0)))

  ;; Where Rust zeroes memory it puts a comparison of the length with 0 around it, and address 0 it takes for no memory.
  (func (export "__fill") (param $address i32) (param $length i32)
    (memory.fill (local.get $address) (i32.const 0) (local.get $length)))
  (func (export "__clear") (param $address i32)
    (i64.store (local.get $address) (i64.const 0)))
)
