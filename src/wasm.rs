//! The machine that ships: the module's own memory, the globals of `kernel-global.wat`, and the exports.

use crate::kernel::Kernel;
use crate::machine::Machine;
use core::arch::wasm32::{memory_grow, memory_size};

/// Where address 0 of the kernel is in the linear memory, in bytes, a multiple of a page.
#[cfg(not(extism_one_memory))]
#[inline(always)]
const fn base() -> u32 {
    0
}

#[cfg(extism_one_memory)]
#[link(wasm_import_module = "base")]
unsafe extern "C" {
    /// The same for a kernel that shares its memory with a plugin: behind the plugin's part, and it moves when that grows.
    #[link_name = "__base"]
    safe fn base() -> u32;
}

/// Loads, at any alignment, from the linear memory.
macro_rules! load {
    ($type:ty, $address:expr, $field:expr) => {
        // SAFETY: the kernel checks every address against the size of the memory before it comes here, and keeps no Rust
        // object in the memory, so no reference is invalidated. The sum with the field doesn't wrap. Were an address
        // outside, the engine would trap: linear memory has no other failure. One thing is not Rust's to the letter: the record
        // of none is at address 0, and `add` to a pointer that is null is undefined. At opt-level 3 the compiler did make use of that, at "z" it
        // does not: what ships is compared with the native core, call by call and byte by byte, whatever a host has scribbled.
        unsafe {
            (base().wrapping_add($address) as usize as *const u8)
                .add($field as usize)
                .cast::<$type>()
                .read_unaligned()
        }
    };
}

/// Stores, at any alignment, into the linear memory.
macro_rules! store {
    ($type:ty, $address:expr, $field:expr, $value:expr) => {
        // SAFETY: as for `load!`.
        unsafe {
            (base().wrapping_add($address) as usize as *mut u8)
                .add($field as usize)
                .cast::<$type>()
                .write_unaligned($value)
        }
    };
}

#[cfg(target_feature = "bulk-memory")]
#[link(wasm_import_module = "registers")]
unsafe extern "C" {
    /// One `memory.fill` with zero.
    #[link_name = "__fill"]
    fn fill(address: u32, length: u32);
}

#[cfg(not(target_feature = "bulk-memory"))]
#[link(wasm_import_module = "registers")]
unsafe extern "C" {
    /// One store of eight zero bytes.
    #[link_name = "__clear"]
    fn clear(address: u32);
}

struct Wasm;

impl Machine for Wasm {
    #[inline(always)]
    fn load8(&self, address: u32) -> u8 {
        load!(u8, address, 0)
    }
    #[inline(always)]
    fn load32(&self, address: u32, field: u32) -> u32 {
        load!(u32, address, field)
    }
    #[inline(always)]
    fn load64(&self, address: u32, field: u32) -> u64 {
        load!(u64, address, field)
    }
    #[inline(always)]
    fn store8(&mut self, address: u32, value: u8) {
        store!(u8, address, 0, value);
    }
    #[inline(always)]
    fn store32(&mut self, address: u32, field: u32, value: u32) {
        store!(u32, address, field, value);
    }
    #[inline(always)]
    fn store64(&mut self, address: u32, field: u32, value: u64) {
        store!(u64, address, field, value);
    }
    #[cfg(target_feature = "bulk-memory")]
    #[inline(always)]
    fn zero(&mut self, start: u32, end: u32) {
        // SAFETY: as for `load!`.
        unsafe { fill(base().wrapping_add(start), end.wrapping_sub(start)) }
    }
    #[cfg(not(target_feature = "bulk-memory"))]
    #[inline(never)]
    fn zero(&mut self, mut start: u32, mut end: u32) {
        // A start is a multiple of 8, and what is cleared behind an end that is none is fresh, or zero already.
        end = end.wrapping_add(7) & !7;
        while start != end {
            // SAFETY: as for `load!`.
            unsafe { clear(base().wrapping_add(start)) }
            start = start.wrapping_add(8);
        }
    }
    #[inline(always)]
    fn pages(&self) -> u32 {
        memory_size(0) as u32 - (base() >> 16)
    }
    #[inline(always)]
    fn grow(&mut self, pages: u32) -> bool {
        memory_grow(0, pages as usize) != usize::MAX
    }
    registers_in_globals!();
}

/// One export for each method of [`Kernel`].
macro_rules! exports {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                Kernel::new(Wasm).$name($($argument),*)
            }
        )*
    };
}

exports! {
    alloc(n: u64) -> u64;
    free(handle: u64);
    length(handle: u64) -> u64;
    load_u8(offset: u64) -> u32;
    load_u64(offset: u64) -> u64;
    store_u8(offset: u64, value: u32);
    store_u64(offset: u64, value: u64);
    input_set(handle: u64, length: u64);
    input_offset() -> u64;
    input_length() -> u64;
    input_load_u8(index: u64) -> u32;
    input_load_u64(index: u64) -> u64;
    output_set(offset: u64, length: u64);
    output_offset() -> u64;
    output_length() -> u64;
    error_set(handle: u64);
    error_get() -> u64;
    memory_bytes() -> u64;
    reset();
}

/// The same as `length`, which costs the same.
#[unsafe(no_mangle)]
extern "C" fn length_unsafe(handle: u64) -> u64 {
    Kernel::new(Wasm).length(handle)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
