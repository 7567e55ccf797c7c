//! What libextism is made of: Extism plugins on Wasmtime and the Extism kernel. The crate that programs use is `extism`,
//! which adds the C API; this one is apart because there is not a line of unsafe code in it.
//!
//! # What is where
//!
//! * `manifest`: what to load. `compiled`: checked, linked and compiled, once. `engine`: Wasmtime's engines, one for each
//!   configuration.
//! * `plugin`: a plugin and its calls; begin there. `kernel`: the kernel's side of a call. `state`: what a plugin has.
//! * `host`: what plugins import: configuration, variables and logs (`env`), HTTP, WASI, functions of the embedder.
//!   `current_plugin`: what such a function sees.
//! * `deadline`: timeouts and cancellation. `limits`: memory and tables. `logging`: where log lines go.

#![forbid(unsafe_code)]

mod builder;
mod compiled;
mod current_plugin;
mod deadline;
mod engine;
mod error;
mod host;
mod kernel;
mod limits;
mod linking;
mod logging;
mod manifest;
mod plugin;
mod pool;
mod state;
mod typed_plugin;
mod value;

#[doc(inline)]
pub use extism_convert as convert;
pub use extism_convert::{FromBytes, FromBytesOwned, ToBytes};
pub use extism_manifest::{Manifest, Wasm, WasmMetadata};

pub use builder::PluginBuilder;
pub use compiled::CompiledPlugin;
pub use current_plugin::CurrentPlugin;
pub use deadline::CancelHandle;
pub use engine::DebugOptions;
pub use error::{CallError, Error, Failure};
pub use host::function::{Function, UserData};
pub use logging::{buffer_log, drain_log, log_to_file, set_log_callback};
pub use manifest::{ReadMemory, WasmInput};
pub use plugin::{HostContext, Plugin};
pub use pool::{Pool, PoolBuilder, PoolPlugin};
pub use state::PluginConfig;
pub use value::{PTR, Val, ValType};

/// The module from which plugins import the kernel's functions and those that every host has.
pub const EXTISM_ENV_MODULE: &str = "extism:host/env";

/// The module from which plugins import the embedder's functions, unless it says otherwise.
pub const EXTISM_USER_MODULE: &str = "extism:host/user";
