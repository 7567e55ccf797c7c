//! Compiled plugins: their modules are checked, compiled and linked here, once.
//!
//! How a plugin's main module gets at the kernel and at the host is decided by [`Linking`], and nowhere else.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use extism_manifest::Manifest;
use wasmtime::{
    Extern, ExternType, FuncType, Instance, Linker, Module, ModuleExport, Store, ValType,
};

use crate::{
    EXTISM_ENV_MODULE, Error, Function, Plugin, PluginBuilder,
    engine::{DebugOptions, Settings, SharedEngine},
    host,
    kernel::KernelModule,
    limits::PAGE,
    manifest::{Loaded, MAIN},
    state::State,
};

/// The module from which plugins imported everything before version 1.0, each name with a prefix.
const OLD_MODULE: &str = "env";
const OLD_PREFIX: &str = "extism_";

/// What a plugin is made from, any number of times: modules that were checked, linked and compiled. Clones share it.
///
/// ```
/// use extism::{CompiledPlugin, Plugin, PluginBuilder};
///
/// let compiled = PluginBuilder::new(r#"(module (func (export "run")))"#).compile()?;
/// let mut plugins = [Plugin::new_from_compiled(&compiled)?, Plugin::new_from_compiled(&compiled)?];
/// plugins[1].call::<_, ()>("run", "")?;
/// # Ok::<(), extism::Error>(())
/// ```
#[derive(Clone)]
pub struct CompiledPlugin(pub(crate) Arc<Compiled>);

impl CompiledPlugin {
    /// Loads and compiles what the builder was given. An error if it can't be loaded or isn't WebAssembly. That something
    /// which it imports isn't there is an error of [`Plugin::new_from_compiled`].
    pub fn new(builder: PluginBuilder<'_>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Compiled::new(builder)?)))
    }
}

/// What is the same for all plugins of a compiled one.
pub(crate) struct Compiled {
    pub(crate) engine: Arc<SharedEngine>,
    /// Without its modules.
    pub(crate) manifest: Manifest,
    pub(crate) wasi: bool,
    pub(crate) fuel: Option<u64>,
    pub(crate) initialization_fuel: Option<u64>,
    pub(crate) http_response_headers: bool,
    pub(crate) debug: DebugOptions,
    pub(crate) exports: Exports,
    /// The root cause, if it can't be linked.
    pub(crate) linking: Result<Linking, String>,
}

impl Compiled {
    fn new(builder: PluginBuilder<'_>) -> Result<Self, Error> {
        if builder.initialization_fuel.is_some() && builder.fuel.is_none() {
            bail!("an initialization fuel limit requires a call fuel limit");
        }
        let debug = builder.debug;
        let engine = SharedEngine::get(Settings {
            fuel: builder.fuel.is_some(),
            debug_info: debug.debug_info,
            coredump: debug.coredump.is_some(),
            profiling: debug.profiling_strategy,
            cache: builder.cache,
        })?;
        let Loaded { manifest, sources } = Loaded::new(builder.source, builder.read_memory)?;
        let mut modules = Vec::new();
        for source in sources {
            modules.push((source.name, engine.compile(&source.bytes)?));
        }
        let main = modules.iter().find(|(name, _)| name == MAIN);
        let exports = Exports::new(&main.context("no main module")?.1)?;
        let linking = Linking::new(&engine, modules, &builder.functions, builder.wasi);
        Ok(Self {
            engine,
            manifest,
            wasi: builder.wasi,
            fuel: builder.fuel,
            initialization_fuel: builder.initialization_fuel.or(builder.fuel),
            http_response_headers: builder.http_response_headers,
            debug,
            exports,
            linking: linking.map_err(|error| error.root_cause().to_string()),
        })
    }

    pub(crate) fn linking(&self) -> Result<&Linking, Error> {
        self.linking.as_ref().map_err(|cause| anyhow!("{cause}"))
    }
}

/// A function that the main module exports.
pub(crate) struct Export {
    /// Its place in [`Exports::functions`].
    pub(crate) index: usize,
    pub(crate) export: ModuleExport,
    pub(crate) kind: Kind,
}

/// How a function is called. All others can't be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// () → ()
    Unit,
    /// () → i32
    Code,
    /// (i32, i32) → anything: only of interest as Haskell's `hs_init`
    TwoNumbers,
    Other,
}

/// The functions that the main module exports, found once.
pub(crate) struct Exports {
    pub(crate) functions: HashMap<String, Export>,
    types: HashMap<String, (usize, Vec<ValType>)>,
    /// What runs before the first call, in this order, with what is said if it fails.
    pub(crate) initialisers: Vec<(&'static str, &'static str)>,
    /// Whether all initialisers run when the plugin is made.
    pub(crate) initialises_early: bool,
    /// Whether it is a command, which is made anew for each call of `_start`.
    pub(crate) is_command: bool,
}

impl Exports {
    fn new(main: &Module) -> Result<Self, Error> {
        let mut functions = HashMap::new();
        let mut types = HashMap::new();
        for export in main.exports() {
            let ExternType::Func(ty) = export.ty() else {
                continue;
            };
            let name = export.name().to_owned();
            let found = main.get_export_index(&name);
            let export = Export {
                index: functions.len(),
                export: found.with_context(|| format!("no export {name}"))?,
                kind: Kind::of(&ty),
            };
            if export.kind == Kind::Other || export.kind == Kind::TwoNumbers {
                types.insert(name.clone(), (ty.params().len(), ty.results().collect()));
            }
            functions.insert(name, export);
        }
        let is_unit = |name: &str| {
            functions
                .get(name)
                .is_some_and(|f: &Export| f.kind == Kind::Unit)
        };
        let is_command = functions.contains_key("_start");
        if is_command && functions.contains_key("_initialize") {
            bail!("Program cannot be both a Command and a Reactor");
        }
        let (initialisers, initialises_early) = if functions.contains_key("hs_init") {
            let reactor = (
                "_initialize",
                "failed to initialize Haskell reactor runtime",
            );
            let haskell = ("hs_init", "failed to initialize Haskell using hs_init");
            match is_unit("_initialize") {
                true => (vec![reactor, haskell], false),
                false => (vec![haskell], false),
            }
        } else {
            let names = ["__wasm_call_ctors", "_initialize"];
            let first = names.into_iter().find(|name| functions.contains_key(*name));
            let first = first.filter(|name| is_unit(name));
            let initialisers = first.map(|name| (name, "failed to initialize wasi runtime"));
            (
                initialisers.into_iter().collect(),
                first == Some("_initialize"),
            )
        };
        Ok(Self {
            functions,
            types,
            initialisers,
            initialises_early,
            is_command,
        })
    }

    /// Why the function of this name can't be called.
    pub(crate) fn why_not(&self, name: &str) -> String {
        match self.types.get(name) {
            Some((_, results)) if results.len() > 1 => {
                let count = results.len();
                format!("Function {name} has {count} results, expected 0 or 1")
            }
            Some((params, _)) if *params > 0 => format!("expected {params} arguments, got 0"),
            Some((_, results)) => {
                let ty = results.first().map(ToString::to_string);
                format!(
                    "Function {name} returns {}, expected i32",
                    ty.unwrap_or_default()
                )
            }
            None => format!("Function not found: {name}"),
        }
    }
}

impl Kind {
    fn of(ty: &FuncType) -> Self {
        let params: Vec<_> = ty.params().collect();
        let results: Vec<_> = ty.results().collect();
        match (&params[..], &results[..]) {
            ([], []) => Self::Unit,
            ([], [ValType::I32]) => Self::Code,
            ([ValType::I32, ValType::I32], _) => Self::TwoNumbers,
            _ => Self::Other,
        }
    }
}

/// Where an import of the main module comes from.
enum Source {
    /// From the plugin's own kernel.
    Kernel(ModuleExport),
    /// From the host, under these names.
    Host(String, String),
}

/// How plugin, kernel and host are linked.
pub(crate) struct Linking {
    kernel: Arc<KernelModule>,
    /// Built-ins, WASI and the embedder's functions.
    host: Linker<State>,
    main: Module,
    plan: Plan,
    /// The most that the memories of kernel and modules, but the main one, start with.
    pub(crate) initial_bytes: usize,
}

/// The most that the memories of this module start with.
fn initial_bytes(module: &Module) -> usize {
    let required = module.resources_required();
    let pages = required.max_initial_memory_size.unwrap_or(0);
    let pages = usize::try_from(pages).unwrap_or(usize::MAX);
    pages
        .saturating_mul(PAGE)
        .saturating_mul(required.num_memories as usize)
}

enum Plan {
    /// One module: where each of its imports comes from, in their order.
    Single(Vec<Source>),
    /// Several: those beside the main one, each behind those that it imports from; and the kernel's functions, under the
    /// names that nothing else has.
    Several {
        modules: Vec<(String, Module)>,
        kernel: Vec<KernelImport>,
    },
}

/// A store with all that the main module imports.
pub(crate) enum Imports {
    List(Vec<Extern>),
    Linker(Box<Linker<State>>),
}

impl Linking {
    fn new(
        engine: &SharedEngine,
        modules: Vec<(String, Module)>,
        functions: &[Function],
        wasi: bool,
    ) -> Result<Self, Error> {
        let kernel = engine.kernel()?;
        let mut host = engine.host(wasi)?;
        for function in functions {
            function.link(&mut host)?;
        }
        // Host functions and modules of the manifest take the place of what has the same name.
        let is_taken = |module: &str, name: &str| {
            let is_it = |f: &Function| f.module() == module && f.name() == name;
            functions.iter().any(is_it) || modules.iter().any(|(other, _)| other == module)
        };
        for (_, module) in &modules {
            check_kernel_imports(&kernel, functions, module)?;
        }
        let (main, plan) = if let [(_, main)] = &modules[..] {
            // All names and types are known here, so this finds whatever can't be linked.
            host.instantiate_pre(main)?;
            let sources = main.imports().map(|import| {
                let (module, name) = (import.module(), import.name());
                let from_kernel = (!is_taken(module, name)).then(|| kernel.find(module, name));
                match from_kernel.flatten() {
                    Some(export) => Source::Kernel(*export),
                    None => Source::Host(module.to_owned(), name.to_owned()),
                }
            });
            (main.clone(), Plan::Single(sources.collect()))
        } else {
            let order = in_order(&modules)?
                .into_iter()
                .map(|index| modules[index].clone());
            let (main, others): (Vec<_>, _) = order.partition(|(name, _)| name == MAIN);
            let (_, main) = main.into_iter().next().context("no main module")?;
            let offered = kernel.imports.iter();
            let offered = offered.filter(|import| !is_taken(import.module, &import.name));
            let kernel = offered.cloned().collect();
            (
                main,
                Plan::Several {
                    modules: others,
                    kernel,
                },
            )
        };
        let others = match &plan {
            Plan::Single(_) => &[][..],
            Plan::Several { modules, .. } => modules,
        };
        let others = others.iter().map(|(_, module)| initial_bytes(module));
        let initial_bytes = others.fold(initial_bytes(kernel.module()), usize::saturating_add);
        Ok(Self {
            kernel,
            host,
            main,
            plan,
            initial_bytes,
        })
    }

    /// Gives the store a kernel, and instances of all modules but the main one.
    pub(crate) fn open(&self, store: &mut Store<State>) -> Result<Imports, Error> {
        let (kernel, instance) = self.kernel.instantiate(&mut *store)?;
        store.data_mut().kernel = Some(kernel);
        match &self.plan {
            Plan::Single(sources) => {
                let mut imports = Vec::with_capacity(sources.len());
                for source in sources {
                    let import = match source {
                        Source::Kernel(export) => instance.get_module_export(&mut *store, export),
                        Source::Host(module, name) => {
                            Some(self.host.get(&mut *store, module, name)?)
                        }
                    };
                    imports.push(import.context("the kernel lacks an export")?);
                }
                Ok(Imports::List(imports))
            }
            Plan::Several { modules, kernel } => {
                let mut linker = self.host.clone();
                for import in kernel {
                    let function = instance.get_module_export(&mut *store, &import.export);
                    let function = function.context("the kernel lacks an export")?;
                    linker.define(&mut *store, import.module, &import.name, function)?;
                }
                for (name, module) in modules {
                    linker.module(&mut *store, name, module)?;
                }
                Ok(Imports::Linker(Box::new(linker)))
            }
        }
    }

    /// The main module's instance; its start function runs.
    pub(crate) fn instantiate(
        &self,
        store: &mut Store<State>,
        imports: &Imports,
    ) -> Result<Instance, Error> {
        Ok(match imports {
            Imports::List(imports) => Instance::new(store, &self.main, imports)?,
            Imports::Linker(linker) => linker.instantiate(store, &self.main)?,
        })
    }
}

/// A function of the kernel, under a name by which plugins import it.
#[derive(Clone)]
pub(crate) struct KernelImport {
    module: &'static str,
    name: String,
    ty: FuncType,
    export: ModuleExport,
}

/// All functions of the kernel, under today's names and those from before 1.0.
pub(crate) fn kernel_imports(kernel: &Module) -> Vec<KernelImport> {
    let mut imports = Vec::new();
    for export in kernel.exports() {
        let found = kernel.get_export_index(export.name());
        let (ExternType::Func(ty), Some(found)) = (export.ty(), found) else {
            continue;
        };
        for (module, prefix) in [(EXTISM_ENV_MODULE, ""), (OLD_MODULE, OLD_PREFIX)] {
            imports.push(KernelImport {
                module,
                name: format!("{prefix}{}", export.name()),
                ty: ty.clone(),
                export: found,
            });
        }
    }
    imports
}

impl KernelModule {
    fn find(&self, module: &str, name: &str) -> Option<&ModuleExport> {
        let is_it = |import: &&KernelImport| import.module == module && import.name == name;
        self.imports.iter().find(is_it).map(|import| &import.export)
    }
}

impl SharedEngine {
    /// A linker with the functions that every host has.
    fn host(&self, wasi: bool) -> Result<Linker<State>, Error> {
        let known = &self.hosts[usize::from(wasi)];
        if let Some(linker) = known.get() {
            return Ok(linker.clone());
        }
        let mut linker = Linker::new(&self.engine);
        linker.allow_shadowing(true);
        host::env::link(&mut linker, EXTISM_ENV_MODULE, "")?;
        host::env::link(&mut linker, OLD_MODULE, OLD_PREFIX)?;
        // Only the types: each plugin has functions of its own kernel in these places.
        for import in &self.kernel()?.imports {
            let ty = import.ty.clone();
            linker.func_new(import.module, &import.name, ty, |_, _, _| {
                Err(wasmtime::Error::msg(
                    "the plugin was linked without its kernel",
                ))
            })?;
        }
        if wasi {
            host::wasi::link(&mut linker)?;
        }
        Ok(known.get_or_init(|| linker).clone())
    }

    fn kernel(&self) -> Result<Arc<KernelModule>, Error> {
        if let Some(kernel) = self.kernel.get() {
            return Ok(kernel.clone());
        }
        let module = Module::new(&self.engine, extism_kernel::KERNEL_BULK)?;
        let kernel = Arc::new(KernelModule::new(&module)?);
        Ok(self.kernel.get_or_init(|| kernel).clone())
    }
}

/// Says of what a plugin imports from the kernel's module, and isn't there, that it may be newer than this host.
fn check_kernel_imports(
    kernel: &KernelModule,
    functions: &[Function],
    module: &Module,
) -> Result<(), Error> {
    for import in module.imports() {
        let name = import.name();
        if import.module() != EXTISM_ENV_MODULE {
            continue;
        }
        let (kind, ty) = match import.ty() {
            ExternType::Func(ty) => ("function", ty.to_string()),
            ExternType::Global(ty) => ("global", ty.content().to_string()),
            ExternType::Table(ty) => ("table", ty.element().to_string()),
            ExternType::Memory(_) => ("memory", String::new()),
            ExternType::Tag(ty) => ("tag", ty.ty().to_string()),
        };
        let of_embedder = |f: &Function| f.module() == EXTISM_ENV_MODULE && f.name() == name;
        let is_known = kernel.module().get_export(name).is_some()
            || host::env::NAMES.contains(&name)
            || functions.iter().any(of_embedder);
        if !is_known {
            bail!(
                "Invalid {kind} import from extism:host/env: {name} {ty}\n\nNote: the plugin may have been built with a PDK \
                 that is newer than this runtime and offers more than it"
            );
        }
        if kind != "function" {
            bail!("linked modules cannot access non-function exports of extism kernel");
        }
    }
    Ok(())
}

/// The modules' indices, each behind those that it imports from. An error if that can't be.
fn in_order(modules: &[(String, Module)]) -> Result<Vec<usize>, Error> {
    let index = |name: &str| modules.iter().position(|(module, _)| module == name);
    let imports = |module: &Module| -> Vec<usize> {
        let names: HashSet<_> = module.imports().map(|import| import.module()).collect();
        names.into_iter().filter_map(index).collect()
    };
    let needs: Vec<Vec<usize>> = modules.iter().map(|(_, module)| imports(module)).collect();
    let mut order = Vec::new();
    while order.len() < modules.len() {
        let ready = (0..modules.len()).find(|index| {
            !order.contains(index) && needs[*index].iter().all(|needed| order.contains(needed))
        });
        match ready {
            Some(index) => order.push(index),
            None => {
                let rest = (0..modules.len()).filter(|index| !order.contains(index));
                let names: Vec<_> = rest.map(|index| modules[index].0.as_str()).collect();
                bail!(
                    "modules import from each other in a cycle: {}",
                    names.join(", ")
                );
            }
        }
    }
    Ok(order)
}

impl std::fmt::Debug for CompiledPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledPlugin").finish_non_exhaustive()
    }
}

impl TryFrom<&CompiledPlugin> for Plugin {
    type Error = Error;

    fn try_from(compiled: &CompiledPlugin) -> Result<Self, Error> {
        Self::new_from_compiled(compiled)
    }
}
