//! What the host keeps for one plugin, in reach of every function that it provides.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::Value;
use sync_wrapper::SyncWrapper;
use uuid::Uuid;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::{Error, compiled::Compiled, deadline::Watch, kernel::Kernel, limits::Limits};

/// The data of a plugin's store.
pub(crate) struct State {
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) limits: Limits,
    /// There as soon as anything of the plugin can run. Shared by whoever uses it for a while, since a function's type is counted by each
    /// copy of it: that took four fifths of a call of `config_get`.
    pub(crate) kernel: Option<Arc<Kernel>>,
    /// `None` if WASI is off: then nothing is linked that would use it. Wasmtime's isn't `Sync`, and needn't be where only the
    /// store's owner gets at it.
    pub(crate) wasi: Option<SyncWrapper<WasiP1Ctx>>,
    pub(crate) watch: Arc<Watch>,
    /// When the running call has to be over. `None` if it has time, or none is running.
    pub(crate) deadline: Option<Instant>,
    pub(crate) host_context: Option<Box<dyn Any + Send + Sync>>,
    /// The environment whose size WASI has told last.
    pub(crate) environment: Vec<String>,
    pub(crate) lasting: Lasting,
}

/// What outlives the store, which a command leaves behind.
#[derive(Default)]
pub(crate) struct Lasting {
    pub(crate) id: Uuid,
    pub(crate) config: PluginConfig,
    pub(crate) vars: Vars,
    pub(crate) http: LastResponse,
}

/// What `http_status_code` and `http_headers` tell.
#[derive(Default)]
pub(crate) struct LastResponse {
    /// 0 if there was no request, or the last one failed.
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether the plugin may see the headers.
    pub(crate) headers_allowed: bool,
}

/// A plugin's configuration. Clones are the same configuration: it can be changed from anywhere, also while a call runs.
#[derive(Debug, Clone, Default)]
pub struct PluginConfig(Arc<Mutex<BTreeMap<String, String>>>);

impl PluginConfig {
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        Self(Arc::new(Mutex::new(values)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<String> {
        self.lock().get(key).cloned()
    }

    /// Runs `read` on the value, without a copy.
    pub(crate) fn with<R>(&self, key: &str, read: impl FnOnce(&str) -> R) -> Option<R> {
        self.lock().get(key).map(|value| read(value))
    }

    /// All that can be in an environment, as `KEY=value`.
    pub(crate) fn environment(&self) -> Vec<String> {
        let values = self.lock();
        let variables = values.iter().map(|(key, value)| format!("{key}={value}"));
        variables
            .filter(|variable| !variable.contains('\0'))
            .collect()
    }

    /// Adds and replaces what a JSON object of strings says; null removes a key. An error, and no change at all, if it is
    /// anything else.
    pub fn merge(&self, json: &[u8]) -> Result<(), Error> {
        let value: Value = serde_json::from_slice(json).context("invalid config")?;
        let Value::Object(changes) = value else {
            bail!("invalid config: expected an object");
        };
        for (key, value) in &changes {
            if !matches!(value, Value::String(_) | Value::Null) {
                bail!("invalid config: the value of {key:?} is neither a string nor null");
            }
        }
        let mut values = self.lock();
        for (key, value) in changes {
            match value {
                Value::String(value) => values.insert(key, value),
                _ => values.remove(&key),
            };
        }
        Ok(())
    }
}

/// A plugin's variables, with what they take.
#[derive(Default)]
pub(crate) struct Vars {
    values: BTreeMap<String, Vec<u8>>,
    /// The sum of [`cost`]; `None` if somebody else may have changed the values.
    bytes: Option<u64>,
}

/// What a variable counts for, in bytes: what it holds, and something for the place it takes.
fn cost(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len() + 48) as u64
}

impl Vars {
    pub(crate) fn values(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        self.bytes = None;
        &mut self.values
    }

    fn bytes(&mut self) -> u64 {
        let sum = || {
            self.values
                .iter()
                .map(|(key, value)| cost(key, value))
                .sum()
        };
        *self.bytes.get_or_insert_with(sum)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let before = self.bytes();
        if let Some(value) = self.values.remove(key) {
            self.bytes = Some(before - cost(key, &value));
        }
    }

    /// Sets a variable, unless all together would take more than `limit` bytes then.
    pub(crate) fn set(&mut self, key: &str, value: Vec<u8>, limit: u64) -> Result<(), Error> {
        let replaced = self.values.get(key).map_or(0, |value| cost(key, value));
        let after = self.bytes() - replaced + cost(key, &value);
        if after > limit {
            bail!("Variable store is full");
        }
        match self.values.get_mut(key) {
            Some(place) => *place = value,
            None => drop(self.values.insert(key.to_owned(), value)),
        }
        self.bytes = Some(after);
        Ok(())
    }
}
