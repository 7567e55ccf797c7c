//! The kernel as its host sees it: typed exports, and copies in and out of its memory that are checked.

use wasmtime::{
    AsContext, AsContextMut, Extern, Func, FuncType, Global, Instance, Linker, Memory, Module,
    Store, TypedFunc, WasmParams, WasmResults,
};

use crate::{Error, state::State};

/// The module name under which plugins import the kernel's exports and the functions of every host.
pub(crate) const NAMESPACE: &str = "extism:host/env";

/// The exports that a host uses itself. Handles and lengths are `u64`, 0 stands for "none".
#[derive(Clone)]
pub(crate) struct Kernel {
    instance: Instance,
    memory: Memory,
    /// Absent from kernels for engines without reference types.
    pub(crate) context: Option<Global>,
    alloc: TypedFunc<u64, u64>,
    free: TypedFunc<u64, ()>,
    length: TypedFunc<u64, u64>,
    reset: TypedFunc<(), ()>,
    input_set: TypedFunc<(u64, u64), ()>,
    output_offset: TypedFunc<(), u64>,
    output_length: TypedFunc<(), u64>,
    error_set: TypedFunc<u64, ()>,
    error_get: TypedFunc<(), u64>,
}

impl Kernel {
    /// Every plugin gets an instance of its own: one memory, shared by this host and this plugin only.
    pub(crate) fn instantiate(store: &mut Store<State>, module: &Module) -> wasmtime::Result<Self> {
        let instance = Instance::new(&mut *store, module, &[])?;
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("it exports no memory"))?;
        Ok(Self {
            instance,
            memory,
            context: instance.get_global(&mut *store, "extism_context"),
            alloc: export(store, &instance, "alloc")?,
            free: export(store, &instance, "free")?,
            length: export(store, &instance, "length")?,
            reset: export(store, &instance, "reset")?,
            input_set: export(store, &instance, "input_set")?,
            output_offset: export(store, &instance, "output_offset")?,
            output_length: export(store, &instance, "output_length")?,
            error_set: export(store, &instance, "error_set")?,
            error_get: export(store, &instance, "error_get")?,
        })
    }

    /// Gives the plugin all exports of the kernel, if `count` through wrappers that count the calls.
    pub(crate) fn link(
        &self,
        store: &mut Store<State>,
        linker: &mut Linker<State>,
        count: bool,
    ) -> wasmtime::Result<()> {
        let exports: Vec<(String, Extern)> = self
            .instance
            .exports(&mut *store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        for (name, export) in exports {
            match export {
                Extern::Func(function) if count => {
                    let ty = function.ty(&*store);
                    link_counted(linker, name, ty, function)?;
                }
                export => {
                    linker.define(&*store, NAMESPACE, &name, export)?;
                }
            }
        }
        Ok(())
    }

    /// The start of a call: makes the kernel as new and hands it the input.
    pub(crate) fn begin_call(
        &self,
        mut store: impl AsContextMut,
        input: &[u8],
    ) -> Result<(), Error> {
        // Before `reset`, as some kernels keep the block of an error that is still set.
        self.error_set.call(&mut store, 0)?;
        self.reset.call(&mut store, ())?;
        let handle = self.alloc_bytes(&mut store, input)?;
        self.input_set
            .call(&mut store, (handle, input.len() as u64))?;
        Ok(())
    }

    /// What the plugin made its output. Empty if it set none.
    pub(crate) fn output(&self, mut store: impl AsContextMut) -> Result<Vec<u8>, Error> {
        let offset = self.output_offset.call(&mut store, ())?;
        let length = self.output_length.call(&mut store, ())?;
        self.read_range(&store, offset, length)
    }

    /// The error that the plugin set, if any. Bytes that are no UTF-8 are replaced.
    pub(crate) fn error(&self, mut store: impl AsContextMut) -> Result<Option<String>, Error> {
        let handle = self.error_get.call(&mut store, ())?;
        if handle == 0 {
            return Ok(None);
        }
        let length = self.length.call(&mut store, handle)?;
        if length == 0 {
            return Ok(None);
        }
        let text = self.read_range(&store, handle, length)?;
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// The bytes of the block at `handle`. The handle 0 is what `alloc(0)` gives, so it stands for no bytes;
    /// any other handle that isn't a live block's is an error.
    pub(crate) fn read(&self, mut store: impl AsContextMut, handle: u64) -> Result<Vec<u8>, Error> {
        if handle == 0 {
            return Ok(Vec::new());
        }
        match self.length.call(&mut store, handle)? {
            0 => Err(Error::call(format!(
                "{handle} is not the handle of a block"
            ))),
            length => self.read_range(&store, handle, length),
        }
    }

    /// A new block with these bytes; no bytes need no block, their handle is 0. An error if the kernel has
    /// no room for them.
    pub(crate) fn alloc_bytes(
        &self,
        mut store: impl AsContextMut,
        bytes: &[u8],
    ) -> Result<u64, Error> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let no_room = || Error::call(format!("the kernel has no room for {} bytes", bytes.len()));
        let handle = match self.alloc.call(&mut store, bytes.len() as u64)? {
            0 => return Err(no_room()),
            handle => handle,
        };
        let offset = usize::try_from(handle).map_err(|_| no_room())?;
        self.memory
            .write(&mut store, offset, bytes)
            .map_err(|_| no_room())?;
        Ok(handle)
    }

    /// Gives a block back. Does nothing for a number that isn't a live block's handle.
    pub(crate) fn free(&self, mut store: impl AsContextMut, handle: u64) -> Result<(), Error> {
        Ok(self.free.call(&mut store, handle)?)
    }

    pub(crate) fn pages(&self, store: impl AsContext) -> u64 {
        self.memory.size(store)
    }

    fn read_range(
        &self,
        store: impl AsContext,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, Error> {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            self.memory.data(&store).get(start..end)
        };
        range().map(<[u8]>::to_vec).ok_or_else(|| {
            Error::call(format!(
                "{length} bytes at {offset} are not in the kernel's memory"
            ))
        })
    }
}

fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    instance: &Instance,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>> {
    instance.get_typed_func(store, name)
}

fn link_counted(
    linker: &mut Linker<State>,
    name: String,
    ty: FuncType,
    function: Func,
) -> wasmtime::Result<()> {
    let key = name.clone();
    linker.func_new(NAMESPACE, &name, ty, move |mut caller, args, results| {
        *caller
            .data_mut()
            .kernel_calls
            .entry(key.clone())
            .or_default() += 1;
        function.call(&mut caller, args, results)
    })?;
    Ok(())
}
