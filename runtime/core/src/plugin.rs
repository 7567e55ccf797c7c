use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use extism_convert::{FromBytes, ToBytes};
use sync_wrapper::SyncWrapper;
use uuid::Uuid;
use wasmtime::{GcHeapOutOfMemory, Instance, Store, Trap, TypedFunc, UpdateDeadline, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use crate::{
    CallError, CancelHandle, CompiledPlugin, Error, Failure, Function, PluginBuilder, PluginConfig,
    WasmInput,
    compiled::{Compiled, Kind},
    deadline::{self, Running, Watch},
    host::wasi,
    kernel::{Kernel, Span},
    limits::Limits,
    linking::Imports,
    state::{LastResponse, Lasting, State, Vars},
};

/// What a call passes to host functions.
pub type HostContext = Box<dyn Any + Send + Sync>;

/// A plugin: an instance of its modules with a kernel of its own. Its variables and its own memory live as long as it does;
/// the kernel's memory is made as new at the start of each call.
///
/// A call goes this way:
///
/// ```text
///   call ─▶ timed: fuel, deadline ─▶ run: instance and initialisers, if they are still to come
///                                     │    kernel: as new, input
///                                     ▼    the plugin's function
///           conclude: output, error ◀─┘
/// ```
pub struct Plugin {
    /// Tells this plugin from all others.
    pub id: Uuid,
    compiled: Arc<Compiled>,
    watch: Arc<Watch>,
    store: Store<State>,
    /// What the main module imports, once that is there.
    imports: Option<Imports>,
    main: Option<Main>,
    initialised: bool,
    /// Why no call can succeed any more.
    broken: Option<String>,
    /// A command was run in this store: the next call gets a new one.
    is_used_up: bool,
    output: Span,
    fuel_consumed: Option<u64>,
}

/// The instance of the main module, with those of its functions that were called already.
struct Main {
    instance: Instance,
    functions: Vec<Option<Arc<Callable>>>,
}

enum Callable {
    Unit(TypedFunc<(), ()>),
    Code(TypedFunc<(), i32>),
}

impl Plugin {
    /// Loads, compiles, links and makes a plugin. For more choices see [`PluginBuilder`].
    pub fn new<'a>(
        plugin: impl Into<WasmInput<'a>>,
        functions: impl IntoIterator<Item = Function>,
        with_wasi: bool,
    ) -> Result<Self, Error> {
        let builder = PluginBuilder::new(plugin).with_functions(functions);
        builder.with_wasi(with_wasi).build()
    }

    /// Makes a plugin of a compiled one. Unless it is a command its start function runs, and so does `_initialize`; after
    /// [`PluginBuilder::with_late_start`] they don't yet.
    ///
    /// An error if something that it imports isn't there, its memory is larger than `max_pages`, one of its `allowed_paths`
    /// can't be opened, or that first code fails.
    pub fn new_from_compiled(compiled: &CompiledPlugin) -> Result<Self, Error> {
        let compiled = compiled.0.clone();
        compiled.linking()?;
        let watch = Watch::new(&compiled.engine.engine);
        let id = Uuid::new_v4();
        let lasting = Lasting {
            id,
            config: PluginConfig::new(compiled.manifest.config.clone()),
            vars: Vars::default(),
            http: LastResponse {
                headers_allowed: compiled.http_response_headers,
                ..LastResponse::default()
            },
        };
        let mut plugin = Self {
            id,
            store: new_store(&compiled, &watch, lasting)?,
            compiled,
            watch,
            imports: None,
            main: None,
            initialised: false,
            broken: None,
            is_used_up: false,
            output: Span::default(),
            fuel_consumed: None,
        };
        let fuel = plugin.compiled.initialization_fuel;
        let (prepared, is_late) = plugin.timed(fuel, Self::prepare)?;
        plugin.refuel()?;
        // Late but done is good enough: nobody waits for an answer yet.
        prepared.map_err(|error| match is_late {
            true => CallError::Timeout.into(),
            false => known(error),
        })?;
        Ok(plugin)
    }

    /// What runs when the plugin is made.
    fn prepare(&mut self) -> Result<(), Error> {
        self.open()?;
        if !self.compiled.exports.is_command && !self.compiled.starts_late {
            self.start()?;
            if self.compiled.exports.initialises_early {
                self.initialise()?;
            }
        }
        Ok(())
    }

    /// Calls the plugin's function of that name and returns its output, decoded. The input is what the value encodes to.
    ///
    /// An error if there is no such function, or it takes parameters, or returns something else than nothing or an `i32`; if
    /// the plugin set an error, returned something else than 0, trapped, used up its time or its fuel, wanted more memory
    /// than it may have, or if its output can't be decoded. The plugin can be called again after any of these, unless it
    /// was an initialiser that failed. Many of them are a [`CallError`].
    pub fn call<'a, 'b, T: ToBytes<'a>, U: FromBytes<'b>>(
        &'b mut self,
        name: impl AsRef<str>,
        input: T,
    ) -> Result<U, Error> {
        self.call_get_error_code(name, input)
            .map_err(|(error, _)| error)
    }

    /// The same with a value for the host functions that the plugin calls: they get at it by
    /// [`CurrentPlugin::host_context`](crate::CurrentPlugin::host_context), under the very type that it has here. It is dropped
    /// when the call is over.
    pub fn call_with_host_context<'a, 'b, T, U, C>(
        &'b mut self,
        name: impl AsRef<str>,
        input: T,
        host_context: C,
    ) -> Result<U, Error>
    where
        T: ToBytes<'a>,
        U: FromBytes<'b>,
        C: Any + Send + Sync + 'static,
    {
        let input = input.to_bytes()?;
        let context = Some(Box::new(host_context) as HostContext);
        let code = self.call_raw(name.as_ref(), input.as_ref(), context);
        self.decode(code).map_err(|(error, _)| error)
    }

    /// Like [`call`](Self::call), with a number beside the error: what the function returned, the exit status of WASI, 134
    /// for a trap, or -1.
    pub fn call_get_error_code<'a, 'b, T: ToBytes<'a>, U: FromBytes<'b>>(
        &'b mut self,
        name: impl AsRef<str>,
        input: T,
    ) -> Result<U, (Error, i32)> {
        let input = input.to_bytes().map_err(|error| (error, -1))?;
        let code = self.call_raw(name.as_ref(), input.as_ref(), None);
        self.decode(code)
    }

    fn decode<'b, U: FromBytes<'b>>(
        &'b self,
        code: Result<i32, Failure>,
    ) -> Result<U, (Error, i32)> {
        match code {
            Ok(0) => U::from_bytes(self.output()).map_err(|error| (error, -1)),
            Ok(code) => Err((CallError::ReturnCode(code).into(), code)),
            Err(failure) => Err((failure.error, failure.code)),
        }
    }

    /// Calls the plugin's function of that name and says what it returned, 0 for nothing. Its output is in
    /// [`output`](Self::output), also when it failed. What [`call`](Self::call) and the C API are made of.
    pub fn call_raw(
        &mut self,
        name: &str,
        input: &[u8],
        context: Option<HostContext>,
    ) -> Result<i32, Failure> {
        self.output = Span::default();
        let result = self.attempt(name, input, context);
        if let Err(failure) = &result {
            let (plugin, text) = (self.id.to_string(), failure.text());
            tracing::error!(target: "extism::plugin", plugin, "call to {name} failed: {text}");
            self.dump(failure);
        }
        result
    }

    fn attempt(
        &mut self,
        name: &str,
        input: &[u8],
        context: Option<HostContext>,
    ) -> Result<i32, Failure> {
        if let Some(text) = &self.broken {
            return Err(Failure::new(anyhow!("{text}"), -1));
        }
        if self.is_used_up {
            self.renew().map_err(|error| Failure::new(error, -1))?;
        }
        self.is_used_up = name == "_start" && self.compiled.exports.is_command;
        let fuel = self.compiled.fuel;
        let timed = self.timed(fuel, |plugin| plugin.run(name, input, context));
        self.store.data_mut().host_context = None;
        self.conclude(timed.and_then(|(ended, is_late)| match is_late {
            true => Err(CallError::Timeout.into()),
            false => ended,
        }))
    }

    /// Runs a piece of the plugin within its fuel and its time, and says whether the time was up in the end, or it was
    /// cancelled.
    fn timed<R>(
        &mut self,
        fuel: Option<u64>,
        run: impl FnOnce(&mut Self) -> R,
    ) -> Result<(R, bool), Error> {
        if let Some(fuel) = fuel {
            self.store.set_fuel(fuel)?;
        }
        let timeout = self.compiled.manifest.timeout_ms.map(Duration::from_millis);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // One tick from now; none, if the time is up before it begins.
        let ticks = if timeout.is_some_and(|timeout| timeout.is_zero()) {
            0
        } else {
            1
        };
        self.store.set_epoch_deadline(ticks);
        let running = Running::start(&self.watch, deadline)?;
        self.store.data_mut().deadline = deadline;
        let result = extism_stack::with_room(|| run(self));
        self.store.data_mut().deadline = None;
        Ok((result, running.end()))
    }

    /// An error of its own if the function wasn't called; else how the function ended.
    fn run(
        &mut self,
        name: &str,
        input: &[u8],
        context: Option<HostContext>,
    ) -> Result<wasmtime::Result<i32>, Error> {
        if !self.initialised {
            self.set_fuel(self.compiled.initialization_fuel)?;
            self.open()?;
            self.start()?;
            self.initialise()?;
        }
        let kernel = self.kernel()?;
        // What the call before has left behind isn't this one's to pay.
        self.refuel()?;
        let begun = kernel.begin(&mut self.store, input);
        begun.map_err(|error| match known(error).downcast_ref() {
            Some(CallError::OutOfMemory) => CallError::NoRoomForInput.into(),
            Some(error) => error.clone().into(),
            None => anyhow!("unable to set extism input"),
        })?;
        self.set_fuel(self.compiled.fuel)?;
        self.store.data_mut().host_context = context;
        Ok(match &*self.function(name)? {
            Callable::Unit(function) => function.call(&mut self.store, ()).map(|()| 0),
            Callable::Code(function) => function.call(&mut self.store, ()),
        })
    }

    /// The kernel and all modules but the main one, if they aren't there yet.
    fn open(&mut self) -> Result<(), Error> {
        if self.imports.is_none() {
            let linking = self.compiled.linking()?;
            // What these start with is the embedder's choice. What their start functions take isn't.
            self.store.data_mut().limits.start(linking.bytes_before);
            let imports = linking.open(&mut self.store)?;
            self.imports = Some(imports);
        }
        Ok(())
    }

    /// The main module's instance, if it isn't there yet; its start function runs.
    fn start(&mut self) -> Result<(), Error> {
        if self.main.is_some() {
            return Ok(());
        }
        let imports = self.imports.as_ref().context("the plugin isn't linked")?;
        let linking = self.compiled.linking()?;
        // What it starts with has to fit; what it takes later counts from there.
        self.store.data_mut().limits.start(linking.bytes_beside);
        let instance = linking.instantiate(&mut self.store, imports)?;
        self.store.data_mut().limits.start(0);
        let count = self.compiled.exports.functions.len();
        self.main = Some(Main {
            instance,
            functions: vec![None; count],
        });
        Ok(())
    }

    /// Runs what compilers put before a library's first call. What fails leaves the plugin half made: no call can succeed.
    fn initialise(&mut self) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        for (name, failed) in &compiled.exports.initialisers {
            let result = self.run_initialiser(name);
            if let Err(error) = result {
                self.broken = Some((*failed).to_owned());
                return Err(known(error).context(*failed));
            }
        }
        self.initialised = true;
        Ok(())
    }

    fn run_initialiser(&mut self, name: &str) -> Result<(), Error> {
        let main = self.main.as_ref().context("the plugin has no instance")?;
        let export = &self.compiled.exports.functions[name].export;
        let function = main.instance.get_module_export(&mut self.store, export);
        let function = function.and_then(|function| function.into_func());
        let function = function.context("an initialiser is missing")?;
        let ty = function.ty(&self.store);
        let params = vec![wasmtime::Val::I32(0); ty.params().len()];
        let mut results = vec![wasmtime::Val::I32(0); ty.results().len()];
        Ok(function.call(&mut self.store, &params, &mut results)?)
    }

    fn function(&mut self, name: &str) -> Result<Arc<Callable>, Error> {
        let compiled = &self.compiled;
        let Some(export) = compiled.exports.functions.get(name) else {
            return Err(CallError::NoFunction(name.to_owned()).into());
        };
        let main = self.main.as_mut().context("the plugin has no instance")?;
        if let Some(function) = &main.functions[export.index] {
            return Ok(function.clone());
        }
        let function = main
            .instance
            .get_module_export(&mut self.store, &export.export);
        let function = function.and_then(|function| function.into_func());
        let function = function.context("an export is missing")?;
        let callable = Arc::new(match export.kind {
            Kind::Unit => Callable::Unit(function.typed(&self.store)?),
            Kind::Code => Callable::Code(function.typed(&self.store)?),
            _ => return Err(CallError::NotCallable(compiled.exports.why_not(name)).into()),
        });
        main.functions[export.index] = Some(callable.clone());
        Ok(callable)
    }

    /// Looks at what the call left behind, and says how it ended.
    fn conclude(&mut self, ended: Result<wasmtime::Result<i32>, Error>) -> Result<i32, Failure> {
        self.fuel_consumed = match self.compiled.fuel {
            Some(fuel) => Some(fuel.saturating_sub(self.store.get_fuel().unwrap_or(0))),
            None => None,
        };
        self.refuel().map_err(|error| Failure::new(error, -1))?;
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let error = known(error);
                let code = match error.downcast_ref() {
                    Some(CallError::Timeout) => 134,
                    _ => -1,
                };
                return Err(Failure::new(error, code));
            }
        };
        let kernel = self.kernel().map_err(|error| Failure::new(error, -1))?;
        let (output, error) = kernel
            .end(&mut self.store)
            .map_err(|error| Failure::new(error, -1))?;
        let output = kernel.bytes(&self.store, output).map(|_| output);
        let text = kernel.text(&self.store, error);
        self.output = *output.as_ref().unwrap_or(&Span::default());
        match (ended, text) {
            // What the plugin says about its failure is worth more than what the host saw of it.
            (ended, Ok(Some(text))) => {
                let code = ended.unwrap_or(-1);
                Err(Failure::new(CallError::Plugin(text), code))
            }
            (Err(error), _) => failed(error),
            (Ok(_), Err(error)) => Err(Failure::new(error, -1)),
            (Ok(code), Ok(None)) => {
                output.map_err(|error| Failure::new(error, -1))?;
                Ok(code)
            }
        }
    }

    /// A new store, with nothing in it but what lasts.
    fn renew(&mut self) -> Result<(), Error> {
        let lasting = std::mem::take(&mut self.store.data_mut().lasting);
        self.store = new_store(&self.compiled, &self.watch, lasting)?;
        self.imports = None;
        self.main = None;
        self.initialised = false;
        self.is_used_up = false;
        Ok(())
    }

    fn kernel(&self) -> Result<Arc<Kernel>, Error> {
        let kernel = self.store.data().kernel.clone();
        kernel.context("the plugin has no kernel yet")
    }

    /// Between calls, what the host asks of the kernel is not the plugin's to pay.
    fn refuel(&mut self) -> Result<(), Error> {
        self.set_fuel(self.compiled.fuel.map(|_| u64::MAX))
    }

    fn set_fuel(&mut self, fuel: Option<u64>) -> Result<(), Error> {
        if let Some(fuel) = fuel {
            self.store.set_fuel(fuel)?;
        }
        Ok(())
    }

    /// Leaves behind what the debug options ask for.
    fn dump(&mut self, failure: &Failure) {
        let written = |what: &str, result: std::io::Result<()>| {
            if let Err(error) = result {
                tracing::error!(target: "extism::plugin", "unable to write the {what}: {error}");
            }
        };
        if let (Some(file), Some(dump)) = (
            &self.compiled.debug.coredump,
            failure.error.downcast_ref::<WasmCoreDump>(),
        ) {
            let bytes = dump.serialize(&mut self.store, "extism");
            written("core dump", std::fs::write(file, bytes));
        }
        if let (Some(file), Ok(kernel)) = (&self.compiled.debug.memdump, self.kernel()) {
            let bytes = kernel.memory.data(&self.store);
            written("memory dump", std::fs::write(file, bytes));
        }
    }

    /// The output of the last call: empty if it set none, if there was no call, and after [`reset`](Self::reset).
    pub fn output(&self) -> &[u8] {
        let kernel = self.store.data().kernel.as_ref();
        let output = kernel.and_then(|kernel| kernel.bytes(&self.store, self.output).ok());
        output.unwrap_or_default()
    }

    /// Whether the plugin exports a function of this name that can be called: without parameters, returning nothing or an
    /// `i32`.
    pub fn function_exists(&self, name: impl AsRef<str>) -> bool {
        let export = self.compiled.exports.functions.get(name.as_ref());
        export.is_some_and(|export| matches!(export.kind, Kind::Unit | Kind::Code))
    }

    /// Like [`function_exists`](Self::function_exists), for whoever can't get at the plugin while a call runs.
    pub fn function_checker(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let compiled = self.compiled.clone();
        move |name| {
            let export = compiled.exports.functions.get(name);
            export.is_some_and(|export| matches!(export.kind, Kind::Unit | Kind::Code))
        }
    }

    /// What stops this plugin's calls, from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            watch: self.watch.clone(),
            id: self.id,
        }
    }

    /// The plugin's configuration, at first that of its manifest.
    pub fn config(&self) -> PluginConfig {
        self.store.data().lasting.config.clone()
    }

    /// Whether the plugin may see the headers of HTTP responses, from now on.
    pub fn allow_http_response_headers(&mut self, allow: bool) {
        self.store.data_mut().lasting.http.headers_allowed = allow;
    }

    /// Gives back all blocks of the kernel's memory, with the output among them. Each call does so, too.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.output = Span::default();
        match self.kernel() {
            Ok(kernel) => kernel.reset(&mut self.store),
            Err(_) => Ok(()),
        }
    }

    /// The fuel that the last call burnt. `None` without a limit, and before the first call.
    pub fn fuel_consumed(&self) -> Option<u64> {
        self.fuel_consumed
    }

    /// The size of the kernel's memory, in pages of 64 KiB. 0 before the first call of a command.
    pub fn kernel_pages(&self) -> u64 {
        let kernel = self.store.data().kernel.as_ref();
        kernel.map_or(0, |kernel| kernel.memory.size(&self.store))
    }

    /// Whether the plugin has WASI.
    pub fn has_wasi(&self) -> bool {
        self.compiled.wasi
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({})", self.id)
    }
}

fn new_store(
    compiled: &Arc<Compiled>,
    watch: &Arc<Watch>,
    lasting: Lasting,
) -> Result<Store<State>, Error> {
    let state = State {
        compiled: compiled.clone(),
        limits: Limits::new(compiled.manifest.memory.max_pages),
        kernel: None,
        wasi: match compiled.wasi {
            true => Some(SyncWrapper::new(wasi::context(&compiled.manifest)?)),
            false => None,
        },
        watch: watch.clone(),
        deadline: None,
        host_context: None,
        environment: Vec::new(),
        lasting,
    };
    let mut store = Store::new(&compiled.engine.engine, state);
    store.limiter(|state| &mut state.limits);
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        deadline::check(&state.watch, state.deadline)?;
        Ok(UpdateDeadline::Continue(1))
    });
    Ok(store)
}

/// How a function ended that WebAssembly or the host stopped.
fn failed(error: wasmtime::Error) -> Result<i32, Failure> {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return match exit.0 {
            0 => Ok(0),
            status => {
                let reason = Error::new(CallError::Exit(status)).context(error.to_string());
                Err(Failure::new(reason, status))
            }
        };
    }
    let is_trap = error.downcast_ref::<Trap>().is_some();
    let error = known(error.into());
    let code = match error.downcast_ref() {
        Some(CallError::Timeout) => 134,
        Some(_) => -1,
        None if is_trap => 134,
        None => -1,
    };
    Err(Failure::new(error, code))
}

/// Puts one of [`CallError`] in the place of an error that stands for it, without the backtrace around it, which says
/// nothing then.
fn known(error: Error) -> Error {
    if let Some(Trap::OutOfFuel) = error.downcast_ref() {
        return CallError::OutOfFuel.into();
    }
    if error.is::<GcHeapOutOfMemory<()>>() {
        return CallError::OutOfMemory.into();
    }
    match error.downcast_ref::<CallError>() {
        Some(known @ (CallError::Timeout | CallError::OutOfMemory)) => known.clone().into(),
        _ => error,
    }
}
