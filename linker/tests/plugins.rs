//! Plugins do the same in every way in which they are linked: those of `tests/plugins`, two that use WASI, hostile ones.

mod common;

use artefacts::guests;
use common::{Host, LINKED, Outcome, Way};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A plugin of `tests/plugins` that is written in the text format.
fn text(name: &str) -> Vec<u8> {
    wat::parse_file(
        root()
            .join("tests/plugins")
            .join(name)
            .with_extension("wat"),
    )
    .unwrap()
}

/// Has rustup get a target if it isn't there: a toolchain that was installed before `rust-toolchain.toml` named it lacks it.
fn need_target(target: &str) {
    let folder = Command::new("rustc")
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .expect("rustc can be run");
    if !Path::new(String::from_utf8_lossy(&folder.stdout).trim()).is_dir() {
        let added = Command::new("rustup")
            .current_dir(root())
            .args(["target", "add", target])
            .status();
        assert!(
            added.is_ok_and(|status| status.success()),
            "the Rust target {target} is missing: run 'rustup target add {target}'"
        );
    }
}

/// A plugin written in Rust, built for a target.
fn rust(folder: &str, target: &str) -> Vec<u8> {
    // One at a time, as cargo does anyway, and so that what it says is readable.
    static LOCK: Mutex<()> = Mutex::new(());
    let _lock = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    need_target(target);
    let folder = root().join(folder);
    let built = root().join("target/plugins");
    let mut cargo = guests::cargo();
    cargo
        .current_dir(&folder)
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(&built);
    let output = cargo.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}:\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let name = folder
        .file_name()
        .unwrap()
        .to_string_lossy()
        .replace('-', "_");
    fs::read(
        built
            .join(target)
            .join("release")
            .join(name)
            .with_extension("wasm"),
    )
    .unwrap()
}

/// Calls of a plugin, one after the other in one instance, linked in every way: what they gave, which is the same.
#[track_caller]
fn same(plugin: &[u8], config: &[(&str, &str)], calls: &[(&str, &[u8])]) -> Vec<Outcome> {
    let run = |way| {
        let mut host = Host::new(plugin, way, config).unwrap();
        let outcomes: Vec<Outcome> = calls
            .iter()
            .map(|(function, input)| host.call(function, input))
            .collect();
        (outcomes, std::mem::take(&mut host.store.data_mut().logged))
    };
    let usual = run(Way::Usual);
    for way in LINKED {
        assert_eq!(run(way), usual, "{way:?}");
    }
    usual.0
}

fn ok(bytes: impl AsRef<[u8]>) -> Outcome {
    Ok(bytes.as_ref().to_vec())
}

#[test]
fn echo_gives_back_what_it_gets() {
    let inputs: Vec<Vec<u8>> = [0, 1, 7, 8, 9, 4096, 65_528, 65_536, 1_000_003]
        .map(|length| (0..length).map(|i| (i * 7) as u8).collect())
        .into();
    let calls: Vec<(&str, &[u8])> = inputs
        .iter()
        .map(|input| ("echo", input.as_slice()))
        .collect();
    let outcomes = same(&text("echo"), &[], &calls);
    assert_eq!(outcomes, inputs.iter().map(ok).collect::<Vec<_>>());
}

#[test]
fn the_plugins_for_each_feature_of_a_host_do_the_same() {
    let outcomes = same(
        &text("config"),
        &[("color", "blue")],
        &[("get", b"color"), ("get", b"colour")],
    );
    assert_eq!(outcomes, [ok("blue"), ok("")]);
    let calls: [(&str, &[u8]); 8] = [
        ("error_text", b"bad"),
        ("succeed", b"good"),
        ("error_text_and_success", b"bad"),
        ("error_code", b""),
        ("trap", b""),
        ("error_text_and_trap", b"bad"),
        ("endless", b""),
        ("http", b""),
    ];
    let outcomes = same(&text("fail"), &[], &calls);
    assert_eq!(outcomes[0], Err("bad".to_owned()));
    assert!(outcomes[1].is_ok());
    assert!(
        outcomes[4]
            .as_ref()
            .is_err_and(|error| error.contains("Unreachable")),
        "{:?}",
        outcomes[4]
    );
    assert!(
        outcomes[6]
            .as_ref()
            .is_err_and(|error| error.contains("OutOfFuel")),
        "{:?}",
        outcomes[6]
    );
    let outcomes = same(
        &text("host-functions"),
        &[],
        &[("greet", b"Ada"), ("add", b"")],
    );
    assert_eq!(outcomes, [ok("Hello, Ada!"), ok([42])]);
    same(
        &text("log"),
        &[],
        &[
            ("log_each_level", b""),
            ("level", b""),
            ("log_nothing", b""),
        ],
    );
    let calls: [(&str, &[u8]); 6] = [
        ("set", b"one"),
        ("get", b""),
        ("set", b""),
        ("get", b""),
        ("set_to_itself", b""),
        ("delete", b""),
    ];
    assert_eq!(same(&text("vars"), &[], &calls)[1], ok("one"));
    let outcomes = same(
        &text("wasi"),
        &[],
        &[("ask", b""), ("exit_3", b""), ("exit_0", b"")],
    );
    assert_eq!(outcomes[0], ok([1, 0, 1]));
}

#[test]
fn hostile_plugins_get_no_further() {
    let calls: Vec<(&str, &[u8])> = [
        "output_wraps",
        "output_wraps_last",
        "input_wraps",
        "overwrite_front",
        "overwrite_front_and_log",
        "overwrite_everything",
    ]
    .into_iter()
    .flat_map(|attack| [(attack, b"".as_slice()), ("fair", b"")])
    .collect();
    let outcomes = same(&text("hostile"), &[], &calls);
    for fair in outcomes.iter().skip(1).step_by(2) {
        assert_eq!(*fair, ok("a value."));
    }
    let numbers =
        [0, 8, 31, 32, 40, 65_535, 65_536, u64::MAX, 1 << 32, 1 << 63].map(u64::to_le_bytes);
    for attack in [
        "any_handle",
        "log_any_handle",
        "config_any_handle",
        "var_any_handle",
        "error_any_handle",
    ] {
        let calls: Vec<(&str, &[u8])> = numbers
            .iter()
            .flat_map(|number| [(attack, number.as_slice()), ("fair", b"")])
            .collect();
        for fair in same(&text("hostile"), &[], &calls)
            .iter()
            .skip(1)
            .step_by(2)
        {
            assert_eq!(*fair, ok("a value."));
        }
    }
    // How far fuel gets is not the same, but a fair call that follows is.
    for way in LINKED {
        let mut host = Host::new(&text("hostile"), way, &[]).unwrap();
        assert!(
            host.call("alloc_forever", b"")
                .is_err_and(|error| error.contains("OutOfFuel"))
        );
        assert_eq!(host.call("fair", b""), ok("a value."));
    }
}

/// In one memory a plugin can write over what is the kernel's, as a host can. Whatever it writes, the host is told no range that isn't
/// there, nothing traps or hangs in the kernel, and the next call is a fair one.
#[test]
fn a_plugin_that_writes_over_the_kernels_memory_harms_but_itself() {
    let plugin = wat::parse_str(
        r#"(module
        (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
        (import "extism:host/env" "input_length" (func $input_length (result i64)))
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "free" (func $free (param i64)))
        (import "extism:host/env" "length" (func $length (param i64) (result i64)))
        (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
        (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
        (import "extism:host/env" "error_set" (func $error_set (param i64)))
        (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
        (memory (export "memory") 1)
        (global $state (mut i64) (i64.const 88172645463325252))
        (func $random (result i64)
            (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 13))))
            (global.set $state (i64.xor (global.get $state) (i64.shr_u (global.get $state) (i64.const 7))))
            (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 17))))
            (global.get $state))
        ;; Writes over the page behind its own memory: at random places addresses that are likely to be believed.
        (func $scribble (param $times i32)
            (loop $again
                (i32.store
                    (i32.add (i32.const 65536) (i32.and (i32.wrap_i64 (call $random)) (i32.const 65532)))
                    (select
                        (i32.and (i32.wrap_i64 (call $random)) (i32.const 65528))
                        (i32.sub (i32.const 65496) (i32.mul (i32.const 8) (i32.and (i32.wrap_i64 (call $random)) (i32.const 63))))
                        (i32.and (i32.wrap_i64 (call $random)) (i32.const 1))))
                (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
        (func (export "attack") (local $i i32) (local $block i64)
            (global.set $state (i64.or (call $input_load_u64 (i64.const 0)) (i64.const 1)))
            (local.set $i (i32.const 40))
            (loop $again
                (local.set $block (call $alloc (i64.and (call $random) (i64.const 2047))))
                (call $store_u64 (local.get $block) (call $random))
                (if (i32.and (i32.wrap_i64 (call $random)) (i32.const 1)) (then (call $free (local.get $block))))
                (call $scribble (i32.const 300))
                (call $output_set (local.get $block) (call $length (local.get $block)))
                (call $error_set (local.get $block))
                (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
        ;; All ones over everything that is the kernel's.
        (func (export "flood")
            (memory.fill (i32.const 65536) (i32.const 255) (i32.const 65536))
            (drop (call $alloc (i64.const 8)))
            (call $free (i64.const 40)))
        (func (export "fair") (local $block i64)
            (local.set $block (call $alloc (call $input_length)))
            (call $store_u64 (local.get $block) (call $input_load_u64 (i64.const 0)))
            (call $output_set (local.get $block) (i64.const 8))))"#,
    )
    .unwrap();
    for way in LINKED.into_iter().filter(|way| matches!(way, Way::One(..))) {
        let mut host = Host::new(&plugin, way, &[]).unwrap();
        for seed in 0..200u64 {
            // Not inside of the memory, or not a number of bytes that was asked for: both would fail in the host.
            let outcome = host.call(
                "attack",
                &seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(),
            );
            assert!(
                !matches!(&outcome, Err(error) if error.contains("OutOfFuel")),
                "{way:?}, {seed}: {outcome:?}"
            );
            assert_eq!(
                host.call("fair", b"unharmed"),
                ok("unharmed"),
                "{way:?}, {seed}"
            );
        }
        assert_eq!(host.call("flood", b"12345678"), ok(""));
        assert_eq!(host.call("fair", b"unharmed"), ok("unharmed"));
        // Nothing that one call wrote is there for the next.
        host.kernel.call(&mut host.store, "reset", &[]).unwrap();
        let left = host
            .kernel
            .bytes(&mut host.store)
            .iter()
            .filter(|&&byte| byte != 0)
            .count();
        assert!(left < 65_536, "a reset zeroes what was handed out");
    }
    // As usual, and in two memories, it can't.
    for way in [Way::Usual, Way::Two(true)] {
        let mut host = Host::new(&plugin, way, &[]).unwrap();
        assert_eq!(host.call("flood", b""), Err("MemoryOutOfBounds".to_owned()));
    }
}

#[test]
fn plugins_in_rust_do_the_same() {
    let target = "wasm32-unknown-unknown";
    let calls: [(&str, &[u8]); 2] = [
        ("count_vowels", b"Hello, World!"),
        ("count_vowels", b"Hello, World!"),
    ];
    let outcomes = same(&rust("tests/plugins/count-vowels", target), &[], &calls);
    assert_eq!(
        outcomes[1],
        ok(r#"{"count":3,"total":6,"vowels":"aeiouAEIOU"}"#)
    );
    let outcomes = same(
        &rust("tests/plugins/handle-echo", target),
        &[],
        &[("handle_echo", b"text")],
    );
    assert_eq!(outcomes, [ok("text")]);
}

#[test]
fn plugins_with_wasi_do_the_same() {
    let target = "wasm32-wasip1";
    let long = "a b c a b a ".repeat(10_000);
    let calls: [(&str, &[u8]); 8] = [
        ("count", b"one two two three three three"),
        ("count", long.as_bytes()),
        ("grow", b"10"),
        ("grow", b"1000000"),
        ("grow", b"8000000"),
        ("arguments", b""),
        ("panics", b"no"),
        ("count", b"again"),
    ];
    let words = rust("linker/tests/plugins/words", target);
    let outcomes = same(&words, &[], &calls);
    assert_eq!(outcomes[0], ok("three 3\ntwo 2\none 1\n"));
    assert_eq!(outcomes[1], ok("a 30000\nb 20000\nc 10000\n"));
    assert!(
        outcomes[4]
            .as_ref()
            .is_ok_and(|bytes| bytes.len() == 100_008)
    );
    assert_eq!(outcomes[5], ok("plugin"));
    assert_eq!(outcomes[6], Err("UnreachableCodeReached".to_owned()));
    assert_eq!(outcomes[7], ok("again 1\n"));

    let calls: [(&str, &[u8]); 4] = [
        ("add", br#"{"account": "rent", "amount": 500}"#),
        ("add", br#"{"account": "rent", "amount": 20}"#),
        ("add", br#"{"amount": 20}"#),
        ("add", b"{"),
    ];
    let ledger = rust("linker/tests/plugins/ledger", target);
    let outcomes = same(&ledger, &[("currency", "EUR")], &calls);
    assert_eq!(
        outcomes[1],
        ok(r#"{"account":"rent","currency":"EUR","sum":520}"#)
    );
    assert_eq!(outcomes[2], Err("an entry needs an account".to_owned()));

    // What it may cost: at most the kernel and 1,536 bytes, and with inlining at most 15 %.
    for (name, plugin) in [("words", words), ("ledger", ledger)] {
        for way in LINKED {
            let growth = way.module(&plugin).len() as i64 - plugin.len() as i64;
            let most = match way {
                Way::Two(true) | Way::One(true, _) => plugin.len() as i64 * 15 / 100,
                _ => way.options().unwrap().kernel.len() as i64 + 1536,
            };
            println!("{name}, {way:?}: {} bytes, {growth:+}", plugin.len());
            assert!(
                growth <= most,
                "{name}, {way:?}: {growth} bytes more than {}",
                plugin.len()
            );
        }
    }
}
