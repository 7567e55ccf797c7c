//! Timeouts and cancellation: of each call, of all code of the plugin, of nobody else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use extism::{CallError, Function, Manifest, Plugin, PluginBuilder, Wasm};

use crate::{manifest, reason, wat};

const SPIN: &str = r#"
  (func (export "spin") (loop $again (br $again)))
  (func (export "work") (local $i i32)
    (loop $again
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))))
"#;

fn timed(body: &str, milliseconds: u64) -> Manifest {
    manifest(body).with_timeout(Duration::from_millis(milliseconds))
}

#[test]
fn a_call_ends_when_its_time_is_up_and_the_next_has_as_much_again() {
    let mut plugin = Plugin::new(timed(SPIN, 50), [], false).unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let failure = plugin.call_raw("spin", b"", None).unwrap_err();
        assert_eq!((failure.code, failure.text().as_str()), (134, "timeout"));
        assert!(start.elapsed() >= Duration::from_millis(50));
        plugin.call::<_, ()>("work", "").unwrap();
    }
}

#[test]
fn no_time_at_all_ends_a_call_at_once() {
    let mut plugin = Plugin::new(timed(SPIN, 0), [], false).unwrap();
    let start = Instant::now();
    for function in ["spin", "work"] {
        assert_eq!(reason(&mut plugin, function, ""), Some(CallError::Timeout));
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn cancelling_ends_the_running_call_and_no_other() {
    let mut plugin = Plugin::new(wat(SPIN), [], false).unwrap();
    let handle = plugin.cancel_handle();
    handle.cancel().unwrap();
    plugin.call::<_, ()>("work", "").unwrap();
    for _ in 0..3 {
        let handle = plugin.cancel_handle();
        let canceller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            handle.cancel().unwrap();
        });
        assert_eq!(reason(&mut plugin, "spin", ""), Some(CallError::Timeout));
        canceller.join().unwrap();
        plugin.call::<_, ()>("work", "").unwrap();
    }
    drop(plugin);
    handle.cancel().unwrap();
}

/// D22: a cancel near a call's start was lost, and the call never ended.
#[test]
fn no_cancel_is_lost_however_near_to_a_calls_start() {
    const CALLS: u64 = 1000;
    let begun = Arc::new(AtomicU64::new(0));
    let announce = {
        let begun = begun.clone();
        Function::from_fn("begun", [], [], move |_, _, _| {
            begun.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    };
    let body = r#"(module
                    (import "extism:host/user" "begun" (func $begun))
                    (func (export "spin") (call $begun) (loop $again (br $again))))"#;
    let mut plugin = Plugin::new(body, [announce], false).unwrap();
    let handle = plugin.cancel_handle();
    let canceller = thread::spawn(move || {
        for call in 0..CALLS {
            while begun.load(Ordering::SeqCst) <= call {
                std::hint::spin_loop();
            }
            // One cancel for each call, a little later each time.
            for _ in 0..call {
                std::hint::spin_loop();
            }
            handle.cancel().unwrap();
        }
    });
    for _ in 0..CALLS {
        assert_eq!(reason(&mut plugin, "spin", ""), Some(CallError::Timeout));
    }
    canceller.join().unwrap();
}

/// D20: timeout or cancel of one plugin stopped all running ones of its compiled plugin.
#[test]
fn nobody_elses_call_is_stopped() {
    // So long that a busy machine, too, gets a call cancelled before its own time is up.
    const TIME: Duration = Duration::from_secs(3);
    let compiled = PluginBuilder::new(manifest(SPIN).with_timeout(TIME))
        .compile()
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let bystander = {
        let (compiled, done) = (compiled.clone(), done.clone());
        thread::spawn(move || {
            let mut plugin = Plugin::new_from_compiled(&compiled).unwrap();
            let mut calls = 0;
            while !done.load(Ordering::SeqCst) {
                let start = Instant::now();
                // It is stopped by its own time alone.
                assert_eq!(reason(&mut plugin, "spin", ""), Some(CallError::Timeout));
                assert!(start.elapsed() >= TIME, "{:?}", start.elapsed());
                calls += 1;
            }
            calls
        })
    };
    let mut cancelled = Plugin::new_from_compiled(&compiled).unwrap();
    for _ in 0..20 {
        let handle = cancelled.cancel_handle();
        let canceller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            handle.cancel().unwrap();
        });
        let start = Instant::now();
        assert_eq!(reason(&mut cancelled, "spin", ""), Some(CallError::Timeout));
        assert!(start.elapsed() < TIME, "{:?}", start.elapsed());
        canceller.join().unwrap();
    }
    done.store(true, Ordering::SeqCst);
    assert!(bystander.join().unwrap() > 0);
}

/// D9: they hung, at creation.
#[test]
fn start_functions_and_initialisers_are_under_the_limit() {
    for body in [
        "(func $spin (loop $again (br $again))) (start $spin)",
        r#"(func (export "_initialize") (loop $again (br $again)))"#,
    ] {
        let error = Plugin::new(timed(body, 50), [], false).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&CallError::Timeout), "{body}");
    }
    let ctors =
        r#"(func (export "__wasm_call_ctors") (loop $again (br $again))) (func (export "run"))"#;
    let mut plugin = Plugin::new(timed(ctors, 50), [], false).unwrap();
    assert_eq!(reason(&mut plugin, "run", ""), Some(CallError::Timeout));
    let linked = Manifest::new([
        Wasm::data("(module (func $spin (loop $again (br $again))) (start $spin))")
            .with_name("other"),
        Wasm::data("(module)").with_name("main"),
    ]);
    let error = Plugin::new(linked.with_timeout(Duration::from_millis(50)), [], false).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::Timeout));
}

/// D19: it was a success.
#[test]
fn a_host_function_that_takes_too_long_fails_the_call() {
    let sleep = Function::from_fn("sleep", [], [], |plugin, _, _| {
        let left = plugin.time_remaining().unwrap();
        assert!(left <= Duration::from_millis(50));
        thread::sleep(Duration::from_millis(80));
        assert_eq!(plugin.time_remaining(), Some(Duration::ZERO));
        Ok(())
    });
    let body = r#"(module (import "extism:host/user" "sleep" (func $sleep)) (func (export "run") (call $sleep)))"#;
    let manifest = Manifest::new([Wasm::data(body)]).with_timeout(Duration::from_millis(50));
    let mut plugin = Plugin::new(manifest, [sleep], false).unwrap();
    assert_eq!(reason(&mut plugin, "run", ""), Some(CallError::Timeout));
}

/// D12: it died there.
#[test]
fn a_thread_with_a_small_stack_can_make_calls() {
    let body = r#"
      (func $deep (param $left i32)
        (if (local.get $left) (then (call $deep (i32.sub (local.get $left) (i32.const 1))))))
      (func (export "deep") (call $deep (i32.const 2000)))
      (func $endless (call $endless) (call $endless))
      (func (export "endless") (call $endless))"#;
    let mut plugin = Plugin::new(wat(body), [], false).unwrap();
    let small = thread::Builder::new().stack_size(96 << 10).spawn(move || {
        plugin.call::<_, ()>("deep", "").unwrap();
        plugin
            .call::<_, ()>("endless", "")
            .unwrap_err()
            .root_cause()
            .to_string()
    });
    let error = small.unwrap().join().unwrap();
    assert_eq!(error, "wasm trap: call stack exhausted");
}
