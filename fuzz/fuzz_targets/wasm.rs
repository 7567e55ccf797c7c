//! The shipped `extism-runtime.wasm` under Wasmtime against the model.
#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

use model::{Lockstep, Model, decode, shipped};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (limit, ops) = decode(bytes);
    Model::run(Lockstep::new(&shipped()[0]), limit, &ops);
});
