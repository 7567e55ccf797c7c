//! How a plugin's modules get at the kernel and at the host: decided here, and nowhere else.
//!
//! ```text
//!   a module alone      ─▶ joined: plugin and kernel are one module, one instance
//!   where that can't be ─▶ single: two instances, each import looked up once
//!   several modules     ─▶ several: linked by their names
//! ```

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context, bail};
use extism_kernel_linker::{Form, Options, PREFIX};
use wasmtime::{Extern, ExternType, FuncType, Instance, Linker, Module, ModuleExport, Store};

use crate::{
    EXTISM_ENV_MODULE, Error, Function, engine::SharedEngine, host, kernel::KernelModule,
    limits::PAGE, manifest::MAIN, state::State,
};

/// The module from which plugins imported everything before version 1.0, each name with a prefix.
const OLD_MODULE: &str = "env";
const OLD_PREFIX: &str = "extism_";

/// Where an import of the main module comes from.
enum Source {
    /// From the plugin's own kernel.
    Kernel(ModuleExport),
    /// From the host, under these names.
    Host(String, String),
}

/// How plugin, kernel and host are linked.
pub(crate) struct Linking {
    plan: Plan,
    /// The most that the memories of kernel and modules start with that are there before the main module's instance.
    pub(crate) bytes_before: usize,
    /// The same of those that come with it and are not its own.
    pub(crate) bytes_beside: usize,
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
    /// Plugin and kernel are one module.
    Joined(KernelModule),
    /// The kernel is an instance of its own.
    Apart {
        kernel: Arc<LoneKernel>,
        /// Built-ins, WASI and the embedder's functions.
        host: Linker<State>,
        main: Module,
        modules: Modules,
    },
}

/// The modules of a plugin.
enum Modules {
    /// One: where each of its imports comes from, in their order.
    Single(Vec<Source>),
    /// Several: those beside the main one, each behind those that it imports from; and the kernel's functions, under the
    /// names that nothing else has.
    Several {
        others: Vec<(String, Module)>,
        offered: Vec<KernelImport>,
    },
}

/// A store with all that the main module imports.
pub(crate) enum Imports {
    /// Those of a joined module are known before there is a store.
    Known,
    List(Vec<Extern>),
    Linker(Box<Linker<State>>),
}

/// A plugin and the kernel as one module, in WebAssembly's binary format. `None` where that can't be, whatever the reason: linked as
/// usual it runs, or its user is told what is wrong with it.
pub(crate) fn join(bytes: &[u8]) -> Option<Vec<u8>> {
    let wasm = wat::parse_bytes(bytes).ok()?;
    // Who calls nothing of the kernel would pay for its compilation and get nothing for it.
    if !extism_kernel_linker::uses_kernel(&wasm) {
        return None;
    }
    let linked = extism_kernel_linker::link(&wasm, &Options::new(Form::TwoMemories)).ok()?;
    // The host couldn't get at the kernel while a start function runs.
    (!linked.starts).then_some(linked.wasm)
}

impl Linking {
    /// Links a module that [`join`] has made. `None` if the embedder's functions take the place of the kernel's, or it can't be linked: then
    /// [`new`](Self::new) says why.
    pub(crate) fn joined(
        engine: &SharedEngine,
        module: &Module,
        functions: &[Function],
        wasi: bool,
    ) -> Option<Self> {
        let is_replaced = |f: &Function| {
            let name = match f.module() {
                EXTISM_ENV_MODULE => Some(f.name()),
                OLD_MODULE => f.name().strip_prefix(OLD_PREFIX),
                _ => None,
            };
            let name = name.map(|name| format!("{PREFIX}{name}"));
            name.is_some_and(|name| module.get_export(&name).is_some())
        };
        if functions.iter().any(is_replaced) {
            return None;
        }
        let mut host = engine.host(wasi).ok()?;
        for function in functions {
            function.link(&mut host).ok()?;
        }
        let pre = host.instantiate_pre(module).ok()?;
        let module = KernelModule::new(pre, PREFIX).ok()?;
        Some(Self {
            bytes_before: 0,
            bytes_beside: module.initial_bytes(),
            plan: Plan::Joined(module),
        })
    }

    /// Links modules beside the kernel.
    pub(crate) fn new(
        engine: &SharedEngine,
        modules: Vec<(String, Module)>,
        functions: &[Function],
        wasi: bool,
    ) -> Result<Self, Error> {
        let kernel = engine.kernel()?;
        let mut host = engine.host_with_kernel(wasi)?;
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
        let others = modules.iter().filter(|(name, _)| name != MAIN);
        let others = others.map(|(_, module)| initial_bytes(module));
        let bytes_before = others.fold(kernel.module.initial_bytes(), usize::saturating_add);
        let (main, modules) = if let [(_, main)] = &modules[..] {
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
            (main.clone(), Modules::Single(sources.collect()))
        } else {
            let order = in_order(&modules)?
                .into_iter()
                .map(|index| modules[index].clone());
            let (main, others): (Vec<_>, _) = order.partition(|(name, _)| name == MAIN);
            let (_, main) = main.into_iter().next().context("no main module")?;
            let offered = kernel.imports.iter();
            let offered = offered.filter(|import| !is_taken(import.module, &import.name));
            let offered = offered.cloned().collect();
            (main, Modules::Several { others, offered })
        };
        Ok(Self {
            plan: Plan::Apart {
                kernel,
                host,
                main,
                modules,
            },
            bytes_before,
            bytes_beside: 0,
        })
    }

    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.plan, Plan::Joined(_))
    }

    /// Gives the store all that is there before the main module's instance: instances of kernel and other modules.
    pub(crate) fn open(&self, store: &mut Store<State>) -> Result<Imports, Error> {
        let Plan::Apart {
            kernel,
            host,
            modules,
            ..
        } = &self.plan
        else {
            return Ok(Imports::Known);
        };
        let kernel = kernel.module.instantiate(&mut *store)?;
        match modules {
            Modules::Single(sources) => {
                let mut imports = Vec::with_capacity(sources.len());
                for source in sources {
                    let import = match source {
                        Source::Kernel(export) => kernel.get_module_export(&mut *store, export),
                        Source::Host(module, name) => Some(host.get(&mut *store, module, name)?),
                    };
                    imports.push(import.context("the kernel lacks an export")?);
                }
                Ok(Imports::List(imports))
            }
            Modules::Several { others, offered } => {
                let mut linker = host.clone();
                for import in offered {
                    let function = kernel.get_module_export(&mut *store, &import.export);
                    let function = function.context("the kernel lacks an export")?;
                    linker.define(&mut *store, import.module, &import.name, function)?;
                }
                for (name, module) in others {
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
        Ok(match (&self.plan, imports) {
            (Plan::Joined(module), _) => module.instantiate(store)?,
            (Plan::Apart { main, .. }, Imports::List(imports)) => {
                Instance::new(store, main, imports)?
            }
            (Plan::Apart { main, .. }, Imports::Linker(linker)) => {
                linker.instantiate(store, main)?
            }
            (Plan::Apart { .. }, Imports::Known) => bail!("the plugin isn't linked"),
        })
    }
}

/// The kernel by itself, and what plugins can import of it.
pub(crate) struct LoneKernel {
    module: KernelModule,
    imports: Vec<KernelImport>,
}

/// A function of the kernel, under a name by which plugins import it.
#[derive(Clone)]
struct KernelImport {
    module: &'static str,
    name: String,
    ty: FuncType,
    export: ModuleExport,
}

/// All functions of the kernel, under today's names and those from before 1.0.
fn kernel_imports(kernel: &Module) -> Vec<KernelImport> {
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

impl LoneKernel {
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
        host::env::link(&mut linker, EXTISM_ENV_MODULE, "", false)?;
        host::env::link(&mut linker, OLD_MODULE, OLD_PREFIX, true)?;
        if wasi {
            host::wasi::link(&mut linker)?;
        }
        Ok(known.get_or_init(|| linker).clone())
    }

    /// The same, with the types of the kernel's functions: each plugin has those of its own kernel in their places.
    fn host_with_kernel(&self, wasi: bool) -> Result<Linker<State>, Error> {
        let mut linker = self.host(wasi)?;
        for import in &self.kernel()?.imports {
            let ty = import.ty.clone();
            linker.func_new(import.module, &import.name, ty, |_, _, _| {
                Err(wasmtime::Error::msg(
                    "the plugin was linked without its kernel",
                ))
            })?;
        }
        Ok(linker)
    }

    fn kernel(&self) -> Result<Arc<LoneKernel>, Error> {
        if let Some(kernel) = self.kernel.get() {
            return Ok(kernel.clone());
        }
        let module = Module::new(&self.engine, extism_kernel::KERNEL_BULK)?;
        let pre = Linker::new(&self.engine).instantiate_pre(&module)?;
        let kernel = Arc::new(LoneKernel {
            module: KernelModule::new(pre, "")?,
            imports: kernel_imports(&module),
        });
        Ok(self.kernel.get_or_init(|| kernel).clone())
    }
}

/// Says of what a plugin imports from the kernel's module, and isn't there, that it may be newer than this host.
fn check_kernel_imports(
    kernel: &LoneKernel,
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
        let is_known = kernel.module.module().get_export(name).is_some()
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
