//! `include/extism.h` is what cbindgen makes of the sources, and the shared library exports what the header declares, no more.

#[path = "support/interface.rs"]
mod interface;

use interface::Interface;

/// With the 33 functions of the released library.
const PRESENT: Interface = Interface {
    folder: env!("CARGO_MANIFEST_DIR"),
    sources: ["src/c_api/mod.rs", "ffi/src/lib.rs"],
    library: "extism",
    functions: &[
        "extism_compiled_plugin_free",
        "extism_compiled_plugin_new",
        "extism_compiled_plugin_new_with_fuel_limit",
        "extism_current_plugin_host_context",
        "extism_current_plugin_memory",
        "extism_current_plugin_memory_alloc",
        "extism_current_plugin_memory_free",
        "extism_current_plugin_memory_length",
        "extism_error",
        "extism_function_free",
        "extism_function_new",
        "extism_function_set_namespace",
        "extism_log_custom",
        "extism_log_drain",
        "extism_log_file",
        "extism_plugin_allow_http_response_headers",
        "extism_plugin_call",
        "extism_plugin_call_with_host_context",
        "extism_plugin_cancel",
        "extism_plugin_cancel_handle",
        "extism_plugin_config",
        "extism_plugin_error",
        "extism_plugin_free",
        "extism_plugin_function_exists",
        "extism_plugin_id",
        "extism_plugin_new",
        "extism_plugin_new_error_free",
        "extism_plugin_new_from_compiled",
        "extism_plugin_new_with_fuel_limit",
        "extism_plugin_output_data",
        "extism_plugin_output_length",
        "extism_plugin_reset",
        "extism_version",
    ],
};

#[test]
fn the_header_is_what_the_sources_say() {
    PRESENT.check_header();
}

#[test]
fn the_header_declares_the_33_functions() {
    PRESENT.check_declared();
    assert_eq!(PRESENT.functions.len(), 33);
}

#[test]
fn the_library_exports_the_33_functions_and_nothing_else() {
    PRESENT.check_exported();
}
