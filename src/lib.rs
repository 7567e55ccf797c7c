//! The Extism kernel.
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

/// `extism-runtime.wasm`.
#[cfg(not(extism_kernel_build))]
pub const KERNEL: &[u8] = include_bytes!("../dist/extism-runtime.wasm");
/// `extism-runtime-mvp.wasm`.
#[cfg(not(extism_kernel_build))]
pub const KERNEL_MVP: &[u8] = include_bytes!("../dist/extism-runtime-mvp.wasm");
