//! `include/extism.h` is what cbindgen makes of the sources, and the shared library exports what the header declares, no more.

#[path = "../../tests/support/interface.rs"]
mod interface;

use interface::Interface;

const LEGACY: Interface = Interface {
    folder: env!("CARGO_MANIFEST_DIR"),
    sources: ["src/lib.rs", "../ffi/src/lib.rs"],
    library: "extism_legacy",
    functions: &[
        "extism_context_free",
        "extism_context_new",
        "extism_context_reset",
        "extism_current_plugin_memory",
        "extism_current_plugin_memory_alloc",
        "extism_current_plugin_memory_free",
        "extism_current_plugin_memory_length",
        "extism_error",
        "extism_function_free",
        "extism_function_new",
        "extism_function_set_namespace",
        "extism_log_file",
        "extism_plugin_call",
        "extism_plugin_cancel",
        "extism_plugin_cancel_handle",
        "extism_plugin_config",
        "extism_plugin_free",
        "extism_plugin_function_exists",
        "extism_plugin_new",
        "extism_plugin_output_data",
        "extism_plugin_output_length",
        "extism_plugin_update",
        "extism_version",
    ],
};

#[test]
fn the_header_is_what_the_sources_say() {
    LEGACY.check_header();
}

#[test]
fn the_header_declares_the_functions() {
    LEGACY.check_declared();
}

#[test]
fn the_library_exports_the_functions_and_nothing_else() {
    LEGACY.check_exported();
}
