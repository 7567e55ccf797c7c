//! The kernel as its host sees it: typed exports, and copies in and out of its memory that are checked.
//!
//! A plugin can pass any number as a handle and any range as its output, so nothing here reads memory by a number from a
//! plugin without a check.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use extism_kernel_linker::{BEGIN, END};
use wasmtime::{
    AsContextMut, Func, Instance, InstancePre, Memory, Module, ModuleExport, Store, TypedFunc,
    WasmParams, WasmResults,
};

use crate::{CallError, Error, limits::PAGE, state::State};

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
            initial_pages: u64,
            memory: ModuleExport,
            around: Option<[ModuleExport; 2]>,
            $($name: ModuleExport,)*
        }

        /// An instance of the kernel: its memory, and its exports that the host calls. Handles, offsets and lengths are
        /// `u64`; 0 stands for "none".
        pub(crate) struct Kernel {
            pub(crate) memory: Memory,
            around: Option<Around>,
            $($name: TypedFunc<$params, $results>,)*
        }

        impl Found {
            fn new(module: &Module, prefix: &str) -> Result<Self, Error> {
                let find = |name| {
                    let export = module.get_export_index(&format!("{prefix}{name}"));
                    export.with_context(|| format!("the kernel exports no {name}"))
                };
                let around = [BEGIN, END].map(|name| module.get_export_index(name));
                let memory = module.get_export(&format!("{prefix}memory"));
                let memory = memory.and_then(|memory| memory.memory().cloned());
                Ok(Self {
                    initial_pages: memory.context("the kernel exports no memory")?.minimum(),
                    memory: find("memory")?,
                    around: if let [Some(begin), Some(end)] = around { Some([begin, end]) } else { None },
                    $($name: find(stringify!($name))?,)*
                })
            }
        }

        impl Kernel {
            fn new(mut store: impl AsContextMut, instance: &Instance, found: &Found) -> Result<Self, Error> {
                let memory = instance.get_module_export(&mut store, &found.memory);
                Ok(Self {
                    memory: memory.and_then(|memory| memory.into_memory()).context("it exports no memory")?,
                    around: match &found.around {
                        Some([begin, end]) => Some(Around {
                            begin: typed(&mut store, instance, begin)?,
                            end: typed(&mut store, instance, end)?,
                        }),
                        None => None,
                    },
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

/// What a linked module has for what its host does before and after a call.
struct Around {
    begin: TypedFunc<u64, u64>,
    end: TypedFunc<(), (u64, u64, u64, u64)>,
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

/// A module that has the kernel's exports, before it is instantiated: every plugin gets an instance of its own.
pub(crate) struct KernelModule {
    pre: InstancePre<State>,
    found: Found,
}

impl KernelModule {
    /// The names of the kernel's exports begin with `prefix`.
    pub(crate) fn new(pre: InstancePre<State>, prefix: &str) -> Result<Self, Error> {
        let found = Found::new(pre.module(), prefix)?;
        Ok(Self { pre, found })
    }

    pub(crate) fn module(&self) -> &Module {
        self.pre.module()
    }

    /// What the kernel's memory starts with.
    pub(crate) fn initial_bytes(&self) -> usize {
        self.found.initial_pages as usize * PAGE
    }

    /// An instance, whose kernel becomes the store's.
    pub(crate) fn instantiate(&self, store: &mut Store<State>) -> Result<Instance, Error> {
        let instance = self.pre.instantiate(&mut *store)?;
        let kernel = Kernel::new(&mut *store, &instance, &self.found)?;
        store.data_mut().kernel = Some(Arc::new(kernel));
        Ok(instance)
    }
}

impl Kernel {
    /// Makes the kernel as new: no blocks, no input, no output, no error.
    pub(crate) fn reset(&self, mut store: impl AsContextMut) -> Result<(), Error> {
        // Before `reset`, as some kernels keep the block of an error that is still set.
        self.error_set.call(&mut store, 0)?;
        Ok(self.reset.call(&mut store, ())?)
    }

    /// Makes the kernel as new, and hands it the input.
    pub(crate) fn begin(&self, mut store: impl AsContextMut, input: &[u8]) -> Result<(), Error> {
        let length = input.len() as u64;
        let Some(around) = &self.around else {
            self.reset(&mut store)?;
            let handle = self.alloc_bytes(&mut store, input)?;
            return Ok(self.input_set.call(&mut store, (handle, length))?);
        };
        let handle = around.begin.call(&mut store, length)?;
        self.fill(store, handle, input)
    }

    /// What a call has left: the range of its output, and that of its error. Both are empty if there is none, and neither has been checked.
    pub(crate) fn end(&self, mut store: impl AsContextMut) -> Result<(Span, Span), Error> {
        let (output, error) = match &self.around {
            Some(around) => {
                let (output, length, error, error_length) = around.end.call(&mut store, ())?;
                ((output, length), (error, error_length))
            }
            None => {
                let output = self.output_offset.call(&mut store, ())?;
                let length = self.output_length.call(&mut store, ())?;
                let error = self.error_get.call(&mut store, ())?;
                ((output, length), (error, self.length(&mut store, error)?))
            }
        };
        let span = |(offset, length)| Span { offset, length };
        Ok((span(output), span(error)))
    }

    /// The text in a range. `None` if that is empty. Bytes that are no UTF-8 are replaced.
    pub(crate) fn text<'a, T: 'static>(
        &self,
        store: impl Into<wasmtime::StoreContext<'a, T>>,
        span: Span,
    ) -> Result<Option<String>, Error> {
        if span.length == 0 {
            return Ok(None);
        }
        let text = self.bytes(store, span)?;
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
        let handle = self.alloc(&mut store, bytes.len() as u64)?;
        self.fill(store, handle, bytes)?;
        Ok(handle)
    }

    /// Writes into a new block; handle 0 says that there was no room for it.
    fn fill(&self, mut store: impl AsContextMut, handle: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if handle == 0 {
            return Err(CallError::NoRoomForInput.into());
        }
        let span = Span {
            offset: handle,
            length: bytes.len() as u64,
        };
        self.bytes_mut(&mut store, span)?.copy_from_slice(bytes);
        Ok(())
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
