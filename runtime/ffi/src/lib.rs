//! What the C API and the one from before 1.0 have in common: functions that are the same in both, of the same types, and what
//! both are written with. Each of them is a library of its own, with a header made of its sources and of these.
//!
//! Every function goes through [`boundary`], so no panic leaves the library; arguments come in by the functions of this
//! module, which turn what C can pass into what Rust can hold:
//!
//! | argument | taken as | null is |
//! |---|---|---|
//! | a thing of this library | `Option<&T>`, by [`borrow`] | `None`: the function answers false, 0, -1 or NULL |
//! | bytes | a slice, by [`bytes`] | empty if the length is 0, else an error |
//! | a text | `&str`, by [`text`] | an error |
//! | a truth value | [`CBool`]: any byte but 0 is true | |

use std::{
    borrow::Cow,
    ffi::{CStr, CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    slice,
};

use extism_core::Error;

pub mod cancel;
pub mod current_plugin;
pub mod exclusive;
pub mod function;
pub mod log;

/// A number of bytes or of things.
pub type ExtismSize = u64;

/// A `bool` that C passes. Some callers fill more of the register than one byte, or the byte with something else than 1.
pub type CBool = u8;

/// A `bool` for C. Some callers read 32 bits of the register, so all of them have to be set.
pub type CBoolResult = u32;

/// Runs a function of the API; if it panics the answer is `otherwise`.
pub fn boundary<R>(otherwise: R, run: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(otherwise)
}

/// A thing that this library made, borrowed for one call of the API.
///
/// # Safety
///
/// The pointer is null or from this library's function that makes such things, and nobody frees the thing meanwhile.
pub unsafe fn borrow<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: by this function's contract.
    unsafe { pointer.as_ref() }
}

/// Takes back a thing that this library gave away as a pointer.
///
/// # Safety
///
/// The pointer is null or from [`Box::into_raw`], and is used by nobody from now on.
pub unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: by this function's contract.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Things of C in a row. None if the pointer is null, whatever the length says; an error if so many can't be, or not at such
/// an address.
///
/// # Safety
///
/// The pointer is null, or leads to `length` values, which nobody changes while the slice is in use.
pub unsafe fn list<'a, T>(pointer: *const T, length: ExtismSize) -> Result<&'a [T], Error> {
    if pointer.is_null() || length == 0 {
        return Ok(&[]);
    }
    let length = usize::try_from(length).ok();
    let fits = |length: &usize| {
        length
            .checked_mul(size_of::<T>())
            .is_some_and(|size| size <= isize::MAX as usize)
    };
    let length = length
        .filter(fits)
        .ok_or_else(|| Error::msg("a length is larger than any memory"))?;
    if !pointer.is_aligned() {
        return Err(Error::msg("a list lies at an address that none can have"));
    }
    // SAFETY: not null, aligned, of a size that can be, and otherwise by this function's contract.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// The same for bytes, where a null pointer has no bytes, not any number of them.
///
/// # Safety
///
/// As for [`list`].
pub unsafe fn bytes<'a>(pointer: *const u8, length: ExtismSize) -> Result<&'a [u8], Error> {
    if pointer.is_null() && length != 0 {
        return Err(Error::msg(format!(
            "{length} bytes were given as a null pointer"
        )));
    }
    // SAFETY: by this function's contract.
    unsafe { list(pointer, length) }
}

/// A text that ends with a NUL. An error if there is none, or if it isn't UTF-8.
///
/// # Safety
///
/// The pointer is null, or leads to bytes up to a NUL, which nobody changes while the text is in use.
pub unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(Error::msg("a text was given as a null pointer"));
    }
    // SAFETY: not null, and otherwise by this function's contract.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_str()?)
}

/// A text for C, up to its first NUL.
pub fn c_text(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

/// An input, copied if it is a part of the plugin's last output: the plugin's memory is made as new before the input is read.
pub fn apart_from<'a>(output: &[u8], input: &'a [u8]) -> Cow<'a, [u8]> {
    match output.as_ptr_range().contains(&input.as_ptr()) {
        true => input.to_vec().into(),
        false => input.into(),
    }
}

/// Where an output begins: never NULL, also if it is empty.
pub fn start_of(output: &[u8]) -> *const u8 {
    match output {
        [] => NonNull::<u8>::dangling().as_ptr().cast_const(),
        output => output.as_ptr(),
    }
}
