//! Pools, and the types that travel between plugin and host.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use extism::{
    CompiledPlugin, Error, Plugin, PluginBuilder, Pool, PoolBuilder,
    convert::{Base64, Json, Msgpack, Prost},
};

use crate::{plugin, wat};

const ECHO: &str =
    r#"(func (export "echo") (call $output_set (call $input_offset) (call $input_length)))"#;

fn compiled() -> CompiledPlugin {
    PluginBuilder::new(wat(ECHO)).compile().unwrap()
}

fn pool(max: usize) -> Pool {
    let compiled = compiled();
    let builder = PoolBuilder::new().with_max_instances(max);
    builder.build(move || Plugin::new_from_compiled(&compiled))
}

const NONE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_pool_makes_plugins_when_they_are_needed_and_no_more_than_it_may() {
    let pool = pool(2);
    assert_eq!(pool.count(), 0);
    let mut one = pool.get(NONE).unwrap().unwrap();
    let id = one.id();
    assert_eq!(one.call::<_, String>("echo", "text").unwrap(), "text");
    let two = pool.get(NONE).unwrap().unwrap();
    assert_ne!(two.id(), id);
    assert_eq!(pool.count(), 2);
    let start = Instant::now();
    assert!(pool.get(Duration::from_millis(50)).unwrap().is_none());
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(pool.function_exists("echo", NONE).is_err());
    drop(one);
    assert!(pool.function_exists("echo", NONE).unwrap());
    assert!(!pool.function_exists("missing", NONE).unwrap());
    assert_eq!(pool.get(NONE).unwrap().unwrap().id(), id);
}

#[test]
fn who_waits_for_a_pool_gets_the_next_plugin() {
    let pool = pool(1);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let output =
                        pool.with_plugin(LONG, |plugin| plugin.call::<_, String>("echo", "text"));
                    assert_eq!(output.unwrap().as_deref(), Some("text"));
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((calls.into_inner(), pool.count()), (400, 1));
}

#[test]
fn a_plugin_that_cannot_be_made_takes_no_place_in_the_pool() {
    let tries = Arc::new(AtomicUsize::new(0));
    let compiled = compiled();
    let source = {
        let tries = tries.clone();
        move || match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::msg("not yet")),
            1 => panic!("not now"),
            _ => Plugin::new_from_compiled(&compiled),
        }
    };
    let pool = PoolBuilder::new().with_max_instances(1).build(source);
    assert_eq!(pool.get(NONE).unwrap_err().to_string(), "not yet");
    let panics = pool.clone();
    thread::spawn(move || panics.get(NONE)).join().unwrap_err();
    assert_eq!(pool.count(), 0);
    assert!(pool.get(NONE).unwrap().is_some());
}

#[test]
fn a_call_that_fails_leaves_its_plugin_in_the_pool() {
    let pool = pool(1);
    let failed = pool.with_plugin(LONG, |plugin| plugin.call::<_, ()>("missing", ""));
    assert_eq!(
        failed.unwrap_err().to_string(),
        "Function not found: missing"
    );
    assert!(pool.get(NONE).unwrap().is_some());
}

#[test]
fn values_travel_in_every_encoding() {
    let mut plugin = plugin(ECHO);
    let numbers = vec![1u32, 2, 3];
    let Json(output) = plugin
        .call::<_, Json<Vec<u32>>>("echo", Json(numbers.clone()))
        .unwrap();
    assert_eq!(output, numbers);
    let Msgpack(output) = plugin
        .call::<_, Msgpack<Vec<u32>>>("echo", Msgpack(numbers.clone()))
        .unwrap();
    assert_eq!(output, numbers);
    let text: String = plugin.call("echo", Base64("text")).unwrap();
    assert_eq!(text, "dGV4dA==");
    let Base64(output) = plugin.call::<_, Base64<String>>("echo", text).unwrap();
    assert_eq!(output, "text");
    // A string stands for the message that has it as its only field.
    let Prost(output) = plugin
        .call::<_, Prost<String>>("echo", Prost("text".to_owned()))
        .unwrap();
    assert_eq!(output, "text");
    assert_eq!(plugin.call::<_, u64>("echo", 77u64).unwrap(), 77);
    plugin
        .call::<_, Json<Vec<u32>>>("echo", "no JSON")
        .unwrap_err();
}
