//! Compiled plugins: their modules are checked, compiled and linked here, once.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, anyhow, bail};
use extism_kernel_linker::{PREFIX, linked};
use extism_manifest::Manifest;
use wasmtime::{ExternType, FuncType, Module, ModuleExport, ValType};

use crate::{
    Error, Plugin, PluginBuilder,
    engine::{DebugOptions, Settings, SharedEngine},
    linking::Linking,
    manifest::{Loaded, MAIN},
};

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

    /// Whether plugin and kernel are one module. They aren't if there are several modules, if the plugin imports nothing of the kernel,
    /// has a start function or exports what begins with `extism:kernel/`, if functions of the host take the place of the kernel's, with
    /// debug information, and after [`PluginBuilder::with_joined_kernel`]`(false)`.
    pub fn is_joined(&self) -> bool {
        self.0.linking.as_ref().is_ok_and(Linking::is_joined)
    }
}

/// What is the same for all plugins of a compiled one.
pub(crate) struct Compiled {
    pub(crate) engine: Arc<SharedEngine>,
    /// Without its modules.
    pub(crate) manifest: Manifest,
    pub(crate) wasi: bool,
    pub(crate) environment_from_config: bool,
    pub(crate) starts_late: bool,
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
            pooling: builder.pooling,
        })?;
        let Loaded { manifest, sources } = Loaded::new(builder.source, builder.read_memory)?;
        let (functions, wasi) = (&builder.functions, builder.wasi);
        // What a native debugger knows of the plugin's code doesn't survive joining.
        let may_join = builder.joined_kernel && !debug.debug_info;
        let joined = match &sources[..] {
            [source] if may_join => engine.join(&source.bytes),
            _ => None,
        };
        let joined = joined.and_then(|module| {
            let linking = Linking::joined(&engine, &module, functions, wasi)?;
            Some((module, linking))
        });
        let (exports, linking) = match joined {
            Some((module, linking)) => {
                let exports = Exports::new(&module, |name| name.starts_with(PREFIX))?;
                (exports, Ok(linking))
            }
            None => {
                let mut modules = Vec::new();
                for source in sources {
                    if linked(&source.bytes).is_some() {
                        bail!(
                            "{} contains a kernel already: it has to be what the linker was given, not what it made",
                            source.name
                        );
                    }
                    modules.push((source.name, engine.compile(&source.bytes)?));
                }
                let main = modules.iter().find(|(name, _)| name == MAIN);
                let exports = Exports::new(&main.context("no main module")?.1, |_| false)?;
                (exports, Linking::new(&engine, modules, functions, wasi))
            }
        };
        Ok(Self {
            engine,
            manifest,
            wasi: builder.wasi,
            environment_from_config: builder.environment_from_config,
            starts_late: builder.starts_late,
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
    /// Those of a module, less those that are not the plugin's.
    fn new(main: &Module, is_kernels: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let mut functions = HashMap::new();
        let mut types = HashMap::new();
        for export in main.exports() {
            let ExternType::Func(ty) = export.ty() else {
                continue;
            };
            let name = export.name().to_owned();
            if is_kernels(&name) {
                continue;
            }
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
