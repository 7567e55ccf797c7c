//! WASI preview 1: Wasmtime's, but for waiting, which ends with the call, and for the environment.

use std::{
    env,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use extism_manifest::Manifest;
use wasmtime::{Caller, Linker, Memory};
use wasmtime_wasi::{
    FsPerms, HostMonotonicClock, WasiCtxBuilder,
    p1::{self, WasiP1Ctx, wasi_snapshot_preview1},
    runtime::in_tokio,
};
use wiggle::GuestMemory;

use crate::{Error, state::State};

/// What the monotonic clock counts from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn monotonic_now() -> u64 {
    START.elapsed().as_nanos() as u64
}

struct Monotonic;

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        monotonic_now()
    }
}

/// What a plugin sees of the system: clocks, random numbers and the manifest's `allowed_paths`. An error if one of these
/// can't be opened as a folder.
pub(crate) fn context(manifest: &Manifest) -> Result<WasiP1Ctx, Error> {
    let mut builder = WasiCtxBuilder::new();
    // Whoever calls a plugin waits for it anyway. It saves a thread, which a forked process hasn't got.
    builder.allow_blocking_current_thread(true);
    builder.monotonic_clock(Monotonic);
    if env::var_os("EXTISM_ENABLE_WASI_OUTPUT").is_some() {
        builder.inherit_stdout().inherit_stderr();
    }
    for (host, guest) in manifest.allowed_paths.iter().flatten() {
        let (host, permissions) = match host.strip_prefix("ro:") {
            Some(host) => (host, FsPerms::ReadOnly),
            None => (host.as_str(), FsPerms::ReadWrite),
        };
        builder.preopened_dir(host, guest.to_string_lossy(), permissions)?;
    }
    Ok(builder.build_p1())
}

const MODULE: &str = "wasi_snapshot_preview1";

pub(crate) fn link(linker: &mut Linker<State>) -> Result<(), Error> {
    p1::add_to_linker_sync(linker, wasi)?;
    linker.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    linker.func_wrap(MODULE, "environ_sizes_get", environ_sizes_get)?;
    linker.func_wrap(MODULE, "environ_get", environ_get)?;
    Ok(())
}

/// Linked only where WASI is on.
fn wasi(state: &mut State) -> &mut WasiP1Ctx {
    state.wasi.as_mut().expect("WASI is on").get_mut()
}

const EINVAL: i32 = 28;
const EFAULT: i32 = 21;

fn memory(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    let memory = caller
        .get_export("memory")
        .and_then(|export| export.into_memory());
    memory.ok_or_else(|| wasmtime::Error::msg("missing required memory export"))
}

/// Tells how many variables there are, and their size with a NUL behind each.
fn environ_sizes_get(
    mut caller: Caller<'_, State>,
    count: i32,
    size: i32,
) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    // Kept, since the plugin makes room for this one: it may be another one when it asks again.
    state.environment = match state.compiled.environment_from_config {
        true => state.lasting.config.environment(),
        false => Vec::new(),
    };
    let bytes: usize = state.environment.iter().map(|text| text.len() + 1).sum();
    let written = write(data, count, &(state.environment.len() as u32).to_le_bytes())
        .and_then(|()| write(data, size, &(bytes as u32).to_le_bytes()));
    Ok(written.map_or(EFAULT, |()| 0))
}

/// Writes the variables one behind the other, and the address of each into a list.
fn environ_get(mut caller: Caller<'_, State>, list: i32, texts: i32) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let (mut place, mut text) = (list, texts);
    for variable in &state.environment {
        let with_nul = [variable.as_bytes(), b"\0"].concat();
        let written =
            write(data, place, &text.to_le_bytes()).and_then(|()| write(data, text, &with_nul));
        if written.is_none() {
            return Ok(EFAULT);
        }
        place = place.wrapping_add(4);
        text = text.wrapping_add(with_nul.len() as i32);
    }
    Ok(0)
}

/// `None` if that isn't in the memory.
fn write(data: &mut [u8], at: i32, bytes: &[u8]) -> Option<()> {
    let place = data.get_mut(at as u32 as usize..)?;
    place.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(())
}

/// The sizes of a subscription and of an event in the plugin's memory, in bytes.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

/// Waits for clocks itself. Everything else that can be waited for is ready at once: files, and standard streams that are
/// closed, dropped or the host's.
fn poll_oneoff(
    mut caller: Caller<'_, State>,
    subscriptions: i32,
    events: i32,
    count: i32,
    ready: i32,
) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller)?;
    if count == 0 {
        return Ok(EINVAL);
    }
    let Some(waiting) = Waiting::read(memory.data(&caller), subscriptions as u32, count as u32)
    else {
        return delegate(&mut caller, memory, [subscriptions, events, count, ready]);
    };
    let (Some(due), true) = (
        waiting.due(),
        events_fit(memory.data(&caller), events, count, ready),
    ) else {
        return Ok(if waiting.due().is_none() {
            EINVAL
        } else {
            EFAULT
        });
    };
    let state = caller.data();
    let until = match (due, state.deadline) {
        (Some(due), Some(deadline)) => Some(due.min(deadline)),
        (due, deadline) => due.or(deadline),
    };
    let watch = state.watch.clone();
    watch.wait(until, || false);
    crate::deadline::check(&watch, caller.data().deadline)?;

    let due: Vec<_> = waiting
        .clocks
        .iter()
        .filter(|clock| clock.is_due())
        .collect();
    let data = memory.data_mut(&mut caller);
    for (index, clock) in due.iter().enumerate() {
        let event = &mut data[events as u32 as usize + index * EVENT..][..EVENT];
        event.fill(0);
        // No error, of type 0: a clock.
        event[..8].copy_from_slice(&clock.userdata.to_le_bytes());
    }
    let written = (due.len() as u32).to_le_bytes();
    data[ready as u32 as usize..][..4].copy_from_slice(&written);
    Ok(0)
}

fn events_fit(data: &[u8], events: i32, count: i32, ready: i32) -> bool {
    let fits = |start: i32, length: usize| start as u32 as usize + length <= data.len();
    fits(events, count as u32 as usize * EVENT) && fits(ready, 4)
}

fn delegate(
    caller: &mut Caller<'_, State>,
    memory: Memory,
    [subscriptions, events, count, ready]: [i32; 4],
) -> wasmtime::Result<i32> {
    let (data, state) = memory.data_and_store_mut(&mut *caller);
    let mut data = GuestMemory::Unshared(data);
    in_tokio(wasi_snapshot_preview1::poll_oneoff(
        wasi(state),
        &mut data,
        subscriptions,
        events,
        count,
        ready,
    ))
}

/// Subscriptions of clocks alone.
struct Waiting {
    clocks: Vec<Clock>,
}

struct Clock {
    userdata: u64,
    /// `None` if that is further away than this process can count.
    due: Option<Instant>,
    is_known: bool,
}

impl Clock {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| Instant::now() >= due)
    }
}

impl Waiting {
    /// `None` if there is anything but clocks, or if the subscriptions aren't in the memory.
    fn read(data: &[u8], start: u32, count: u32) -> Option<Self> {
        let length = (count as usize).checked_mul(SUBSCRIPTION)?;
        let all = data.get(start as usize..)?.get(..length)?;
        let clocks = all.chunks_exact(SUBSCRIPTION).map(Clock::read);
        clocks.collect::<Option<_>>().map(|clocks| Self { clocks })
    }

    /// When the first of them is due, `Some(None)` for never; `None` if one is of a clock that can't be waited for.
    fn due(&self) -> Option<Option<Instant>> {
        let known = self.clocks.iter().all(|clock| clock.is_known);
        known.then(|| self.clocks.iter().filter_map(|clock| clock.due).min())
    }
}

impl Clock {
    fn read(subscription: &[u8]) -> Option<Self> {
        const REALTIME: u32 = 0;
        const MONOTONIC: u32 = 1;
        let u64_at = |at: usize| {
            let bytes = subscription.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let is_clock = subscription[8] == 0;
        let id = u64_at(16)? as u32;
        let timeout = u64_at(24)?;
        let is_absolute = u64_at(40)? & 1 != 0;
        let now = match id {
            _ if !is_absolute => 0,
            REALTIME => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.unwrap_or_default().as_nanos() as u64
            }
            _ => monotonic_now(),
        };
        let wait = Duration::from_nanos(timeout.saturating_sub(now));
        is_clock.then_some(Self {
            userdata: u64_at(0)?,
            due: Instant::now().checked_add(wait),
            is_known: [REALTIME, MONOTONIC].contains(&id),
        })
    }
}
