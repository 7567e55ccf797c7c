//! The functions that the linker adds itself: what a host needs around a call in two calls, and the plugin's `memory.grow` where it shares
//! its memory with the kernel.

use crate::{code::SharedMemory, kernel::Kernel};
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

/// Bits of an address within a page.
const PAGE_BITS: i32 = 16;
/// Bytes that loops take at once.
const WORD_BYTES: i32 = 8;
const WORD: MemArg = MemArg {
    offset: 0,
    align: 3,
    memory_index: 0,
};

/// `begin(length) → handle`: what a host does before a call, up to the copying of its input.
pub(crate) fn begin(kernel: &Kernel<'_>, first: u32, reset: u32) -> Function {
    let export = |name: &str| first + kernel.function(name).expect("checked by Kernel::parse");
    let (length, handle) = (0, 1);
    let mut function = Function::new([(1, ValType::I64)]);
    let mut code = function.instructions();
    code.call(reset);
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
/// Where this is stopped by its engine, the plugin's part is as it was, and what the kernel's part holds is lost: so `reset` zeroes all of it.
/// The pages that were granted are then nobody's.
pub(crate) fn grow(shared: SharedMemory, most: u32, bulk_memory: bool) -> Function {
    let (delta, pages, end, start, new_start, length, moving) = (0, 1, 2, 3, 4, 5, 6);
    let mut function = Function::new([(6, ValType::I32)]);
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
    // More than the plugin declared.
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
    code.global_get(shared.moving)
        .local_set(moving)
        .i32_const(1)
        .global_set(shared.moving);
    // Of the plugin's new pages those that were the kernel's; what follows is fresh, and shall not be touched.
    code.local_get(new_start)
        .local_get(start)
        .local_get(length)
        .i32_add()
        .local_tee(end);
    code.local_get(new_start)
        .local_get(end)
        .i32_lt_u()
        .select()
        .local_set(end);
    if bulk_memory {
        code.local_get(new_start)
            .local_get(start)
            .local_get(length)
            .memory_copy(0, 0);
    } else {
        // The length is at least a page; downwards, so that nothing is overwritten before it is copied.
        code.loop_(BlockType::Empty);
        code.local_get(length)
            .i32_const(WORD_BYTES)
            .i32_sub()
            .local_tee(length)
            .local_get(new_start)
            .i32_add();
        code.local_get(length)
            .local_get(start)
            .i32_add()
            .i64_load(WORD)
            .i64_store(WORD);
        code.local_get(length).br_if(0).end();
    }
    zero(&mut code, start, end, bulk_memory);
    code.local_get(new_start).global_set(shared.base);
    // If an earlier move was stopped, the next reset still has to know.
    code.local_get(moving).global_set(shared.moving);
    code.local_get(pages).end();
    function
}

/// Where the kernel's part begins, for engines that show their hosts functions only.
pub(crate) fn base_get(shared: SharedMemory) -> Function {
    let mut function = Function::new([]);
    function.instructions().global_get(shared.base).end();
    function
}

/// The kernel's `reset`, which also zeroes its whole part after a move that was stopped: bytes may then lie where the kernel has used nothing.
pub(crate) fn reset(kernel: &Kernel<'_>, first: u32, shared: SharedMemory) -> Function {
    let (start, end) = (0, 1);
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.global_get(shared.moving).if_(BlockType::Empty);
    code.global_get(shared.base).local_set(start);
    code.memory_size(0)
        .i32_const(PAGE_BITS)
        .i32_shl()
        .local_set(end);
    zero(&mut code, start, end, kernel.bulk_memory);
    code.i32_const(0).global_set(shared.moving).end();
    code.call(first + kernel.function("reset").expect("checked by Kernel::parse"))
        .end();
    function
}

/// Zeroes from the address in one local up to that in another, which differ by pages; in a loop where there is no bulk memory.
fn zero(code: &mut InstructionSink<'_>, at: u32, end: u32, bulk_memory: bool) {
    if bulk_memory {
        code.local_get(at)
            .i32_const(0)
            .local_get(end)
            .local_get(at)
            .i32_sub()
            .memory_fill(0);
        return;
    }
    code.loop_(BlockType::Empty);
    code.local_get(at).i64_const(0).i64_store(WORD);
    code.local_get(at)
        .i32_const(WORD_BYTES)
        .i32_add()
        .local_tee(at)
        .local_get(end)
        .i32_ne()
        .br_if(0);
    code.end();
}
