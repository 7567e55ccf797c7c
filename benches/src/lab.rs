//! A kernel in Wasmtime with the plugin of `plugin.wat` linked to it.

use artefacts::peer;
use wasmtime::{
    Config, Engine, Func, Instance, Linker, Memory, Module, Store, StoreLimits, StoreLimitsBuilder,
    TypedFunc, Val,
};

/// What a plugin's imports are called.
const NAMESPACE: &str = "extism:host/env";
/// Fuel that no measurement uses up.
const ENDLESS: u64 = 1 << 60;

/// The text of the plugin.
pub const PLUGIN: &str = include_str!("../plugin.wat");

/// An engine with the kernels to compare, compiled.
#[allow(missing_docs)]
pub struct Lab {
    engine: Engine,
    plugin: Module,
    pub ours: Module,
    pub peer: Module,
}

impl Lab {
    /// With fuel, which makes everything slower, or without.
    pub fn new(fuel: bool) -> Self {
        let mut config = Config::new();
        config.consume_fuel(fuel);
        let engine = Engine::new(&config).expect("the configuration is valid");
        let module = |bytes: &[u8]| Module::new(&engine, bytes).expect("it is a valid module");
        Self {
            plugin: module(PLUGIN.as_bytes()),
            ours: module(extism_kernel::KERNEL),
            peer: module(&peer::kernel()),
            engine,
        }
    }

    /// Another module with the kernel's exports.
    pub fn compile(&self, bytes: &[u8]) -> Module {
        Module::new(&self.engine, bytes).expect("it is a valid module")
    }

    /// A kernel alone.
    pub fn instantiate(&self, kernel: &Module) -> (Store<StoreLimits>, Instance) {
        let mut store = Store::new(&self.engine, StoreLimits::default());
        store.limiter(|limits| limits);
        // Fails only in an engine without fuel, which needs none.
        let _ = store.set_fuel(ENDLESS);
        let instance = Instance::new(&mut store, kernel, &[]).expect("no imports, no start");
        (store, instance)
    }

    /// A kernel with the plugin. What the kernel doesn't export traps when the plugin calls it.
    pub fn link(&self, kernel: &Module) -> Linked {
        let (mut store, instance) = self.instantiate(kernel);
        let mut linker = Linker::new(&self.engine);
        linker
            .instance(&mut store, NAMESPACE, instance)
            .and_then(|linker| linker.define_unknown_imports_as_traps(&self.plugin))
            .expect("the names are unique");
        let plugin = linker
            .instantiate(&mut store, &self.plugin)
            .expect("the imports are there");
        Linked {
            memory: instance.get_memory(&mut store, "memory").expect("memory"),
            host: Host::of(&mut store, instance, plugin),
            store,
            kernel: instance,
            plugin,
        }
    }
}

/// The functions that a host calls around a plugin's. Allocators behind the kernel's exports lack some.
struct Host {
    error_set: TypedFunc<u64, ()>,
    reset: TypedFunc<(), ()>,
    alloc: TypedFunc<u64, u64>,
    input_set: TypedFunc<(u64, u64), ()>,
    echo: TypedFunc<(), ()>,
    output_offset: TypedFunc<(), u64>,
    output_length: TypedFunc<(), u64>,
    error_get: TypedFunc<(), u64>,
    length: TypedFunc<u64, u64>,
}

impl Host {
    fn of(store: &mut Store<StoreLimits>, kernel: Instance, plugin: Instance) -> Option<Self> {
        Some(Self {
            error_set: kernel.get_typed_func(&mut *store, "error_set").ok()?,
            reset: kernel.get_typed_func(&mut *store, "reset").ok()?,
            alloc: kernel.get_typed_func(&mut *store, "alloc").ok()?,
            input_set: kernel.get_typed_func(&mut *store, "input_set").ok()?,
            echo: plugin.get_typed_func(&mut *store, "echo").ok()?,
            output_offset: kernel.get_typed_func(&mut *store, "output_offset").ok()?,
            output_length: kernel.get_typed_func(&mut *store, "output_length").ok()?,
            error_get: kernel.get_typed_func(&mut *store, "error_get").ok()?,
            length: kernel.get_typed_func(&mut *store, "length").ok()?,
        })
    }
}

/// A kernel and a plugin that calls it.
pub struct Linked {
    store: Store<StoreLimits>,
    kernel: Instance,
    plugin: Instance,
    memory: Memory,
    host: Option<Host>,
}

impl Linked {
    /// A function of the plugin with its arguments, looked up once.
    pub fn prepare(&mut self, name: &str, arguments: &[i32]) -> (Func, Vec<Val>) {
        let function = self.plugin.get_func(&mut self.store, name);
        let function = function.unwrap_or_else(|| panic!("plugin.wat has no {name}"));
        (function, arguments.iter().copied().map(Val::I32).collect())
    }

    /// Calls it. Results are dropped.
    pub fn run(&mut self, (function, arguments): &(Func, Vec<Val>)) {
        let mut results = [Val::I64(0)];
        let results = &mut results[..function.ty(&self.store).results().len()];
        function
            .call(&mut self.store, arguments, results)
            .expect("no trap");
    }

    /// Both.
    pub fn plugin(&mut self, name: &str, arguments: &[i32]) {
        let prepared = self.prepare(name, arguments);
        self.run(&prepared);
    }

    /// Calls an export of the kernel, and says what it returned (0 if nothing) and the fuel that it took.
    pub fn kernel(&mut self, name: &str, arguments: &[u64]) -> (u64, u64) {
        let function = self
            .kernel
            .get_func(&mut self.store, name)
            .expect("an export");
        let arguments: Vec<_> = arguments.iter().map(|&n| Val::I64(n as i64)).collect();
        let mut results = [Val::I64(0)];
        let count = function.ty(&self.store).results().len();
        // Fails only in an engine without fuel: there it is not asked for.
        let _ = self.store.set_fuel(ENDLESS);
        function
            .call(&mut self.store, &arguments, &mut results[..count])
            .expect("no trap");
        let fuel = ENDLESS - self.store.get_fuel().unwrap_or(ENDLESS);
        (results[0].unwrap_i64() as u64, fuel)
    }

    /// The handle in a slot of the plugin.
    pub fn handle(&mut self, slot: usize) -> u64 {
        let slots = self.plugin.get_memory(&mut self.store, "slots");
        let bytes = &slots.expect("slots").data(&self.store)[16 * slot..][..8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    /// The most bytes that the plugin's blocks had together.
    pub fn peak(&mut self) -> u64 {
        let peak = self
            .plugin
            .get_typed_func::<(), u64>(&mut self.store, "peak");
        peak.and_then(|peak| peak.call(&mut self.store, ()))
            .expect("plugin.wat has a peak")
    }

    /// Bytes of the kernel's memory.
    pub fn memory_size(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// From now on the memory grows to so many bytes at most.
    pub fn limit(&mut self, bytes: usize) {
        *self.store.data_mut() = StoreLimitsBuilder::new().memory_size(bytes).build();
    }

    /// A whole call of a plugin that outputs its input, as hosts do it. Returns the output.
    pub fn call(&mut self, input: &[u8], output: &mut Vec<u8>) -> wasmtime::Result<()> {
        let host = self.host.as_ref().expect("this is a whole kernel");
        let store = &mut self.store;
        host.error_set.call(&mut *store, 0)?;
        host.reset.call(&mut *store, ())?;
        let mut handle = 0;
        if !input.is_empty() {
            handle = host.alloc.call(&mut *store, input.len() as u64)?;
            self.memory.write(&mut *store, handle as usize, input)?;
        }
        host.input_set
            .call(&mut *store, (handle, input.len() as u64))?;
        host.echo.call(&mut *store, ())?;
        let offset = host.output_offset.call(&mut *store, ())? as usize;
        let length = host.output_length.call(&mut *store, ())? as usize;
        let error = host.error_get.call(&mut *store, ())?;
        host.length.call(&mut *store, error)?;
        output.clear();
        output.extend_from_slice(&self.memory.data(&*store)[offset..][..length]);
        Ok(())
    }
}
