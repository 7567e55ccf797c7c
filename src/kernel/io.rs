//! Input, output and error: registers that name ranges of the heap.

use super::{Kernel, MOST};
use crate::machine::Machine;

impl<M: Machine> Kernel<M> {
    /// Makes `length` bytes at `handle` the input, any range that lies in the heap; `length` 0 empties it.
    /// Anything else is ignored.
    #[inline(always)]
    pub fn input_set(&mut self, handle: u64, length: u64) {
        if self.range_in_heap(handle, length) {
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
    /// Anything else is ignored. A block that starts at `offset` can't be freed until another output is set.
    #[inline(always)]
    pub fn output_set(&mut self, offset: u64, length: u64) {
        if self.range_in_heap(offset, length) {
            self.machine.set_output_offset(offset);
            self.machine.set_output_length(length);
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
    /// block can't be freed until the error is cleared or another is set.
    #[inline(always)]
    pub fn error_set(&mut self, handle: u64) {
        if handle == 0 || self.is_common(handle) || self.range_in_heap(handle, 1) {
            self.machine.set_error(handle);
        }
    }

    /// The handle of the error's text, 0 if there is no error.
    #[inline(always)]
    pub fn error_get(&self) -> u64 {
        self.machine.error()
    }
}
