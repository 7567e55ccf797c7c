//! The host context: a value that the embedder hands to one call, and that reaches host functions through
//! the kernel's global `extism_context`.

use std::any::Any;

use wasmtime::{
    AsContextMut, ExternRef, Global, OwnedRooted, RootScope, Rooted, Store, StoreContextMut, Val,
};

use crate::state::State;

/// What an embedder may pass: anything that can be handed from thread to thread.
pub(crate) type Value = Box<dyn Any + Send + Sync>;

/// What the external reference refers to. The value is taken out when its call is over, so it is dropped
/// then and not when some garbage collector finds the time.
struct Slot(Option<Value>);

/// The one external reference that a plugin's contexts travel in, call after call.
pub(crate) struct HostContext {
    global: Global,
    slot: OwnedRooted<ExternRef>,
}

impl HostContext {
    pub(crate) fn new(store: &mut Store<State>, global: Global) -> wasmtime::Result<Self> {
        let mut scope = RootScope::new(store);
        let slot = ExternRef::new(&mut scope, Slot(None))?.to_owned_rooted(&mut scope)?;
        Ok(Self { global, slot })
    }

    /// Makes `value` the context from now on; `None` makes the global null. Drops the value that was there.
    pub(crate) fn set(
        &self,
        store: &mut Store<State>,
        value: Option<Value>,
    ) -> wasmtime::Result<()> {
        let mut scope = RootScope::new(store);
        let reference = self.slot.to_rooted(&mut scope);
        self.global.set(
            &mut scope,
            Val::ExternRef(value.is_some().then_some(reference)),
        )?;
        if let Some(slot) = slot(scope.as_context_mut(), reference)? {
            slot.0 = value;
        }
        Ok(())
    }
}

/// The value that `global` refers to now. `None` if it is null, or is of another type than `T`.
pub(crate) fn get<T: Any>(
    mut store: StoreContextMut<'_, State>,
    global: Global,
) -> wasmtime::Result<Option<&mut T>> {
    let Val::ExternRef(Some(reference)) = global.get(&mut store) else {
        return Ok(None);
    };
    let value = slot(store, reference)?.and_then(|slot| slot.0.as_mut());
    Ok(value.and_then(|value| value.downcast_mut()))
}

fn slot(
    store: StoreContextMut<'_, State>,
    reference: Rooted<ExternRef>,
) -> wasmtime::Result<Option<&mut Slot>> {
    Ok(reference
        .data_mut(store)?
        .and_then(|data| data.downcast_mut()))
}
