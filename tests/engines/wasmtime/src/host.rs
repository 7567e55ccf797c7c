//! A host for Extism plugins on Wasmtime, to copy from. Left out: HTTP, WASI, and a limit on what variables may take.

use std::{any::Any, collections::HashMap, sync::Arc, sync::Mutex};

use wasmtime::{
    AsContextMut, Caller, Engine, ExternRef, Global, Instance, Linker, Memory, Module, OwnedRooted, Result, RootScope,
    Store, StoreLimits, TypedFunc, Val, WasmParams, WasmResults, ensure, format_err,
};

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
    /// Can stop the memories from growing: the kernel's `alloc` answers 0 then.
    pub limits: StoreLimits,
}

/// What an embedder passes to its own functions for one call.
pub type Context = Arc<dyn Any + Send + Sync>;

/// What `extism_context` refers to when it isn't null: one object for all calls, since it lives as long as the store.
type Slot = Mutex<Option<Context>>;

/// The kernel as its host sees it.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub instance: Instance,
    pub memory: Memory,
    /// Absent from `extism-runtime-mvp.wasm`.
    pub context: Option<Global>,
}

impl Kernel {
    /// Every plugin gets an instance of its own.
    pub fn new(store: &mut Store<State>, module: &Module) -> Result<Self> {
        store.limiter(|state| &mut state.limits);
        let instance = Instance::new(&mut *store, module, &[])?; // no imports
        let memory = instance.get_memory(&mut *store, "memory");
        Ok(Self {
            instance,
            memory: memory.ok_or_else(|| format_err!("the kernel exports no memory"))?,
            context: instance.get_global(&mut *store, "extism_context"),
        })
    }

    pub fn call<P: WasmParams, R: WasmResults>(&self, mut ctx: impl AsContextMut, name: &str, args: P) -> Result<R> {
        let function: TypedFunc<P, R> = self.instance.get_typed_func(&mut ctx, name)?;
        function.call(ctx, args)
    }

    /// A copy of the bytes there. Both numbers can come from the plugin, and be anything.
    fn bytes(&self, ctx: impl AsContextMut, offset: u64, length: u64) -> Result<Vec<u8>> {
        let range = offset as usize..offset.saturating_add(length) as usize;
        let bytes = self.memory.data(&ctx).get(range).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| format_err!("{length} bytes at {offset} are outside"))
    }

    /// A copy of a block; nothing for 0, which is the handle of an empty one.
    pub fn read(&self, mut ctx: impl AsContextMut, handle: u64) -> Result<Vec<u8>> {
        let length = self.call(&mut ctx, "length", handle)?;
        self.bytes(ctx, handle, length)
    }

    /// The same, and frees the block, as a host function owns those that it is given.
    pub fn take(&self, mut ctx: impl AsContextMut, handle: u64) -> Result<Vec<u8>> {
        let bytes = self.read(&mut ctx, handle)?;
        self.call::<_, ()>(ctx, "free", handle)?;
        Ok(bytes)
    }

    /// A new block with these bytes: an input, or a result of a host function, which is the plugin's then.
    pub fn write(&self, mut ctx: impl AsContextMut, bytes: &[u8]) -> Result<u64> {
        let handle = self.call(&mut ctx, "alloc", bytes.len() as u64)?;
        ensure!(handle != 0 || bytes.is_empty(), "the kernel has no room");
        self.memory.write(ctx, handle as usize, bytes)?;
        Ok(handle)
    }

    /// What the embedder passed to this call.
    pub fn context(&self, mut ctx: impl AsContextMut) -> Option<Context> {
        let Val::ExternRef(reference) = self.context?.get(&mut ctx) else { return None };
        let slot = reference?.data(&ctx).ok()??.downcast_ref::<Slot>()?;
        slot.lock().unwrap().clone()
    }
}

/// The functions that every host has beside the kernel's exports.
fn link_host(linker: &mut Linker<State>, kernel: Kernel) -> Result<()> {
    type Host<'a> = Caller<'a, State>;
    type Get = fn(&State) -> &Table;
    for (name, table) in [("config_get", (|state| &state.config) as Get), ("var_get", |state| &state.vars)] {
        linker.func_wrap(ENV, name, move |mut host: Host<'_>, key: u64| {
            let key = kernel.take(&mut host, key)?;
            let value = table(host.data()).get(&key).cloned();
            value.map_or(Ok(0), |value| kernel.write(host, &value))
        })?;
    }
    linker.func_wrap(ENV, "var_set", move |mut host: Host<'_>, key: u64, value: u64| {
        // Both are read before one is freed: they can be the same block.
        let name = kernel.read(&mut host, key)?;
        let bytes = kernel.take(&mut host, value)?;
        kernel.call::<_, ()>(&mut host, "free", key)?;
        match value {
            0 => _ = host.data_mut().vars.remove(&name),
            _ => _ = host.data_mut().vars.insert(name, bytes),
        }
        Ok(())
    })?;
    for (number, level) in ["trace", "debug", "info", "warn", "error"].iter().enumerate() {
        let log = move |mut host: Host<'_>, message: u64| {
            let message = kernel.take(&mut host, message)?;
            if number as i32 >= host.data().log_level {
                (host.data_mut().log)(level, &String::from_utf8_lossy(&message));
            }
            Ok(())
        };
        linker.func_wrap(ENV, &format!("log_{level}"), log)?;
    }
    linker.func_wrap(ENV, "get_log_level", |host: Host<'_>| host.data().log_level)?;
    let no_http = |_: u64, _: u64| -> Result<u64> { Err(format_err!("this host makes no HTTP requests")) };
    linker.func_wrap(ENV, "http_request", no_http)?;
    linker.func_wrap(ENV, "http_status_code", || 0_i32)?;
    linker.func_wrap(ENV, "http_headers", || 0_u64)?;
    Ok(())
}

/// What the plugin's language wants before the first call: its constructors, then Haskell's runtime.
fn initialize(mut store: &mut Store<State>, plugin: Instance) -> Result<()> {
    let constructors = plugin.get_func(&mut store, "_initialize"); // which calls the other, if there are both
    if let Some(function) = constructors.or_else(|| plugin.get_func(&mut store, "__wasm_call_ctors")) {
        function.typed::<(), ()>(&store)?.call(&mut store, ())?;
    }
    let haskell = plugin.get_func(&mut store, "hs_init");
    haskell.map_or(Ok(()), |function| function.typed::<(i32, i32), ()>(&store)?.call(&mut store, (0, 0)))
}

pub struct Plugin {
    store: Store<State>,
    kernel: Kernel,
    instance: Instance,
    slot: OwnedRooted<ExternRef>,
}

impl Plugin {
    /// `embed` links the embedder's own functions, commonly under `extism:host/user`.
    pub fn new(
        engine: &Engine,
        kernel: &Module,
        plugin: &Module,
        state: State,
        embed: impl FnOnce(&mut Linker<State>, Kernel) -> Result<()>,
    ) -> Result<Self> {
        // README: begin
        let mut store = Store::new(engine, state);
        let kernel = Kernel::new(&mut store, kernel)?; // its instance, which has no imports
        let mut linker = Linker::new(engine);
        linker.instance(&mut store, ENV, kernel.instance)?; // all its exports, for the plugin
        link_host(&mut linker, kernel)?; // config_get, log_info, ...: under the same module name
        embed(&mut linker, kernel)?; // your own functions, under "extism:host/user"
        let instance = linker.instantiate(&mut store, plugin)?;
        // README: end
        initialize(&mut store, instance)?;
        let slot = ExternRef::new(&mut store, Slot::default())?.to_owned_rooted(&mut store)?;
        Ok(Self { store, kernel, instance, slot })
    }

    /// Calls a function of the plugin. The error is the text that the plugin set, if it did.
    pub fn call(&mut self, name: &str, input: &[u8], context: Option<Context>) -> Result<Vec<u8>> {
        let (kernel, function) = (self.kernel, self.instance.get_func(&mut self.store, name));
        let function = function.ok_or_else(|| format_err!("the plugin has no {name}"))?;
        kernel.call::<_, ()>(&mut self.store, "error_set", 0_u64)?;
        kernel.call::<_, ()>(&mut self.store, "reset", ())?;
        let handle = kernel.write(&mut self.store, input)?;
        kernel.call::<_, ()>(&mut self.store, "input_set", (handle, input.len() as u64))?;

        self.set_context(context)?;
        let mut status = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let ended = function.call(&mut self.store, &[], &mut status);
        self.set_context(None)?;
        let error = kernel.call(&mut self.store, "error_get", ())?;
        let text = kernel.read(&mut self.store, error)?;
        ensure!(text.is_empty(), "{}", String::from_utf8_lossy(&text));
        ended?;
        ensure!(matches!(status[..], [] | [Val::I32(0)]), "{name} returned {status:?}");
        let offset = kernel.call(&mut self.store, "output_offset", ())?;
        let length = kernel.call(&mut self.store, "output_length", ())?;
        kernel.bytes(&mut self.store, offset, length)
    }

    fn set_context(&mut self, context: Option<Context>) -> Result<()> {
        let Some(global) = self.kernel.context else { return Ok(()) };
        let mut scope = RootScope::new(&mut self.store);
        let slot = self.slot.to_rooted(&mut scope);
        global.set(&mut scope, Val::ExternRef(context.is_some().then_some(slot)))?;
        let data = slot.data(&scope)?.and_then(|data| data.downcast_ref::<Slot>());
        *data.expect("the slot").lock().unwrap() = context;
        Ok(())
    }
}
