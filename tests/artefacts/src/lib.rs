//! What a built kernel must look like, checked on its bytes.
//!
//! [`picture`] describes a module as text: its size, features, memory, globals and exports. The pictures of all artefacts are
//! committed in `tests/artefacts/expected.txt`, so a change of ABI or size shows up as a diff in review.
//! [`verify`] checks what must hold whatever the picture says.

pub mod guests;
pub mod peer;

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use wasmparser::{ExternalKind, Operator, Parser, Payload, TypeRef, Validator, WasmFeatures};

/// One of the three kernels.
#[derive(Clone, Copy, Debug)]
pub struct Artefact {
    /// The name of its file in `dist/`.
    pub file: &'static str,
    /// The features beyond WebAssembly 1.0 that it may use, by name and as the validator knows them.
    features: &'static [(&'static str, WasmFeatures)],
    /// Whether it has the global `extism_context`.
    has_context: bool,
}

/// WebAssembly 1.0. Mutable globals were added while engines were built, so the validator counts them apart.
const MVP: WasmFeatures = WasmFeatures::MVP.union(WasmFeatures::MUTABLE_GLOBAL);

/// All artefacts: for current engines, for those without reference types, and for those without bulk memory either.
pub const ARTEFACTS: [Artefact; 3] = [
    Artefact {
        file: "extism-runtime.wasm",
        features: &[
            (
                "reference-types",
                WasmFeatures::REFERENCE_TYPES.union(WasmFeatures::GC_TYPES),
            ),
            ("bulk-memory", WasmFeatures::BULK_MEMORY),
        ],
        has_context: true,
    },
    Artefact {
        file: "extism-runtime-bulk.wasm",
        features: &[("bulk-memory", WasmFeatures::BULK_MEMORY)],
        has_context: false,
    },
    Artefact {
        file: "extism-runtime-mvp.wasm",
        features: &[],
        has_context: false,
    },
];

/// The functions that a kernel exports and their types: section 1 of the contract.
const FUNCTIONS: [(&str, &str); 20] = [
    ("alloc", "(i64) -> i64"),
    ("error_get", "() -> i64"),
    ("error_set", "(i64) -> ()"),
    ("free", "(i64) -> ()"),
    ("input_length", "() -> i64"),
    ("input_load_u64", "(i64) -> i64"),
    ("input_load_u8", "(i64) -> i32"),
    ("input_offset", "() -> i64"),
    ("input_set", "(i64, i64) -> ()"),
    ("length", "(i64) -> i64"),
    ("length_unsafe", "(i64) -> i64"),
    ("load_u64", "(i64) -> i64"),
    ("load_u8", "(i64) -> i32"),
    ("memory_bytes", "() -> i64"),
    ("output_length", "() -> i64"),
    ("output_offset", "() -> i64"),
    ("output_set", "(i64, i64) -> ()"),
    ("reset", "() -> ()"),
    ("store_u64", "(i64, i64) -> ()"),
    ("store_u8", "(i64, i32) -> ()"),
];

/// What a module contains, as far as a kernel's users can tell.
#[derive(Default)]
struct Module {
    exports: BTreeMap<String, String>,
    memories: Vec<String>,
    globals: usize,
    /// What a kernel must not have.
    forbidden: BTreeSet<String>,
}

/// The lower-case hexadecimal SHA-256 of a file's bytes.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string succeeds");
            text
        })
}

/// Checks one artefact: that a validator restricted to its features accepts it, that it has exactly the contract's exports with
/// their types, one memory of initially one page without a maximum, and no import, start function, table, element, data,
/// custom section or `unreachable` instruction. On failure says each thing that is wrong.
pub fn verify(artefact: &Artefact, wasm: &[u8]) -> Result<(), String> {
    let allowed = artefact
        .features
        .iter()
        .fold(MVP, |all, (_, feature)| all | *feature);
    Validator::new_with_features(allowed)
        .validate_all(wasm)
        .map_err(|error| format!("{}: not valid within its features: {error}", artefact.file))?;

    let module = read(wasm).map_err(|error| format!("{}: {error}", artefact.file))?;
    let mut wrong: Vec<String> = module.forbidden.iter().cloned().collect();
    let mut expected: BTreeMap<String, String> = FUNCTIONS
        .iter()
        .map(|(name, signature)| ((*name).to_owned(), format!("func {signature}")))
        .collect();
    expected.insert("memory".into(), "memory 0".into());
    if artefact.has_context {
        expected.insert(
            "extism_context".into(),
            "global mut externref, initially null".into(),
        );
    }
    for (name, kind) in &expected {
        match module.exports.get(name) {
            None => wrong.push(format!("export {name} is missing")),
            Some(found) if found != kind => {
                wrong.push(format!("export {name} is {found}, must be {kind}"));
            }
            Some(_) => {}
        }
    }
    for name in module
        .exports
        .keys()
        .filter(|name| !expected.contains_key(*name))
    {
        wrong.push(format!("export {name} must not be"));
    }
    if module.memories != ["initial 1 page, no maximum"] {
        wrong.push(format!("memories are {:?}", module.memories));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {}", artefact.file, wrong.join("; ")))
    }
}

/// Describes an artefact as text, one fact a line.
pub fn picture(artefact: &Artefact, wasm: &[u8]) -> Result<String, String> {
    let module = read(wasm)?;
    let features: Vec<&str> = artefact.features.iter().map(|(name, _)| *name).collect();
    let mut text = format!("{}\n", artefact.file);
    writeln!(text, "  bytes     {}", wasm.len()).expect("writing to a string succeeds");
    writeln!(
        text,
        "  features  1.0 mutable-globals {}",
        features.join(" ")
    )
    .expect("writing to a string succeeds");
    writeln!(text, "  globals   {}", module.globals).expect("writing to a string succeeds");
    for memory in &module.memories {
        writeln!(text, "  memory    {memory}").expect("writing to a string succeeds");
    }
    for (name, kind) in &module.exports {
        writeln!(text, "  export    {name}: {kind}").expect("writing to a string succeeds");
    }
    Ok(text.replace(" \n", "\n"))
}

fn read(wasm: &[u8]) -> Result<Module, String> {
    let mut module = Module::default();
    let (mut types, mut functions, mut globals) = (Vec::new(), Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| error.to_string())?;
        let mut forbid = |what: &str| module.forbidden.insert(format!("{what} must not be"));
        match payload {
            Payload::TypeSection(section) => {
                for group in section.into_iter_err_on_gc_types() {
                    let function = group.map_err(|error| error.to_string())?;
                    let list = |types: &[wasmparser::ValType]| {
                        types
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(", ")
                    };
                    let results = match function.results() {
                        [one] => one.to_string(),
                        several => format!("({})", list(several)),
                    };
                    types.push(format!("({}) -> {results}", list(function.params())));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| error.to_string())?;
                    if let TypeRef::Func(index) = import.ty {
                        functions.push(index);
                    }
                    forbid(&format!("import {}.{}", import.module, import.name));
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    functions.push(index.map_err(|error| error.to_string())?);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory.map_err(|error| error.to_string())?;
                    let maximum = memory
                        .maximum
                        .map_or("no maximum".to_owned(), |pages| format!("maximum {pages}"));
                    let pages = if memory.initial == 1 { "page" } else { "pages" };
                    module
                        .memories
                        .push(format!("initial {} {pages}, {maximum}", memory.initial));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global.map_err(|error| error.to_string())?;
                    let start = global
                        .init_expr
                        .get_operators_reader()
                        .read()
                        .map_err(|error| error.to_string())?;
                    let start = match start {
                        // polywasm compares such a one as signed.
                        Operator::I64Const { value } if value < 0 => {
                            forbid("a global of 64 bits that starts below 0");
                            value.to_string()
                        }
                        Operator::RefNull { .. } => "null".to_owned(),
                        other => format!("{other:?}"),
                    };
                    let mutable = if global.ty.mutable { "mut " } else { "" };
                    globals.push(format!(
                        "global {mutable}{}, initially {start}",
                        global.ty.content_type
                    ));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(|error| error.to_string())?;
                    let index = export.index as usize;
                    let kind = match export.kind {
                        ExternalKind::Func => {
                            let signature = functions
                                .get(index)
                                .and_then(|index| types.get(*index as usize))
                                .ok_or("an exported function has no type")?;
                            format!("func {signature}")
                        }
                        ExternalKind::Global => globals
                            .get(index)
                            .ok_or("an exported global does not exist")?
                            .clone(),
                        ExternalKind::Memory => format!("memory {index}"),
                        other => format!("{other:?}"),
                    };
                    module.exports.insert(export.name.to_owned(), kind);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let operators = body
                    .get_operators_reader()
                    .map_err(|error| error.to_string())?;
                for operator in operators {
                    if let Operator::Unreachable = operator.map_err(|error| error.to_string())? {
                        forbid("an unreachable instruction");
                    }
                }
            }
            Payload::StartSection { .. } => {
                forbid("a start function");
            }
            Payload::TableSection(_) => {
                forbid("a table");
            }
            Payload::ElementSection(_) => {
                forbid("an element section");
            }
            Payload::DataSection(_) | Payload::DataCountSection { .. } => {
                forbid("a data section");
            }
            Payload::CustomSection(section) => {
                forbid(&format!("custom section {:?}", section.name()));
            }
            Payload::Version { .. } | Payload::CodeSectionStart { .. } | Payload::End(_) => {}
            other => {
                forbid(&format!("{other:?}"));
            }
        }
    }
    module.globals = globals.len();
    Ok(module)
}

/// A C header with a kernel's bytes, for hosts that can't read files. Its names are the file's, and also those that `xxd -i`
/// gives the usual file, which are what C hosts have used so far, whichever of the kernels it holds.
pub fn c_header(artefact: &Artefact, wasm: &[u8], version: &str) -> String {
    let name = artefact.file.trim_end_matches(".wasm").replace('-', "_");
    let upper = name.to_uppercase();
    let mut text = format!(
        "/* {file}, version {version}: the Extism kernel as bytes. Made by build.sh, not to be edited.\n\n   \
            WAMR's wasm_runtime_load may write into the bytes that it is given, as its classic interpreter does. A host that\n   \
            passes it this array dies where it is const, and can't load it a second time where it isn't: so each load gets a\n   \
            copy of its own. For one load in a process the array will do where it is not const, as it is if wasm_export.h is\n   \
            included before this, or EXTISM_RUNTIME_WRITABLE is defined. */\n\
         #ifndef {upper}_H\n#define {upper}_H\n\n\
         #define {upper}_VERSION \"{version}\"\n\
         #define {upper}_SHA256 \"{sha256}\"\n\
         #define {upper}_LENGTH {length}\n\n\
         static\n\
         #if !defined(EXTISM_RUNTIME_WRITABLE) && !defined(_WASM_EXPORT_H)\n\
         const\n\
         #endif\n\
         unsigned char {name}[{upper}_LENGTH] = {{\n",
        file = artefact.file,
        sha256 = sha256(wasm),
        length = wasm.len(),
    );
    for line in wasm.chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("0x{byte:02x},")).collect();
        writeln!(text, "  {}", line.join(" ")).expect("writing to a string succeeds");
    }
    write!(
        text,
        "}};\n\n\
         /* The names that C hosts know it by, from xxd -i. */\n\
         #ifndef extism_runtime_wasm\n\
         #define extism_runtime_wasm {name}\n\
         #define extism_runtime_wasm_len {upper}_LENGTH\n\
         #endif\n\n\
         #endif\n"
    )
    .expect("writing to a string succeeds");
    text
}
