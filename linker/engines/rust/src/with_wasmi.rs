//! wasmi.

use crate::{PREFIX, Plugin};
use wasmi::{Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

/// A plugin beside a kernel, or in one module with it.
pub fn open(module: &[u8], plugin: &[u8]) -> Box<dyn Plugin> {
    let config = Config::default();
    let engine = Engine::new(&config);
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    if module.get_export("extism:kernel/begin").is_some() {
        return Box::new(open_linked(store, &module));
    }
    let kernel = Instance::new(&mut store, &module, &[]).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .instance(&mut store, "extism:host/env", kernel)
        .unwrap();
    let plugin = Module::new(&engine, plugin).unwrap();
    let instance = linker.instantiate_and_start(&mut store, &plugin).unwrap();
    Box::new(Usual {
        memory: kernel.get_memory(&store, "memory").unwrap(),
        error_set: kernel.get_typed_func(&store, "error_set").unwrap(),
        reset: kernel.get_typed_func(&store, "reset").unwrap(),
        alloc: kernel.get_typed_func(&store, "alloc").unwrap(),
        length: kernel.get_typed_func(&store, "length").unwrap(),
        input_set: kernel.get_typed_func(&store, "input_set").unwrap(),
        get: ["output_offset", "output_length", "error_get"]
            .map(|name| kernel.get_typed_func(&store, name).unwrap()),
        echo: instance.get_typed_func(&store, "echo").unwrap(),
        store,
    })
}

struct Usual {
    store: Store<()>,
    memory: Memory,
    error_set: TypedFunc<u64, ()>,
    reset: TypedFunc<(), ()>,
    alloc: TypedFunc<u64, u64>,
    length: TypedFunc<u64, u64>,
    input_set: TypedFunc<(u64, u64), ()>,
    get: [TypedFunc<(), u64>; 3],
    echo: TypedFunc<(), i32>,
}

impl Plugin for Usual {
    fn call(&mut self, input: &[u8]) -> Vec<u8> {
        let store = &mut self.store;
        self.error_set.call(&mut *store, 0).unwrap();
        self.reset.call(&mut *store, ()).unwrap();
        let handle = self.alloc.call(&mut *store, input.len() as u64).unwrap();
        self.memory
            .write(&mut *store, handle as usize, input)
            .unwrap();
        self.input_set
            .call(&mut *store, (handle, input.len() as u64))
            .unwrap();
        assert_eq!(self.echo.call(&mut *store, ()).unwrap(), 0);
        let [offset, length, error] = self
            .get
            .each_ref()
            .map(|get| get.call(&mut *store, ()).unwrap());
        assert_eq!(self.length.call(&mut *store, error).unwrap(), 0);
        self.memory.data(&store)[offset as usize..][..length as usize].to_vec()
    }
}

// README: begin
fn open_linked(mut store: Store<()>, module: &Module) -> Linked {
    // Your own functions go into this linker: the kernel's are in the module.
    let linker = Linker::new(store.engine());
    let instance = linker.instantiate_and_start(&mut store, module).unwrap();
    Linked {
        memory: instance
            .get_memory(&store, &format!("{PREFIX}memory"))
            .unwrap(),
        begin: instance
            .get_typed_func(&store, &format!("{PREFIX}begin"))
            .unwrap(),
        end: instance
            .get_typed_func(&store, &format!("{PREFIX}end"))
            .unwrap(),
        echo: instance.get_typed_func(&store, "echo").unwrap(),
        store,
    }
}

struct Linked {
    store: Store<()>,
    memory: Memory,
    begin: TypedFunc<u64, u64>,
    end: TypedFunc<(), (u64, u64, u64, u64)>,
    echo: TypedFunc<(), i32>,
}

impl Plugin for Linked {
    fn call(&mut self, input: &[u8]) -> Vec<u8> {
        let store = &mut self.store;
        let handle = self.begin.call(&mut *store, input.len() as u64).unwrap();
        self.memory
            .write(&mut *store, handle as usize, input)
            .unwrap();
        assert_eq!(self.echo.call(&mut *store, ()).unwrap(), 0);
        let (offset, length, _, error_length) = self.end.call(&mut *store, ()).unwrap();
        assert_eq!(error_length, 0);
        self.memory.data(&store)[offset as usize..][..length as usize].to_vec()
    }
}
// README: end
