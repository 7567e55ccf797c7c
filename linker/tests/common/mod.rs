//! A host on Wasmtime that takes a plugin in every way in which it can be linked, so that tests can compare what comes of it.

#![allow(dead_code, reason = "each test uses its part of this")]

use extism_kernel_linker::{
    BASE, BASE_GET, BEGIN, END, Form, KERNEL_ONE_MEMORY_MVP, Options, PREFIX, link,
};
use std::{collections::BTreeMap, sync::OnceLock};
use wasmtime::{
    AsContextMut, Caller, Config, Engine, Extern, Func, Global, Instance, Linker, Memory, Module,
    Store, StoreLimits, StoreLimitsBuilder, Trap, Val, ValType,
};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxBuilder, p1};

pub const PAGE: usize = 65536;

/// How plugin and kernel come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As two instances.
    Usual,
    /// As one module with two memories; with inlining or without.
    Two(bool),
    /// As one module with one memory; with inlining or without, and with the kernel that uses bulk memory or the other.
    One(bool, bool),
}

pub const LINKED: [Way; 5] = [
    Way::Two(true),
    Way::Two(false),
    Way::One(true, true),
    Way::One(false, true),
    Way::One(true, false),
];

impl Way {
    /// The options that link this way; `None` if nothing is linked beforehand.
    pub fn options(self) -> Option<Options<'static>> {
        match self {
            Self::Usual => None,
            Self::Two(inline) => Some(Options {
                inline,
                ..Options::new(Form::TwoMemories)
            }),
            Self::One(inline, true) => Some(Options {
                inline,
                ..Options::new(Form::OneMemory)
            }),
            Self::One(inline, false) => Some(Options {
                inline,
                kernel: KERNEL_ONE_MEMORY_MVP,
                ..Options::new(Form::OneMemory)
            }),
        }
    }

    /// The module to instantiate, which is checked to be valid.
    pub fn module(self, plugin: &[u8]) -> Vec<u8> {
        let Some(options) = self.options() else {
            return plugin.to_vec();
        };
        let linked = link(plugin, &options).unwrap_or_else(|error| panic!("{self:?}: {error}"));
        validate(&linked.wasm);
        linked.wasm
    }
}

/// Panics if a module is not valid.
pub fn validate(wasm: &[u8]) {
    let mut validator = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
    if let Err(error) = validator.validate_all(wasm) {
        panic!(
            "not valid: {error}\n{}",
            wasmprinter::print_bytes(wasm).unwrap_or_default()
        );
    }
}

pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config
            .cranelift_nan_canonicalization(true)
            .wasm_multi_memory(true)
            .consume_fuel(true);
        config.wasm_tail_call(true);
        Engine::new(&config).unwrap()
    })
}

/// Of a call: what came out, or why nothing did.
pub type Outcome = Result<Vec<u8>, String>;

/// What host functions work with.
pub struct State {
    config: BTreeMap<Vec<u8>, Vec<u8>>,
    vars: BTreeMap<Vec<u8>, Vec<u8>>,
    pub logged: Vec<(String, Vec<u8>)>,
    kernel: Option<Kernel>,
    wasi: WasiP1Ctx,
    limits: StoreLimits,
}

/// The kernel's exports, wherever they are.
#[derive(Clone)]
pub struct Kernel {
    memory: Memory,
    base: Option<Global>,
    functions: BTreeMap<String, Func>,
}

impl Kernel {
    /// From what exports them: an instance of the kernel, or of a linked module.
    pub fn new(exports: impl Iterator<Item = (String, Extern)>, prefix: &str) -> Self {
        let (mut memory, mut base, mut functions) = (None, None, BTreeMap::new());
        for (name, export) in exports {
            let Some(name) = name.strip_prefix(prefix) else {
                continue;
            };
            match export {
                Extern::Memory(found) if name == "memory" => memory = Some(found),
                Extern::Global(found) if format!("{PREFIX}{name}") == BASE => base = Some(found),
                Extern::Func(function) => _ = functions.insert(name.to_owned(), function),
                _ => {}
            }
        }
        Self {
            memory: memory.expect("the kernel's memory"),
            base,
            functions,
        }
    }

    fn of(caller: &mut Caller<'_, State>) -> Self {
        if let Some(kernel) = &caller.data().kernel {
            return kernel.clone();
        }
        // A start function of a linked module calls.
        let names = ["alloc", "free", "length"].map(|name| format!("{PREFIX}{name}"));
        let names = names
            .into_iter()
            .chain([format!("{PREFIX}memory"), BASE.to_owned()]);
        let exports: Vec<_> = names
            .filter_map(|name| Some((name.clone(), caller.get_export(&name)?)))
            .collect();
        Self::new(exports.into_iter(), PREFIX)
    }

    pub fn call(
        &self,
        mut store: impl AsContextMut,
        name: &str,
        arguments: &[u64],
    ) -> wasmtime::Result<Vec<u64>> {
        let function = self
            .functions
            .get(name)
            .unwrap_or_else(|| panic!("no {name}"));
        let ty = function.ty(&store);
        let arguments: Vec<Val> = ty
            .params()
            .zip(arguments)
            .map(|(ty, &value)| match ty {
                ValType::I32 => Val::I32(value as i32),
                _ => Val::I64(value as i64),
            })
            .collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        function.call(&mut store, &arguments, &mut results)?;
        let number = |value: &Val| match *value {
            Val::I32(value) => value as u32 as u64,
            Val::I64(value) => value as u64,
            _ => unreachable!(),
        };
        Ok(results.iter().map(number).collect())
    }

    fn one(
        &self,
        store: impl AsContextMut,
        name: &str,
        arguments: &[u64],
    ) -> wasmtime::Result<u64> {
        Ok(self
            .call(store, name, arguments)?
            .first()
            .copied()
            .unwrap_or(0))
    }

    /// Where its part of the memory begins.
    pub fn base(&self, mut store: impl AsContextMut) -> usize {
        let Some(base) = self.base else { return 0 };
        let base = base.get(&mut store).unwrap_i32() as u32;
        // Of what a host function asks from within a start function, not all is at hand.
        if let Some(function) = self.functions.get(&BASE_GET[PREFIX.len()..]) {
            let mut told = [Val::I32(0)];
            function.call(&mut store, &[], &mut told).unwrap();
            assert_eq!(told[0].unwrap_i32() as u32, base);
        }
        base as usize
    }

    /// Its part of the memory.
    pub fn bytes<'a, T: 'static>(&self, store: &'a mut Store<T>) -> &'a mut [u8] {
        let base = self.base(&mut *store);
        &mut self.memory.data_mut(store)[base..]
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    fn read(
        &self,
        mut store: impl AsContextMut,
        offset: u64,
        length: u64,
    ) -> wasmtime::Result<Vec<u8>> {
        let start = self.base(&mut store) + offset as usize;
        let bytes = self.memory.data(&store).get(start..start + length as usize);
        Ok(bytes
            .ok_or_else(|| wasmtime::Error::msg("outside of the memory"))?
            .to_vec())
    }

    fn block(&self, mut store: impl AsContextMut, handle: u64) -> wasmtime::Result<Vec<u8>> {
        let length = self.one(&mut store, "length", &[handle])?;
        if length == 0 && handle != 0 {
            return Err(wasmtime::Error::msg("no handle"));
        }
        self.read(store, handle, length)
    }

    fn take(&self, mut store: impl AsContextMut, handle: u64) -> wasmtime::Result<Vec<u8>> {
        let bytes = self.block(&mut store, handle)?;
        self.one(store, "free", &[handle])?;
        Ok(bytes)
    }

    fn put(&self, mut store: impl AsContextMut, bytes: &[u8]) -> wasmtime::Result<u64> {
        let handle = self.one(&mut store, "alloc", &[bytes.len() as u64])?;
        if handle != 0 {
            let start = self.base(&mut store) + handle as usize;
            self.memory.write(store, start, bytes)?;
        }
        Ok(handle)
    }
}

/// A plugin with its kernel and its host.
pub struct Host {
    pub store: Store<State>,
    pub kernel: Kernel,
    pub instance: Instance,
    way: Way,
}

impl Host {
    pub fn new(plugin: &[u8], way: Way, config: &[(&str, &str)]) -> Result<Self, String> {
        let engine = engine();
        let text = |error: wasmtime::Error| format!("{error:#}");
        let module = Module::new(engine, way.module(plugin)).map_err(text)?;
        let state = State {
            config: config
                .iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            vars: BTreeMap::new(),
            logged: Vec::new(),
            kernel: None,
            wasi: WasiCtxBuilder::new().arg("plugin").build_p1(),
            limits: StoreLimitsBuilder::new().memory_size(64 << 20).build(),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_fuel(FUEL).map_err(text)?;
        let mut linker = Linker::new(engine);
        if way == Way::Usual {
            let kernel = Module::new(engine, extism_kernel::KERNEL_BULK).map_err(text)?;
            let kernel = Instance::new(&mut store, &kernel, &[]).map_err(text)?;
            linker.instance(&mut store, ENV, kernel).map_err(text)?;
            store.data_mut().kernel =
                Some(Kernel::new(exports(&mut store, kernel).into_iter(), ""));
        }
        link_host(&mut linker).map_err(text)?;
        p1::add_to_linker_sync(&mut linker, |state: &mut State| &mut state.wasi).map_err(text)?;
        let instance = linker.instantiate(&mut store, &module).map_err(text)?;
        if way != Way::Usual {
            store.data_mut().kernel = Some(Kernel::new(
                exports(&mut store, instance).into_iter(),
                PREFIX,
            ));
        }
        let kernel = store.data().kernel.clone().expect("just set");
        let mut host = Self {
            store,
            kernel,
            instance,
            way,
        };
        if let Some(initialize) = host.instance.get_func(&mut host.store, "_initialize") {
            initialize
                .call(&mut host.store, &[], &mut [])
                .map_err(text)?;
        }
        Ok(host)
    }

    /// A whole call: the output, or the error's text, or why it ended.
    pub fn call(&mut self, function: &str, input: &[u8]) -> Outcome {
        self.store.set_fuel(FUEL).unwrap();
        self.begin(input);
        let called = self
            .instance
            .get_func(&mut self.store, function)
            .expect(function);
        let mut results = vec![Val::I32(0); called.ty(&self.store).results().len()];
        let ended = called.call(&mut self.store, &[], &mut results);
        self.store.set_fuel(FUEL).unwrap();
        let [output, length, error, error_length] = self.end();
        if error_length > 0 {
            let error = self
                .kernel
                .read(&mut self.store, error, error_length)
                .unwrap();
            return Err(String::from_utf8_lossy(&error).into_owned());
        }
        ended.map_err(|error| why(&error))?;
        match results[..] {
            [] | [Val::I32(0)] => Ok(self.kernel.read(&mut self.store, output, length).unwrap()),
            _ => Err(format!("{results:?}")),
        }
    }

    fn begin(&mut self, input: &[u8]) {
        let (kernel, store, length) = (&self.kernel, &mut self.store, input.len() as u64);
        let handle = if self.way == Way::Usual {
            kernel.call(&mut *store, "reset", &[]).unwrap();
            let handle = kernel.one(&mut *store, "alloc", &[length]).unwrap();
            kernel
                .call(&mut *store, "input_set", &[handle, length])
                .unwrap();
            handle
        } else {
            kernel
                .one(&mut *store, &BEGIN[PREFIX.len()..], &[length])
                .unwrap()
        };
        kernel.bytes(store)[handle as usize..][..input.len()].copy_from_slice(input);
    }

    fn end(&mut self) -> [u64; 4] {
        let (kernel, store) = (&self.kernel, &mut self.store);
        if self.way != Way::Usual {
            return kernel
                .call(store, &END[PREFIX.len()..], &[])
                .unwrap()
                .try_into()
                .unwrap();
        }
        let mut get =
            |name: &str, arguments: &[u64]| kernel.one(&mut *store, name, arguments).unwrap();
        let error = get("error_get", &[]);
        let length = get("length", &[error]);
        let error = if length == 0 { 0 } else { error };
        [
            get("output_offset", &[]),
            get("output_length", &[]),
            error,
            length,
        ]
    }
}

const FUEL: u64 = 200_000_000;
const ENV: &str = "extism:host/env";

fn exports(store: &mut Store<State>, instance: Instance) -> Vec<(String, Extern)> {
    instance
        .exports(store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect()
}

/// Why a call ended, in words that are the same however the plugin is linked.
pub fn why(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => format!("{trap:?}"),
        None => error.root_cause().to_string(),
    }
}

fn link_host(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type C<'a> = Caller<'a, State>;
    linker.func_wrap(
        ENV,
        "config_get",
        |mut caller: C<'_>, key: u64| -> wasmtime::Result<u64> {
            let kernel = Kernel::of(&mut caller);
            let key = kernel.take(&mut caller, key)?;
            match caller.data().config.get(&key).cloned() {
                Some(value) => kernel.put(caller, &value),
                None => Ok(0),
            }
        },
    )?;
    linker.func_wrap(
        ENV,
        "var_get",
        |mut caller: C<'_>, key: u64| -> wasmtime::Result<u64> {
            let kernel = Kernel::of(&mut caller);
            let key = kernel.take(&mut caller, key)?;
            match caller.data().vars.get(&key).cloned() {
                Some(value) => kernel.put(caller, &value),
                None => Ok(0),
            }
        },
    )?;
    linker.func_wrap(
        ENV,
        "var_set",
        |mut caller: C<'_>, key: u64, value: u64| -> wasmtime::Result<()> {
            let kernel = Kernel::of(&mut caller);
            let name = kernel.take(&mut caller, key)?;
            if value == 0 {
                caller.data_mut().vars.remove(&name);
            } else {
                let value = kernel.take(&mut caller, value)?;
                caller.data_mut().vars.insert(name, value);
            }
            Ok(())
        },
    )?;
    for level in ["trace", "debug", "info", "warn", "error"] {
        linker.func_wrap(
            ENV,
            &format!("log_{level}"),
            move |mut caller: C<'_>, text: u64| -> wasmtime::Result<()> {
                let kernel = Kernel::of(&mut caller);
                let text = kernel.take(&mut caller, text)?;
                caller.data_mut().logged.push((level.to_owned(), text));
                Ok(())
            },
        )?;
    }
    linker.func_wrap(ENV, "get_log_level", || 0i32)?;
    linker.func_wrap(
        ENV,
        "http_request",
        |_: u64, _: u64| -> wasmtime::Result<u64> { Err(wasmtime::Error::msg("no HTTP here")) },
    )?;
    linker.func_wrap(ENV, "http_status_code", || 0i32)?;
    linker.func_wrap(ENV, "http_headers", || 0u64)?;
    linker.func_wrap(
        "extism:host/user",
        "greet",
        |mut caller: C<'_>, name: u64| -> wasmtime::Result<u64> {
            let kernel = Kernel::of(&mut caller);
            let name = kernel.take(&mut caller, name)?;
            kernel.put(caller, &[b"Hello, ", name.as_slice(), b"!"].concat())
        },
    )?;
    linker.func_wrap("extism:host/user", "echo_handle", |handle: u64| handle)?;
    linker.func_wrap("calculator", "add", |one: i32, other: f64| {
        (f64::from(one) + other).floor() as i32
    })?;
    Ok(())
}
