//! The native core against the model.
#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

use model::{Model, decode, native};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (limit, ops) = decode(bytes);
    Model::run(native(), limit, &ops);
});
