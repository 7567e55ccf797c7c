//! A host for Extism plugins on Wasmer, to copy from. Left out: HTTP, WASI, and a limit on what variables may take.

use std::{any::Any, collections::HashMap, error::Error, sync::Arc, sync::Mutex};

use wasmer::{
    AsStoreMut, AsStoreRef, Engine, ExternRef, Function, FunctionEnv, FunctionEnvMut, Global, Imports, Instance,
    Memory, Module, RuntimeError, Store, Value,
};

type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// The module name under which a plugin imports the kernel's exports and the functions that every host has.
pub const ENV: &str = "extism:host/env";

type Table = HashMap<Vec<u8>, Vec<u8>>;
type Log = Box<dyn FnMut(&str, &str) + Send>;

/// What the host keeps for a plugin.
pub struct State {
    pub config: Table,
    /// Live from call to call, unlike anything in the kernel's memory.
    pub vars: Table,
    /// 0 for trace to 4 for error.
    pub log_level: i32,
    /// Gets level and text of each message that is wanted.
    pub log: Log,
}

/// What an embedder passes to its own functions for one call.
pub type Context = Arc<dyn Any + Send + Sync>;

/// What `extism_context` refers to when it isn't null: one object for all calls, since it lives as long as the store.
type Slot = Mutex<Option<Context>>;

/// The kernel as its host sees it.
#[derive(Clone)]
pub struct Kernel {
    pub instance: Instance,
    pub memory: Memory,
    /// Absent from `extism-runtime-mvp.wasm`.
    pub context: Option<Global>,
}

impl Kernel {
    /// Every plugin gets an instance of its own.
    pub fn new(store: &mut Store, module: &Module) -> Result<Self, Box<dyn Error>> {
        let instance = Instance::new(store, module, &Imports::new())?; // no imports
        let (exports, memory) = (&instance.exports, instance.exports.get_memory("memory")?.clone());
        Ok(Self { context: exports.get_global("extism_context").ok().cloned(), memory, instance })
    }

    /// Calls an export that takes only i64. 0 if it gives nothing.
    pub fn call(&self, store: &mut impl AsStoreMut, name: &str, args: &[u64]) -> Result<u64> {
        let function = self.instance.exports.get_function(name).map_err(|_| RuntimeError::new(name))?;
        let args: Vec<_> = args.iter().map(|&arg| Value::I64(arg as i64)).collect();
        Ok(function.call(store, &args)?.first().and_then(Value::i64).unwrap_or(0) as u64)
    }

    /// A copy of the bytes there. Both numbers can come from the plugin, and be anything.
    pub fn bytes(&self, store: &impl AsStoreRef, offset: u64, length: u64) -> Result<Vec<u8>> {
        let bytes = self.memory.view(store).copy_range_to_vec(offset..offset.saturating_add(length));
        bytes.map_err(|error| RuntimeError::user(Box::new(error)))
    }

    /// A copy of a block; nothing for 0, which is the handle of an empty one.
    pub fn read(&self, store: &mut impl AsStoreMut, handle: u64) -> Result<Vec<u8>> {
        let length = self.call(store, "length", &[handle])?;
        self.bytes(store, handle, length)
    }

    /// The same, and frees the block, as a host function owns those that it is given.
    pub fn take(&self, store: &mut impl AsStoreMut, handle: u64) -> Result<Vec<u8>> {
        let bytes = self.read(store, handle)?;
        self.call(store, "free", &[handle])?;
        Ok(bytes)
    }

    /// A new block with these bytes: an input, or a result of a host function, which is the plugin's then.
    pub fn write(&self, store: &mut impl AsStoreMut, bytes: &[u8]) -> Result<u64> {
        let handle = self.call(store, "alloc", &[bytes.len() as u64])?;
        if handle == 0 && !bytes.is_empty() {
            return Err(RuntimeError::new("the kernel has no room"));
        }
        let written = self.memory.view(store).write(handle, bytes);
        written.map(|()| handle).map_err(|error| RuntimeError::user(Box::new(error)))
    }

    /// What the embedder passed to this call.
    pub fn context(&self, store: &mut impl AsStoreMut) -> Option<Context> {
        let Value::ExternRef(reference) = self.context.as_ref()?.get(store) else { return None };
        reference?.downcast::<Slot>(store)?.lock().unwrap().clone()
    }
}

/// The functions that every host has beside the kernel's exports.
fn link_host(imports: &mut Imports, store: &mut Store, kernel: &Kernel, state: State) {
    type Host<'a> = FunctionEnvMut<'a, State>;
    type Get = fn(&State) -> &Table;
    let log_level = state.log_level;
    let env = FunctionEnv::new(store, state);
    for (name, table) in [("config_get", (|state| &state.config) as Get), ("var_get", |state| &state.vars)] {
        let kernel = kernel.clone();
        let get = move |mut host: Host<'_>, key: u64| -> Result<u64> {
            let key = kernel.take(&mut host, key)?;
            let value = table(host.data()).get(&key).cloned();
            value.map_or(Ok(0), |value| kernel.write(&mut host, &value))
        };
        imports.define(ENV, name, Function::new_typed_with_env(store, &env, get));
    }
    let k = kernel.clone();
    let var_set = move |mut host: Host<'_>, key: u64, value: u64| -> Result<()> {
        // Both are read before one is freed: they can be the same block.
        let name = k.read(&mut host, key)?;
        let bytes = k.take(&mut host, value)?;
        k.call(&mut host, "free", &[key])?;
        match value {
            0 => _ = host.data_mut().vars.remove(&name),
            _ => _ = host.data_mut().vars.insert(name, bytes),
        }
        Ok(())
    };
    imports.define(ENV, "var_set", Function::new_typed_with_env(store, &env, var_set));
    for (number, level) in ["trace", "debug", "info", "warn", "error"].into_iter().enumerate() {
        let kernel = kernel.clone();
        let log = move |mut host: Host<'_>, message: u64| -> Result<()> {
            let message = kernel.take(&mut host, message)?;
            if number as i32 >= log_level {
                (host.data_mut().log)(level, &String::from_utf8_lossy(&message));
            }
            Ok(())
        };
        imports.define(ENV, &format!("log_{level}"), Function::new_typed_with_env(store, &env, log));
    }
    imports.define(ENV, "get_log_level", Function::new_typed(store, move || log_level));
    let no_http = |_: u64, _: u64| Err::<u64, _>(RuntimeError::new("this host makes no HTTP requests"));
    imports.define(ENV, "http_request", Function::new_typed(store, no_http));
    imports.define(ENV, "http_status_code", Function::new_typed(store, || 0_i32));
    imports.define(ENV, "http_headers", Function::new_typed(store, || 0_u64));
}

/// What the plugin's language wants before the first call: its constructors, then Haskell's runtime.
fn initialize(store: &mut Store, plugin: &Instance) -> Result<(), RuntimeError> {
    let constructors = plugin.exports.get_function("_initialize"); // which calls the other, if there are both
    if let Ok(function) = constructors.or_else(|_| plugin.exports.get_function("__wasm_call_ctors")) {
        function.call(store, &[])?;
    }
    let haskell = plugin.exports.get_function("hs_init");
    haskell.map_or(Ok(()), |function| function.call(store, &[Value::I32(0), Value::I32(0)]).map(drop))
}

pub struct Plugin {
    store: Store,
    kernel: Kernel,
    instance: Instance,
    slot: ExternRef,
}

impl Plugin {
    /// `embed` links the embedder's own functions, commonly under `extism:host/user`.
    pub fn new(
        engine: Engine,
        kernel: &[u8],
        plugin: &[u8],
        state: State,
        embed: impl FnOnce(&mut Imports, &mut Store, &Kernel),
    ) -> Result<Self, Box<dyn Error>> {
        // README: begin
        let mut store = Store::new(engine);
        let (kernel, plugin) = (Module::new(&store, kernel)?, Module::new(&store, plugin)?);
        let kernel = Kernel::new(&mut store, &kernel)?; // its instance, which has no imports
        let mut imports = Imports::new();
        imports.register_namespace(ENV, kernel.instance.exports.clone()); // all its exports, for the plugin
        link_host(&mut imports, &mut store, &kernel, state); // config_get, log_info, ...: under the same module name
        embed(&mut imports, &mut store, &kernel); // your own functions, under "extism:host/user"
        let instance = Instance::new(&mut store, &plugin, &imports)?;
        // README: end
        initialize(&mut store, &instance)?;
        Ok(Self { slot: ExternRef::new(&mut store, Slot::default()), store, kernel, instance })
    }

    /// Calls a function of the plugin. The error is the text that the plugin set, if it did.
    pub fn call(&mut self, name: &str, input: &[u8], context: Option<Context>) -> Result<Vec<u8>, Box<dyn Error>> {
        let function = self.instance.exports.get_function(name)?;
        let (kernel, store) = (&self.kernel, &mut self.store);
        kernel.call(store, "error_set", &[0])?;
        kernel.call(store, "reset", &[])?;
        let handle = kernel.write(store, input)?;
        kernel.call(store, "input_set", &[handle, input.len() as u64])?;
        set_context(store, kernel, &self.slot, context)?;
        let ended = function.call(store, &[]);
        set_context(store, kernel, &self.slot, None)?;
        let text = kernel.call(store, "error_get", &[]).and_then(|error| kernel.read(store, error))?;
        match ended.map(|status| status.first().and_then(Value::i32).unwrap_or(0)) {
            _ if !text.is_empty() => Err(String::from_utf8_lossy(&text).into()),
            Err(trap) => Err(trap.into()),
            Ok(0) => {
                let [offset, length] = ["output_offset", "output_length"].map(|name| kernel.call(store, name, &[]));
                Ok(kernel.bytes(store, offset?, length?)?)
            }
            Ok(status) => Err(format!("{name} returned {status}").into()),
        }
    }
}

fn set_context(store: &mut Store, kernel: &Kernel, slot: &ExternRef, context: Option<Context>) -> Result<()> {
    let Some(global) = &kernel.context else { return Ok(()) };
    global.set(store, Value::ExternRef(context.is_some().then(|| slot.clone())))?;
    *slot.downcast::<Slot>(store).expect("the slot").lock().unwrap() = context;
    Ok(())
}
