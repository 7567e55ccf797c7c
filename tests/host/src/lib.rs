//! A small host for Extism plugins, on Wasmtime: the one to read when writing a host in another language.
//!
//! A host links three kinds of functions to a plugin and then follows one sequence per call:
//!
//! - the kernel's exports, under the module name `extism:host/env` ([`Plugin::builder`] instantiates the
//!   kernel and links them): they own the memory through which host and plugin exchange bytes;
//! - the functions that every host provides under the same name: config, variables, logging, HTTP
//!   (the module `env`);
//! - the embedder's own functions, under any name ([`Builder::function`]).
//!
//! The sequence of a call is in [`Plugin::call`], the kernel's side of it in the module `kernel`.
//!
//! A plugin is not trusted. It can pass any number as a handle and any range as its output, so nothing
//! here reads memory by a number from a plugin without a check, and no such number makes the host panic.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use extism_kernel_host::Plugin;
//!
//! let kernel = std::fs::read("dist/extism-runtime.wasm")?;
//! let wasm = std::fs::read("count_vowels.wasm")?;
//! let mut plugin = Plugin::builder(&kernel, &wasm).config("vowels", "aeiou").build()?;
//! let output = plugin.call("count_vowels", "Hello, World!")?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod builder;
mod context;
mod current_plugin;
mod env;
mod error;
mod kernel;
mod limits;
mod log;
mod plugin;
mod state;
mod stats;

pub use builder::Builder;
pub use current_plugin::CurrentPlugin;
pub use error::Error;
pub use log::LogLevel;
pub use plugin::Plugin;
pub use stats::Stats;
pub use wasmtime::{Val, ValType};
