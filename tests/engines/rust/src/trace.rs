//! The same calls in every engine, and a hash of all they did.

use crate::{Error, Kernel};

/// FNV-1a with 64 bits.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
        }
    }
}

/// Runs the trace on a fresh kernel.
pub(crate) fn hash(kernel: &mut impl Kernel) -> Result<u64, Error> {
    let mut state = 2_463_534_242_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        u64::from(state)
    };
    let mut hash = Fnv(14_695_981_039_346_656_037);
    let mut handles = [0_u64; 64];
    for _ in 0..12_000 {
        let r = next();
        let a = next();
        let h = &mut handles[(r >> 8) as usize % 64];
        let result = match r % 16 {
            choice @ 0..5 => {
                let most = if choice == 4 { 20_000 } else { 600 };
                *h = kernel.call("alloc", &[a % most])?;
                *h
            }
            5..8 => kernel.call("free", &[*h])?,
            8 => kernel.call("length", &[*h])?,
            9 => kernel.call("store_u8", &[h.wrapping_add(a % 64), a])?,
            10 => kernel.call("store_u64", &[h.wrapping_add(a % 512), (a << 32) + r])?,
            11 => kernel.call("load_u8", &[h.wrapping_add(a % 64)])?,
            12 => kernel.call("load_u64", &[a])?,
            13 => {
                kernel.call("output_set", &[*h, a % 64])?;
                kernel.call("output_length", &[])?
            }
            14 => {
                kernel.call("input_set", &[*h, a % 700])?;
                kernel.call("input_load_u64", &[r % 700])?
            }
            _ => {
                kernel.call("error_set", &[*h])?;
                if a.is_multiple_of(256) {
                    kernel.call("reset", &[])?;
                }
                kernel.call("error_get", &[])?
            }
        };
        hash.add(&result.to_le_bytes());
    }
    let size = kernel.size();
    hash.add(&kernel.read(0, size)?);
    Ok(hash.0)
}
