//! The joined module, section by section: what the plugin has, then what the kernel has, then the glue.

use crate::{
    BASE_GET, BEGIN, END, Error, Form, Linked, Mark, Options, PREFIX, SECTION,
    code::{Rewriter, SharedMemory},
    custom, glue,
    indices::{Imported, KernelIndices, PluginIndices},
    inline::Leaves,
    kernel::{self, Kernel},
    linked,
};
use std::{collections::BTreeMap, ops::Range};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataCountSection, ElementSection, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, Module, RawSection, StartSection, TableSection, TagSection, TypeSection,
    ValType, reencode::Reencode,
};
use wasmparser::{
    CustomSectionReader, Data, DataKind, FuncType, FuncValidatorAllocations, Import, KnownCustom,
    MemoryType, NameSectionReader, Operator, Parser, Payload, TypeRef, ValidPayload, Validator,
    WasmFeatures,
};

/// The module name under which plugins import the kernel's functions, and those that every host has.
const ENVIRONMENT: &str = "extism:host/env";
/// The same before version 1.0, when each name had a prefix.
const OLD_ENVIRONMENT: &str = "env";
const OLD_PREFIX: &str = "extism_";
/// The functions under that name that the host defines.
const OF_THE_HOST: [&str; 12] = [
    "config_get",
    "get_log_level",
    "http_headers",
    "http_request",
    "http_status_code",
    "log_debug",
    "log_error",
    "log_info",
    "log_trace",
    "log_warn",
    "var_get",
    "var_set",
];
/// Bytes of a page.
const PAGE: u64 = 65536;
/// Pages of the largest memory.
const MOST_PAGES: u64 = 65536;
/// Bytes by which inlining may let the code of any plugin grow.
const LEAST_BUDGET: usize = 4096;
/// Bytes that the kernel takes in a linked module beyond those of its file, at most: longer names, also for debuggers, the glue, the mark.
const BEYOND_KERNEL: usize = 1536;
/// The part of a plugin's bytes by which kernel and inlining together may let it grow, in percent, if that is more.
const BUDGET_PERCENT: usize = 15;
/// What the kernel exports beside functions.
const OTHER_EXPORTS: [&str; 2] = ["extism_context", "memory"];
/// The functions of the glue in their order, which is also that of their types.
const BEGIN_: u32 = 0;
const END_: u32 = 1;
const GROW: u32 = 2;
const RESET: u32 = 3;
const BASE_GET_: u32 = 4;
/// The kernel's export that the last of these stands for.
const RESET_NAME: &str = "reset";
/// The number of the data section.
const DATA: u8 = wasm_encoder::SectionId::Data as u8;

/// Today's name of what is imported, if it is from kernel or host.
fn environment_name<'a>(import: &Import<'a>) -> Option<&'a str> {
    match import.module {
        ENVIRONMENT => Some(import.name),
        OLD_ENVIRONMENT => import.name.strip_prefix(OLD_PREFIX),
        _ => None,
    }
}

/// See [`crate::uses_kernel`].
pub(crate) fn uses_kernel(wasm: &[u8]) -> bool {
    let is_kernels = |import: Import<'_>| {
        let name = environment_name(&import);
        name.is_some_and(|name| !OF_THE_HOST.contains(&name))
    };
    let payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    let mut imports = payloads.filter_map(|payload| match payload {
        Payload::ImportSection(section) => Some(section.into_imports()),
        _ => None,
    });
    let first = imports.next().into_iter().flatten();
    first.map_while(Result::ok).any(is_kernels)
}

/// Links; see [`crate::link`].
pub(crate) fn join(wasm: &[u8], options: &Options<'_>) -> Result<Linked, Error> {
    if Parser::is_component(wasm) {
        return Err(Error::Component);
    }
    if let Some(Mark { version, .. }) = linked(wasm) {
        return Err(Error::AlreadyLinked { version });
    }
    let kernel = Kernel::parse(options.kernel)?;
    if kernel.base.is_some() != (options.form == Form::OneMemory) {
        let reason = "its addresses must count from a base in the one-memory form, and only there";
        return Err(Error::Kernel(reason.to_owned()));
    }
    let mut joined = Joined::new(wasm, &kernel, options);
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) => functions.push((function, body)),
            _ => joined.section(payload)?,
        }
    }
    joined.place_kernel()?;
    let mut rewriter = joined.rewriter();
    let mut code = CodeSection::new();
    let mut allocations = FuncValidatorAllocations::default();
    for (function, body) in functions {
        let mut validator = function.into_validator(allocations);
        code.raw(&rewriter.function(&body, &mut validator)?);
        allocations = validator.into_allocations();
    }
    let (inlined, left) = (rewriter.inlined, rewriter.left);
    joined.append_kernel(&mut code)?;
    if left > 0 {
        joined.warnings.push(format!(
            "{left} calls of the kernel remained calls: with its code in their place the plugin would have grown too much"
        ));
    }
    let mark = Mark::new(options.kernel, options.form);
    Ok(joined.finish(&code, &mark, inlined))
}

/// The module that is being made, section by section, and what has to be known of the plugin to do so.
struct Joined<'a> {
    wasm: &'a [u8],
    kernel: &'a Kernel<'a>,
    options: &'a Options<'a>,
    plugin: PluginIndices,
    /// Where everything of the kernel is.
    places: KernelIndices,
    /// The plugin's types that an import of the kernel can have, by their indices.
    plain_types: BTreeMap<u32, FuncType>,
    /// The memories that the plugin defines.
    own_memories: Vec<MemoryType>,
    imported_memories: u32,
    /// The first function behind the kernel's.
    glue: u32,
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    tags: TagSection,
    globals: GlobalSection,
    exports: ExportSection,
    start: Option<u32>,
    elements: ElementSection,
    data_count: Option<u32>,
    /// Where the data section is in the plugin: nothing in it changes.
    data: Range<usize>,
    names: Option<NameSectionReader<'a>>,
    custom: Vec<CustomSectionReader<'a>>,
    warnings: Vec<String>,
}

impl<'a> Joined<'a> {
    fn new(wasm: &'a [u8], kernel: &'a Kernel<'a>, options: &'a Options<'a>) -> Self {
        Self {
            wasm,
            kernel,
            options,
            plugin: PluginIndices::default(),
            places: KernelIndices::default(),
            plain_types: BTreeMap::new(),
            own_memories: Vec::new(),
            imported_memories: 0,
            glue: 0,
            types: TypeSection::new(),
            imports: ImportSection::new(),
            functions: FunctionSection::new(),
            tables: TableSection::new(),
            memories: MemorySection::new(),
            tags: TagSection::new(),
            globals: GlobalSection::new(),
            exports: ExportSection::new(),
            start: None,
            elements: ElementSection::new(),
            data_count: None,
            data: 0..0,
            names: None,
            custom: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a section of the plugin. They come in the order of their indices' use: what is a function, a type or a global is known before
    /// something refers to it.
    fn section(&mut self, payload: Payload<'a>) -> Result<(), Error> {
        let mut plugin = &self.plugin;
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    let group = group?;
                    if let Some(function) = kernel::plain(&group) {
                        self.plain_types.insert(self.places.types, function);
                    }
                    self.places.types += group.types().len() as u32;
                    plugin.parse_recursive_type_group(self.types.ty(), group)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                plugin.parse_function_section(&mut self.functions, section)?;
                self.plugin.defined = self.functions.len();
            }
            Payload::TableSection(section) => {
                plugin.parse_table_section(&mut self.tables, section)?
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.own_memories.push(memory?);
                }
            }
            Payload::TagSection(section) => plugin.parse_tag_section(&mut self.tags, section)?,
            Payload::GlobalSection(section) => {
                self.places.globals += section.count();
                plugin.parse_global_section(&mut self.globals, section)?;
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.name.starts_with(PREFIX) {
                        return Err(Error::ReservedExport(export.name.to_owned()));
                    }
                    plugin.parse_export(&mut self.exports, export)?;
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(plugin.function(func)),
            Payload::ElementSection(section) => {
                plugin.parse_element_section(&mut self.elements, section)?
            }
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::DataSection(section) => {
                // Nothing in it refers to a function.
                self.data = section.range();
                if self.options.form == Form::OneMemory {
                    for data in section {
                        self.check_data(&data?)?;
                    }
                }
            }
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::Name(names) => self.names = Some(names),
                _ => self.custom.push(section),
            },
            _ => {}
        }
        Ok(())
    }

    /// Lets an import become a function of the kernel, or remain one.
    fn import(&mut self, import: Import<'a>) -> Result<(), Error> {
        let for_any_host = import.module == ENVIRONMENT;
        let function = environment_name(&import).and_then(|name| self.kernel.function(name));
        match (import.ty, function) {
            (TypeRef::Func(ty) | TypeRef::FuncExact(ty), Some(function)) => {
                let found = self.plain_types.get(&ty);
                let expected = self.kernel.signature(function);
                if found != Some(expected) || import.ty != TypeRef::Func(ty) {
                    return Err(Error::WrongType {
                        name: import.name.to_owned(),
                        found: found
                            .map_or("a type of a kind of its own".to_owned(), kernel::signature),
                        expected: kernel::signature(expected),
                    });
                }
                self.plugin.imports.push(Imported::Kernel(function));
                return Ok(());
            }
            (TypeRef::Func(_) | TypeRef::FuncExact(_), None) => {
                self.plugin
                    .imports
                    .push(Imported::Host(self.plugin.remaining));
                self.plugin.remaining += 1;
                if for_any_host && !OF_THE_HOST.contains(&import.name) {
                    self.warnings.push(format!(
                        "{} is imported from {ENVIRONMENT}, but neither the kernel has it nor do hosts provide it",
                        import.name
                    ));
                }
            }
            (_, Some(_)) => return Err(Error::NoFunction(import.name.to_owned())),
            (_, None) if for_any_host && OTHER_EXPORTS.contains(&import.name) => {
                return Err(Error::NoFunction(import.name.to_owned()));
            }
            (TypeRef::Memory(_), None) => self.imported_memories += 1,
            (TypeRef::Global(_), None) => self.places.globals += 1,
            (TypeRef::Table(_) | TypeRef::Tag(_), None) => {}
        }
        (&self.plugin).parse_import(&mut self.imports, import)?;
        Ok(())
    }

    /// In one memory, data that would be written behind the plugin's part would be written into the kernel's.
    fn check_data(&self, data: &Data<'_>) -> Result<(), Error> {
        let DataKind::Active { offset_expr, .. } = &data.kind else {
            return Ok(());
        };
        let mut offset = offset_expr.get_operators_reader();
        let (Operator::I32Const { value }, Operator::End) = (offset.read()?, offset.read()?) else {
            let reason = "where its data lies is known only when it is instantiated";
            return Err(Error::Memory(reason.to_owned()));
        };
        let pages = self.own_memories.first().map_or(0, |memory| memory.initial);
        if u64::from(value as u32) + data.data.len() as u64 > pages * PAGE {
            return Err(Error::Memory(
                "its data doesn't fit into its memory".to_owned(),
            ));
        }
        Ok(())
    }

    /// Adds the kernel's memory, and says where everything of the kernel is, once all sections of the plugin were seen.
    fn place_kernel(&mut self) -> Result<(), Error> {
        self.places.functions = self.plugin.kernel_start();
        self.glue = self.places.functions + self.kernel.functions.len() as u32;
        let mut plugin = &self.plugin;
        match self.options.form {
            Form::TwoMemories => {
                for &memory in self.own_memories.iter().chain([&self.kernel.memory]) {
                    self.memories.memory(plugin.memory_type(memory)?);
                }
                self.places.memory = self.imported_memories + self.own_memories.len() as u32;
            }
            Form::OneMemory => {
                let memory = self.one_memory()?;
                self.memories.memory(plugin.memory_type(memory)?);
            }
        }
        Ok(())
    }

    /// The memory that plugin and kernel share: its maximum the plugin's `memory.grow` keeps.
    fn one_memory(&self) -> Result<MemoryType, Error> {
        let refuse = |reason: &str| Err(Error::Memory(reason.to_owned()));
        if self.imported_memories > 0 {
            return refuse("it imports its memory");
        }
        let own = match self.own_memories[..] {
            [] => MemoryType {
                initial: 0,
                ..self.kernel.memory
            },
            [memory] => memory,
            _ => return refuse("it has several itself"),
        };
        if own.memory64 || own.shared || own.page_size_log2.is_some() {
            return refuse(
                "its own is of another kind: 64-bit, shared, or with pages of another size",
            );
        }
        let initial = own.initial + self.kernel.memory.initial;
        if initial > MOST_PAGES {
            return refuse("its own is as large as memories can be");
        }
        Ok(MemoryType {
            initial,
            maximum: None,
            ..own
        })
    }

    /// How the plugin's code sees a memory that it shares.
    fn shared(&self) -> Option<SharedMemory> {
        let base = self.kernel.base?;
        Some(SharedMemory {
            base: self.places.globals + base,
            moving: self.places.globals + self.kernel.globals.len() as u32,
            grow: self.glue + GROW,
        })
    }

    fn rewriter(&self) -> Rewriter<'_> {
        let most = self.wasm.len() * BUDGET_PERCENT / 100;
        Rewriter {
            plugin: &self.plugin,
            kernel: self.places,
            leaves: if self.options.inline {
                Leaves::of(self.kernel)
            } else {
                Leaves::default()
            },
            shared: self.shared(),
            // The kernel counts, too.
            budget: most
                .saturating_sub(self.options.kernel.len() + BEYOND_KERNEL)
                .max(LEAST_BUDGET),
            inlined: 0,
            left: 0,
        }
    }

    /// Adds what the kernel has, and the glue.
    fn append_kernel(&mut self, code: &mut CodeSection) -> Result<(), Error> {
        let mut places = self.places;
        for ty in &self.kernel.types {
            let ty = places.func_type(ty.clone())?;
            self.types.ty().func_type(&ty);
        }
        for function in &self.kernel.functions {
            self.functions
                .function(places.type_index(function.type_index)?);
            let mut locals = Vec::new();
            for &(count, ty) in &function.locals {
                locals.push((count, places.val_type(ty)?));
            }
            let mut body = Function::new(locals);
            for operator in &function.operators {
                body.instruction(&places.instruction(operator.clone())?);
            }
            code.function(&body);
        }
        let pages = self.own_memories.first().map_or(0, |memory| memory.initial);
        for (index, global) in self.kernel.globals.iter().enumerate() {
            let ty = places.global_type(global.ty)?;
            let start = if self.kernel.base == Some(index as u32) {
                ConstExpr::i32_const((pages * PAGE) as u32 as i32)
            } else {
                places.const_expr(global.init_expr.clone())?
            };
            self.globals.global(ty, &start);
        }
        for (name, &(kind, index)) in &self.kernel.exports {
            let index = match *name {
                // The host's; a plugin that resets the kernel itself has nothing to hide from itself.
                RESET_NAME if self.options.form == Form::OneMemory => self.glue + RESET,
                _ => places.external_index(kind, index)?,
            };
            self.exports
                .export(&format!("{PREFIX}{name}"), places.export_kind(kind)?, index);
        }
        self.append_glue(code);
        Ok(())
    }

    fn append_glue(&mut self, code: &mut CodeSection) {
        let (kernel, first) = (self.kernel, self.places.functions);
        let (i32, i64) = (ValType::I32, ValType::I64);
        let shared = self.shared();
        let reset = match shared {
            Some(_) => self.glue + RESET,
            None => {
                first
                    + kernel
                        .function(RESET_NAME)
                        .expect("checked by Kernel::parse")
            }
        };
        let mut functions = vec![
            (vec![i64], vec![i64], glue::begin(kernel, first, reset)),
            (vec![], vec![i64; 4], glue::end(kernel, first)),
        ];
        if let Some(shared) = shared {
            let declared = self.own_memories.first().and_then(|memory| memory.maximum);
            let most = declared.unwrap_or(MOST_PAGES) as u32;
            let grow = glue::grow(shared, most, kernel.bulk_memory);
            functions.push((vec![i32], vec![i32], grow));
            functions.push((vec![], vec![], glue::reset(kernel, first, shared)));
            functions.push((vec![], vec![i32], glue::base_get(shared)));
            let ty = GlobalType {
                val_type: i32,
                mutable: true,
                shared: false,
            };
            self.globals.global(ty, &ConstExpr::i32_const(0));
        }
        let first_type = self.places.types + kernel.types.len() as u32;
        for ((params, results, body), ty) in functions.into_iter().zip(first_type..) {
            self.types.ty().function(params, results);
            self.functions.function(ty);
            code.function(&body);
        }
        let mut exports = vec![(BEGIN, BEGIN_), (END, END_)];
        exports.extend(shared.map(|_| (BASE_GET, BASE_GET_)));
        for (name, at) in exports {
            self.exports.export(name, ExportKind::Func, self.glue + at);
        }
    }

    /// The names of the functions that the plugin hasn't, as far as they are exported.
    fn added_names(&self) -> Vec<(u32, String)> {
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        for name in self.kernel.exports.keys() {
            if let Some(index) = self.kernel.function(name) {
                names.insert(self.places.functions + index, format!("{PREFIX}{name}"));
            }
        }
        names.insert(self.glue + BEGIN_, BEGIN.to_owned());
        names.insert(self.glue + END_, END.to_owned());
        if let Some(shared) = self.shared() {
            names.insert(shared.grow, format!("{PREFIX}memory.grow"));
            names.insert(self.glue + RESET, format!("{PREFIX}reset"));
            names.insert(self.glue + BASE_GET_, BASE_GET.to_owned());
        }
        names.into_iter().collect()
    }

    fn finish(mut self, code: &CodeSection, mark: &Mark, inlined: usize) -> Linked {
        let mut module = Module::new();
        module.section(&self.types);
        if !self.imports.is_empty() {
            module.section(&self.imports);
        }
        module.section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module.section(&self.memories);
        if !self.tags.is_empty() {
            module.section(&self.tags);
        }
        module.section(&self.globals).section(&self.exports);
        if let Some(function_index) = self.start {
            module.section(&StartSection { function_index });
        }
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if let Some(count) = self.data_count {
            module.section(&DataCountSection { count });
        }
        module.section(code);
        if !self.data.is_empty() {
            module.section(&RawSection {
                id: DATA,
                data: &self.wasm[self.data.clone()],
            });
        }
        self.custom_sections(&mut module);
        module.section(&CustomSection {
            name: SECTION.into(),
            data: mark.text().into_bytes().into(),
        });
        Linked {
            wasm: module.finish(),
            warnings: self.warnings,
            inlined,
            starts: self.start.is_some(),
        }
    }

    fn custom_sections(&mut self, module: &mut Module) {
        if let Some(names) = self.names.take() {
            match custom::names(names, &self.plugin, &self.added_names()) {
                Ok(names) => _ = module.section(&names),
                Err(error) => self.warnings.push(format!(
                    "the names were dropped, as they can't be read: {error}"
                )),
            }
        }
        let mut dropped = Vec::new();
        for section in &self.custom {
            let name = section.name();
            if name == SECTION || custom::says_places(name) {
                dropped.push(name);
            } else {
                module.section(&CustomSection {
                    name: name.into(),
                    data: section.data().into(),
                });
            }
        }
        if !dropped.is_empty() {
            self.warnings.push(format!(
                "custom sections were dropped that say where something is in the code, which is elsewhere now: {}",
                dropped.join(", ")
            ));
        }
    }
}
