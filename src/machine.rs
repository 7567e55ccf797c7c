//! What the kernel stands on: a linear memory and a handful of registers.
//!
//! The logic of [`Kernel`](crate::Kernel) is safe code over the trait [`Machine`], so the same lines run over the real
//! WebAssembly memory and over a `Vec<u8>` in tests, under Miri and in fuzzers.

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
            /// Writes zero bytes from `start` up to `end`, which must not be less.
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

        /// Implements the register accessors of [`Machine`] over a field of type [`Registers`].
        #[macro_export]
        macro_rules! registers_in {
            ($field:ident) => {
                $(
                    #[inline]
                    fn $name(&self) -> $ty { self.$field.$name }
                    #[inline]
                    fn $set(&mut self, value: $ty) { self.$field.$name = value; }
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
    /// Start of the island that fresh space is taken from, in bytes.
    island / set_island: u64 = 32;
    /// Bytes of that island handed out so far: the frontier is `island + span`.
    span / set_span: u64 = 0;
    /// `reset` zeroes up to here: to the end of the highest byte that a plugin stored beyond the frontier, and at least to where the
    /// fresh space began when memory last grew. If this and `span` are 0, nothing was used.
    dirty / set_dirty: u64 = 0;
    /// Bytes of memory that the kernel owns: all of it up to the margin behind the top, less the gap.
    owned / set_owned: u64 = 65536;
    /// Where the records ended in front of pages that belong to somebody else, in bytes; 2^64 - 1 if there are none.
    gap_start / set_gap_start: u64 = u64::MAX;
    /// End of these pages, in bytes; 0 if there are none.
    gap_end / set_gap_end: u64 = 0;
    /// Address of the lowest record: the end of the heap.
    floor / set_floor: u32 = 65496;
    /// End of the highest record.
    top / set_top: u32 = 65496;
    /// The record of the block with the highest address, 0 if there is none.
    last / set_last: u32 = 0;
    /// The record of the block freed last, of those that wait to be filed; the ring itself if none waits.
    tail / set_tail: u32 = 8;
    /// The age of the next region that is filed: lower is older.
    clock / set_clock: u32 = 0;
    /// The bit of the ages that counts at the root of the tree: the highest that any age has had, at least 1.
    root_bit / set_root_bit: u32 = 1;
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
