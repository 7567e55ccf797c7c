//! What can be loaded, and what is refused: by each field of a manifest.

use std::{fs, path::PathBuf};

use extism::{Manifest, Plugin, Wasm};

use crate::root_cause;

/// `(module (func (export "run")))` as it is compiled.
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a\x04\x01\x02\0\x0b";
const BASE64: &str = "AGFzbQEAAAABBAFgAAADAgEABwcBA3J1bgAACgQBAgAL";

fn new(input: &str) -> Result<Plugin, String> {
    Plugin::new(input, [], false).map_err(root_cause)
}

fn json(rest: &str) -> Result<Plugin, String> {
    new(&format!(r#"{{"wasm": [{{"data": "{BASE64}"}}] {rest}}}"#))
}

fn wasm_json(wasm: &str) -> Result<Plugin, String> {
    new(&format!(r#"{{"wasm": [{wasm}]}}"#))
}

fn runs(plugin: Result<Plugin, String>) {
    plugin
        .expect("it can be loaded")
        .call::<_, ()>("run", "")
        .unwrap();
}

/// A file of this test's own, gone with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("extism-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn sha256() -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(MODULE);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn wasm_and_wat_are_told_from_manifests() {
    runs(Plugin::new(MODULE, [], false).map_err(root_cause));
    for text in [
        r#"(module (func (export "run")))"#,
        r#"(   module (func (export "run")))"#,
        r#";; a comment
           (module (func (export "run")))"#,
        r#"(; a comment ;) (module (func (export "run")))"#,
    ] {
        runs(new(text));
    }
    assert_eq!(
        new("").unwrap_err(),
        "No wasm files specified in Extism manifest"
    );
    assert_eq!(
        new("{}").unwrap_err(),
        "No wasm files specified in Extism manifest"
    );
    assert_eq!(
        new("wasm = []").unwrap_err(),
        "No wasm files specified in Extism manifest"
    );
    for text in ["nonsense", "[]", "null", "1", "{", "<html>"] {
        let error = new(text).unwrap_err();
        assert!(
            error.starts_with("Unknown manifest format: "),
            "{text}: {error}"
        );
    }
}

#[test]
fn modules_come_from_files_data_and_toml() {
    let file = File::new("module.wasm", MODULE);
    let path = file.0.to_str().unwrap();
    runs(wasm_json(&format!(r#"{{"path": "{path}"}}"#)));
    runs(new(&format!("[[wasm]]\npath = '{path}'")));
    runs(new(&format!(
        "wasm = [{{ data = '{BASE64}' }}]\n[config]\na = 'b'"
    )));
    runs(wasm_json(&format!(
        r#"{{"data": "{BASE64}", "name": null, "hash": null}}"#
    )));
    runs(Plugin::new(Manifest::new([Wasm::file(path)]), [], false).map_err(root_cause));
    let missing = format!("{path}.missing");
    let error = wasm_json(&format!(r#"{{"path": "{missing}"}}"#)).unwrap_err();
    assert_eq!(
        error,
        format!("Unable to load Wasm file \"{missing}\": entity not found")
    );
    // `(module (func (export "run")))`
    runs(wasm_json(
        r#"{"data": "KG1vZHVsZSAoZnVuYyAoZXhwb3J0ICJydW4iKSkp"}"#,
    ));
}

#[test]
fn hashes_are_checked_in_either_case() {
    let hash = sha256();
    let with = |hash: &str| wasm_json(&format!(r#"{{"data": "{BASE64}", "hash": "{hash}"}}"#));
    runs(with(&hash));
    runs(with(&hash.to_uppercase()));
    assert_eq!(
        with("ab").unwrap_err(),
        format!("Hash mismatch, found {hash} but expected ab")
    );
}

#[test]
fn every_field_is_taken_and_null_where_it_may_be() {
    for rest in [
        r#", "memory": {}"#,
        r#", "memory": {"max_pages": 5, "max_http_response_bytes": 1, "max_var_bytes": 0}"#,
        r#", "memory": {"max_pages": null, "max_http_response_bytes": null, "max_var_bytes": null}"#,
        r#", "config": {"a": "b"}"#,
        r#", "allowed_hosts": null"#,
        r#", "allowed_hosts": ["*.example.com"]"#,
        r#", "allowed_paths": null"#,
        r#", "allowed_paths": {"/nonexistent": "/guest"}"#,
        r#", "timeout_ms": null"#,
        r#", "timeout_ms": 1000"#,
    ] {
        runs(json(rest));
    }
    let mut wasi = Plugin::new(
        format!(
            r#"{{"wasm": [{{"data": "{BASE64}"}}], "allowed_paths": {{"/nonexistent": "/guest"}}}}"#
        ),
        [],
        true,
    );
    let error = root_cause(
        wasi.as_mut()
            .map(|_| ())
            .map_err(|error| extism::Error::msg(error.root_cause().to_string()))
            .unwrap_err(),
    );
    assert!(error.starts_with("No such file or directory"), "{error}");
}

/// D5: the text didn't say what was wrong. What is behind it is ours.
#[test]
fn what_is_wrong_is_refused_and_said() {
    for (rest, place) in [
        (r#", "unknown": 1"#, "unknown: unknown field `unknown`"),
        (r#", "memory": null"#, "memory"),
        (r#", "memory": []"#, "memory"),
        (
            r#", "memory": {"max": 5}"#,
            "memory.max: unknown field `max`",
        ),
        (r#", "memory": {"max_pages": -1}"#, "memory.max_pages"),
        (
            r#", "memory": {"max_pages": 4294967296}"#,
            "memory.max_pages",
        ),
        (r#", "memory": {"max_pages": "5"}"#, "memory.max_pages"),
        (r#", "config": null"#, "config"),
        (r#", "config": {"a": 1}"#, "config.a"),
        (r#", "config": {"a": null}"#, "config.a"),
        (r#", "allowed_hosts": "a""#, "allowed_hosts"),
        (r#", "allowed_hosts": [null]"#, "allowed_hosts[0]"),
        (r#", "allowed_paths": ["a"]"#, "allowed_paths"),
        (r#", "timeout_ms": -1"#, "timeout_ms"),
        (r#", "timeout_ms": 1.5"#, "timeout_ms"),
        (r#", "wasm": []"#, "duplicate field `wasm`"),
    ] {
        let error = json(rest).unwrap_err();
        let reason = error
            .strip_prefix("Unknown manifest format: ")
            .expect(&error);
        assert!(reason.starts_with(place), "{rest}: {error}");
    }
    for (wasm, place) in [
        (r#"{}"#, "wasm[0]: one of `path`, `data` and `url`"),
        (r#"{"path": "a", "data": ""}"#, "wasm[0]: one of"),
        (r#"{"path": null}"#, "wasm[0].path"),
        (
            r#"{"path": "a", "method": "GET"}"#,
            "wasm[0]: `method` and `headers`",
        ),
        (
            r#"{"path": "a", "other": 1}"#,
            "wasm[0].other: unknown field `other`",
        ),
        (r#"{"path": "a", "name": 1}"#, "wasm[0].name"),
        (r#"{"data": "AGFz+"}"#, "wasm[0].data: not base64"),
        (r#"{"data": "AA"}"#, "wasm[0].data: not base64"),
        (r#"{"data": 1}"#, "wasm[0].data"),
        (r#"{"url": 1}"#, "wasm[0].url"),
        (
            r#"{"url": "http://127.0.0.1/", "headers": null}"#,
            "wasm[0].headers",
        ),
        (
            r#"{"url": "http://127.0.0.1/", "headers": {"a": 1}}"#,
            "wasm[0].headers.a",
        ),
        (r#"["a"]"#, "wasm"),
        (r#""a""#, "wasm"),
    ] {
        let error = wasm_json(wasm).unwrap_err();
        let reason = error
            .strip_prefix("Unknown manifest format: ")
            .expect(&error);
        assert!(reason.starts_with(place), "{wasm}: {error}");
    }
    let error = new("unknown = 1").unwrap_err();
    assert!(
        error.starts_with("Unknown manifest format: unknown") || error.contains("unknown field"),
        "{error}"
    );
}

/// D6: an array of two numbers, and any pointer, in TOML and Rust too, read this process' memory.
#[test]
fn memory_is_read_for_nobody_but_c() {
    for data in [r#"{"ptr": 4096, "len": 8}"#, r#"{"ptr": 0, "len": 0}"#] {
        let error = wasm_json(&format!(r#"{{"data": {data}}}"#)).unwrap_err();
        assert!(
            error.contains("`ptr` is for JSON that is given to the C API"),
            "{error}"
        );
    }
    for data in [
        "[0, 97]",
        r#"{"ptr": 1}"#,
        r#"{"len": 1}"#,
        r#"{"ptr": 1, "len": 1, "x": 1}"#,
        r#"{"ptr": -1, "len": 1}"#,
    ] {
        let error = wasm_json(&format!(r#"{{"data": {data}}}"#)).unwrap_err();
        assert!(
            error.starts_with("Unknown manifest format: wasm[0].data"),
            "{error}"
        );
    }
    let error = new("wasm = [{ data = { ptr = 4096, len = 8 } }]").unwrap_err();
    assert!(error.contains("`ptr` is for JSON"), "{error}");
    let error = new("wasm = [{ data = [4096, 8] }]").unwrap_err();
    assert!(
        error.starts_with("Unknown manifest format: wasm[0].data"),
        "{error}"
    );
}
