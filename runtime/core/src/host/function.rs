//! Functions of the embedder.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use anyhow::{Context, anyhow, bail};
use wasmtime::{Caller, FuncType, Linker};

use crate::{CurrentPlugin, EXTISM_USER_MODULE, Error, Val, ValType, state::State};

/// What a host function finds again at each call. Clones are the same value.
#[derive(Debug, Default)]
pub struct UserData<T>(Arc<Mutex<T>>);

impl<T> Clone for UserData<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> UserData<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// The value. Never fails.
    pub fn get(&self) -> Result<Arc<Mutex<T>>, Error> {
        Ok(self.0.clone())
    }
}

type Body = dyn Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error> + Send + Sync;

/// A function that plugins can import. Clones are the same function.
///
/// ```
/// use extism::{Function, Plugin, PTR, UserData, Val};
///
/// let shout = Function::new("shout", [PTR], [PTR], UserData::new(0), |plugin, args, results, calls| {
///     let text: String = plugin.memory_get_val(&args[0])?;
///     *calls.get()?.lock().unwrap() += 1;
///     plugin.memory_set_val(&mut results[0], text.to_uppercase())
/// });
/// assert_eq!(shout.name(), "shout");
/// ```
#[derive(Clone)]
pub struct Function {
    name: String,
    namespace: Option<String>,
    params: Vec<ValType>,
    results: Vec<ValType>,
    body: Arc<Body>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            params,
            results,
            ..
        } = self;
        write!(f, "{}::{name} {params:?} -> {results:?}", self.module())
    }
}

impl Function {
    /// A function of this name and type. `body` gets the arguments, of the types `params`, and finds the results preset to
    /// 0, of the types `results`; writing another type there fails the call, and so does an error.
    pub fn new<T: Send + 'static>(
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        user_data: UserData<T>,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val], UserData<T>) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::from_fn(name, params, results, move |plugin, args, results| {
            body(plugin, args, results, user_data.clone())
        })
    }

    /// The same for a function that needs no data, or has captured it.
    pub fn from_fn(
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            namespace: None,
            params: params.into_iter().collect(),
            results: results.into_iter().collect(),
            body: Arc::new(body),
        }
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the module from which plugins import it, if one was set; else it is [`EXTISM_USER_MODULE`].
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Sets the name of the module from which plugins import it.
    pub fn set_namespace(&mut self, namespace: impl Into<String>) {
        self.namespace = Some(namespace.into());
    }

    /// Sets the name of the module from which plugins import it.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.set_namespace(namespace);
        self
    }

    /// The types of the parameters.
    pub fn params(&self) -> &[ValType] {
        &self.params
    }

    /// The types of the results.
    pub fn results(&self) -> &[ValType] {
        &self.results
    }

    pub(crate) fn module(&self) -> &str {
        self.namespace.as_deref().unwrap_or(EXTISM_USER_MODULE)
    }

    /// Puts the function in reach of the plugins that the linker serves.
    pub(crate) fn link(&self, linker: &mut Linker<State>) -> Result<(), Error> {
        if self.link_handles(linker)? {
            return Ok(());
        }
        let wasm_types = |types: &[ValType]| -> Result<Vec<_>, Error> {
            let types = types.iter().map(|ty| {
                let unsupported = || anyhow!("host function {} can't have a {ty:?}", self.name);
                ty.to_wasm().ok_or_else(unsupported)
            });
            types.collect()
        };
        let ty = FuncType::new(
            linker.engine(),
            wasm_types(&self.params)?,
            wasm_types(&self.results)?,
        );
        let function = self.clone();
        linker.func_new(self.module(), &self.name, ty, move |caller, args, outs| {
            let args: Vec<_> = args.iter().map(Val::from_wasm).collect();
            let mut results: Vec<_> = function.results.iter().map(|ty| Val::zero(*ty)).collect();
            function.call(caller, &args, &mut results)?;
            for (out, result) in outs.iter_mut().zip(&results) {
                *out = result.to_wasm().context("no such value").map_err(wasm)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The same for a function of a few handles: without a list of values on the heap, and a tenth as long. Whether it is
    /// such a function.
    fn link_handles(&self, linker: &mut Linker<State>) -> Result<bool, Error> {
        let is_i64 = |ty: &ValType| *ty == ValType::I64;
        if !self.params.iter().chain(&self.results).all(is_i64) {
            return Ok(false);
        }
        macro_rules! wrap {
            ($($arg:ident)*) => {{
                let function = self.clone();
                linker.func_wrap(self.module(), &self.name, move |caller: Caller<'_, State>, $($arg: i64),*| {
                    function.call(caller, &[$(Val::I64($arg)),*], &mut [])
                })?;
            }};
            ($($arg:ident)* => i64) => {{
                let function = self.clone();
                linker.func_wrap(self.module(), &self.name, move |caller: Caller<'_, State>, $($arg: i64),*| {
                    let mut results = [Val::I64(0)];
                    function.call(caller, &[$(Val::I64($arg)),*], &mut results)?;
                    wasmtime::Result::Ok(results[0].i64().unwrap_or(0))
                })?;
            }};
        }
        match (self.params.len(), self.results.len()) {
            (0, 0) => wrap!(),
            (1, 0) => wrap!(a),
            (2, 0) => wrap!(a b),
            (3, 0) => wrap!(a b c),
            (0, 1) => wrap!(=> i64),
            (1, 1) => wrap!(a => i64),
            (2, 1) => wrap!(a b => i64),
            (3, 1) => wrap!(a b c => i64),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call(
        &self,
        caller: Caller<'_, State>,
        args: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let mut plugin = CurrentPlugin::new(caller);
        (self.body)(&mut plugin, args, results).map_err(wasm)?;
        self.check(results).map_err(wasm)
    }

    fn check(&self, results: &[Val]) -> Result<(), Error> {
        for (index, (result, ty)) in results.iter().zip(&self.results).enumerate() {
            if result.ty() != *ty {
                let (name, found) = (&self.name, result.ty());
                bail!(
                    "host function {name} gave a {found:?} as its result {index}, expected {ty:?}"
                );
            }
        }
        Ok(())
    }
}

/// An error on its way through WebAssembly.
pub(crate) fn wasm(error: Error) -> wasmtime::Error {
    wasmtime::Error::from_anyhow(error)
}

/// Defines a host function whose arguments and result are decoded and encoded by [`FromBytes`](crate::FromBytes) and
/// [`ToBytes`](crate::ToBytes).
///
/// ```
/// use extism::{Function, PTR, UserData, host_fn};
///
/// host_fn!(add_newline(text: String) -> String { Ok(text + "\n") });
/// host_fn!(count(calls: u32; by: u32) -> u32 {
///     let calls = calls.get()?;
///     *calls.lock().unwrap() += by;
///     Ok(*calls.lock().unwrap())
/// });
///
/// let functions = [
///     Function::new("add_newline", [PTR], [PTR], UserData::default(), add_newline),
///     Function::new("count", [PTR], [PTR], UserData::new(0), count),
/// ];
/// ```
#[macro_export]
macro_rules! host_fn {
    ($vis:vis $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $crate::host_fn!($vis $name(user_data: (); $($arg: $ty),*) $(-> $result)? { $body });
    };
    ($vis:vis $name:ident($user_data:ident: $data:ty; $($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $vis fn $name(
            plugin: &mut $crate::CurrentPlugin<'_>,
            inputs: &[$crate::Val],
            outputs: &mut [$crate::Val],
            #[allow(unused_variables, unused_mut)] mut $user_data: $crate::UserData<$data>,
        ) -> ::std::result::Result<(), $crate::Error> {
            #[allow(unused_variables, unused_mut)]
            let mut inputs = inputs.iter();
            $(
                let input = inputs.next().ok_or_else(|| $crate::Error::msg("too few arguments"))?;
                let $arg: $ty = plugin.memory_get_val(input)?;
            )*
            #[allow(clippy::redundant_closure_call)]
            let output = (move || -> ::std::result::Result<_, $crate::Error> { $body })()?;
            let output = plugin.memory_new(&output)?;
            if let Some(result) = outputs.first_mut() {
                *result = plugin.memory_to_val(output);
            }
            Ok(())
        }
    };
}
