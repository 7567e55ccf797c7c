//! Bytes as WebAssembly's text format.
#![no_main]

use extism_kernel_runtime_fuzz::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if !text.starts_with('\0') {
        run(text.as_bytes());
    }
});
