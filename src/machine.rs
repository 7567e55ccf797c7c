//! What the kernel stands on: a linear memory and a handful of registers.
//!
//! The logic of [`Kernel`](crate::Kernel) is safe code over the trait [`Machine`], so the same lines run over the real
//! WebAssembly memory and over a `Vec<u8>` in tests, under Miri and in fuzzers.

use crate::kernel::layout::RESERVE;

pub use crate::kernel::layout::BASE;

/// Declares the registers once: their accessors in [`Machine`] and the plain struct that native machines keep.
macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident / $set:ident: $ty:ty = $start:expr;)*) => {
        /// The kernel's registers as a plain struct, with the values they have in a fresh instance.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Registers {
            $($(#[$doc])* pub $name: $ty,)*
        }

        impl Default for Registers {
            fn default() -> Self {
                Self { $($name: $start,)* }
            }
        }

        /// A linear memory and the kernel's registers.
        ///
        /// Addresses and sizes are in bytes. An access outside of the memory traps or panics: the kernel
        /// never makes one, whatever a plugin asks for and whatever a host has written over the memory.
        pub trait Machine {
            /// Reads one byte.
            fn load8(&self, address: u32) -> u8;
            /// Reads four bytes at `address + field`, little endian, at any alignment. The sum must not wrap.
            fn load32(&self, address: u32, field: u32) -> u32;
            /// Reads eight bytes at `address + field`, likewise.
            fn load64(&self, address: u32, field: u32) -> u64;
            /// Writes one byte.
            fn store8(&mut self, address: u32, value: u8);
            /// Writes four bytes at `address + field`, likewise.
            fn store32(&mut self, address: u32, field: u32, value: u32);
            /// Writes eight bytes at `address + field`, likewise.
            fn store64(&mut self, address: u32, field: u32, value: u64);
            /// Writes zero bytes from `start`, a multiple of 8, up to `end`, which must not be less; 0 stands for 2^32.
            fn zero(&mut self, start: u32, end: u32);
            /// The size of the memory in pages of 65,536 bytes, whoever owns them.
            fn pages(&self) -> u32;
            /// Adds pages at the end of the memory; false if they can't be had.
            fn grow(&mut self, pages: u32) -> bool;
            $(
                #[doc = concat!("Reads the register [`Registers::", stringify!($name), "`].")]
                fn $name(&self) -> $ty;
                #[doc = concat!("Writes the register [`Registers::", stringify!($name), "`].")]
                fn $set(&mut self, value: $ty);
            )*
        }

        /// Implements the register accessors of [`Machine`] over a field of type [`Registers`]. The method named beside it is called
        /// before each write: a machine that may be stopped there can count it.
        #[macro_export]
        macro_rules! registers_in {
            ($field:ident, $before_write:ident) => {
                $(
                    #[inline]
                    fn $name(&self) -> $ty { self.$field.$name }
                    #[inline]
                    fn $set(&mut self, value: $ty) {
                        self.$before_write();
                        self.$field.$name = value;
                    }
                )*
            };
        }

        #[cfg(extism_kernel_build)]
        #[link(wasm_import_module = "registers")]
        unsafe extern "C" {
            $(
                #[link_name = concat!("__", stringify!($name))]
                pub(crate) safe fn $name() -> $ty;
                #[link_name = concat!("__", stringify!($set))]
                pub(crate) safe fn $set(value: $ty);
            )*
        }

        /// The accessors over the globals of `kernel-global.wat`.
        #[cfg(extism_kernel_build)]
        macro_rules! registers_in_globals {
            () => {
                $(
                    #[inline(always)]
                    fn $name(&self) -> $ty { $crate::machine::$name() }
                    #[inline(always)]
                    fn $set(&mut self, value: $ty) { $crate::machine::$set(value) }
                )*
            };
        }
    };
}

registers! {
    /// Bytes from the heap's beginning that were handed out, those behind a gap not counted: an access that begins there needs no
    /// further look.
    common / set_common: u64 = 0;
    /// 0, or where a gap was crossed the bytes from the end of `common` to the frontier: the frontier is at `248 + common + far`.
    far / set_far: u64 = 0;
    /// `reset` zeroes up to here at least: the end of the highest byte that a plugin stored beyond the frontier, or that a host may have
    /// written although its `alloc` failed. If this, `common` and `far` are 0, nothing was used.
    dirty / set_dirty: u64 = 0;
    /// What must lie between `common` and the floor beside a block's data to cut the block off the fresh space, in bytes; 2^40 more
    /// where that lies behind a gap.
    reserve / set_reserve: u64 = RESERVE;
    /// Bytes of memory that the kernel owns: all of it, less the gap.
    owned / set_owned: u64 = 65536;
    /// Within a growth, or after it was stopped, the bytes of memory that it asks for, and 1; else 0.
    growing / set_growing: u64 = 0;
    /// Where pages start that belong to somebody else, in bytes; 0 if there are none.
    gap_start / set_gap_start: u64 = 0;
    /// End of these pages, in bytes; 0 if there are none.
    gap_end / set_gap_end: u64 = 0;
    /// Address of the lowest record: the end of the heap.
    floor / set_floor: u32 = 65496;
    /// Address of the highest slot for a record: there are none if it is below the floor.
    peak / set_peak: u32 = 65472;
    /// Where a gap was crossed the lowest record in front of it, else 1.
    front / set_front: u32 = 1;
    /// The highest slot for a record there, 0 else.
    front_peak / set_front_peak: u32 = 0;
    /// Where the heap goes on behind a gap that was crossed, in bytes; 0 if none was.
    island / set_island: u64 = 0;
    /// The record of the block with the highest address, 0 if there is none.
    last / set_last: u32 = 0;
    /// The record of the block freed last, of those that wait to be merged; 0 if none waits.
    tail / set_tail: u32 = 0;
    /// How many more blocks may wait before one is merged.
    patience / set_patience: u32 = 64;
    /// The bins that are not empty, a bit each.
    bins / set_bins: u64 = 0;
    /// The handles of output and error, 32 bits each, where they were freed, which is put off; 0 for none.
    put_off / set_put_off: u64 = 0;
    /// Where the input starts, in bytes.
    input_offset / set_input_offset: u64 = 0;
    /// Length of the input in bytes.
    input_length / set_input_length: u64 = 0;
    /// Where the output starts, in bytes.
    output_offset / set_output_offset: u64 = 0;
    /// Length of the output in bytes.
    output_length / set_output_length: u64 = 0;
    /// Where the error's text starts, 0 if there is no error.
    error / set_error: u64 = 0;
}
