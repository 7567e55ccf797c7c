//! Room that is kept for plugins: what was in it before, and that it is limited.

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

use crate::{number, wat};

fn compile(plugin: &str, count: u32) -> CompiledPlugin {
    let builder = PluginBuilder::new(plugin).with_pooling(count);
    builder.compile().unwrap()
}

/// Writes to its own memory, a table and the kernel's memory, and sums up what was there before.
fn writer() -> String {
    wat(
        r#"(memory 3) (table $table 10 funcref) (elem declare func $here)
        (func $here)
        (func $sum (result i64) (local $at i32) (local $sum i64)
            (loop $next
                (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
                (i64.store (local.get $at) (i64.const 7))
                (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 196608))))
            (local.get $sum))
        (func $kernel (result i64) (local $at i64) (local $block i64) (local $sum i64)
            (local.set $block (call $alloc (i64.const 100000)))
            (loop $next
                (local.set $sum (i64.add (local.get $sum)
                    (i64.extend_i32_u (call $load_u8 (i64.add (local.get $block) (local.get $at))))))
                (call $store_u8 (i64.add (local.get $block) (local.get $at)) (i32.const 7))
                (br_if $next (i64.lt_u (local.tee $at (i64.add (local.get $at) (i64.const 1))) (i64.const 100000))))
            (local.get $sum))
        (func (export "before") (local $sum i64)
            (local.set $sum (i64.add (call $sum) (call $kernel)))
            (if (i32.eqz (ref.is_null (table.get $table (i32.const 3))))
                (then (local.set $sum (i64.const -1))))
            (table.set $table (i32.const 3) (ref.func $here))
            (call $number (local.get $sum)))"#,
    )
}

/// A plugin gets the room of another one that is gone: nothing of that one may be in it.
#[test]
fn nothing_is_left_of_the_plugin_before() {
    for joined in [true, false] {
        let builder = PluginBuilder::new(writer()).with_pooling(1);
        let compiled = builder.with_joined_kernel(joined).compile().unwrap();
        for _ in 0..3 {
            let mut plugin = Plugin::new_from_compiled(&compiled).unwrap();
            assert_eq!(number(&mut plugin, "before"), 0);
            assert_ne!(number(&mut plugin, "before"), 0);
        }
    }
}

#[test]
fn room_is_limited_and_comes_back() {
    let plain = compile(&wat(r#"(memory 1) (func (export "run"))"#), 2);
    let make = || Plugin::new_from_compiled(&plain);
    let plugins = [make().unwrap(), make().unwrap()];
    let error = make().unwrap_err().root_cause().to_string();
    assert!(error.contains("limit of"), "{error}");
    drop(plugins);
    for _ in 0..5 {
        make().unwrap().call::<_, ()>("run", "").unwrap();
    }
}

#[test]
fn what_has_no_room_is_refused_with_the_reason() {
    let large = wat("(table 100001 funcref)");
    let error = PluginBuilder::new(large.as_str()).with_pooling(3).build();
    let error = error.unwrap_err().root_cause().to_string();
    assert!(
        error.contains("100001 which exceeds the limit of 100000"),
        "{error}"
    );
    PluginBuilder::new(large.as_str())
        .with_pooling(0)
        .build()
        .unwrap();
    let million = PluginBuilder::new("(module)").with_pooling(u32::MAX);
    assert!(million.build().is_err());
}

#[test]
fn several_modules_and_the_collectors_heap_have_room() {
    let library = r#"(module (memory (export "own") 1)
        (type $pair (struct (field i64))) (func (export "seven") (result i64) (struct.get $pair 0 (struct.new $pair (i64.const 7)))))"#;
    let main = wat(r#"(func (export "run") (call $number (call $seven)))"#);
    let import = r#"(module (import "library" "seven" (func $seven (result i64)))"#;
    let main = main.replacen("(module", import, 1);
    let manifest = Manifest::new([Wasm::data(library).with_name("library"), Wasm::data(main)]);
    let mut plugin = PluginBuilder::new(manifest)
        .with_pooling(4)
        .build()
        .unwrap();
    assert_eq!(number(&mut plugin, "run"), 7);
}
