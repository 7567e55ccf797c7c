//! Wasmtime's engines, one for each configuration in the process, and what they have compiled.

use std::{
    env,
    ffi::OsString,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use sha2::{Digest, Sha256};
use wasmtime::{
    Cache, Config, Engine, Linker, Module, PoolingAllocationConfig, ProfilingStrategy,
    WasmBacktraceDetails,
};

use crate::{
    Error,
    linking::{LoneKernel, join},
    state::State,
};

/// What helps to find out what a plugin does. The environment's variables decide where a program doesn't: `EXTISM_DEBUG`,
/// `EXTISM_COREDUMP`, `EXTISM_MEMDUMP` and `EXTISM_PROFILE`.
#[derive(Debug, Clone)]
pub struct DebugOptions {
    /// For which profiler compiled code is announced. `EXTISM_PROFILE=perf` stands for perf's map; Wasmtime's other
    /// strategies aren't built in, creating the plugin fails with them.
    pub profiling_strategy: ProfilingStrategy,
    /// A file that gets a core dump of a plugin that traps.
    pub coredump: Option<PathBuf>,
    /// A file that gets the kernel's memory as it is after a failed call.
    pub memdump: Option<PathBuf>,
    /// Whether compiled code comes with debug information for a native debugger.
    pub debug_info: bool,
}

impl Default for DebugOptions {
    fn default() -> Self {
        let path = |name| env::var_os(name).map(PathBuf::from);
        let profiling_strategy = match env::var("EXTISM_PROFILE").as_deref() {
            Ok("perf") => ProfilingStrategy::PerfMap,
            _ => ProfilingStrategy::None,
        };
        Self {
            profiling_strategy,
            coredump: path("EXTISM_COREDUMP"),
            memdump: path("EXTISM_MEMDUMP"),
            debug_info: env::var_os("EXTISM_DEBUG").is_some(),
        }
    }
}

/// Where compiled code is kept from process to process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CacheChoice {
    None,
    /// As Wasmtime's own configuration file says, or its default; without a cache if the folder can't be used.
    Default,
    /// As this configuration file says.
    File(PathBuf),
}

impl CacheChoice {
    /// What `EXTISM_CACHE_CONFIG` says: a file; empty for none.
    pub(crate) fn from_environment() -> Self {
        match env::var_os("EXTISM_CACHE_CONFIG") {
            None => Self::Default,
            Some(file) if file.is_empty() => Self::None,
            Some(file) => Self::File(file.into()),
        }
    }

    fn open(&self) -> Result<Option<Cache>, Error> {
        match self {
            Self::None => Ok(None),
            Self::File(file) => Ok(Some(Cache::from_file(Some(file))?)),
            Self::Default => Ok(Cache::from_file(None)
                .inspect_err(|error| tracing::warn!("no cache for compiled code: {error:#}"))
                .ok()),
        }
    }
}

/// Everything that code is compiled for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Whether instructions are counted.
    pub(crate) fuel: bool,
    pub(crate) debug_info: bool,
    pub(crate) coredump: bool,
    pub(crate) profiling: ProfilingStrategy,
    pub(crate) cache: CacheChoice,
    /// For how many plugins room is kept.
    pub(crate) pooling: Option<NonZeroU32>,
}

/// An engine, with the modules that it has compiled lately.
pub(crate) struct SharedEngine {
    pub(crate) engine: Engine,
    settings: Settings,
    /// Where the default cache is depends on these.
    home: [Option<OsString>; 2],
    process: u32,
    modules: Recent<Module>,
    /// The same bytes as one module with the kernel, if that can be.
    joined: Recent<Option<Module>>,
    pub(crate) kernel: OnceLock<Arc<LoneKernel>>,
    /// What every host offers, without and with WASI.
    pub(crate) hosts: [OnceLock<Linker<State>>; 2],
}

/// How many modules of either kind an engine keeps after their last plugin is gone.
const KEPT_MODULES: usize = 32;

/// What was made of bytes lately, by their SHA-256; the most recently used one last.
struct Recent<T>(Mutex<Vec<([u8; 32], T)>>);

impl SharedEngine {
    pub(crate) fn get(settings: Settings) -> Result<Arc<Self>, Error> {
        static ENGINES: Mutex<Vec<Arc<SharedEngine>>> = Mutex::new(Vec::new());
        let home = ["HOME", "XDG_CACHE_HOME"].map(env::var_os);
        // A forked process has neither the threads that compile nor the one that looks after the cache.
        let process = std::process::id();
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = engines.iter().find(|shared| {
            shared.settings == settings && shared.process == process && shared.home == home
        });
        if let Some(shared) = known {
            return Ok(shared.clone());
        }
        let shared = Arc::new(Self {
            engine: settings.engine(process)?,
            settings,
            home,
            process,
            modules: Recent::default(),
            joined: Recent::default(),
            kernel: OnceLock::new(),
            hosts: Default::default(),
        });
        engines.push(shared.clone());
        Ok(shared)
    }

    /// Compiles WebAssembly, binary or text, unless that was done lately.
    pub(crate) fn compile(&self, bytes: &[u8]) -> Result<Module, Error> {
        self.modules
            .get(bytes, || Ok(Module::new(&self.engine, bytes)?))
    }

    /// The same as one module with the kernel; `None` if that can't be.
    pub(crate) fn join(&self, bytes: &[u8]) -> Option<Module> {
        let join = || Ok(join(bytes).and_then(|wasm| Module::new(&self.engine, wasm).ok()));
        self.joined.get(bytes, join).ok().flatten()
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Recent<T> {
    fn get(&self, bytes: &[u8], make: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let hash = Sha256::digest(bytes).into();
        if let Some(made) = self.find(&hash) {
            return Ok(made);
        }
        // Meanwhile others may make some, too.
        let made = make()?;
        if self.find(&hash).is_none() {
            let mut all = self.lock();
            if all.len() == KEPT_MODULES {
                all.remove(0);
            }
            all.push((hash, made.clone()));
        }
        Ok(made)
    }

    /// Finds what was made, and makes it the most recently used one.
    fn find(&self, hash: &[u8; 32]) -> Option<T> {
        let mut all = self.lock();
        let index = all.iter().rposition(|(known, _)| known == hash)?;
        let entry = all.remove(index);
        let made = entry.1.clone();
        all.push(entry);
        Some(made)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<([u8; 32], T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    fn engine(&self, process: u32) -> Result<Engine, Error> {
        static FIRST_PROCESS: OnceLock<u32> = OnceLock::new();
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .consume_fuel(self.fuel)
            .debug_info(self.debug_info)
            .coredump_on_trap(self.coredump)
            .profiler(self.profiling)
            .cache(self.cache.open()?)
            .parallel_compilation(*FIRST_PROCESS.get_or_init(|| process) == process)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .wasm_tail_call(true)
            .wasm_function_references(true)
            .wasm_gc(true)
            .wasm_exceptions(true)
            .wasm_memory64(true)
            .wasm_multi_memory(true)
            .wasm_wide_arithmetic(true);
        if let Some(plugins) = self.pooling {
            config.allocation_strategy(room(plugins.get()));
        }
        Ok(Engine::new(&config)?)
    }
}

/// How many bytes of each memory and table stay in the process between two plugins that have it.
const KEPT_BYTES: usize = 32 << 10;

/// Room for so many plugins: each with two memories, its own and the kernel's, which are two instances unless they were joined.
fn room(plugins: u32) -> PoolingAllocationConfig {
    let mut room = PoolingAllocationConfig::new();
    room.total_memories(plugins.saturating_mul(2))
        .total_core_instances(plugins.saturating_mul(2))
        .total_tables(plugins.saturating_mul(2))
        .total_gc_heaps(plugins)
        .max_memories_per_module(10)
        .max_tables_per_module(10)
        .table_elements(100_000)
        // As much of a memory is cleared by writing zeros, which for a few pages is faster than to give them back and get others.
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(KEPT_BYTES);
    room
}
