//! The functions that the linker adds itself: what a host needs around a call in two calls, and the plugin's `memory.grow` where it shares
//! its memory with the kernel.

use crate::{code::SharedMemory, kernel::Kernel};
use wasm_encoder::{BlockType, Function, MemArg, ValType};

/// Bits of an address within a page.
const PAGE_BITS: i32 = 16;

/// `begin(length) → handle`: what a host does before a call, up to the copying of its input.
pub(crate) fn begin(kernel: &Kernel<'_>, first: u32) -> Function {
    let export = |name: &str| first + kernel.function(name).expect("checked by Kernel::parse");
    let (length, handle) = (0, 1);
    let mut function = Function::new([(1, ValType::I64)]);
    let mut code = function.instructions();
    code.call(export("reset"));
    code.local_get(length)
        .call(export("alloc"))
        .local_tee(handle);
    // For handle 0 nothing is set, and a reset has left nothing.
    code.local_get(length).call(export("input_set"));
    code.local_get(handle).end();
    function
}

/// `end() → output offset, output length, error offset, error length`: what a host asks after a call. There is an error only if its
/// length isn't 0, and else both its numbers are 0.
pub(crate) fn end(kernel: &Kernel<'_>, first: u32) -> Function {
    let export = |name: &str| first + kernel.function(name).expect("checked by Kernel::parse");
    let (error, length) = (0, 1);
    let mut function = Function::new([(2, ValType::I64)]);
    let mut code = function.instructions();
    code.call(export("output_offset"))
        .call(export("output_length"));
    code.i64_const(0).call(export("error_get")).local_tee(error);
    code.local_get(error)
        .call(export("length"))
        .local_tee(length);
    code.i64_eqz().select();
    code.local_get(length).end();
    function
}

/// `memory.grow` as the plugin sees it: adds pages to its part of the memory, at most up to `most`, and moves the kernel's part up.
///
/// Nothing is lost if this is stopped anywhere, but what the call in progress had in the kernel's memory: up to the last instruction the plugin's part
/// is as it was, and to the kernel the move is a host that scribbled over its memory, which the next reset forgets.
pub(crate) fn grow(shared: SharedMemory, most: u32, bulk_memory: bool) -> Function {
    let (delta, pages, end, start, new_start, length) = (0, 1, 2, 3, 4, 5);
    let word = MemArg {
        offset: 0,
        align: 3,
        memory_index: 0,
    };
    let mut function = Function::new([(5, ValType::I32)]);
    let mut code = function.instructions();
    code.global_get(shared.base)
        .local_tee(start)
        .i32_const(PAGE_BITS)
        .i32_shr_u()
        .local_set(pages);
    code.local_get(delta)
        .i32_eqz()
        .if_(BlockType::Empty)
        .local_get(pages)
        .return_()
        .end();
    // More than it may have, or than there is.
    code.local_get(delta)
        .i32_const(most as i32)
        .local_get(pages)
        .i32_sub()
        .i32_gt_u();
    code.if_(BlockType::Empty).i32_const(-1).return_().end();
    code.memory_size(0).local_set(end);
    code.local_get(delta).memory_grow(0).i32_const(-1).i32_eq();
    code.if_(BlockType::Empty).i32_const(-1).return_().end();
    code.local_get(start)
        .local_get(delta)
        .i32_const(PAGE_BITS)
        .i32_shl()
        .i32_add()
        .local_set(new_start);
    code.local_get(end)
        .local_get(pages)
        .i32_sub()
        .i32_const(PAGE_BITS)
        .i32_shl()
        .local_set(length);
    if bulk_memory {
        code.local_get(new_start)
            .local_get(start)
            .local_get(length)
            .memory_copy(0, 0);
        // What was the kernel's and is the plugin's now: the rest of its new pages is fresh.
        code.local_get(start).i32_const(0);
        code.local_get(length)
            .local_get(new_start)
            .local_get(start)
            .i32_sub()
            .local_tee(end);
        code.local_get(length)
            .local_get(end)
            .i32_lt_u()
            .select()
            .memory_fill(0);
    } else {
        // The length is at least a page; downwards, so that nothing is overwritten before it is copied.
        code.loop_(BlockType::Empty);
        code.local_get(length)
            .i32_const(8)
            .i32_sub()
            .local_tee(length)
            .local_get(new_start)
            .i32_add();
        code.local_get(length)
            .local_get(start)
            .i32_add()
            .i64_load(word)
            .i64_store(word);
        code.local_get(length).br_if(0).end();
        // Zeroes all of the new pages, upwards.
        code.local_get(start).local_set(end);
        code.loop_(BlockType::Empty);
        code.local_get(end).i64_const(0).i64_store(word);
        code.local_get(end)
            .i32_const(8)
            .i32_add()
            .local_tee(end)
            .local_get(new_start)
            .i32_ne()
            .br_if(0)
            .end();
    }
    code.local_get(new_start)
        .global_set(shared.base)
        .local_get(pages)
        .end();
    function
}
