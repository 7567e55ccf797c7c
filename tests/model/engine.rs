//! The subjects that need an engine: the shipped modules under Wasmtime.

use std::sync::OnceLock;

use extism_kernel::{KERNEL, KERNEL_BULK, KERNEL_MVP, machine::Registers};
use wasmtime::{Config, Engine, Extern, Instance, Memory, Module, ResourceLimiter, Store, Val};

use super::{Call, ENDLESS, Native, PAGE, Subject, native};

impl Call {
    /// Its name and arguments.
    fn export(self) -> (&'static str, Vec<Val>) {
        let long = |value: u64| Val::I64(value as i64);
        match self {
            Call::Alloc(n) => ("alloc", vec![long(n)]),
            Call::Free(h) => ("free", vec![long(h)]),
            Call::Length(h) => ("length", vec![long(h)]),
            Call::LengthUnsafe(h) => ("length_unsafe", vec![long(h)]),
            Call::LoadU8(p) => ("load_u8", vec![long(p)]),
            Call::LoadU64(p) => ("load_u64", vec![long(p)]),
            Call::StoreU8(p, v) => ("store_u8", vec![long(p), Val::I32(v as i32)]),
            Call::StoreU64(p, v) => ("store_u64", vec![long(p), long(v)]),
            Call::InputSet(h, n) => ("input_set", vec![long(h), long(n)]),
            Call::InputOffset => ("input_offset", vec![]),
            Call::InputLength => ("input_length", vec![]),
            Call::InputLoadU8(i) => ("input_load_u8", vec![long(i)]),
            Call::InputLoadU64(i) => ("input_load_u64", vec![long(i)]),
            Call::OutputSet(p, n) => ("output_set", vec![long(p), long(n)]),
            Call::OutputOffset => ("output_offset", vec![]),
            Call::OutputLength => ("output_length", vec![]),
            Call::ErrorSet(h) => ("error_set", vec![long(h)]),
            Call::ErrorGet => ("error_get", vec![]),
            Call::MemoryBytes => ("memory_bytes", vec![]),
            Call::Reset => ("reset", vec![]),
        }
    }
}

struct Limiter {
    pages: u64,
    traps: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _: usize,
        wanted: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = wanted as u64 <= self.pages * PAGE;
        if !granted && self.traps {
            return Err(wasmtime::Error::msg("beyond the limit"));
        }
        Ok(granted)
    }
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if self.traps { Err(error) } else { Ok(()) }
    }
    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// A shipped module under Wasmtime; its budget is fuel.
pub struct Wasm {
    store: Store<Limiter>,
    instance: Instance,
    memory: Memory,
}

impl Wasm {
    /// A fresh instance.
    pub fn new(module: &Module) -> Self {
        let limiter = Limiter {
            pages: 65536,
            traps: false,
        };
        let mut store = Store::new(module.engine(), limiter);
        store.limiter(|limiter| limiter);
        store.set_fuel(ENDLESS).unwrap();
        let instance = Instance::new(&mut store, module, &[]).expect("no imports, no start");
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Self {
            store,
            instance,
            memory,
        }
    }

    /// Links a module, as text, to the kernel as "kernel", and calls its function with numbers.
    pub fn run_linked(&mut self, text: &str, function: &str, arguments: &[i32]) -> u64 {
        let module = Module::new(self.store.engine(), text).expect("it is valid");
        let imports: Vec<Extern> = module
            .imports()
            .map(|import| self.instance.get_export(&mut self.store, import.name()))
            .collect::<Option<_>>()
            .expect("the kernel exports what is imported");
        self.store.set_fuel(ENDLESS).unwrap();
        let instance = Instance::new(&mut self.store, &module, &imports).expect("no start");
        let function = instance.get_func(&mut self.store, function).unwrap();
        let arguments: Vec<_> = arguments.iter().map(|&n| Val::I32(n)).collect();
        let mut results = [Val::I64(0)];
        function
            .call(&mut self.store, &arguments, &mut results)
            .expect("no trap");
        results[0].unwrap_i64() as u64
    }

    /// The exported global of that name.
    pub fn global(&mut self, name: &str) -> Option<wasmtime::Global> {
        self.instance.get_global(&mut self.store, name)
    }

    /// The store, to use a global with.
    pub fn store(&mut self) -> impl wasmtime::AsContextMut {
        &mut self.store
    }
}

/// The shipped modules, compiled once.
pub fn shipped() -> &'static [Module; 3] {
    static MODULES: OnceLock<[Module; 3]> = OnceLock::new();
    MODULES.get_or_init(|| {
        let mut config = Config::new();
        config.consume_fuel(true);
        // Tests make thousands of instances: reserving 4 GiB for each takes longer than running it.
        config.memory_reservation(1 << 20).memory_guard_size(0);
        let engine = Engine::new(&config).unwrap();
        [KERNEL, KERNEL_BULK, KERNEL_MVP].map(|bytes| Module::new(&engine, bytes).unwrap())
    })
}

impl Subject for Wasm {
    fn attempt(&mut self, call: Call, budget: u64) -> (Option<u64>, u64) {
        let (name, arguments) = call.export();
        let function = self.instance.get_func(&mut self.store, name).expect(name);
        let mut results = vec![Val::I64(0); function.ty(&self.store).results().len()];
        self.store.set_fuel(budget).unwrap();
        let result = function.call(&mut self.store, &arguments, &mut results);
        let value = result.ok().map(|()| match results.first() {
            None => 0,
            Some(Val::I32(value)) => u64::from(*value as u32),
            Some(value) => value.unwrap_i64() as u64,
        });
        (value, budget - self.store.get_fuel().unwrap())
    }
    fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }
    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }
    fn grow_by_host(&mut self, pages: u64) {
        // Beyond the limit it fails, as it does natively.
        let _ = self.memory.grow(&mut self.store, pages);
    }
    fn set_limit(&mut self, pages: u64) {
        self.store.data_mut().pages = pages;
    }
    fn set_growth_traps(&mut self, traps: bool) {
        self.store.data_mut().traps = traps;
    }
    fn registers(&self) -> &Registers {
        unimplemented!("the shipped modules do not show their registers")
    }
}

/// A shipped module and the native core side by side: every answer and every byte must be the same. So the model,
/// which looks into the native registers, speaks for the module too.
pub struct Lockstep {
    wasm: Wasm,
    native: Native,
    /// What the host may have changed since the last call.
    written: bool,
}

impl Lockstep {
    /// A fresh pair.
    pub fn new(module: &Module) -> Self {
        Self {
            wasm: Wasm::new(module),
            native: native(),
            written: false,
        }
    }
}

impl Subject for Lockstep {
    fn attempt(&mut self, call: Call, budget: u64) -> (Option<u64>, u64) {
        if self.written {
            self.native.memory_mut().copy_from_slice(self.wasm.memory());
            self.written = false;
        }
        let (native, _) = self.native.attempt(call, ENDLESS);
        let (wasm, cost) = self.wasm.attempt(call, budget);
        assert_eq!(wasm, native, "{call:?} answers otherwise than natively");
        // Comparing takes longer than a call: what no call should write is seen after the next one that should.
        let writes = matches!(
            call,
            Call::Alloc(_) | Call::Free(_) | Call::StoreU8(..) | Call::StoreU64(..) | Call::Reset
        );
        assert!(
            !writes || self.wasm.memory() == self.native.memory(),
            "{call:?} writes otherwise than natively"
        );
        (wasm, cost)
    }
    fn memory(&self) -> &[u8] {
        self.wasm.memory()
    }
    fn memory_mut(&mut self) -> &mut [u8] {
        self.written = true;
        self.wasm.memory_mut()
    }
    fn grow_by_host(&mut self, pages: u64) {
        self.wasm.grow_by_host(pages);
        self.native.grow_by_host(pages);
    }
    fn set_limit(&mut self, pages: u64) {
        self.wasm.set_limit(pages);
        self.native.set_limit(pages);
    }
    fn set_growth_traps(&mut self, traps: bool) {
        self.wasm.set_growth_traps(traps);
        self.native.set_growth_traps(traps);
    }
    fn registers(&self) -> &Registers {
        self.native.registers()
    }
}
