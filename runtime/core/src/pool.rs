use std::{
    collections::VecDeque,
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use extism_convert::{FromBytesOwned, ToBytes};
use uuid::Uuid;

use crate::{Error, Plugin};

/// How large a [`Pool`] may become.
#[derive(Debug, Clone)]
pub struct PoolBuilder {
    /// How many plugins there may be at once.
    pub max_instances: usize,
}

impl Default for PoolBuilder {
    /// As many plugins as the machine has cores.
    fn default() -> Self {
        Self {
            max_instances: thread::available_parallelism().map_or(1, Into::into),
        }
    }
}

impl PoolBuilder {
    /// As many plugins as the machine has cores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many plugins there may be at once.
    pub fn with_max_instances(mut self, max: usize) -> Self {
        self.max_instances = max;
        self
    }

    /// Makes the pool; `source` makes its plugins, when they are needed.
    pub fn build(self, source: impl Fn() -> Result<Plugin, Error> + Send + Sync + 'static) -> Pool {
        Pool::new_from_builder(source, self)
    }
}

/// Plugins of the same kind that threads take turns to use. Clones are the same pool.
///
/// ```
/// use std::time::Duration;
/// use extism::{Plugin, Pool, PluginBuilder};
///
/// let compiled = PluginBuilder::new(r#"(module (func (export "run")))"#).compile()?;
/// let pool = Pool::new(move || Plugin::new_from_compiled(&compiled));
/// let output: Option<String> = pool.with_plugin(Duration::from_secs(1), |plugin| plugin.call("run", ""))?;
/// assert_eq!(output.as_deref(), Some(""));
/// # Ok::<(), extism::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    source: Box<dyn Fn() -> Result<Plugin, Error> + Send + Sync>,
    max_instances: usize,
    plugins: Mutex<Plugins>,
    changed: Condvar,
}

#[derive(Default)]
struct Plugins {
    free: VecDeque<Plugin>,
    /// Those in use included.
    count: usize,
}

impl Shared {
    fn plugins(&self) -> MutexGuard<'_, Plugins> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the pool's plugins: given up unless a plugin takes it.
struct Place<'a>(Option<&'a Shared>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.plugins().count -= 1;
            shared.changed.notify_one();
        }
    }
}

impl Pool {
    /// A pool of as many plugins as the machine has cores; `source` makes them, when they are needed.
    pub fn new(source: impl Fn() -> Result<Plugin, Error> + Send + Sync + 'static) -> Self {
        Self::new_from_builder(source, PoolBuilder::default())
    }

    /// The same with a number of one's own.
    pub fn new_from_builder(
        source: impl Fn() -> Result<Plugin, Error> + Send + Sync + 'static,
        builder: PoolBuilder,
    ) -> Self {
        Self(Arc::new(Shared {
            source: Box::new(source),
            max_instances: builder.max_instances,
            plugins: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// How many plugins there are, those in use included.
    pub fn count(&self) -> usize {
        self.0.plugins().count
    }

    /// A plugin that nobody uses, made if need be; `None` if there was none for so long. An error if it can't be made.
    pub fn get(&self, timeout: Duration) -> Result<Option<PoolPlugin>, Error> {
        let until = Instant::now().checked_add(timeout);
        let mut plugins = self.0.plugins();
        loop {
            if let Some(plugin) = plugins.free.pop_front() {
                return Ok(Some(self.lend(plugin)));
            }
            if plugins.count < self.0.max_instances {
                plugins.count += 1;
                drop(plugins);
                // Others needn't wait while this one is made.
                let mut place = Place(Some(&self.0));
                let plugin = (self.0.source)()?;
                place.0 = None;
                return Ok(Some(self.lend(plugin)));
            }
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => timeout,
            };
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.0.changed.wait_timeout(plugins, left);
            plugins = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lend(&self, plugin: Plugin) -> PoolPlugin {
        PoolPlugin {
            plugin: Some(plugin),
            pool: self.clone(),
        }
    }

    /// Runs `f` with a plugin that nobody uses; `None` if there was none for so long.
    pub fn with_plugin<T>(
        &self,
        timeout: Duration,
        f: impl FnOnce(&mut Plugin) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.get(timeout)? {
            Some(mut plugin) => f(&mut plugin).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the plugins have a function of this name. An error if none was free for so long.
    pub fn function_exists(&self, name: &str, timeout: Duration) -> Result<bool, Error> {
        match self.get(timeout)? {
            Some(plugin) => Ok(plugin.function_exists(name)),
            None => bail!("timeout"),
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {})", self.count(), self.0.max_instances)
    }
}

/// A plugin of a pool, which goes back there when this is dropped.
pub struct PoolPlugin {
    /// There until then.
    plugin: Option<Plugin>,
    pool: Pool,
}

impl PoolPlugin {
    /// [`Plugin::call`], for outputs that don't borrow from the plugin.
    pub fn call<'a, Input: ToBytes<'a>, Output: FromBytesOwned>(
        &mut self,
        name: impl AsRef<str>,
        input: Input,
    ) -> Result<Output, Error> {
        (**self).call(name, input)
    }

    /// The plugin's id.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl fmt::Debug for PoolPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.fmt(f)
    }
}

impl Deref for PoolPlugin {
    type Target = Plugin;

    fn deref(&self) -> &Plugin {
        self.plugin.as_ref().expect("there until the drop")
    }
}

impl DerefMut for PoolPlugin {
    fn deref_mut(&mut self) -> &mut Plugin {
        self.plugin.as_mut().expect("there until the drop")
    }
}

impl Drop for PoolPlugin {
    fn drop(&mut self) {
        if let Some(plugin) = self.plugin.take() {
            self.pool.0.plugins().free.push_back(plugin);
            self.pool.0.changed.notify_one();
        }
    }
}
