//! The kernel, taken apart: nothing is assumed about the order of its functions or its globals.

use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, Global, MemoryType, Operator, Parser, Payload,
    ValType, Validator, WasmFeatures,
};

/// The export that says that a kernel's addresses count from a base: a mutable i32.
pub(crate) const BASE: &str = "base";
/// What a kernel must export, with its type.
const FUNCTIONS: [(&str, &str); 8] = [
    ("alloc", "(i64) -> (i64)"),
    ("error_get", "() -> (i64)"),
    ("input_set", "(i64, i64) -> ()"),
    ("length", "(i64) -> (i64)"),
    ("output_length", "() -> (i64)"),
    ("output_offset", "() -> (i64)"),
    ("reset", "() -> ()"),
    ("memory_bytes", "() -> (i64)"),
];

/// A kernel's module.
pub(crate) struct Kernel<'a> {
    /// Its function types.
    pub types: Vec<FuncType>,
    /// Its functions, all of which it defines itself.
    pub functions: Vec<Function<'a>>,
    /// Its registers.
    pub globals: Vec<Global<'a>>,
    /// Its memory.
    pub memory: MemoryType,
    /// The name, kind and index of each export, in the order of the names.
    pub exports: BTreeMap<&'a str, (ExternalKind, u32)>,
    /// The global that holds the address at which its memory begins, if it has one.
    pub base: Option<u32>,
    /// Whether it uses bulk memory, so that what is linked may, too.
    pub bulk_memory: bool,
}

/// A function of the kernel.
pub(crate) struct Function<'a> {
    /// Its type.
    pub type_index: u32,
    /// Its locals behind the parameters, in runs of one type.
    pub locals: Vec<(u32, ValType)>,
    /// Its code, with the last `end`.
    pub operators: Vec<Operator<'a>>,
    /// Bytes of its code.
    pub bytes: usize,
}

impl<'a> Kernel<'a> {
    /// Takes a module apart; the error says why it is no kernel.
    pub fn parse(wasm: &'a [u8]) -> Result<Self, Error> {
        Self::read(wasm).map_err(|error| match error {
            Error::Kernel(_) => error,
            error => Error::Kernel(error.to_string()),
        })
    }

    fn read(wasm: &'a [u8]) -> Result<Self, Error> {
        Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?;
        let refuse = |what: &str| Error::Kernel(what.to_owned());
        let mut types = Vec::new();
        let mut type_indices = Vec::new();
        let mut functions = Vec::new();
        let mut globals = Vec::new();
        let mut memories = Vec::new();
        let mut exports = BTreeMap::new();
        let mut bulk_memory = false;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        types.push(ty?);
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        type_indices.push(index?);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        memories.push(memory?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        globals.push(global?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        exports.insert(export.name, (export.kind, export.index));
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let locals = body
                        .get_locals_reader()?
                        .into_iter()
                        .collect::<Result<_, _>>()?;
                    let mut operators = Vec::new();
                    for operator in body.get_operators_reader()? {
                        let operator = operator?;
                        bulk_memory |= matches!(operator, Operator::MemoryFill { .. });
                        operators.push(operator);
                    }
                    functions.push(Function {
                        type_index: type_indices[functions.len()],
                        locals,
                        operators,
                        bytes: body.range().len(),
                    });
                }
                Payload::ImportSection(_) => return Err(refuse("it imports something")),
                Payload::TableSection(_) | Payload::ElementSection(_) => {
                    return Err(refuse("it has a table"));
                }
                Payload::DataSection(_) => return Err(refuse("it has data")),
                Payload::StartSection { .. } => return Err(refuse("it has a start function")),
                Payload::TagSection(_) => return Err(refuse("it has an exception tag")),
                _ => {}
            }
        }
        let [memory] = memories[..] else {
            return Err(refuse("it has not one memory"));
        };
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return Err(refuse("its memory is no ordinary one"));
        }
        let base = match exports.get(BASE) {
            None => None,
            Some(&(ExternalKind::Global, index)) => {
                let ty = globals[index as usize].ty;
                if ty.content_type != ValType::I32 || !ty.mutable {
                    return Err(refuse("its base is no mutable i32"));
                }
                Some(index)
            }
            Some(_) => return Err(refuse("its base is no global")),
        };
        let kernel = Self {
            types,
            functions,
            globals,
            memory,
            exports,
            base,
            bulk_memory,
        };
        for (name, expected) in FUNCTIONS {
            let found = kernel
                .function(name)
                .map(|index| signature(kernel.signature(index)));
            if found.as_deref() != Some(expected) {
                return Err(Error::Kernel(format!(
                    "it has no function {name} of type {expected}"
                )));
            }
        }
        Ok(kernel)
    }

    /// The index of the function that is exported under that name.
    pub fn function(&self, name: &str) -> Option<u32> {
        match self.exports.get(name) {
            Some(&(ExternalKind::Func, index)) => Some(index),
            _ => None,
        }
    }

    /// The type of a function.
    pub fn signature(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize].type_index as usize]
    }

    /// The functions that are exported.
    pub fn exported(&self) -> BTreeSet<u32> {
        self.exports
            .keys()
            .filter_map(|name| self.function(name))
            .collect()
    }
}

/// A type as people write it.
pub(crate) fn signature(ty: &FuncType) -> String {
    let list = |types: &[ValType]| {
        types
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!("({}) -> ({})", list(ty.params()), list(ty.results()))
}

/// The function type that a plugin declares, if it is one that an import of the kernel can have: alone in its group, final, and
/// without a parent, else the two would not be the same to an engine.
pub(crate) fn plain(group: &wasmparser::RecGroup) -> Option<FuncType> {
    let mut types = group.types();
    let ty = types.next()?;
    let alone = types.next().is_none()
        && ty.is_final
        && ty.supertype_idx.is_none()
        && !ty.composite_type.shared;
    match &ty.composite_type.inner {
        CompositeInnerType::Func(function) if alone => Some(function.clone()),
        _ => None,
    }
}
