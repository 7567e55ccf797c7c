use std::{env, num::NonZeroU32, path::PathBuf};

use wasmtime::ProfilingStrategy;

use crate::{
    CompiledPlugin, CurrentPlugin, DebugOptions, Error, Function, Plugin, UserData, Val, ValType,
    WasmInput, engine::CacheChoice, manifest::ReadMemory,
};

/// What a plugin gets from its host. Unless said otherwise it has no WASI, no functions beside those of every host, no fuel
/// limit, and doesn't see the headers of HTTP responses; what the environment's variables say applies.
///
/// ```
/// use extism::{PTR, PluginBuilder, UserData, host_fn};
///
/// host_fn!(greet(name: String) -> String { Ok(format!("Hello, {name}!")) });
///
/// let plugin = r#"(module (func (export "run")))"#;
/// let mut plugin = PluginBuilder::new(plugin)
///     .with_wasi(true)
///     .with_function("greet", [PTR], [PTR], UserData::default(), greet)
///     .with_fuel_limit(1_000_000)
///     .build()?;
/// let output: String = plugin.call("run", "")?;
/// # Ok::<(), extism::Error>(())
/// ```
pub struct PluginBuilder<'a> {
    pub(crate) source: WasmInput<'a>,
    pub(crate) read_memory: Option<ReadMemory>,
    pub(crate) wasi: bool,
    pub(crate) environment_from_config: bool,
    pub(crate) starts_late: bool,
    pub(crate) functions: Vec<Function>,
    pub(crate) fuel: Option<u64>,
    pub(crate) initialization_fuel: Option<u64>,
    pub(crate) http_response_headers: bool,
    pub(crate) debug: DebugOptions,
    pub(crate) cache: CacheChoice,
    pub(crate) joined_kernel: bool,
    pub(crate) pooling: Option<NonZeroU32>,
}

impl<'a> PluginBuilder<'a> {
    /// Starts with what the plugin is made of. Nothing is looked at before [`build`](Self::build) or
    /// [`compile`](Self::compile).
    pub fn new(plugin: impl Into<WasmInput<'a>>) -> Self {
        Self {
            source: plugin.into(),
            read_memory: None,
            wasi: false,
            environment_from_config: false,
            starts_late: false,
            functions: Vec::new(),
            fuel: None,
            initialization_fuel: None,
            http_response_headers: false,
            debug: DebugOptions::default(),
            cache: CacheChoice::from_environment(),
            joined_kernel: env::var_os("EXTISM_JOIN").is_none_or(|value| value != "0"),
            pooling: env::var("EXTISM_POOLING")
                .ok()
                .and_then(|count| count.parse().ok()),
        }
    }

    /// How a manifest in JSON gets at bytes that it names by their address; unless this is called it doesn't. For the C API.
    pub fn with_read_memory(mut self, read: ReadMemory) -> Self {
        self.read_memory = Some(read);
        self
    }

    /// Whether the plugin gets WASI preview 1: clocks, random numbers, and the folders of the manifest's `allowed_paths`. It
    /// has no arguments, environment or stdin, and what it prints is dropped, unless `EXTISM_ENABLE_WASI_OUTPUT` is set.
    pub fn with_wasi(mut self, wasi: bool) -> Self {
        self.wasi = wasi;
        self
    }

    /// Whether the plugin's configuration is the environment that WASI shows it, as before version 1.0: at any time what it is
    /// then, as `KEY=value`. What has a NUL in it is left out. Off, the environment is empty.
    pub fn with_environment_from_config(mut self, environment: bool) -> Self {
        self.environment_from_config = environment;
        self
    }

    /// Whether the plugin's start function and all of its initialisers run at the first call, as before version 1.0: then they
    /// see what was configured until there, and what is wrong with them is the call's error. Off, start function and
    /// `_initialize` run when the plugin is made.
    pub fn with_late_start(mut self, late: bool) -> Self {
        self.starts_late = late;
        self
    }

    /// Adds a function, which plugins import from [`EXTISM_USER_MODULE`](crate::EXTISM_USER_MODULE). For its parameters see
    /// [`Function::new`]. It takes the place of another one of the same name.
    pub fn with_function<T: Send + 'static>(
        self,
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        user_data: UserData<T>,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val], UserData<T>) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with_functions([Function::new(name, params, results, user_data, body)])
    }

    /// The same for a function of another module.
    pub fn with_function_in_namespace<T: Send + 'static>(
        self,
        namespace: impl Into<String>,
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        user_data: UserData<T>,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val], UserData<T>) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let function = Function::new(name, params, results, user_data, body);
        self.with_functions([function.with_namespace(namespace)])
    }

    /// Adds functions. Later ones take the places of earlier ones of the same name.
    pub fn with_functions(mut self, functions: impl IntoIterator<Item = Function>) -> Self {
        self.functions.extend(functions);
        self
    }

    /// How much fuel each call may burn, about one unit for an instruction, what the kernel needs included. Making the
    /// plugin may burn as much. Without a limit nothing is counted.
    pub fn with_fuel_limit(mut self, fuel: u64) -> Self {
        self.fuel = Some(fuel);
        self
    }

    /// How much fuel the plugin's start function and initialisers may burn instead. Needs
    /// [`with_fuel_limit`](Self::with_fuel_limit).
    pub fn with_initialization_fuel_limit(mut self, fuel: u64) -> Self {
        self.initialization_fuel = Some(fuel);
        self
    }

    /// Whether the plugin may see the headers of HTTP responses.
    pub fn with_http_response_headers(mut self, allow: bool) -> Self {
        self.http_response_headers = allow;
        self
    }

    /// Keeps compiled code from process to process as this configuration file of Wasmtime's cache says.
    pub fn with_cache_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.cache = CacheChoice::File(file.into());
        self
    }

    /// Keeps no compiled code from process to process.
    pub fn with_cache_disabled(mut self) -> Self {
        self.cache = CacheChoice::None;
        self
    }

    /// Announces compiled code to a profiler.
    pub fn with_profiling_strategy(mut self, strategy: ProfilingStrategy) -> Self {
        self.debug.profiling_strategy = strategy;
        self
    }

    /// Writes a core dump of the plugin to this file when it traps.
    pub fn with_coredump(mut self, file: impl Into<PathBuf>) -> Self {
        self.debug.coredump = Some(file.into());
        self
    }

    /// Writes the kernel's memory to this file after a failed call.
    pub fn with_memdump(mut self, file: impl Into<PathBuf>) -> Self {
        self.debug.memdump = Some(file.into());
        self
    }

    /// Compiles with debug information for a native debugger.
    pub fn with_debug_info(mut self) -> Self {
        self.debug.debug_info = true;
        self
    }

    /// All of the last four at once.
    pub fn with_debug_options(mut self, options: DebugOptions) -> Self {
        self.debug = options;
        self
    }

    /// Whether plugin and kernel become one module where that can be, which makes calls faster. Otherwise, and where it can't
    /// ([`CompiledPlugin::is_joined`] says when), they are two instances. The answers are the same. On, unless the
    /// environment's variable `EXTISM_JOIN` is `0`.
    pub fn with_joined_kernel(mut self, joined: bool) -> Self {
        self.joined_kernel = joined;
        self
    }

    /// Keeps room for so many plugins, which saves nearly all system calls that making and freeing one takes: for servers that make
    /// one for each request. 0: none, each plugin's room is made with it. That is also the default, unless the environment's variable
    /// `EXTISM_POOLING` is a number.
    ///
    /// The room is reserved with the first plugin, for the process, and for each number apart: some 12 GiB of addresses for a plugin,
    /// but hardly any memory. At most about 10,000 fit into an address space of 128 TiB; more is an error. It is counted in memories, two for a
    /// plugin, so that plugins of several modules take more. Making a plugin is an error while all are taken, or if it has
    /// more than 10 memories, more than 10 tables, or a table with more than 100,000 elements.
    pub fn with_pooling(mut self, plugins: u32) -> Self {
        self.pooling = NonZeroU32::new(plugins);
        self
    }

    /// Loads, compiles and links the plugin, and makes it. Errors as those of [`compile`](Self::compile) and
    /// [`Plugin::new_from_compiled`].
    pub fn build(self) -> Result<Plugin, Error> {
        Plugin::new_from_compiled(&self.compile()?)
    }

    /// Loads, compiles and links the plugin. Errors as those of [`CompiledPlugin::new`].
    pub fn compile(self) -> Result<CompiledPlugin, Error> {
        CompiledPlugin::new(self)
    }
}
