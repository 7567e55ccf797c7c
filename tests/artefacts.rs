//! The committed `dist/`: what it must contain, whatever builds it.

use artefacts::{ARTEFACTS, Artefact, c_header, picture, sha256, verify};
use extism_kernel::{KERNEL, KERNEL_BULK, KERNEL_MVP, NativeMachine};
use std::fs;
use wasmtime::{Config, Engine, Instance, Module, Store};

fn dist(name: &str) -> String {
    fs::read_to_string(format!("{}/dist/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn kernels() -> [(&'static Artefact, &'static [u8]); 3] {
    let bytes = [KERNEL, KERNEL_BULK, KERNEL_MVP];
    std::array::from_fn(|i| (&ARTEFACTS[i], bytes[i]))
}

#[test]
fn the_artefacts_are_what_the_contract_allows() {
    for (artefact, wasm) in kernels() {
        verify(artefact, wasm).unwrap();
    }
}

#[test]
fn the_artefacts_look_as_committed() {
    let pictures: String = kernels()
        .map(|(artefact, wasm)| picture(artefact, wasm).unwrap())
        .concat();
    assert_eq!(pictures, include_str!("artefacts/expected.txt"));
}

#[test]
fn the_headers_version_and_checksums_belong_to_the_artefacts() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(dist("extism-runtime.wasm.version"), format!("{version}\n"));
    for (artefact, wasm) in kernels() {
        let header = dist(&artefact.file.replace(".wasm", ".h"));
        assert_eq!(header, c_header(artefact, wasm, version));
    }
    let sums = dist("SHA256SUMS");
    let mut listed: Vec<String> = sums
        .lines()
        .map(|line| {
            let (sum, name) = line.split_once("  ").unwrap();
            let path = format!("{}/dist/{name}", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(sum, sha256(&fs::read(path).unwrap()), "{name}");
            name.to_owned()
        })
        .collect();
    // The conformance cases are made from another source, and have a test of their own.
    let others = ["SHA256SUMS", "conformance.json", "conformance.schema.json"];
    listed.extend(others.map(str::to_owned));
    listed.sort();
    let mut present: Vec<String> = fs::read_dir(format!("{}/dist", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    present.sort();
    assert_eq!(listed, present);
}

/// A module that breaks one rule each is refused, and the message names the rule.
#[test]
fn verification_refuses_what_must_not_be() {
    let base = wat::parse_bytes(KERNEL).unwrap();
    assert!(verify(&ARTEFACTS[0], &base).is_ok());
    for other in &ARTEFACTS[1..] {
        let error = verify(other, &base).unwrap_err();
        assert!(error.contains("not valid within its features"), "{error}");
    }
    for (text, complaint) in [
        (r#"(import "a" "b" (func))"#, "import a.b"),
        (r#"(func $f) (start $f)"#, "a start function"),
        (
            r#"(global (mut i64) (i64.const -1))"#,
            "a global of 64 bits that starts below 0",
        ),
        (r#"(table 1 funcref)"#, "a table"),
        (
            r#"(memory (export "memory") 16) (data (i32.const 0) "x")"#,
            "a data section",
        ),
        (r#"(memory (export "memory") 16)"#, "initial 16 pages"),
        (r#"(memory (export "memory") 1 2)"#, "maximum 2"),
        (
            r#"(func (export "alloc") (result i64) unreachable)"#,
            "an unreachable instruction",
        ),
        (
            r#"(func (export "alloc") (result i64) i64.const 0)"#,
            "export alloc is",
        ),
        (r#"(func (export "_start"))"#, "export _start must not be"),
        (
            r#"(global (export "__heap_base") i32 (i32.const 0))"#,
            "export __heap_base must not be",
        ),
        (r#"(@custom "name" "x")"#, "custom section"),
        ("", "export free is missing"),
    ] {
        let wasm = wat::parse_str(format!("(module {text})")).unwrap();
        let error = verify(&ARTEFACTS[0], &wasm).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

/// README says what `./build.sh` prints, and the size once more in its comparison.
#[test]
fn readme_has_the_sizes_and_checksums() {
    let readme = include_str!("../README.md");
    for (artefact, wasm) in kernels() {
        let (bytes, sum) = (wasm.len(), sha256(wasm));
        let line = format!("{:<24} {bytes:>5} bytes  sha256 {sum}\n", artefact.file);
        assert!(readme.contains(&line), "README lacks {line}");
    }
    let bytes = KERNEL.len();
    let size = format!("{},{:03} bytes |\n", bytes / 1000, bytes % 1000);
    assert!(readme.contains(&size), "README lacks {size}");
}

/// The registers' initial values stand in `kernel-global.wat` and in `src/machine.rs`; the compiled kernel must start as the
/// native one does.
#[test]
fn both_homes_start_with_the_same_registers() {
    let native = format!("{:?}", NativeMachine::default().registers);
    let text = include_str!("../kernel-global.wat");
    let globals: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(global $"))
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            let value = rest.split_once(".const ").unwrap().1.trim_end_matches(')');
            // Text has no unsigned numbers; the one register that starts below 0 has 64 bits.
            let value: i64 = value.parse().unwrap();
            format!("{name}: {}", value as u64)
        })
        .collect();
    assert_eq!(native, format!("Registers {{ {} }}", globals.join(", ")));
}

/// An engine with reference types and bulk memory switched off loads the variant, and not the other.
#[test]
fn the_mvp_file_needs_nothing_beyond_1_0() {
    let mut config = Config::new();
    config
        .wasm_reference_types(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_bulk_memory(false)
        .wasm_multi_value(false)
        .wasm_simd(false)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false);
    let engine = Engine::new(&config).unwrap();
    assert!(Module::new(&engine, KERNEL).is_err());
    let module = Module::new(&engine, KERNEL_MVP).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let alloc = instance
        .get_typed_func::<u64, u64>(&mut store, "alloc")
        .unwrap();
    assert_ne!(alloc.call(&mut store, 1).unwrap(), 0);
}
