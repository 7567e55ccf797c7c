//! Cancellation. A handle is a number and leads nowhere, so it does no harm when its plugin is gone.

use std::{
    collections::HashMap,
    ptr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use extism_core::CancelHandle;

use crate::{CBoolResult, boundary};

/// What cancels a plugin's calls.
pub struct ExtismCancelHandle {
    _opaque: (),
}

/// Cancel handles by number.
fn cancel_handles() -> MutexGuard<'static, HashMap<usize, CancelHandle>> {
    static HANDLES: OnceLock<Mutex<HashMap<usize, CancelHandle>>> = OnceLock::new();
    let handles = HANDLES.get_or_init(Mutex::default);
    handles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin's cancel handle, which is known by its number from when C asks for it until this is dropped.
pub struct Cancel {
    handle: CancelHandle,
    number: OnceLock<usize>,
}

impl Cancel {
    /// Nobody has asked for it yet.
    pub fn new(handle: CancelHandle) -> Self {
        Self {
            handle,
            number: OnceLock::new(),
        }
    }

    /// The handle for C: always the same.
    pub fn pointer(&self) -> *const ExtismCancelHandle {
        static NUMBERS: AtomicUsize = AtomicUsize::new(1);
        let number = *self.number.get_or_init(|| {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
            cancel_handles().insert(number, self.handle.clone());
            number
        });
        ptr::without_provenance(number)
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(number) = self.number.get() {
            cancel_handles().remove(number);
        }
    }
}

/// Ends the plugin's running call, as if its time were up; does nothing if none is running. False if the handle is NULL, or
/// its plugin is gone.
///
/// # Safety
///
/// None: any pointer may be passed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_cancel(handle: *const ExtismCancelHandle) -> CBoolResult {
    boundary(0, || {
        let cancel = cancel_handles().get(&handle.addr()).cloned();
        cancel.is_some_and(|cancel| cancel.cancel().is_ok()).into()
    })
}
