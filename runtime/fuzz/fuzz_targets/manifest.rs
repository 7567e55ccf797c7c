//! Bytes as a manifest in JSON or TOML: those that lead to no file and to no other machine.
#![no_main]

use extism_kernel_runtime_fuzz::run_manifest;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Whether a key of this name is anywhere in there. Of equal keys, which the runtime refuses, only one has to be seen.
fn has_key(value: &Value, names: &[&str]) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| names.contains(&name.as_str()) || has_key(value, names)),
        Value::Array(values) => values.iter().any(|value| has_key(value, names)),
        _ => false,
    }
}

fuzz_target!(|text: &str| {
    let tree = toml::from_str::<Value>(text).or_else(|_| serde_json::from_str(text).map_err(drop));
    match tree {
        Ok(tree) if has_key(&tree, &["path", "url", "allowed_paths"]) => {}
        _ => run_manifest(text),
    }
});
