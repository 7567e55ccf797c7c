use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use extism_convert::{FromBytes, MemoryHandle, ToBytes};
use extism_manifest::Manifest;
use uuid::Uuid;
use wasmtime::Caller;

use crate::{
    Error, Val,
    kernel::{Kernel, Span},
    state::State,
};

/// The plugin that is calling a host function: the way from there to the kernel's memory.
///
/// Bytes travel as handles of blocks: an argument is a handle, and belongs to the plugin unless its documentation says
/// otherwise; a result is the handle of a new block, which belongs to the plugin then.
///
/// Handles come from the plugin, so any number may arrive as one; each method says what it does then. Each can also fail
/// because the call's time or fuel is used up.
pub struct CurrentPlugin<'p> {
    pub(crate) caller: Caller<'p, State>,
    /// Taken from the store when it is first asked for, as each time costs two atomics.
    kernel: Option<Arc<Kernel>>,
    /// Whether a built-in function was called by its name from before 1.0: what it gets stays the plugin's then.
    pub(crate) by_old_name: bool,
}

fn span(handle: MemoryHandle) -> Span {
    Span {
        offset: handle.offset,
        length: handle.length,
    }
}

impl<'p> CurrentPlugin<'p> {
    pub(crate) fn new(caller: Caller<'p, State>) -> Self {
        Self {
            caller,
            kernel: None,
            by_old_name: false,
        }
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// The kernel, and the store that its functions need. Nothing of a plugin runs before its kernel is there, so the error is
    /// one of this crate.
    pub(crate) fn kernel(&mut self) -> Result<(&Kernel, &mut Caller<'p, State>), Error> {
        let Self { caller, kernel, .. } = self;
        if kernel.is_none() {
            kernel.clone_from(&caller.data().kernel);
        }
        let kernel = kernel.as_ref().context("the plugin has no kernel yet")?;
        Ok((kernel, caller))
    }

    /// The plugin's id.
    pub fn id(&self) -> Uuid {
        self.caller.data().lasting.id
    }

    /// The block at this handle, with its length. The empty block for 0; `None` for anything that isn't the handle of a
    /// live block.
    pub fn memory_handle(&mut self, handle: u64) -> Option<MemoryHandle> {
        if handle == 0 {
            return Some(MemoryHandle::null());
        }
        let length = self.memory_length(handle).unwrap_or(0);
        (length != 0).then_some(MemoryHandle {
            offset: handle,
            length,
        })
    }

    /// The block's bytes as text. An error if they aren't UTF-8 or not in the memory.
    pub fn memory_str(&mut self, handle: MemoryHandle) -> Result<&str, Error> {
        Ok(std::str::from_utf8(self.memory_bytes(handle)?)?)
    }

    /// The block's bytes as text, to be changed. An error if they aren't UTF-8 or not in the memory.
    pub fn memory_str_mut(&mut self, handle: MemoryHandle) -> Result<&mut str, Error> {
        Ok(std::str::from_utf8_mut(self.memory_bytes_mut(handle)?)?)
    }

    /// The block's bytes. An error if they aren't in the memory.
    pub fn memory_bytes(&mut self, handle: MemoryHandle) -> Result<&[u8], Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.bytes(&*caller, span(handle))
    }

    /// The block's bytes, to be changed. An error if they aren't in the memory.
    pub fn memory_bytes_mut(&mut self, handle: MemoryHandle) -> Result<&mut [u8], Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.bytes_mut(caller, span(handle))
    }

    /// A new block with what the value encodes to; no bytes give the empty block, whose handle is 0. An error if the
    /// kernel has no room for them.
    pub fn memory_new<'a, T: ToBytes<'a>>(&mut self, value: T) -> Result<MemoryHandle, Error> {
        let bytes = value.to_bytes()?;
        let bytes = bytes.as_ref();
        let (kernel, caller) = self.kernel()?;
        let offset = kernel.alloc_bytes(caller, bytes)?;
        Ok(MemoryHandle {
            offset,
            length: bytes.len() as u64,
        })
    }

    /// What the block's bytes decode to. An error if they don't, or aren't in the memory.
    pub fn memory_get<'a, T: FromBytes<'a>>(
        &'a mut self,
        handle: MemoryHandle,
    ) -> Result<T, Error> {
        T::from_bytes(self.memory_bytes(handle)?)
    }

    /// What the bytes of the block with this handle decode to. An error if they don't, or if the value isn't the handle of
    /// a live block.
    pub fn memory_get_val<'a, T: FromBytes<'a>>(&'a mut self, handle: &Val) -> Result<T, Error> {
        let block = self.memory_from_val(handle);
        let block = block.ok_or_else(|| anyhow!("invalid memory offset: {handle:?}"))?;
        self.memory_get(block)
    }

    /// Makes `result` the handle of a new block with what the value encodes to. An error if the kernel has no room for it.
    pub fn memory_set_val<'a, T: ToBytes<'a>>(
        &mut self,
        result: &mut Val,
        value: T,
    ) -> Result<(), Error> {
        let block = self.memory_new(value)?;
        *result = self.memory_to_val(block);
        Ok(())
    }

    /// The block with this handle. `None` if the value isn't the handle of a live block.
    pub fn memory_from_val(&mut self, handle: &Val) -> Option<MemoryHandle> {
        self.memory_handle(handle.i64()? as u64)
    }

    /// The block's handle as a value.
    pub fn memory_to_val(&self, handle: MemoryHandle) -> Val {
        Val::I64(handle.offset as i64)
    }

    /// A new block of `length` bytes, the empty block for 0. An error if the kernel has no room for it.
    pub fn memory_alloc(&mut self, length: u64) -> Result<MemoryHandle, Error> {
        if length == 0 {
            return Ok(MemoryHandle::null());
        }
        let (kernel, caller) = self.kernel()?;
        let offset = kernel.alloc(caller, length)?;
        if offset == 0 {
            return Err(crate::CallError::NoRoomForInput.into());
        }
        Ok(MemoryHandle { offset, length })
    }

    /// Gives a block back. Does nothing if it isn't live.
    pub fn memory_free(&mut self, handle: MemoryHandle) -> Result<(), Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.free(caller, handle.offset)
    }

    /// How long the block at this handle is, in bytes; 0 if it isn't the handle of a live block.
    pub fn memory_length(&mut self, handle: u64) -> Result<u64, Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.length(caller, handle)
    }

    /// The same as [`memory_length`](Self::memory_length), which is as fast on this kernel.
    pub fn memory_length_unsafe(&mut self, handle: u64) -> Result<u64, Error> {
        self.memory_length(handle)
    }

    /// The address of the kernel's memory in this process, until a block is allocated, by whomever.
    pub fn memory_base(&mut self) -> Result<*mut u8, Error> {
        let (kernel, caller) = self.kernel()?;
        Ok(kernel.memory.data_ptr(caller))
    }

    /// What was given to this call as its context: by
    /// [`Plugin::call_with_host_context`](crate::Plugin::call_with_host_context), under the very type that it had there. An
    /// error if that was nothing, or another type.
    pub fn host_context<T: 'static>(&mut self) -> Result<&mut T, Error> {
        let context = self.state().host_context.as_mut();
        let context = context.and_then(|context| context.downcast_mut());
        context.context("this call has no host context of the expected type")
    }

    /// The plugin's variables.
    pub fn vars(&self) -> &BTreeMap<String, Vec<u8>> {
        self.caller.data().lasting.vars.values()
    }

    /// The plugin's variables, to be changed. The plugin can't add to them while they take more than `max_var_bytes`.
    pub fn vars_mut(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        self.state().lasting.vars.values_mut()
    }

    /// The plugin's manifest as it was loaded, without its modules.
    pub fn manifest(&self) -> &Manifest {
        &self.caller.data().compiled.manifest
    }

    /// How long the call may still take. `None` if there is no limit.
    pub fn time_remaining(&self) -> Option<Duration> {
        let deadline = self.caller.data().deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Makes the call succeed although the plugin has set an error, unless it sets one again.
    pub fn clear_error(&mut self) -> Result<(), Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.set_error(caller, "")
    }

    /// Makes this text the call's error, as if the plugin had set it.
    pub fn set_error(&mut self, text: impl AsRef<str>) -> Result<(), Error> {
        let (kernel, caller) = self.kernel()?;
        kernel.set_error(caller, text.as_ref())
    }
}
