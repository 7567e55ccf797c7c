//! The runner of wasmi: what the checks need of the engine, and the embedder's functions.

mod host;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use host::{Kernel, Plugin, Result, State};
use runner::{Context, Error, Setup, error};
use wasmi::{Caller, Engine, ExternRef, Linker, Module, Ref, Store, StoreLimitsBuilder, Val, ValType};

fn main() -> ExitCode {
    runner::main::<Wasmi>()
}

struct Wasmi {
    engine: Engine,
    kernel: Module,
}

impl runner::Engine for Wasmi {
    const NAME: &str = "wasmi";
    type Kernel = Bare;
    type Plugin = Embedded;

    fn new(kernel: &[u8]) -> Result<Self, Error> {
        let engine = Engine::default();
        let kernel = Module::new(&engine, kernel).map_err(error)?;
        Ok(Self { engine, kernel })
    }

    fn kernel(&self, max_pages: Option<u32>) -> Result<Bare, Error> {
        let setup = Setup { max_pages, ..Setup::default() };
        let mut store = Store::new(&self.engine, state(setup, Messages::default()));
        let kernel = Kernel::new(&mut store, &self.kernel).map_err(error)?;
        let context = ExternRef::new(&mut store, "ours");
        Ok(Bare { store, kernel, context })
    }

    fn plugin(&self, wasm: &[u8], setup: Setup<'_>) -> Result<Embedded, Error> {
        let messages = Messages::default();
        let module = Module::new(&self.engine, wasm).map_err(error)?;
        let state = state(setup, messages.clone());
        let plugin = Plugin::new(&self.engine, &self.kernel, &module, state, embed);
        let plugin = plugin.map_err(error)?;
        Ok(Embedded { plugin, messages })
    }
}

type Messages = Arc<Mutex<Vec<(String, String)>>>;

fn state(setup: Setup<'_>, messages: Messages) -> State {
    let mut limits = StoreLimitsBuilder::new();
    if let Some(pages) = setup.max_pages {
        limits = limits.memory_size(pages as usize * 65536);
    }
    State {
        config: setup.config.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        vars: HashMap::new(),
        log_level: setup.log_level,
        log: Box::new(move |level, text| {
            messages.lock().unwrap().push((level.to_owned(), text.to_owned()));
        }),
        limits: limits.build(),
    }
}

/// The functions of an embedder.
fn embed(linker: &mut Linker<State>, kernel: Kernel) -> Result<()> {
    let greet = move |mut caller: Caller<'_, State>, name: u64| {
        let name = kernel.take(&mut caller, name)?;
        let context = kernel.context(&mut caller);
        let word = context.as_ref().and_then(|context| context.downcast_ref::<String>());
        let word = word.map_or("Hello", String::as_str);
        let greeting = format!("{word}, {}!", String::from_utf8_lossy(&name));
        kernel.write(&mut caller, greeting.as_bytes())
    };
    linker.func_wrap("extism:host/user", "greet", greet)?;
    linker.func_wrap("extism:host/user", "echo_handle", |handle: u64| handle)?;
    linker.func_wrap("calculator", "add", |a: i32, b: f64| (f64::from(a) + b).floor() as i32)?;
    Ok(())
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
    store: Store<State>,
    kernel: Kernel,
    context: ExternRef,
}

impl runner::Kernel for Bare {
    fn call(&mut self, export: &str, arguments: &[u64]) -> Result<u64, Error> {
        let function = self.kernel.instance.get_func(&mut self.store, export);
        let function = function.ok_or_else(|| format!("no export {export}"))?;
        let ty = function.ty(&self.store);
        let typed = |(ty, &value): (&ValType, &u64)| match ty {
            ValType::I32 => Val::I32(value as i32),
            _ => Val::I64(value as i64),
        };
        let arguments: Vec<_> = ty.params().iter().zip(arguments).map(typed).collect();
        let mut results = vec![Val::I64(0); ty.results().len()];
        function.call(&mut self.store, &arguments, &mut results).map_err(error)?;
        Ok(match results.first() {
            Some(&Val::I32(value)) => u64::from(value as u32),
            Some(&Val::I64(value)) => value as u64,
            _ => 0,
        })
    }

    fn size(&mut self) -> u64 {
        self.kernel.memory.data_size(&self.store) as u64
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length as usize];
        let memory = self.kernel.memory;
        memory.read(&self.store, offset as usize, &mut bytes).map_err(error)?;
        Ok(bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let memory = self.kernel.memory;
        memory.write(&mut self.store, offset as usize, bytes).map_err(error)
    }

    fn grow(&mut self, pages: u32) -> Result<(), Error> {
        let memory = self.kernel.memory;
        memory.grow(&mut self.store, pages.into()).map_err(error)?;
        Ok(())
    }

    fn exports(&mut self) -> Vec<String> {
        let exports = self.kernel.instance.exports(&mut self.store);
        exports.map(|export| export.name().to_owned()).collect()
    }

    fn set_context(&mut self) -> Result<(), Error> {
        let global = self.kernel.context.ok_or("no global")?;
        global.set(&mut self.store, Val::ExternRef(Ref::Val(self.context))).map_err(error)
    }

    fn context(&mut self) -> Context {
        let Some(global) = self.kernel.context else {
            return Context::Absent;
        };
        match global.get(&self.store) {
            Val::ExternRef(Ref::Null) => Context::Null,
            Val::ExternRef(Ref::Val(found)) => {
                let (found, ours) = (found.data(&self.store), self.context.data(&self.store));
                if std::ptr::addr_eq(found, ours) { Context::Ours } else { Context::Other }
            }
            _ => Context::Other,
        }
    }
}
