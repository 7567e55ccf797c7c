//! Input, output and error: registers that name ranges of the heap.

use super::Kernel;
use super::layout::*;
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Makes `length` bytes at `handle` the input, any range that lies in the heap; `length` 0 empties it.
    /// Anything else is ignored.
    #[inline(always)]
    pub fn input_set(&mut self, handle: u64, length: u64) {
        if self.is_range(handle, length) {
            self.machine.set_input_offset(handle);
            self.machine.set_input_length(length);
        }
    }

    /// Where the input starts, in bytes of memory; 0 if none was set.
    #[inline(always)]
    pub fn input_offset(&self) -> u64 {
        self.machine.input_offset()
    }

    /// Length of the input in bytes.
    #[inline(always)]
    pub fn input_length(&self) -> u64 {
        self.machine.input_length()
    }

    /// The byte of the input at `index`, 0..=255; 0 from its end on.
    #[inline(always)]
    pub fn input_load_u8(&self, index: u64) -> u32 {
        if index < self.machine.input_length() {
            let address = self.machine.input_offset() + index;
            self.machine.load8(address as u32).into()
        } else {
            0
        }
    }

    /// The eight bytes of the input from `index` on, little endian; 0 if any of them lies behind its end.
    #[inline(always)]
    pub fn input_load_u64(&self, index: u64) -> u64 {
        // Both are below 2^32, and only then: one comparison instead of two makes the load one instruction cheaper.
        let left = self
            .machine
            .input_length()
            .wrapping_sub(8)
            .wrapping_sub(index);
        if (index | left) < MOST {
            let address = self.machine.input_offset() + index;
            self.machine.load64(address as u32, 0)
        } else {
            0
        }
    }

    /// Makes `length` bytes at `offset` the output, any range that lies in the heap; `length` 0 empties it.
    /// Anything else is ignored. Freeing a block that starts at `offset` is put off until another output is set.
    #[inline(always)]
    pub fn output_set(&mut self, offset: u64, length: u64) {
        if self.is_range(offset, length) {
            self.machine.set_output_offset(offset);
            self.machine.set_output_length(length);
            if self.machine.put_off() != 0 {
                self.release(offset);
            }
        }
    }

    /// Where the output starts, in bytes of memory; 0 if none was set.
    #[inline(always)]
    pub fn output_offset(&self) -> u64 {
        self.machine.output_offset()
    }

    /// Length of the output in bytes.
    #[inline(always)]
    pub fn output_length(&self) -> u64 {
        self.machine.output_length()
    }

    /// Makes the block at `handle` the error's text; 0 clears it. An offset outside of the heap is ignored. The
    /// block's free is put off until the error is cleared or another is set.
    #[inline(always)]
    pub fn error_set(&mut self, handle: u64) {
        if handle == 0 || self.is_common(handle) || self.range_in_heap(handle, 1) {
            self.machine.set_error(handle);
            if self.machine.put_off() != 0 {
                self.release(handle);
            }
        }
    }

    /// The handle of the error's text, 0 if there is no error.
    #[inline(always)]
    pub fn error_get(&self) -> u64 {
        self.machine.error()
    }

    /// Whether a range lies in the heap, of which even an empty one must begin there.
    #[inline(always)]
    fn is_range(&self, offset: u64, length: u64) -> bool {
        let index = offset.wrapping_sub(BASE);
        let common = self.machine.common();
        if index >= common {
            index < MOST && self.range_in_heap(offset, length)
        } else {
            length <= common - index || self.range_in_heap(offset, length)
        }
    }

    /// Remembers the free of the current output or error: `put_off` has 32 bits for each.
    #[inline(never)]
    pub(super) fn postpone(&mut self, handle: u64) {
        let others = self.machine.put_off();
        if others >> 32 != handle && others << 32 >> 32 != handle {
            self.machine.set_put_off(others << 32 | handle);
        }
    }

    /// Makes up for frees that were put off, since another output or error was set; of `set`, which is one again, it was taken back.
    #[inline(never)]
    fn release(&mut self, set: u64) {
        let handles = self.machine.put_off();
        self.machine.set_put_off(0);
        self.release_unless(handles >> 32, set);
        self.release_unless(handles << 32 >> 32, set);
    }

    /// Frees a block, which is put off anew if it is still output or error.
    #[inline(never)]
    fn release_unless(&mut self, handle: u64, set: u64) {
        if handle != set {
            self.free(handle);
        }
    }
}
