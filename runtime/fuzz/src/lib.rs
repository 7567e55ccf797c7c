//! What the targets share: a plugin of unknown bytes is made and called, with little of everything.

use std::time::Duration;

use extism::{Function, Manifest, PTR, PluginBuilder, Val, ValType, Wasm, WasmInput};

/// What the plugins in `tests/plugins` export, and what the runtime looks for by itself. Only these are called.
const NAMES: [&str; 24] = [
    "_start",
    "add",
    "alloc_forever",
    "any_handle",
    "ask",
    "delete",
    "echo",
    "endless",
    "error_text_and_trap",
    "exit_3",
    "get",
    "greet",
    "http",
    "initialised",
    "input_wraps",
    "level",
    "log_each_level",
    "memory",
    "output_wraps",
    "overwrite_everything",
    "own",
    "run",
    "set",
    "trap",
];

/// Enough for what such plugins do on purpose.
const FUEL: u64 = 50_000;

/// What plugins may have beside what they were made with, in pages of 64 KiB.
const PAGES: u32 = 100;

/// What is WebAssembly, in either format, or is none.
pub fn run(wasm: &[u8]) {
    let manifest = Manifest::new([Wasm::data(wasm)])
        .with_memory_max(PAGES)
        .with_timeout(Duration::from_secs(10))
        .with_config_key("key", "value");
    // Half of them as one module with the kernel, and always the same ones.
    let sum = wasm.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    call(PluginBuilder::new(manifest).with_joined_kernel(sum % 2 == 0));
}

/// What is said to be a manifest.
pub fn run_manifest(text: &str) {
    call(PluginBuilder::new(WasmInput::from(text)));
}

fn call(builder: PluginBuilder<'_>) {
    let greet = Function::from_fn("greet", [PTR], [PTR], |_, inputs, outputs| {
        outputs[0] = inputs[0];
        Ok(())
    });
    let i32s = [ValType::I32, ValType::I32];
    let add = Function::from_fn("add", i32s, [ValType::I32], |_, inputs, outputs| {
        if let [Val::I32(a), Val::I32(b)] = inputs {
            outputs[0] = Val::I32(a.wrapping_add(*b));
        }
        Ok(())
    });
    let plugin = builder
        .with_functions([greet, add.with_namespace("calculator")])
        .with_wasi(true)
        .with_fuel_limit(FUEL)
        .with_cache_disabled()
        .build();
    let Ok(mut plugin) = plugin else {
        return;
    };
    for name in NAMES {
        // A command is made anew each time, which takes as long as all else.
        if !plugin.function_exists(name) {
            continue;
        }
        for input in [&b""[..], b"some input"] {
            if let Err(failure) = plugin.call_raw(name, input, None) {
                assert!(!failure.text().is_empty());
            }
            assert!(plugin.fuel_consumed().is_none_or(|fuel| fuel <= FUEL));
            std::hint::black_box(plugin.output().to_vec());
        }
    }
    plugin.reset().expect("what the host does needs no fuel");
    assert!(plugin.output().is_empty());
}
