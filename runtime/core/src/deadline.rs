//! Timeouts and cancellation.
//!
//! Wasmtime's epochs stop running plugins: compiled code compares the engine's epoch with the store's deadline, and asks
//! the store's callback once it is reached. Nothing ticks. Whoever wants a plugin to stop, a deadline that is up or a
//! cancel handle, increments the epoch of its engine; then the callback of every running plugin of the engine looks at its
//! own [`Watch`], and goes on if that says nothing. So nobody stops anybody else.
//!
//! ```text
//!   deadline is up ──▶ timer thread ──┐
//!                                     ├──▶ engine.increment_epoch() ──▶ callback: is *this* call over? ──▶ error or on
//!   cancel() ──▶ state = CANCELLED ───┘
//! ```
//!
//! A callback that has just looked when the epoch is incremented would sleep through it, since its new deadline counts
//! from the epoch then. So the timer increments again, less and less often, until the call is over.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use wasmtime::{Engine, EngineWeak};

use crate::{CallError, Error};

/// No call is running, or it has seen its end.
const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const CANCELLED: u8 = 2;

/// What others may know of a plugin's running call. Shared with its cancel handles.
pub(crate) struct Watch {
    state: AtomicU8,
    engine: EngineWeak,
    /// Held by nobody for long: only so that no waiter misses `changed`.
    lock: Mutex<()>,
    changed: Condvar,
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// What was waited for has come.
    Done,
    /// The time is up.
    Expired,
    /// The call was cancelled.
    Cancelled,
}

impl Watch {
    pub(crate) fn new(engine: &Engine) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(IDLE),
            engine: engine.weak(),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Ends the running call, if there is one.
    pub(crate) fn cancel(self: &Arc<Self>) -> Result<(), Error> {
        let was =
            self.state
                .compare_exchange(RUNNING, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
        if was.is_err() {
            return Ok(());
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.increment_epoch();
        }
        self.notify();
        Timer::current()?.add(Until::CallEnds(self.clone()), Instant::now() + INTERVAL);
        Ok(())
    }

    /// Wakes whoever waits for this call in [`wait`](Self::wait), to look again.
    pub(crate) fn notify(&self) {
        drop(lock(&self.lock));
        self.changed.notify_all();
    }

    /// Waits until `done`, or `until`, or the call is cancelled. `done` is asked anew after each [`notify`](Self::notify).
    pub(crate) fn wait(&self, until: Option<Instant>, mut done: impl FnMut() -> bool) -> Waited {
        let mut guard = lock(&self.lock);
        loop {
            if done() {
                return Waited::Done;
            }
            if self.is_cancelled() {
                return Waited::Cancelled;
            }
            guard = match until {
                None => self
                    .changed
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Waited::Expired;
                    }
                    let waited = self.changed.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A call, or an initialisation, that can be stopped: from its making to its drop.
pub(crate) struct Running {
    watch: Arc<Watch>,
    deadline: Option<Instant>,
    timer: Option<(Arc<Timer>, u64)>,
}

impl Running {
    /// The store's epoch deadline has to be set before: a cancel may come at once.
    pub(crate) fn start(watch: &Arc<Watch>, deadline: Option<Instant>) -> Result<Self, Error> {
        let timer = match (deadline, watch.engine.upgrade()) {
            (Some(deadline), Some(engine)) => {
                let timer = Timer::current()?;
                let id = timer.add(Until::Removed(engine), deadline);
                Some((timer, id))
            }
            _ => None,
        };
        watch.state.store(RUNNING, Ordering::Release);
        Ok(Self {
            watch: watch.clone(),
            deadline,
            timer,
        })
    }

    /// Whether the call was cancelled, or took too long. Nothing cancels it any more after this.
    pub(crate) fn end(self) -> bool {
        let cancelled = self.watch.state.swap(IDLE, Ordering::AcqRel) == CANCELLED;
        cancelled || is_past(self.deadline)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.state.store(IDLE, Ordering::Release);
        if let Some((timer, id)) = &self.timer {
            timer.remove(*id);
        }
    }
}

pub(crate) fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// How long after the first increment of an epoch the next one comes. Doubles up to the longest.
const INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_millis(64);

/// The process' timer: a list, and a thread that sleeps until something on it is due.
struct Timer {
    /// A forked process has the list, but not the thread: it makes a timer of its own.
    process: u32,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: Vec<Entry>,
    next_id: u64,
    /// When the thread wakes by itself; it needs no word of what is due later. `None`: never.
    wakes: Option<Instant>,
    /// Another thread made a timer at the same time, and that one is in use.
    superfluous: bool,
}

struct Entry {
    id: u64,
    due: Instant,
    interval: Duration,
    until: Until,
}

/// Whose epoch to increment, and for how long.
enum Until {
    Removed(Engine),
    CallEnds(Arc<Watch>),
}

impl Timer {
    fn current() -> Result<Arc<Self>, Error> {
        static CURRENT: ArcSwapOption<Timer> = ArcSwapOption::const_empty();
        let process = std::process::id();
        let before = CURRENT.load();
        if let Some(timer) = before.as_ref().filter(|timer| timer.process == process) {
            return Ok(timer.clone());
        }
        let timer = Arc::new(Self {
            process,
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let runs = timer.clone();
        thread::Builder::new()
            .name("extism-timer".to_owned())
            .spawn(move || runs.run())
            .map_err(|error| Error::new(error).context("unable to start the timer's thread"))?;
        let found = CURRENT.compare_and_swap(&before, Some(timer.clone()));
        match found.as_ref().filter(|found| found.process == process) {
            None => Ok(timer),
            Some(found) => {
                timer.queue().superfluous = true;
                timer.changed.notify_one();
                Ok(found.clone())
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn add(&self, until: Until, due: Instant) -> u64 {
        let mut queue = self.queue();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.entries.push(Entry {
            id,
            due,
            interval: INTERVAL,
            until,
        });
        if queue.wakes.is_none_or(|wakes| due < wakes) {
            self.changed.notify_one();
        }
        id
    }

    fn remove(&self, id: u64) {
        let entries = &mut self.queue().entries;
        if let Some(index) = entries.iter().position(|entry| entry.id == id) {
            entries.swap_remove(index);
        }
    }

    fn run(&self) {
        let mut queue = self.queue();
        while !queue.superfluous {
            let now = Instant::now();
            queue.entries.retain_mut(|entry| entry.tick(now));
            queue.wakes = queue.entries.iter().map(|entry| entry.due).min();
            queue = match queue.wakes {
                None => self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Entry {
    /// Whether the entry has to stay.
    fn tick(&mut self, now: Instant) -> bool {
        let engine = match &self.until {
            Until::Removed(engine) => Some(engine.clone()),
            Until::CallEnds(watch) if watch.is_cancelled() => watch.engine.upgrade(),
            Until::CallEnds(_) => None,
        };
        let Some(engine) = engine else {
            return false;
        };
        if self.due <= now {
            engine.increment_epoch();
            self.due = now + self.interval;
            self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
        }
        true
    }
}

/// Nothing in here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops the calls of one plugin, from any thread.
#[derive(Clone)]
pub struct CancelHandle {
    pub(crate) watch: Arc<Watch>,
    /// The plugin's id.
    pub id: uuid::Uuid,
}

impl CancelHandle {
    /// Ends the plugin's running call as if its time were up: [`CallError::Timeout`]. Does nothing if no call is running,
    /// also if the plugin is gone. An error only if the system has no more threads.
    pub fn cancel(&self) -> Result<(), Error> {
        self.watch.cancel()
    }
}

/// What the store's callback decides.
pub(crate) fn check(watch: &Watch, deadline: Option<Instant>) -> Result<(), CallError> {
    if watch.is_cancelled() || is_past(deadline) {
        return Err(CallError::Timeout);
    }
    Ok(())
}
