use std::collections::BTreeMap;

use wasmtime::{Config, Engine, FuncType, Linker, Module, Store, Val, ValType};
use wasmtime_wasi::{WasiCtxBuilder, p1};

use crate::{
    CurrentPlugin, Error, LogLevel, Plugin,
    context::HostContext,
    env,
    kernel::Kernel,
    limits::Limits,
    plugin,
    state::{LogSink, State},
};

type Body = dyn Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error> + Send + Sync;

/// A function that the host provides to the plugin, whoever wrote it.
pub(crate) struct HostFunction {
    namespace: String,
    name: String,
    params: Vec<ValType>,
    results: Vec<ValType>,
    body: Box<Body>,
}

impl HostFunction {
    pub(crate) fn new(
        namespace: &str,
        name: &str,
        params: &[ValType],
        results: &[ValType],
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            params: params.to_vec(),
            results: results.to_vec(),
            body: Box::new(body),
        }
    }

    fn link(self, linker: &mut Linker<State>, kernel: Kernel) -> wasmtime::Result<()> {
        let ty = FuncType::new(linker.engine(), self.params, self.results);
        linker.func_new(
            &self.namespace,
            &self.name,
            ty,
            move |caller, args, results| {
                Ok((self.body)(
                    &mut CurrentPlugin::new(caller, &kernel),
                    args,
                    results,
                )?)
            },
        )?;
        Ok(())
    }
}

/// What a plugin gets from its host. Made by [`Plugin::builder`]; unless said otherwise a plugin has no
/// configuration, no WASI, no limits, no functions beside those of every host, and logs nothing.
pub struct Builder<'a> {
    kernel: &'a [u8],
    plugin: &'a [u8],
    config: BTreeMap<String, String>,
    wasi: bool,
    memory_max_pages: Option<u32>,
    log_level: LogLevel,
    log_sink: LogSink,
    functions: Vec<HostFunction>,
    fuel: Option<u64>,
    stats: bool,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(kernel: &'a [u8], plugin: &'a [u8]) -> Self {
        Self {
            kernel,
            plugin,
            config: BTreeMap::new(),
            wasi: false,
            memory_max_pages: None,
            log_level: LogLevel::Off,
            log_sink: Box::new(|level, message| eprintln!("{level}: {message}")),
            functions: env::functions(),
            fuel: None,
            stats: false,
        }
    }

    /// A value that the plugin can ask for by `key`. A later one of the same key replaces it.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Whether the plugin gets WASI preview 1: clocks, random numbers and the host's stderr, but no files,
    /// environment, arguments, network or stdin; what it writes to stdout is dropped.
    pub fn wasi(mut self, on: bool) -> Self {
        self.wasi = on;
        self
    }

    /// How large each memory may become, in pages of 64 KiB: the kernel's is one, the plugin's another. A
    /// growth beyond that fails as if the machine had no more; a memory that starts out larger, the kernel's
    /// included, makes [`build`](Self::build) fail.
    pub fn memory_max_pages(mut self, pages: u32) -> Self {
        self.memory_max_pages = Some(pages);
        self
    }

    /// Which log messages get to the sink: those of this level and above.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// Where log messages go, by default to stderr, one a line. Bytes of a message that are no UTF-8 were
    /// replaced; it can contain line ends and control characters, as the plugin likes.
    pub fn log_sink(mut self, sink: impl FnMut(LogLevel, &str) + Send + 'static) -> Self {
        self.log_sink = Box::new(sink);
        self
    }

    /// A function of the embedder, which the plugin imports as `name` from the module `namespace`, commonly
    /// `extism:host/user`. Bytes travel as handles: an `i64` per block.
    ///
    /// `body` gets the arguments, of the types `params`, and has to fill in the results, of the types
    /// `results`; not doing so fails the call, and so does its error. A name that exists already in this
    /// namespace makes [`build`](Self::build) fail.
    pub fn function(
        mut self,
        namespace: &str,
        name: &str,
        params: &[ValType],
        results: &[ValType],
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.functions
            .push(HostFunction::new(namespace, name, params, results, body));
        self
    }

    /// How much fuel each call may burn, about one unit per WebAssembly instruction; the plugin's
    /// initialisation counts as a call. A call that needs more ends with an error, and the next one gets
    /// this much again.
    pub fn fuel(mut self, units: u64) -> Self {
        self.fuel = Some(units);
        self
    }

    /// Whether to count, at some cost of time, what [`Plugin::stats`] tells.
    pub fn stats(mut self, on: bool) -> Self {
        self.stats = on;
        self
    }

    /// Compiles kernel and plugin, links them with each other and with the host, and runs the plugin's
    /// initialisation if it has one. Every failure is an [`Error::Load`].
    pub fn build(self) -> Result<Plugin, Error> {
        let metered = self.stats || self.fuel.is_some();
        let fuel = metered.then(|| self.fuel.unwrap_or(u64::MAX));
        let mut config = Config::new();
        config.consume_fuel(metered);
        let engine = Engine::new(&config).map_err(Error::load)?;
        let kernel_module = compile(&engine, self.kernel, "the kernel")?;
        let plugin_module = compile(&engine, self.plugin, "the plugin")?;

        let state = State {
            config: self.config,
            vars: BTreeMap::new(),
            log_level: self.log_level,
            log_sink: self.log_sink,
            limits: Limits {
                memory_max_pages: self.memory_max_pages,
            },
            wasi: WasiCtxBuilder::new().inherit_stderr().build_p1(),
            kernel_calls: BTreeMap::new(),
            fuel_used: 0,
        };
        let mut store = Store::new(&engine, state);
        store.limiter(|state| &mut state.limits);
        if metered {
            store.set_fuel(u64::MAX).map_err(Error::load)?;
        }
        let kernel = Kernel::instantiate(&mut store, &kernel_module)
            .map_err(|error| Error::Load(format!("the kernel: {error:#}")))?;
        let context = kernel
            .context
            .map(|global| HostContext::new(&mut store, global));
        let context = context.transpose().map_err(Error::load)?;

        let mut linker = Linker::new(&engine);
        kernel
            .link(&mut store, &mut linker, self.stats)
            .map_err(Error::load)?;
        for function in self.functions {
            function
                .link(&mut linker, kernel.clone())
                .map_err(Error::load)?;
        }
        if self.wasi {
            p1::add_to_linker_sync(&mut linker, |state: &mut State| &mut state.wasi)
                .map_err(Error::load)?;
        }
        check_imports(&mut store, &linker, &plugin_module)?;

        // A start function runs here, so this counts and is limited like a call.
        let instance = plugin::metered(&mut store, fuel, |store| {
            linker.instantiate(store, &plugin_module)
        })
        .map_err(Error::load)?;
        Plugin {
            store,
            kernel,
            instance,
            context,
            fuel,
        }
        .initialize()
    }
}

/// Wasm or its text format. The latter is told by its first character, so that the error for any other file
/// is one line and not a parser's view of it.
fn compile(engine: &Engine, bytes: &[u8], what: &str) -> Result<Module, Error> {
    let is_text = bytes
        .trim_ascii_start()
        .first()
        .is_some_and(|first| b"(;".contains(first));
    if !is_text && !bytes.starts_with(b"\0asm") {
        return Err(Error::Load(format!(
            "{what} is not WebAssembly, neither binary nor text"
        )));
    }
    Module::new(engine, bytes).map_err(|error| Error::Load(format!("{what}: {error:#}")))
}

/// Names what is missing before Wasmtime does, as it can't know the remedy.
fn check_imports(
    store: &mut Store<State>,
    linker: &Linker<State>,
    module: &Module,
) -> Result<(), Error> {
    let missing = module
        .imports()
        .find(|import| linker.get_by_import(&mut *store, import).is_none());
    let Some(import) = missing else {
        return Ok(());
    };
    let (namespace, name) = (import.module(), import.name());
    let remedy = if namespace.starts_with("wasi_") {
        ": it needs WASI, which is off or of another version"
    } else {
        ""
    };
    Err(Error::Load(format!(
        "the plugin imports {namespace}::{name}, which this host does not provide{remedy}"
    )))
}
