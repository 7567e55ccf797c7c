//! `include/extism.h` is what cbindgen makes of the sources, and the shared library exports what the header declares, no more.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSymbol};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(folder().join("cbindgen.toml")).unwrap();
    // With the modules that it names.
    let source = folder().join("src/c_api/mod.rs");
    let builder = cbindgen::Builder::new()
        .with_config(config)
        .with_src(source);
    let mut bytes = Vec::new();
    builder.generate().unwrap().write(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    // What Rust calls safety is said in the header's words already.
    without_safety_sections(&text)
}

/// Leaves out of each comment what stands below `# Safety`, and the empty lines that remain.
fn without_safety_sections(text: &str) -> String {
    let mut lines = Vec::new();
    let mut skips = false;
    for line in text.lines() {
        if line.trim() == "# Safety" {
            skips = true;
            while lines
                .last()
                .is_some_and(|line: &&str| line.trim().is_empty())
            {
                lines.pop();
            }
        }
        if line.trim() == "*/" {
            skips = false;
        }
        if !skips {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_header_is_what_the_sources_say() {
    let file = folder().join("include/extism.h");
    let generated = generated();
    if env::var_os("EXTISM_BLESS").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "include/extism.h isn't: run `EXTISM_BLESS=1 cargo test -p extism-kernel-runtime --test header`"
    );
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(folder().join("include/extism.h")).unwrap();
    let mut code = String::new();
    for part in header.split("/*") {
        code += part.rsplit("*/").next().unwrap();
    }
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(');
    let names = words.filter_map(|word| {
        word.strip_suffix('(')
            .or(word.split_once('(').map(|(name, _)| name))
    });
    names
        .filter(|name| name.starts_with("extism_"))
        .map(str::to_owned)
        .collect()
}

/// The 33 of the released library.
const FUNCTIONS: [&str; 33] = [
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
];

#[test]
fn the_header_declares_the_33_functions() {
    let expected = FUNCTIONS.map(str::to_owned);
    assert_eq!(declared(), expected.into());
}

/// The shared library that cargo built beside this test.
fn library() -> PathBuf {
    let test = env::current_exe().unwrap();
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    test.with_file_name(format!("{prefix}extism{suffix}"))
}

#[test]
fn the_library_exports_the_33_functions_and_nothing_else() {
    let bytes = fs::read(library()).unwrap();
    let library = object::File::parse(&*bytes).unwrap();
    let symbols = library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition());
    let exported: BTreeSet<_> = symbols
        .map(|symbol| symbol.name().unwrap().to_owned())
        .collect();
    assert_eq!(exported, FUNCTIONS.map(str::to_owned).into());
}
