//! What one thread at a time may use, and may know that it does.

use std::{
    ops::{Deref, DerefMut},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Something that one thread at a time may use, and may know that it does.
pub struct Exclusive<T> {
    value: Mutex<T>,
    /// Which thread uses it, by [`this_thread`]; 0 for none.
    user: AtomicUsize,
}

/// A number for this thread, other than those of all others and than 0: an address that is its own.
fn this_thread() -> usize {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| ptr::from_ref(place).addr())
}

impl<T> Exclusive<T> {
    /// Nobody uses it yet.
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            user: AtomicUsize::new(0),
        }
    }

    /// Whether this thread uses it already. Nobody else can make it so, or end it.
    pub fn is_mine(&self) -> bool {
        self.user.load(Ordering::Relaxed) == this_thread()
    }

    /// Waits until nobody else uses it. `None` if this thread does.
    pub fn enter(&self) -> Option<Entered<'_, T>> {
        if self.is_mine() {
            return None;
        }
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.entered(value))
    }

    /// `None` also if anybody else uses it.
    pub fn try_enter(&self) -> Option<Entered<'_, T>> {
        if self.is_mine() {
            return None;
        }
        match self.value.try_lock() {
            Ok(value) => Some(self.entered(value)),
            Err(TryLockError::Poisoned(value)) => Some(self.entered(value.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn entered<'a>(&'a self, value: MutexGuard<'a, T>) -> Entered<'a, T> {
        self.user.store(this_thread(), Ordering::Relaxed);
        Entered {
            value,
            user: &self.user,
        }
    }
}

/// The thing, in use by this thread until this is dropped.
pub struct Entered<'a, T> {
    value: MutexGuard<'a, T>,
    user: &'a AtomicUsize,
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Entered<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        self.user.store(0, Ordering::Relaxed);
    }
}
