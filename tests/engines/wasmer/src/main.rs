//! The runner of Wasmer: what the checks need of the engine, and the embedder's functions.

mod host;
mod limit;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use host::{Kernel, Plugin, State};
use runner::{Context, Error, Setup, error};
use wasmer::{ExternRef, Function, FunctionEnv, FunctionEnvMut, Imports, Module, Store, Type, Value};

fn main() -> ExitCode {
    runner::main::<Wasmer>()
}

/// A limit on memory is part of an engine here, and what one has compiled is its own: so the kernel is kept as bytes.
struct Wasmer(Vec<u8>);

impl runner::Engine for Wasmer {
    const NAME: &str = "wasmer";
    type Kernel = Bare;
    type Plugin = Embedded;

    fn new(kernel: &[u8]) -> Result<Self, Error> {
        Ok(Self(kernel.to_vec()))
    }

    fn kernel(&self, max_pages: Option<u32>) -> Result<Bare, Error> {
        let mut store = Store::new(limit::engine(max_pages));
        let module = Module::new(&store, &self.0).map_err(error)?;
        let kernel = Kernel::new(&mut store, &module).map_err(error)?;
        let context = ExternRef::new(&mut store, "ours");
        Ok(Bare { store, kernel, context })
    }

    fn plugin(&self, wasm: &[u8], setup: Setup<'_>) -> Result<Embedded, Error> {
        let messages = Messages::default();
        let engine = limit::engine(setup.max_pages);
        let state = state(setup, messages.clone());
        let plugin = Plugin::new(engine, &self.0, wasm, state, embed).map_err(error)?;
        Ok(Embedded { plugin, messages })
    }
}

type Messages = Arc<Mutex<Vec<(String, String)>>>;

fn state(setup: Setup<'_>, messages: Messages) -> State {
    State {
        config: setup.config.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        vars: HashMap::new(),
        log_level: setup.log_level,
        log: Box::new(move |level, text| {
            messages.lock().unwrap().push((level.to_owned(), text.to_owned()));
        }),
    }
}

/// The functions of an embedder.
fn embed(imports: &mut Imports, store: &mut Store, kernel: &Kernel) {
    let env = FunctionEnv::new(store, kernel.clone());
    let greet = |mut host: FunctionEnvMut<'_, Kernel>, name: u64| {
        let kernel = host.data().clone();
        let name = kernel.take(&mut host, name)?;
        let context = kernel.context(&mut host);
        let word = context.as_ref().and_then(|context| context.downcast_ref::<String>());
        let word = word.map_or("Hello", String::as_str);
        let greeting = format!("{word}, {}!", String::from_utf8_lossy(&name));
        kernel.write(&mut host, greeting.as_bytes())
    };
    let add = |a: i32, b: f64| (f64::from(a) + b).floor() as i32;
    imports.define("extism:host/user", "greet", Function::new_typed_with_env(store, &env, greet));
    imports.define("extism:host/user", "echo_handle", Function::new_typed(store, |handle: u64| handle));
    imports.define("calculator", "add", Function::new_typed(store, add));
}

struct Embedded {
    plugin: Plugin,
    messages: Messages,
}

impl runner::Plugin for Embedded {
    fn call(&mut self, function: &str, input: &[u8], context: Option<&str>) -> Result<Vec<u8>, Error> {
        let context = context.map(|word| Arc::new(word.to_owned()) as host::Context);
        let output = self.plugin.call(function, input, context);
        output.map_err(|error| error.to_string())
    }

    fn logged(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }
}

/// The kernel without a plugin.
struct Bare {
    store: Store,
    kernel: Kernel,
    context: ExternRef,
}

impl runner::Kernel for Bare {
    fn call(&mut self, export: &str, arguments: &[u64]) -> Result<u64, Error> {
        let function = self.kernel.instance.exports.get_function(export).map_err(error)?;
        let ty = function.ty(&self.store);
        let typed = |(ty, &value): (&Type, &u64)| match ty {
            Type::I32 => Value::I32(value as i32),
            _ => Value::I64(value as i64),
        };
        let arguments: Vec<_> = ty.params().iter().zip(arguments).map(typed).collect();
        let results = function.call(&mut self.store, &arguments).map_err(error)?;
        Ok(match results.first() {
            Some(&Value::I32(value)) => u64::from(value as u32),
            Some(&Value::I64(value)) => value as u64,
            _ => 0,
        })
    }

    fn size(&mut self) -> u64 {
        self.kernel.memory.view(&self.store).data_size()
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        self.kernel.bytes(&self.store, offset, length).map_err(error)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.kernel.memory.view(&self.store).write(offset, bytes).map_err(error)
    }

    fn grow(&mut self, pages: u32) -> Result<(), Error> {
        self.kernel.memory.grow(&mut self.store, pages).map_err(error)?;
        Ok(())
    }

    fn exports(&mut self) -> Vec<String> {
        self.kernel.instance.exports.iter().map(|(name, _)| name.clone()).collect()
    }

    fn set_context(&mut self) -> Result<(), Error> {
        let global = self.kernel.context.as_ref().ok_or("no global")?;
        global.set(&mut self.store, Value::ExternRef(Some(self.context.clone()))).map_err(error)
    }

    fn context(&mut self) -> Context {
        let Some(global) = &self.kernel.context else {
            return Context::Absent;
        };
        match global.get(&mut self.store) {
            Value::ExternRef(None) => Context::Null,
            Value::ExternRef(Some(found)) if found.ptr_eq(&self.context) => Context::Ours,
            _ => Context::Other,
        }
    }
}
