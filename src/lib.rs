//! The Extism kernel: the small WebAssembly module that owns the memory between a host and its plugin.
//!
//! A host links this module with each plugin: it holds the blocks that both exchange, and the registers for input, output
//! and error. A Rust host takes the module from here instead of vendoring a file:
//!
//! ```
//! let wasm: &[u8] = extism_kernel::KERNEL;
//! assert_eq!(&wasm[..4], b"\0asm");
//! ```
//!
//! # What is where
//!
//! * [`KERNEL`], [`KERNEL_BULK`] and [`KERNEL_MVP`] are the artefacts of `dist/`. That is all a host needs.
//! * [`Kernel`] is the logic: one method for each export, over any [`Machine`](machine::Machine). The module shipped is
//!   compiled from it, and tests and fuzzers run it natively, over a [`NativeMachine`].
//! * The module `kernel` begins with a drawing of the memory.

#![no_std]

#[macro_use]
pub mod machine;

mod kernel;
#[cfg(not(extism_kernel_build))]
mod native;
#[cfg(extism_kernel_build)]
mod wasm;

pub use kernel::Kernel;
#[cfg(not(extism_kernel_build))]
pub use native::NativeMachine;

/// The kernel, `dist/extism-runtime.wasm`: for engines with reference types and bulk memory.
///
/// It imports nothing, exports one memory of initially 1 page without a maximum, twenty functions and the mutable
/// externref global `extism_context`; it needs no initialisation.
#[cfg(not(extism_kernel_build))]
pub const KERNEL: &[u8] = include_bytes!("../dist/extism-runtime.wasm");

/// The same kernel without `extism_context`, `dist/extism-runtime-bulk.wasm`: for engines with bulk memory but without
/// reference types, and for hosts that keep the context themselves.
#[cfg(not(extism_kernel_build))]
pub const KERNEL_BULK: &[u8] = include_bytes!("../dist/extism-runtime-bulk.wasm");

/// The same kernel without `extism_context` or bulk memory, `dist/extism-runtime-mvp.wasm`: for engines that know only WebAssembly 1.0
/// and mutable globals.
#[cfg(not(extism_kernel_build))]
pub const KERNEL_MVP: &[u8] = include_bytes!("../dist/extism-runtime-mvp.wasm");

/// The version of the kernel, as in `dist/extism-runtime.wasm.version`.
#[cfg(not(extism_kernel_build))]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
