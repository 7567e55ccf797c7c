//! Manifests as they were read before 1.0, put into today's words.

use std::path::Path;

use extism_core::{Manifest, Wasm, WasmInput};
use serde_json::{Map, Value, json};

/// The name of the module whose functions are called.
const MAIN: &str = "main";

/// How long a call may take, in milliseconds, unless the manifest says otherwise. A module without a manifest has all the time.
const TIMEOUT: u64 = 30_000;

/// What variables may take together, in bytes.
const MAX_VAR_BYTES: u64 = 100 << 20;

/// What the plugin is made of, with the rules of that time. What is wrong with it the runtime finds.
pub(crate) fn input(bytes: &[u8]) -> WasmInput<'_> {
    let input = WasmInput::from(bytes);
    let Some(text) = input.manifest_text() else {
        let mut manifest = Manifest::new([Wasm::data(bytes)]);
        manifest.memory.max_var_bytes = Some(MAX_VAR_BYTES);
        return manifest.into();
    };
    let toml = toml::from_str(text).ok();
    match toml.or_else(|| serde_json::from_str(text).ok()) {
        Some(Value::Object(manifest)) => WasmInput::from(in_todays_words(manifest).to_string()),
        _ => input,
    }
}

fn in_todays_words(mut manifest: Map<String, Value>) -> Value {
    manifest.entry("timeout_ms").or_insert(json!(TIMEOUT));
    if let Value::Object(memory) = manifest.entry("memory").or_insert(json!({})) {
        rename(memory, "max", "max_pages");
        memory
            .entry("max_var_bytes")
            .or_insert(json!(MAX_VAR_BYTES));
    }
    if let Some(Value::Array(modules)) = manifest.get_mut("wasm") {
        for module in modules.iter_mut().filter_map(Value::as_object_mut) {
            rename(module, "header", "headers");
        }
        name_all(modules);
    }
    Value::Object(manifest)
}

/// Under both names the field is there twice, which is left for the runtime to refuse.
fn rename(object: &mut Map<String, Value>, old: &str, new: &str) {
    if !object.contains_key(new)
        && let Some(value) = object.remove(old)
    {
        object.insert(new.to_owned(), value);
    }
}

/// Gives each module the name that it had, and the one that is to be called the name by which that is known today: of several
/// that is `main` or, if none is, the last in the order of their names. A module alone needs none.
fn name_all(modules: &mut [Value]) {
    if modules.len() < 2 {
        return;
    }
    let mut names: Vec<_> = modules.iter().map(name).collect();
    if !names.iter().any(|name| name == MAIN) {
        let last = (0..names.len()).max_by_key(|index| &names[*index]);
        names[last.unwrap_or(0)] = MAIN.to_owned();
    }
    for (module, name) in modules.iter_mut().zip(names) {
        if let Value::Object(module) = module {
            module.insert("name".to_owned(), name.into());
        }
    }
}

/// What it says, or what its file is called, without the ending.
fn name(module: &Value) -> String {
    let text = |field: &str| module.get(field).and_then(Value::as_str);
    let without = |file: &str, ending: &str| file.strip_suffix(ending).map(str::to_owned);
    let of_file = || {
        let stem = Path::new(text("path")?).file_stem()?;
        stem.to_str().map(str::to_owned)
    };
    let of_url = || {
        let file = text("url")?.rsplit('/').next()?;
        without(file, ".wasm").or_else(|| without(file, ".wast"))
    };
    let named = text("name").map(str::to_owned);
    named
        .or_else(of_file)
        .or_else(of_url)
        .unwrap_or_else(|| MAIN.to_owned())
}
