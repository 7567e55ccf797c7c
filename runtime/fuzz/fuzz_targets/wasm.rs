//! Bytes as WebAssembly. What is text, as the first inputs are that it is given, is changed as what it stands for.
#![no_main]

use extism_kernel_runtime_fuzz::run;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(wasm) = wat::parse_bytes(bytes) {
        run(&wasm);
    }
});

fuzz_mutator!(
    |data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
        let mut size = size;
        if !data.starts_with(b"\0asm")
            && let Ok(wasm) = wat::parse_bytes(&data[..size])
            && wasm.len() <= max_size
        {
            let wasm = wasm.into_owned();
            data[..wasm.len()].copy_from_slice(&wasm);
            size = wasm.len();
        }
        fuzzer_mutate(data, size, max_size)
    }
);
