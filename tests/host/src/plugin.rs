use std::any::Any;

use wasmtime::{Func, Instance, Store, Val, ValType};
use wasmtime_wasi::I32Exit;

use crate::{
    Builder, Error, Stats,
    context::{HostContext, Value},
    kernel::Kernel,
    state::State,
};

/// One instance of a plugin, with a kernel of its own. Its variables and its own memory live as long as it
/// does; the kernel's memory is made as new at the start of each call.
pub struct Plugin {
    pub(crate) store: Store<State>,
    pub(crate) kernel: Kernel,
    pub(crate) instance: Instance,
    /// `None` if the kernel has no `extism_context`.
    pub(crate) context: Option<HostContext>,
    /// What a call may burn; `None` if nobody counts.
    pub(crate) fuel: Option<u64>,
}

impl Plugin {
    /// Starts to set up the plugin in `plugin` on the kernel in `kernel`, both WebAssembly in the binary or
    /// the text format. Nothing is looked at before [`Builder::build`].
    pub fn builder<'a>(kernel: &'a [u8], plugin: &'a [u8]) -> Builder<'a> {
        Builder::new(kernel, plugin)
    }

    /// Calls the plugin's function of that name with `input`, which can be empty, and returns its output,
    /// which is empty if it set none.
    ///
    /// [`Error::NoFunction`] if there is no such function; [`Error::Call`] if the plugin set an error, returned
    /// something else than 0, trapped, used up its fuel, or if the kernel has no room for the input. The
    /// plugin can be called again after any of these.
    pub fn call(&mut self, function: &str, input: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        self.run(function, input.as_ref(), None)
    }

    /// The same with a value for the host functions that the plugin calls: they get at it by
    /// [`CurrentPlugin::host_context`](crate::CurrentPlugin::host_context), under the very type that it has here.
    /// It is dropped when the call is over. [`Error::Call`] also if the kernel is one without contexts.
    pub fn call_with_context<T: Any + Send + Sync>(
        &mut self,
        function: &str,
        input: impl AsRef<[u8]>,
        context: T,
    ) -> Result<Vec<u8>, Error> {
        self.run(function, input.as_ref(), Some(Box::new(context)))
    }

    /// What the plugin did up to now. All zero, but for the pages, unless [`Builder::stats`] was switched on.
    pub fn stats(&self) -> Stats {
        let state = self.store.data();
        Stats {
            kernel_calls: state.kernel_calls.clone(),
            kernel_pages: self.kernel.pages(&self.store),
            fuel: state.fuel_used,
        }
    }

    /// Runs what compilers put before a library's first call: a WASI reactor's `_initialize`, or else the
    /// constructors that it would have run.
    pub(crate) fn initialize(mut self) -> Result<Self, Error> {
        for name in ["_initialize", "__wasm_call_ctors"] {
            if let Ok(function) = self.function(name) {
                let status = self.run_function(function);
                let failed = |text| Error::Load(format!("the plugin's {name} failed: {text}"));
                return match status {
                    Ok(0) => Ok(self),
                    Ok(status) => Err(failed(format!("it returned {status}"))),
                    Err(error) => Err(failed(error.to_string())),
                };
            }
        }
        Ok(self)
    }

    fn run(&mut self, name: &str, input: &[u8], context: Option<Value>) -> Result<Vec<u8>, Error> {
        let function = self.function(name)?;
        self.kernel.begin_call(&mut self.store, input)?;
        self.set_context(context)?;
        let status = self.run_function(function);
        self.set_context(None)?;

        // What the plugin says about its failure is worth more than what the host saw of it.
        if let Some(text) = self.kernel.error(&mut self.store)? {
            return Err(Error::Call(text));
        }
        match status? {
            0 => self.kernel.output(&mut self.store),
            status => Err(Error::Call(format!(
                "the plugin's function `{name}` returned {status}"
            ))),
        }
    }

    fn function(&mut self, name: &str) -> Result<Func, Error> {
        let function = self.instance.get_func(&mut self.store, name);
        let callable = |function: &Func| {
            let ty = function.ty(&self.store);
            let results: Vec<_> = ty.results().collect();
            ty.params().len() == 0 && matches!(results[..], [] | [ValType::I32])
        };
        function
            .filter(callable)
            .ok_or_else(|| Error::NoFunction(name.to_owned()))
    }

    /// Returns the function's own result, 0 if it has none. Leaving by WASI's `proc_exit` is a return, too.
    fn run_function(&mut self, function: Func) -> Result<i32, Error> {
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let ended = metered(&mut self.store, self.fuel, |store| {
            function.call(store, &[], &mut results)
        });
        match ended {
            Ok(()) => Ok(results.first().and_then(Val::i32).unwrap_or(0)),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(exit.0),
                None => Err(error.into()),
            },
        }
    }

    fn set_context(&mut self, value: Option<Value>) -> Result<(), Error> {
        match &self.context {
            Some(context) => Ok(context.set(&mut self.store, value)?),
            None if value.is_none() => Ok(()),
            None => Err(Error::call("this kernel has no extism_context")),
        }
    }
}

/// Runs a piece of the plugin within its fuel. The host's own calls of the kernel come before and after, with
/// as much fuel as they like: they have to work also when the plugin used up its own.
pub(crate) fn metered<R>(
    store: &mut Store<State>,
    fuel: Option<u64>,
    run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    let Some(budget) = fuel else {
        return run(store);
    };
    store.set_fuel(budget)?;
    let result = run(store);
    let used = budget - store.get_fuel()?;
    store.data_mut().fuel_used += used;
    store.set_fuel(u64::MAX)?;
    result
}
