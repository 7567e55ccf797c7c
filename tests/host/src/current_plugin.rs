use std::any::Any;

use wasmtime::{AsContextMut, Caller};

use crate::{Error, context, kernel::Kernel, state::State};

/// The plugin that is calling a host function: the way from there to the kernel's memory.
///
/// Handles come from the plugin, so any number may arrive as one; each method says what it does then.
pub struct CurrentPlugin<'a> {
    caller: Caller<'a, State>,
    kernel: &'a Kernel,
}

impl<'a> CurrentPlugin<'a> {
    pub(crate) fn new(caller: Caller<'a, State>, kernel: &'a Kernel) -> Self {
        Self { caller, kernel }
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// A copy of the block at `handle`, exactly as long as the plugin asked for. Empty for the handle 0, as
    /// that is what an empty block has; an error if `handle` is anything else but the start of a live block.
    pub fn input_bytes(&mut self, handle: u64) -> Result<Vec<u8>, Error> {
        self.kernel.read(&mut self.caller, handle)
    }

    /// Like [`input_bytes`](Self::input_bytes), and frees the block: for arguments that the host function
    /// owns from then on, as those of `config_get`, `var_get`, `var_set`, `log_*` and `http_request`.
    pub fn take_bytes(&mut self, handle: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.input_bytes(handle)?;
        self.free(handle)?;
        Ok(bytes)
    }

    /// A new block with these bytes, for a result: it belongs to the plugin, which may free it. Returns its
    /// handle, which is 0 for no bytes; an error if the kernel's memory can't take them.
    pub fn alloc_bytes(&mut self, bytes: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.kernel.alloc_bytes(&mut self.caller, bytes.as_ref())
    }

    /// Frees the block at `handle`; does nothing if there is none. An error only if the call ran out of fuel.
    pub fn free(&mut self, handle: u64) -> Result<(), Error> {
        self.kernel.free(&mut self.caller, handle)
    }

    /// What the embedder passed to [`Plugin::call_with_context`](crate::Plugin::call_with_context). An error if
    /// it passed nothing, or something else than a `T`.
    pub fn host_context<T: Any>(&mut self) -> Result<&mut T, Error> {
        let context = match self.kernel.context {
            Some(global) => context::get(self.caller.as_context_mut(), global)?,
            None => None,
        };
        context.ok_or_else(|| Error::call("this call has no host context of the expected type"))
    }
}
