//! WASI preview 1: exits, waiting, files.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use extism::{CallError, Manifest, Plugin, PluginBuilder, Wasm};

const WASI: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "file")

  (func (export "exit") (call $proc_exit (call $input_load_u8 (i64.const 0))))
  (func (export "exit_with_error")
    (call $error_set (call $input_offset)) (call $proc_exit (call $input_load_u8 (i64.const 0))))

  ;; Sleeps as many nanoseconds as the input says: from now on, or up to then on the monotonic clock.
  (func $sleep (param $absolute i32) (result i32)
    (i64.store (i32.const 0) (i64.const 77))
    (i32.store8 (i32.const 8) (i32.const 0))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (call $input_load_u64 (i64.const 0)))
    (i32.store16 (i32.const 40) (local.get $absolute))
    (if (local.get $absolute) (then
      (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 200)))
      (i64.store (i32.const 24) (i64.add (i64.load (i32.const 24)) (i64.load (i32.const 200))))))
    (call $poll_oneoff (i32.const 0) (i32.const 104) (i32.const 1) (i32.const 300)))
  (func (export "sleep") (result i32)
    (if (call $sleep (i32.const 0)) (then (return (i32.const 1))))
    (if (i64.ne (i64.load (i32.const 104)) (i64.const 77)) (then (return (i32.const 2))))
    (i32.sub (i32.load (i32.const 300)) (i32.const 1)))
  (func (export "sleep_until") (result i32) (call $sleep (i32.const 1)))

  ;; Waits for stdin, which is closed, and a clock a minute away.
  (func (export "poll_stdin") (result i32)
    (i64.store (i32.const 0) (i64.const 1))
    (i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 16) (i32.const 0))
    (i64.store (i32.const 48) (i64.const 2))
    (i32.store8 (i32.const 56) (i32.const 0))
    (i32.store (i32.const 64) (i32.const 1))
    (i64.store (i32.const 72) (i64.const 60000000000))
    (i32.store16 (i32.const 88) (i32.const 0))
    (call $poll_oneoff (i32.const 0) (i32.const 104) (i32.const 2) (i32.const 300)))
  (func (export "poll_nothing") (result i32)
    (call $poll_oneoff (i32.const 0) (i32.const 104) (i32.const 0) (i32.const 300)))
  (func (export "poll_outside") (result i32)
    (call $poll_oneoff (i32.const 0) (i32.const -4) (i32.const 1) (i32.const 300)))

  ;; Opens "file" in the first preopened folder, and says what came of it.
  (func (export "create") (result i32)
    (call $path_open (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 400)))
  (func (export "read") (result i32)
    (call $path_open (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 400)))
  (func (export "environment") (result i32)
    (drop (call $environ_sizes_get (i32.const 500) (i32.const 504)))
    (i32.load (i32.const 500))))"#;

fn manifest() -> Manifest {
    Manifest::new([Wasm::data(WASI)])
}

fn code(plugin: &mut Plugin, function: &str, input: &[u8]) -> Result<i32, (i32, String)> {
    let result = plugin.call_raw(function, input, None);
    result.map_err(|failure| (failure.code, failure.text()))
}

#[test]
fn exits_are_codes() {
    let mut plugin = Plugin::new(manifest(), [], true).unwrap();
    assert_eq!(code(&mut plugin, "exit", &[0]), Ok(0));
    for status in [1u8, 3, 125] {
        let (code, text) = code(&mut plugin, "exit", &[status]).unwrap_err();
        assert_eq!(code, i32::from(status));
        assert!(
            text.starts_with("error while executing at wasm backtrace:"),
            "{text}"
        );
        assert!(
            text.ends_with(&format!(
                "Caused by:\n    Exited with i32 exit status {status}"
            )),
            "{text}"
        );
    }
    let (code_126, _) = code(&mut plugin, "exit", &[126]).unwrap_err();
    assert_eq!(code_126, -1);
    for status in *b"\0\x07" {
        let input = [status, b'x'];
        let expected = (-1, String::from_utf8_lossy(&input).into_owned());
        assert_eq!(code(&mut plugin, "exit_with_error", &input), Err(expected));
    }
}

#[test]
fn sleeping_takes_its_time() {
    let mut plugin = Plugin::new(manifest(), [], true).unwrap();
    for function in ["sleep", "sleep_until"] {
        let start = Instant::now();
        let input = 30_000_000u64.to_le_bytes();
        assert_eq!(code(&mut plugin, function, &input), Ok(0), "{function}");
        assert!(start.elapsed() >= Duration::from_millis(30), "{function}");
        assert!(start.elapsed() < Duration::from_secs(10), "{function}");
    }
    assert_eq!(code(&mut plugin, "poll_nothing", &[]), Ok(28));
    assert_eq!(code(&mut plugin, "poll_outside", &[]), Ok(21));
    let start = Instant::now();
    assert_eq!(code(&mut plugin, "poll_stdin", &[]), Ok(0));
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// D19: sleeping past the end of a call's time was a success, after all that time.
#[test]
fn sleeping_ends_with_the_call() {
    let minute = 60_000_000_000u64.to_le_bytes();
    let timed = manifest().with_timeout(Duration::from_millis(50));
    let mut plugin = Plugin::new(timed, [], true).unwrap();
    let start = Instant::now();
    for function in ["sleep", "sleep_until"] {
        assert_eq!(
            code(&mut plugin, function, &minute),
            Err((134, "timeout".to_owned()))
        );
    }
    let mut plugin = Plugin::new(manifest(), [], true).unwrap();
    let handle = plugin.cancel_handle();
    let canceller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        handle.cancel().unwrap();
    });
    let error = plugin.call::<_, ()>("sleep", &minute[..]).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::Timeout));
    canceller.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn folders_can_be_read_only() {
    let folder = std::env::temp_dir().join(format!("extism-wasi-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap();
    let with = |host: String| {
        let manifest = manifest().with_allowed_path(host, "/data");
        Plugin::new(manifest, [], true).unwrap()
    };
    assert_eq!(code(&mut with(format!("ro:{path}")), "create", &[]), Ok(63));
    assert_eq!(code(&mut with(path.to_owned()), "create", &[]), Ok(0));
    assert!(folder.join("file").exists());
    assert_eq!(code(&mut with(format!("ro:{path}")), "read", &[]), Ok(0));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn there_is_no_environment() {
    let mut plugin = Plugin::new(manifest(), [], true).unwrap();
    assert_eq!(code(&mut plugin, "environment", &[]), Ok(0));
    assert!(plugin.has_wasi());
}

const ENVIRONMENT: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory (export "memory") 1)
  (global $start (mut i32) (i32.const -1))
  (func (export "_initialize")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (global.set $start (i32.load (i32.const 0))))
  ;; How many variables there were at the start; -1 if there was none.
  (func (export "start") (result i32) (global.get $start))
  ;; The texts, from where the first address leads to.
  (func (export "environment") (result i32) (local $at i32) (local $size i32) (local $block i64)
    (if (call $sizes (i32.const 0) (i32.const 4)) (then (return (i32.const -1))))
    (local.set $size (i32.load (i32.const 4)))
    (if (i32.eqz (local.get $size)) (then (return (i32.const 0))))
    (if (call $get (i32.const 100) (i32.const 1000)) (then (return (i32.const -2))))
    (local.set $block (call $alloc (i64.extend_i32_u (local.get $size))))
    (loop $next
      (call $store_u8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $at)))
        (i32.load8_u (i32.add (i32.load (i32.const 100)) (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $size))))
    (call $output_set (local.get $block) (i64.extend_i32_u (local.get $size)))
    (i32.load (i32.const 0)))
  (func (export "outside") (result i32)
    (if (i32.ne (call $sizes (i32.const 65533) (i32.const 4)) (i32.const 21)) (then (return (i32.const 1))))
    (if (i32.ne (call $sizes (i32.const 0) (i32.const -1)) (i32.const 21)) (then (return (i32.const 2))))
    (if (call $sizes (i32.const 0) (i32.const 4)) (then (return (i32.const 3))))
    (if (i32.ne (call $get (i32.const 65533) (i32.const 0)) (i32.const 21)) (then (return (i32.const 4))))
    (if (i32.ne (call $get (i32.const 0) (i32.const 65533)) (i32.const 21)) (then (return (i32.const 5))))
    (i32.const 0)))"#;

fn environment(plugin: &mut Plugin) -> (i32, String) {
    let count = plugin.call_raw("environment", b"", None).unwrap();
    (count, String::from_utf8(plugin.output().to_vec()).unwrap())
}

#[test]
fn the_environment_is_the_configuration_if_told_so() {
    let manifest = Manifest::new([Wasm::data(ENVIRONMENT)]).with_config_key("KEY", "value");
    let builder = || PluginBuilder::new(&manifest).with_wasi(true);
    let mut plugin = builder().build().unwrap();
    assert_eq!(environment(&mut plugin), (0, String::new()));

    let mut plugin = builder()
        .with_environment_from_config(true)
        .build()
        .unwrap();
    assert_eq!(environment(&mut plugin), (1, "KEY=value\0".to_owned()));
    let changes = br#"{"KEY": "=", "A": "b", "NUL": "a\u0000b"}"#;
    plugin.config().merge(changes).unwrap();
    assert_eq!(environment(&mut plugin), (2, "A=b\0KEY==\0".to_owned()));
    assert_eq!(plugin.call_raw("outside", b"", None).unwrap(), 0);
}

#[test]
fn a_late_start_waits_for_the_first_call() {
    let manifest = Manifest::new([Wasm::data(ENVIRONMENT)]);
    for (late, variables) in [(false, 0), (true, 1)] {
        let builder = PluginBuilder::new(&manifest).with_wasi(true);
        let builder = builder.with_environment_from_config(true);
        let mut plugin = builder.with_late_start(late).build().unwrap();
        plugin.config().merge(br#"{"KEY": "value"}"#).unwrap();
        assert_eq!(plugin.call_raw("start", b"", None).unwrap(), variables);
    }
    // What is wrong with it is the call's error.
    let broken = r#"(module (func $start unreachable) (start $start) (func (export "run")))"#;
    assert!(PluginBuilder::new(broken).build().is_err());
    let builder = PluginBuilder::new(broken).with_late_start(true);
    let mut plugin = builder.build().unwrap();
    assert!(plugin.call::<_, ()>("run", "").is_err());
}
