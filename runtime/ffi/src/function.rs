//! Host functions.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use extism_core::{CurrentPlugin, Error, Function, Val, ValType};

use crate::{ExtismSize, borrow, boundary, current_plugin::ExtismCurrentPlugin, list, take, text};

/// The type of a value.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtismValType {
    /// An integer of 32 bits.
    I32,
    /// An integer of 64 bits; handles of blocks are such.
    I64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
    /// A vector of 128 bits. No plugin can be made with a function that has it.
    V128,
    /// A reference to a function. No plugin can be made with a function that has it.
    FuncRef,
    /// A reference to something of the host's. No plugin can be made with a function that has it.
    ExternRef,
}

/// An `ExtismValType` as C passes it: any number.
pub type CValType = i32;

/// The types, each in the place that its number says.
const TYPES: [ValType; 7] = {
    let mut types = [ValType::I32; 7];
    types[ExtismValType::I64 as usize] = ValType::I64;
    types[ExtismValType::F32 as usize] = ValType::F32;
    types[ExtismValType::F64 as usize] = ValType::F64;
    types[ExtismValType::V128 as usize] = ValType::V128;
    types[ExtismValType::FuncRef as usize] = ValType::FuncRef;
    types[ExtismValType::ExternRef as usize] = ValType::ExternRef;
    types
};

fn known_type(number: CValType) -> Option<ValType> {
    TYPES.get(usize::try_from(number).ok()?).copied()
}

/// A value without its type.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ExtismValUnion {
    /// Of type I32.
    pub i32: i32,
    /// Of type I64.
    pub i64: i64,
    /// Of type F32.
    pub f32: f32,
    /// Of type F64.
    pub f64: f64,
}

/// A value with its type.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ExtismVal {
    /// Which of the union's fields counts.
    pub t: CValType,
    /// The value.
    pub v: ExtismValUnion,
}

impl From<Val> for ExtismVal {
    fn from(value: Val) -> Self {
        let mut v = ExtismValUnion { i64: 0 };
        let t = match value {
            Val::I32(value) => {
                v.i32 = value;
                ExtismValType::I32
            }
            Val::I64(value) => {
                v.i64 = value;
                ExtismValType::I64
            }
            Val::F32(bits) => {
                v.f32 = f32::from_bits(bits);
                ExtismValType::F32
            }
            Val::F64(bits) => {
                v.f64 = f64::from_bits(bits);
                ExtismValType::F64
            }
            Val::V128(_) => ExtismValType::V128,
            Val::FuncRef => ExtismValType::FuncRef,
            Val::ExternRef => ExtismValType::ExternRef,
        };
        Self {
            t: t as CValType,
            v,
        }
    }
}

impl ExtismVal {
    /// `None` for a type that host functions can't have, or that there isn't.
    fn value(&self) -> Option<Val> {
        let ty = known_type(self.t)?;
        // SAFETY: all fields of the union are plain numbers, for which any bits will do; all of them are set, since this
        // library set all eight bytes before it gave the value away.
        let value = unsafe {
            match ty {
                ValType::I32 => Val::from(self.v.i32),
                ValType::I64 => Val::from(self.v.i64),
                ValType::F32 => Val::from(self.v.f32),
                ValType::F64 => Val::from(self.v.f64),
                _ => return None,
            }
        };
        Some(value)
    }
}

/// A host function in C. `inputs` and `outputs` are NULL if there are none. The outputs are preset to 0, each with its type;
/// to write another type there makes the call fail. `data` is what `extism_function_new` was given.
pub type ExtismFunctionType = Option<
    unsafe extern "C" fn(
        plugin: *mut ExtismCurrentPlugin,
        inputs: *const ExtismVal,
        n_inputs: ExtismSize,
        outputs: *mut ExtismVal,
        n_outputs: ExtismSize,
        data: *mut c_void,
    ),
>;

/// What frees a host function's data.
/// See `extism_function_new`.
type FreeUserData = Option<unsafe extern "C" fn(data: *mut c_void)>;

/// A host function, for plugins that are made with it.
pub struct ExtismFunction(Mutex<Option<Function>>);

impl ExtismFunction {
    fn lock(&self) -> MutexGuard<'_, Option<Function>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function, for the one plugin that gets it. An error if one has it already.
    pub fn take(&self) -> Result<Function, Error> {
        self.lock().take().ok_or_else(|| {
            Error::msg("Function cannot be registered with multiple different Plugins")
        })
    }

    /// The function, for one of any number of plugins. `None` if it was [taken](Self::take).
    pub fn get(&self) -> Option<Function> {
        self.lock().clone()
    }
}

/// The embedder's data of a host function.
struct UserData {
    data: *mut c_void,
    free: FreeUserData,
}

// SAFETY: this library only passes the pointer on; the header says that host functions run, and the data is freed, on
// whichever thread the embedder uses the plugin.
unsafe impl Send for UserData {}
// SAFETY: the same.
unsafe impl Sync for UserData {}

impl UserData {
    fn pointer(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let (Some(free), false) = (self.free, self.data.is_null()) {
            // SAFETY: the embedder gave the function for this data, and it is called once.
            unsafe { free(self.data) }
        }
    }
}

/// No function of WebAssembly has more parameters or results.
const MAX_TYPES: ExtismSize = 1000;

/// How many values need no place on the heap. Places are set before, so more of them take longer.
const FEW: usize = 4;

/// Makes a host function. Plugins import it by `name` from `extism:host/user`, in the API from before 1.0 from `env`, unless
/// `extism_function_set_namespace` says otherwise.
///
/// A type list that is NULL is empty. Host functions run, and data is freed, on whichever thread uses the plugin. Unless it is
/// NULL, `user_data` is given to `free_user_data`, which may be NULL, once the last plugin with the function is freed; in the API
/// from before 1.0 once the function is, too.
///
/// Returns NULL if `name` or `func` is NULL, the name is not UTF-8, or a type is none. To be freed by `extism_function_free`.
///
/// # Safety
///
/// `name` is NULL or ends with a NUL; `inputs` and `outputs` are NULL or have as many types as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_new(
    name: *const c_char,
    inputs: *const CValType,
    n_inputs: ExtismSize,
    outputs: *const CValType,
    n_outputs: ExtismSize,
    func: ExtismFunctionType,
    user_data: *mut c_void,
    free_user_data: Option<unsafe extern "C" fn(data: *mut c_void)>,
) -> *mut ExtismFunction {
    boundary(ptr::null_mut(), || {
        // SAFETY: by this function's contract.
        let name = unsafe { text(name) };
        // SAFETY: the same.
        let (inputs, outputs) = unsafe { (types(inputs, n_inputs), types(outputs, n_outputs)) };
        let (Ok(name), Some(inputs), Some(outputs), Some(func)) = (name, inputs, outputs, func)
        else {
            return ptr::null_mut();
        };
        let data = UserData {
            data: user_data,
            free: free_user_data,
        };
        let function = Function::from_fn(name, inputs, outputs, move |plugin, args, results| {
            call(func, plugin, args, results, data.pointer())
        });
        Box::into_raw(Box::new(ExtismFunction(Mutex::new(Some(function)))))
    })
}

/// # Safety
///
/// `types` is NULL or has `count` numbers.
unsafe fn types(types: *const CValType, count: ExtismSize) -> Option<Vec<ValType>> {
    if !types.is_null() && count > MAX_TYPES {
        return None;
    }
    // SAFETY: by this function's contract.
    let types = unsafe { list(types, count) }.ok()?;
    types.iter().map(|ty| known_type(*ty)).collect()
}

fn call(
    func: unsafe extern "C" fn(
        *mut ExtismCurrentPlugin,
        *const ExtismVal,
        ExtismSize,
        *mut ExtismVal,
        ExtismSize,
        *mut c_void,
    ),
    plugin: &mut CurrentPlugin<'_>,
    args: &[Val],
    results: &mut [Val],
    data: *mut c_void,
) -> Result<(), Error> {
    let zero = ExtismVal::from(Val::I64(0));
    let (mut few_in, mut many_in) = ([zero; FEW], Vec::new());
    let inputs = place(&mut few_in, &mut many_in, args);
    let (mut few_out, mut many_out) = ([zero; FEW], Vec::new());
    let outputs = place(&mut few_out, &mut many_out, results);
    let first = |values: &mut [ExtismVal]| match values {
        [] => ptr::null_mut(),
        values => values.as_mut_ptr(),
    };
    // SAFETY: the embedder gave the function as one of this type. The plugin is borrowed for as long as it runs.
    extism_stack::on_own(|| unsafe {
        func(
            ExtismCurrentPlugin::pointer(plugin),
            first(inputs),
            args.len() as ExtismSize,
            first(outputs),
            results.len() as ExtismSize,
            data,
        );
    });
    for (result, output) in results.iter_mut().zip(outputs) {
        let unknown = || Error::msg(format!("a host function gave a value of type {}", output.t));
        *result = output.value().ok_or_else(unknown)?;
    }
    Ok(())
}

/// The values for C: in the array if they fit there, else in the vector.
fn place<'a>(
    few: &'a mut [ExtismVal; FEW],
    many: &'a mut Vec<ExtismVal>,
    values: &[Val],
) -> &'a mut [ExtismVal] {
    if values.len() > FEW {
        many.extend(values.iter().map(|value| ExtismVal::from(*value)));
        return many;
    }
    for (place, value) in few.iter_mut().zip(values) {
        *place = (*value).into();
    }
    &mut few[..values.len()]
}

/// Sets the name of the module from which plugins import the function. Plugins that were made with it already aren't concerned.
/// Does nothing if either is NULL, or the name is not UTF-8.
///
/// # Safety
///
/// `function` is NULL or from `extism_function_new` and not freed; `namespace` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_set_namespace(
    function: *mut ExtismFunction,
    namespace: *const c_char,
) {
    boundary((), || {
        // SAFETY: by this function's contract.
        let (function, namespace) = unsafe { (borrow(function), text(namespace)) };
        if let (Some(function), Ok(namespace)) = (function, namespace)
            && let Some(function) = function.lock().as_mut()
        {
            function.set_namespace(namespace);
        }
    });
}

/// Frees a host function; plugins that were made with it keep it. Does nothing for NULL.
///
/// # Safety
///
/// `function` is NULL or from `extism_function_new`, not freed, and not used from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_free(function: *mut ExtismFunction) {
    boundary((), || {
        // SAFETY: by this function's contract.
        drop(unsafe { take(function) });
    });
}
