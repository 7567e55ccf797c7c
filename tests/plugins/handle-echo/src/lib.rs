//! Calls a host function that answers with the very handle it was given, and outputs what came back.
//!
//! The glue that `host_fn` makes frees its argument when the call is over, so the answer is read from
//! a block that may have been freed already: the kernel has to leave freed data as it was.

use extism_pdk::{FnResult, host_fn, plugin_fn};

#[host_fn("extism:host/user")]
extern "ExtismHost" {
    fn echo_handle(text: String) -> String;
}

#[plugin_fn]
pub fn handle_echo(input: String) -> FnResult<String> {
    // SAFETY: the import takes and returns the handle of a block, as the host defines it.
    Ok(unsafe { echo_handle(input)? })
}
