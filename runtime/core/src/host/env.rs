//! The functions that every host provides under `extism:host/env`, beside the kernel's exports.
//!
//! Each owns the blocks that it gets as arguments and frees them, but under the names from before 1.0, where they stay the
//! plugin's; the block that it returns is the plugin's. An argument that is no handle ends the plugin's call with an error.

use anyhow::{anyhow, bail};
use tracing::{Level, level_filters::LevelFilter};
use wasmtime::{Caller, Linker};

use crate::{
    CurrentPlugin, Error,
    host::{function::wasm, http},
    kernel::Span,
    state::State,
};

/// What variables may take together, in bytes, unless the manifest says otherwise.
const MAX_VAR_BYTES: u64 = 1 << 20;

/// The names of all of them.
pub(crate) const NAMES: [&str; 12] = [
    "config_get",
    "var_get",
    "var_set",
    "http_request",
    "http_status_code",
    "http_headers",
    "get_log_level",
    "log_trace",
    "log_debug",
    "log_info",
    "log_warn",
    "log_error",
];

/// Defines all of them in `module`, with `prefix` in front of their names, which are those of today or those from before 1.0.
pub(crate) fn link(
    linker: &mut Linker<State>,
    module: &str,
    prefix: &str,
    by_old_name: bool,
) -> Result<(), Error> {
    macro_rules! define {
        ($($name:ident($($arg:ident),*) -> $result:ty = $body:expr;)*) => {$(
            linker.func_wrap(
                module,
                &format!("{prefix}{}", stringify!($name)),
                move |caller: Caller<'_, State>, $($arg: u64),*| -> wasmtime::Result<$result> {
                    let body: fn(&mut CurrentPlugin<'_>, $(define!(@ $arg u64)),*) -> Result<$result, Error> = $body;
                    let mut plugin = CurrentPlugin::new(caller);
                    plugin.by_old_name = by_old_name;
                    body(&mut plugin, $($arg),*).map_err(wasm)
                },
            )?;
        )*};
        (@ $arg:ident $ty:ty) => { $ty };
    }
    define! {
        config_get(key) -> u64 = config_get;
        var_get(key) -> u64 = var_get;
        var_set(key, value) -> () = var_set;
        http_request(request, body) -> u64 = http::http_request;
        http_status_code() -> i32 = http::http_status_code;
        http_headers() -> u64 = http::http_headers;
        get_log_level() -> i32 = get_log_level;
        log_trace(message) -> () = |plugin, message| log(plugin, message, Level::TRACE);
        log_debug(message) -> () = |plugin, message| log(plugin, message, Level::DEBUG);
        log_info(message) -> () = |plugin, message| log(plugin, message, Level::INFO);
        log_warn(message) -> () = |plugin, message| log(plugin, message, Level::WARN);
        log_error(message) -> () = |plugin, message| log(plugin, message, Level::ERROR);
    }
    Ok(())
}

impl CurrentPlugin<'_> {
    /// The bytes of an argument's block; none for the handle 0, an error for anything else that isn't a live block's.
    pub(crate) fn argument(&mut self, handle: u64, what: &str) -> Result<&[u8], Error> {
        let (kernel, caller) = self.kernel()?;
        let length = kernel.length(&mut *caller, handle)?;
        if length == 0 && handle != 0 {
            bail!("invalid handle offset for {what}: {handle}");
        }
        let span = Span {
            offset: handle,
            length,
        };
        kernel.bytes(&*caller, span)
    }

    /// A copy of an argument's bytes, whose block is given back.
    pub(crate) fn take(&mut self, handle: u64, what: &str) -> Result<Vec<u8>, Error> {
        let bytes = self.argument(handle, what)?.to_vec();
        self.give_back(handle)?;
        Ok(bytes)
    }

    /// Frees an argument's block, unless it stays the plugin's.
    pub(crate) fn give_back(&mut self, handle: u64) -> Result<(), Error> {
        if self.by_old_name {
            return Ok(());
        }
        let (kernel, caller) = self.kernel()?;
        kernel.free(caller, handle)
    }

    /// A result: the handle of a new block.
    pub(crate) fn new_block(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.alloc_bytes(caller, bytes)
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| anyhow!(error.utf8_error()))
}

/// `config_get(key) -> value`: 0 if there is no such key, or nothing in it.
fn config_get(plugin: &mut CurrentPlugin<'_>, key: u64) -> Result<u64, Error> {
    let key = text(plugin.take(key, "config key")?)?;
    let config = plugin.state().lasting.config.clone();
    let block = config.with(&key, |value| plugin.new_block(value.as_bytes()));
    block.unwrap_or(Ok(0))
}

/// `var_get(key) -> value`: 0 if the variable was never set, was removed, or is empty.
fn var_get(plugin: &mut CurrentPlugin<'_>, key: u64) -> Result<u64, Error> {
    let key = text(plugin.take(key, "var key")?)?;
    let Some(value) = plugin.state().lasting.vars.values().get(&key) else {
        return Ok(0);
    };
    // The kernel may run and grow its memory before the value is copied, so it can't be borrowed from the store.
    let value = value.clone();
    plugin.new_block(&value)
}

/// `var_set(key, value)`: the value 0 removes the variable.
fn var_set(plugin: &mut CurrentPlugin<'_>, key: u64, value: u64) -> Result<(), Error> {
    let limit = plugin.manifest().memory.max_var_bytes;
    let limit = limit.unwrap_or(MAX_VAR_BYTES);
    if limit == 0 {
        bail!("Vars are disabled by this host");
    }
    // Read before the key is freed: nothing forbids a plugin to pass the same block twice.
    let bytes = plugin.argument(value, "var value")?.to_vec();
    let key = text(plugin.take(key, "var key")?)?;
    plugin.give_back(value)?;
    let vars = &mut plugin.state().lasting.vars;
    if value == 0 {
        vars.remove(&key);
        return Ok(());
    }
    vars.set(&key, bytes, limit)
}

/// `log_*(message)`: gives the message back also when its level is not wanted, and then doesn't even look whether it is one.
fn log(plugin: &mut CurrentPlugin<'_>, message: u64, level: Level) -> Result<(), Error> {
    if level > LevelFilter::current() {
        return plugin.give_back(message);
    }
    let message = plugin.take(message, "log message")?;
    let id = plugin.id().to_string();
    let text = match std::str::from_utf8(&message) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(target: "extism::pdk", plugin = id, "unable to log message: {error}");
            return Ok(());
        }
    };
    macro_rules! event {
        ($($level:ident)*) => {
            match level {
                $(Level::$level => tracing::event!(target: "extism::pdk", Level::$level, plugin = id, "{text}"),)*
            }
        };
    }
    event!(TRACE DEBUG INFO WARN ERROR);
    Ok(())
}

/// `get_log_level() -> level`: lets a plugin spare itself the messages that nobody wants.
fn get_log_level(_: &mut CurrentPlugin<'_>) -> Result<i32, Error> {
    let level = LevelFilter::current().into_level();
    Ok(level.map_or(i32::MAX, |level| match level {
        Level::TRACE => 0,
        Level::DEBUG => 1,
        Level::INFO => 2,
        Level::WARN => 3,
        Level::ERROR => 4,
    }))
}
