//! The machine that tests, fuzzers and models run on: a vector and a struct.

extern crate alloc;

use crate::machine::{Machine, Registers};
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a page.
const PAGE: usize = 65536;

/// A memory in a vector, with registers in a struct. Any access outside of the memory panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeMachine {
    /// The memory. A test may write into it as a host does, or lengthen it by whole pages as another user of
    /// the memory does.
    pub memory: Vec<u8>,
    /// The registers.
    pub registers: Registers,
    /// The most pages that the memory may have, 0..=65536.
    pub limit: u32,
}

impl Default for NativeMachine {
    fn default() -> Self {
        Self {
            memory: vec![0; PAGE],
            registers: Registers::default(),
            limit: 65536,
        }
    }
}

impl NativeMachine {
    fn bytes<const N: usize>(&self, address: u32) -> [u8; N] {
        self.memory[address as usize..][..N]
            .try_into()
            .expect("a slice of N bytes")
    }

    /// Nobody counts.
    #[inline]
    fn before_write(&self) {}

    fn put(&mut self, address: u32, bytes: &[u8]) {
        self.memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl Machine for NativeMachine {
    fn load8(&self, address: u32) -> u8 {
        self.memory[address as usize]
    }
    fn load32(&self, address: u32, field: u32) -> u32 {
        u32::from_le_bytes(self.bytes(address + field))
    }
    fn load64(&self, address: u32, field: u32) -> u64 {
        u64::from_le_bytes(self.bytes(address + field))
    }
    fn store8(&mut self, address: u32, value: u8) {
        self.put(address, &[value]);
    }
    fn store32(&mut self, address: u32, field: u32, value: u32) {
        self.put(address + field, &value.to_le_bytes());
    }
    fn store64(&mut self, address: u32, field: u32, value: u64) {
        self.put(address + field, &value.to_le_bytes());
    }
    fn zero(&mut self, start: u32, end: u32) {
        // 2^32 is the end of the largest memory, and wraps to 0.
        let length = end.wrapping_sub(start) as usize;
        self.memory[start as usize..][..length].fill(0);
    }
    fn pages(&self) -> u32 {
        (self.memory.len() / PAGE) as u32
    }
    fn grow(&mut self, pages: u32) -> bool {
        let wanted = u64::from(self.pages()) + u64::from(pages);
        if wanted > self.limit.into() {
            return false;
        }
        self.memory.resize(wanted as usize * PAGE, 0);
        true
    }
    registers_in!(registers, before_write);
}
