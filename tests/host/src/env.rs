//! The functions that every host provides under `extism:host/env`, beside the kernel's exports.
//!
//! Each owns the blocks that it gets as arguments and frees them; the block that it returns is the plugin's.
//! An argument that is no handle ends the plugin's call with an error.

use wasmtime::{Val, ValType};

use crate::{CurrentPlugin, Error, LogLevel, builder::HostFunction, kernel::NAMESPACE};

/// How much a plugin may keep in its variables, names and values together, in bytes.
const MAX_VARS_BYTES: usize = 1 << 20;

/// All of them, with the types under which plugins import them.
pub(crate) fn functions() -> Vec<HostFunction> {
    use ValType::{I32, I64};
    let mut functions = vec![
        define("config_get", &[I64], &[I64], config_get),
        define("var_get", &[I64], &[I64], var_get),
        define("var_set", &[I64, I64], &[], var_set),
        define("get_log_level", &[], &[I32], get_log_level),
        define("http_request", &[I64, I64], &[I64], http_request),
        define("http_status_code", &[], &[I32], http_status_code),
        define("http_headers", &[], &[I64], http_headers),
    ];
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    functions.extend([Trace, Debug, Info, Warn, Error].map(|level| {
        define(
            &format!("log_{level}"),
            &[I64],
            &[],
            move |plugin, args, _| log(plugin, args, level),
        )
    }));
    functions
}

fn define(
    name: &str,
    params: &[ValType],
    results: &[ValType],
    body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error>
    + Send
    + Sync
    + 'static,
) -> HostFunction {
    HostFunction::new(NAMESPACE, name, params, results, body)
}

/// `config_get(key) -> value`: 0 if there is no such key.
fn config_get(
    plugin: &mut CurrentPlugin<'_>,
    args: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    let key = take_key(plugin, args)?;
    let value = plugin.state().config.get(&key).cloned();
    results[0] = new_block(plugin, value)?;
    Ok(())
}

/// `var_get(key) -> value`: 0 if the variable was never set, or was deleted.
fn var_get(plugin: &mut CurrentPlugin<'_>, args: &[Val], results: &mut [Val]) -> Result<(), Error> {
    let key = take_key(plugin, args)?;
    let value = plugin.state().vars.get(&key).cloned();
    results[0] = new_block(plugin, value)?;
    Ok(())
}

/// `var_set(key, value)`: the value 0 deletes the variable.
fn var_set(plugin: &mut CurrentPlugin<'_>, args: &[Val], _: &mut [Val]) -> Result<(), Error> {
    let value_handle = handle(args, 1);
    // Read before the key is freed: nothing forbids a plugin to pass the same block twice.
    let value = plugin.input_bytes(value_handle)?;
    let key = take_key(plugin, args)?;
    plugin.free(value_handle)?;

    let vars = &mut plugin.state().vars;
    let before = vars.remove(&key);
    if value_handle == 0 {
        return Ok(());
    }
    let kept: usize = vars
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if kept + key.len() + value.len() > MAX_VARS_BYTES {
        vars.extend(before.map(|value| (key, value)));
        return Err(Error::call(format!(
            "variables may take {MAX_VARS_BYTES} bytes, this one would be too much"
        )));
    }
    vars.insert(key, value);
    Ok(())
}

/// `log_*(message)`: frees the message also when its level is not wanted.
fn log(plugin: &mut CurrentPlugin<'_>, args: &[Val], level: LogLevel) -> Result<(), Error> {
    let message = plugin.take_bytes(handle(args, 0))?;
    let state = plugin.state();
    if level >= state.log_level {
        (state.log_sink)(level, &String::from_utf8_lossy(&message));
    }
    Ok(())
}

/// `get_log_level() -> level`: lets a plugin spare itself the messages that nobody wants.
fn get_log_level(
    plugin: &mut CurrentPlugin<'_>,
    _: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    results[0] = Val::I32(plugin.state().log_level.number());
    Ok(())
}

/// `http_request(request, body) -> response`: this host makes none.
fn http_request(plugin: &mut CurrentPlugin<'_>, args: &[Val], _: &mut [Val]) -> Result<(), Error> {
    plugin.free(handle(args, 0))?;
    plugin.free(handle(args, 1))?;
    Err(Error::call("HTTP requests are not allowed by this host"))
}

/// `http_status_code() -> code`: 0, as there was no response.
fn http_status_code(
    _: &mut CurrentPlugin<'_>,
    _: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    results[0] = Val::I32(0);
    Ok(())
}

/// `http_headers() -> headers`: 0, as there was no response.
fn http_headers(_: &mut CurrentPlugin<'_>, _: &[Val], results: &mut [Val]) -> Result<(), Error> {
    results[0] = Val::I64(0);
    Ok(())
}

/// The argument number `index` as a handle. Its type was checked when the plugin was linked.
fn handle(args: &[Val], index: usize) -> u64 {
    args[index].unwrap_i64() as u64
}

/// The first argument as the name of a value.
fn take_key(plugin: &mut CurrentPlugin<'_>, args: &[Val]) -> Result<String, Error> {
    let key = plugin.take_bytes(handle(args, 0))?;
    String::from_utf8(key)
        .map_err(|_| Error::call("a key of configuration or variables has to be UTF-8"))
}

/// A result: the handle of a new block, or 0 for none.
fn new_block(
    plugin: &mut CurrentPlugin<'_>,
    bytes: Option<impl AsRef<[u8]>>,
) -> Result<Val, Error> {
    let handle = match bytes {
        Some(bytes) => plugin.alloc_bytes(bytes)?,
        None => 0,
    };
    Ok(Val::I64(handle as i64))
}
