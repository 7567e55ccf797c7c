//! libextism on the Extism kernel: runs Extism plugins.
//!
//! For Rust it has the names and signatures of the crate `extism` 1.41; for everybody else it is a shared or static library
//! with the header `include/extism.h`, which SDKs for other languages load. What differs from that crate is in `README.md`.
//!
//! ```
//! use extism::{Manifest, Plugin, Wasm};
//!
//! let wasm = r#"
//!   (module
//!     (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
//!     (import "extism:host/env" "input_length" (func $input_length (result i64)))
//!     (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
//!     (func (export "echo") (call $output_set (call $input_offset) (call $input_length))))
//! "#;
//! let manifest = Manifest::new([Wasm::data(wasm)]).with_memory_max(10);
//! let mut plugin = Plugin::new(manifest, [], false)?;
//! let output: String = plugin.call("echo", "Hello, World!")?;
//! assert_eq!(output, "Hello, World!");
//! # Ok::<(), extism::Error>(())
//! ```
//!
//! All that there is beside the C API is in a crate of its own, which has no unsafe code; this one re-exports it.

#![deny(unsafe_code)]

pub use extism_core::*;

// The C API hands out and takes pointers, which is unsafe by nature; nothing else in here may be.
#[allow(unsafe_code)]
pub mod c_api;

/// The version of the API that this runtime speaks: that of this package.
pub fn extism_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
