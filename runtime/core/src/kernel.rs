//! The kernel as its host sees it: typed exports, and copies in and out of its memory that are checked.
//!
//! A plugin can pass any number as a handle and any range as its output, so nothing here reads memory by a number from a
//! plugin without a check.

use anyhow::{Context, anyhow};
use wasmtime::{
    AsContextMut, Func, Instance, InstancePre, Linker, Memory, Module, ModuleExport, TypedFunc,
    WasmParams, WasmResults,
};

use crate::{
    CallError, Error,
    compiled::{KernelImport, kernel_imports},
    state::State,
};

/// Where something lies in the kernel's memory: the offset of its first byte, and how many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Says what the host uses of the kernel: each export once, for finding it in the module, and in an instance.
macro_rules! exports {
    ($($name:ident: $params:ty => $results:ty;)*) => {
        struct Found {
            memory: ModuleExport,
            $($name: ModuleExport,)*
        }

        /// An instance of the kernel: its memory, and its exports that the host calls. Handles, offsets and lengths are
        /// `u64`; 0 stands for "none".
        #[derive(Clone)]
        pub(crate) struct Kernel {
            pub(crate) memory: Memory,
            $($name: TypedFunc<$params, $results>,)*
        }

        impl Found {
            fn new(module: &Module) -> Result<Self, Error> {
                Ok(Self {
                    memory: find(module, "memory")?,
                    $($name: find(module, stringify!($name))?,)*
                })
            }
        }

        impl Kernel {
            fn new(mut store: impl AsContextMut, instance: &Instance, found: &Found) -> Result<Self, Error> {
                let memory = instance.get_module_export(&mut store, &found.memory);
                Ok(Self {
                    memory: memory.and_then(|memory| memory.into_memory()).context("it exports no memory")?,
                    $($name: typed(&mut store, instance, &found.$name)?,)*
                })
            }
        }
    };
}

exports! {
    alloc: u64 => u64;
    free: u64 => ();
    length: u64 => u64;
    reset: () => ();
    input_set: (u64, u64) => ();
    output_offset: () => u64;
    output_length: () => u64;
    error_set: u64 => ();
    error_get: () => u64;
}

fn find(module: &Module, name: &str) -> Result<ModuleExport, Error> {
    let export = module.get_export_index(name);
    export.with_context(|| format!("the kernel exports no {name}"))
}

fn function(
    mut store: impl AsContextMut,
    instance: &Instance,
    export: &ModuleExport,
) -> Option<Func> {
    instance.get_module_export(&mut store, export)?.into_func()
}

fn typed<P: WasmParams, R: WasmResults>(
    mut store: impl AsContextMut,
    instance: &Instance,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>, Error> {
    let function = function(&mut store, instance, export).context("the kernel lacks a function")?;
    Ok(function.typed(&store)?)
}

/// The kernel before it is instantiated: every plugin gets an instance of its own.
pub(crate) struct KernelModule {
    pre: InstancePre<State>,
    found: Found,
    /// What plugins can import of it.
    pub(crate) imports: Vec<KernelImport>,
}

impl KernelModule {
    pub(crate) fn new(module: &Module) -> Result<Self, Error> {
        Ok(Self {
            pre: Linker::new(module.engine()).instantiate_pre(module)?,
            found: Found::new(module)?,
            imports: kernel_imports(module),
        })
    }

    pub(crate) fn module(&self) -> &Module {
        self.pre.module()
    }

    pub(crate) fn instantiate(
        &self,
        mut store: impl AsContextMut<Data = State>,
    ) -> Result<(Kernel, Instance), Error> {
        let instance = self.pre.instantiate(&mut store)?;
        let kernel = Kernel::new(&mut store, &instance, &self.found)?;
        Ok((kernel, instance))
    }
}

impl Kernel {
    /// Makes the kernel as new: no blocks, no input, no output, no error.
    pub(crate) fn reset(&self, mut store: impl AsContextMut) -> Result<(), Error> {
        // Before `reset`, as some kernels keep the block of an error that is still set.
        self.error_set.call(&mut store, 0)?;
        Ok(self.reset.call(&mut store, ())?)
    }

    /// Hands the input to a kernel that is as new.
    pub(crate) fn set_input(
        &self,
        mut store: impl AsContextMut,
        input: &[u8],
    ) -> Result<(), Error> {
        let handle = self.alloc_bytes(&mut store, input)?;
        let length = input.len() as u64;
        Ok(self.input_set.call(&mut store, (handle, length))?)
    }

    /// What the plugin made its output, if that lies in the memory. Empty if it set none.
    pub(crate) fn output(&self, mut store: impl AsContextMut) -> Result<Span, Error> {
        let span = Span {
            offset: self.output_offset.call(&mut store, ())?,
            length: self.output_length.call(&mut store, ())?,
        };
        self.bytes(&store, span).map(|_| span)
    }

    /// The error that the plugin set, if any. Bytes that are no UTF-8 are replaced.
    pub(crate) fn error(&self, mut store: impl AsContextMut) -> Result<Option<String>, Error> {
        let offset = self.error_get.call(&mut store, ())?;
        if offset == 0 {
            return Ok(None);
        }
        let length = self.length.call(&mut store, offset)?;
        if length == 0 {
            return Ok(None);
        }
        let text = self.bytes(&store, Span { offset, length })?;
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    /// Makes a text the call's error, as the plugin itself does.
    pub(crate) fn set_error(&self, mut store: impl AsContextMut, text: &str) -> Result<(), Error> {
        let handle = self.alloc_bytes(&mut store, text.as_bytes())?;
        Ok(self.error_set.call(&mut store, handle)?)
    }

    /// How long the block at this handle is, in bytes. 0 if it isn't the handle of a live block.
    pub(crate) fn length(&self, mut store: impl AsContextMut, handle: u64) -> Result<u64, Error> {
        if handle == 0 {
            return Ok(0);
        }
        Ok(self.length.call(&mut store, handle)?)
    }

    /// A new block of `length` bytes, or 0 if it can't be had.
    pub(crate) fn alloc(&self, mut store: impl AsContextMut, length: u64) -> Result<u64, Error> {
        Ok(self.alloc.call(&mut store, length)?)
    }

    /// A new block with these bytes; no bytes need no block, their handle is 0. An error if the kernel has no room for them.
    pub(crate) fn alloc_bytes(
        &self,
        mut store: impl AsContextMut,
        bytes: &[u8],
    ) -> Result<u64, Error> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let handle = match self.alloc.call(&mut store, bytes.len() as u64)? {
            0 => return Err(CallError::NoRoomForInput.into()),
            handle => handle,
        };
        let span = Span {
            offset: handle,
            length: bytes.len() as u64,
        };
        self.bytes_mut(&mut store, span)?.copy_from_slice(bytes);
        Ok(handle)
    }

    /// Gives a block back. Does nothing for a number that isn't a live block's handle.
    pub(crate) fn free(&self, mut store: impl AsContextMut, handle: u64) -> Result<(), Error> {
        if handle == 0 {
            return Ok(());
        }
        Ok(self.free.call(&mut store, handle)?)
    }

    /// The bytes there; an error if not all of them are in the memory.
    pub(crate) fn bytes<'a, T: 'static>(
        &self,
        store: impl Into<wasmtime::StoreContext<'a, T>>,
        span: Span,
    ) -> Result<&'a [u8], Error> {
        let range = span.range()?;
        let bytes = self.memory.data(store).get(range);
        bytes.ok_or_else(|| span.outside())
    }

    /// The same, to write to.
    pub(crate) fn bytes_mut<'a, T: 'static>(
        &self,
        store: impl Into<wasmtime::StoreContextMut<'a, T>>,
        span: Span,
    ) -> Result<&'a mut [u8], Error> {
        let range = span.range()?;
        let bytes = self.memory.data_mut(store).get_mut(range);
        bytes.ok_or_else(|| span.outside())
    }
}

impl Span {
    fn range(self) -> Result<std::ops::Range<usize>, Error> {
        let start = usize::try_from(self.offset).map_err(|_| self.outside())?;
        let length = usize::try_from(self.length).map_err(|_| self.outside())?;
        let end = start.checked_add(length).ok_or_else(|| self.outside())?;
        Ok(start..end)
    }

    fn outside(self) -> Error {
        let Self { offset, length } = self;
        anyhow!("{length} bytes at {offset} are not in the kernel's memory")
    }
}
