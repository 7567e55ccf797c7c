//! Plugins running on the shipped kernel: what each feature of the host gives them, what attacks get, and the
//! `call` example as its users see it.

use artefacts::guests;
use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Once, OnceLock},
};

use extism::{CallError, Function, Manifest, Plugin, PluginBuilder, Val, ValType, Wasm};
use tracing::{Event, Level, Metadata, field::Field, span};

const RUST_PLUGINS: [&str; 2] = ["count-vowels", "handle-echo"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A plugin of `tests/plugins` that is written in the text format.
macro_rules! wat {
    ($name:literal) => {
        include_bytes!(concat!("plugins/", $name, ".wat"))
    };
}

/// A plugin of `tests/plugins` that is written in Rust: its `.wasm`, built at the first use of any of them.
fn rust_plugin(name: &str) -> PathBuf {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let target = root().join("target/plugins");
        for plugin in RUST_PLUGINS {
            build_plugin(&root().join("tests/plugins").join(plugin), &target);
        }
        target
    });
    let file = format!("{}.wasm", name.replace('-', "_"));
    target.join("wasm32-unknown-unknown/release").join(file)
}

fn build_plugin(folder: &Path, target: &Path) {
    let mut cargo = guests::cargo();
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    let output = cargo
        .current_dir(folder)
        .arg("--target-dir")
        .arg(target)
        .output();
    let output = output.expect("cargo can be run");
    assert!(
        output.status.success(),
        "{} does not build:\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn manifest(plugin: &[u8]) -> Manifest {
    Manifest::new([Wasm::data(plugin)])
}

fn plugin(bytes: &[u8]) -> Plugin {
    Plugin::new(bytes, [], false).expect("the plugin can be loaded")
}

/// A call's output, or the last cause of its failure.
fn call(plugin: &mut Plugin, function: &str, input: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
    let output = plugin.call(function, input.as_ref());
    output.map_err(|error| error.root_cause().to_string())
}

/// The error of a call that has to fail.
fn call_error(plugin: &mut Plugin, function: &str, input: impl AsRef<[u8]>) -> String {
    call(plugin, function, input).expect_err("the call fails")
}

fn load_error(builder: PluginBuilder<'_>) -> String {
    let error = builder.build().expect_err("the plugin can't be loaded");
    error.root_cause().to_string()
}

thread_local! {
    /// What plugins logged in this thread.
    static MESSAGES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Puts the messages of plugins into the list of their thread.
struct Collector;

impl tracing::Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "extism::pdk"
    }

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let mut visitor = |field: &Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                MESSAGES.with_borrow_mut(|all| all.push((level, format!("{value:?}"))));
            }
        };
        event.record(&mut visitor);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A plugin whose messages are collected.
fn logging(builder: PluginBuilder<'_>) -> Plugin {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Collector).unwrap());
    taken();
    builder.build().expect("the plugin can be loaded")
}

/// The messages up to now, which are forgotten.
fn taken() -> Vec<(Level, String)> {
    MESSAGES.take()
}

#[test]
fn echo_gives_back_inputs_of_every_size() {
    let mut plugin = plugin(wat!("echo"));
    for size in [0, 1, 7, 8, 9, 65536, 1000003, 3] {
        let input: Vec<u8> = (0..size).map(|i| (i * 31 + i / 251) as u8).collect();
        assert!(
            call(&mut plugin, "echo", &input).unwrap() == input,
            "{size} bytes"
        );
    }
}

#[test]
fn errors_are_the_text_that_the_plugin_set() {
    let mut plugin = plugin(wat!("fail"));
    for function in [
        "error_text",
        "error_text_and_success",
        "error_text_and_trap",
    ] {
        let error = plugin.call::<_, ()>(function, "no such thing").unwrap_err();
        let expected = CallError::Plugin("no such thing".to_owned());
        assert_eq!(error.downcast_ref(), Some(&expected), "{function}");
        assert_eq!(error.to_string(), "no such thing", "{function}");
        assert_eq!(call(&mut plugin, "succeed", "").unwrap(), b"");
    }
}

#[test]
fn failures_without_a_text_are_described() {
    let mut plugin = plugin(wat!("fail"));
    assert_eq!(
        call_error(&mut plugin, "error_code", ""),
        "Returned non-zero exit code: 7"
    );
    assert_eq!(
        call_error(&mut plugin, "trap", ""),
        "wasm trap: wasm `unreachable` instruction executed"
    );
    assert_eq!(
        call_error(&mut plugin, "http", r#"{"url": "http://localhost/"}"#),
        "HTTP request to http://localhost/ is not allowed"
    );
    assert_eq!(call(&mut plugin, "succeed", "").unwrap(), b"");
}

#[test]
fn only_plugin_functions_can_be_called() {
    let mut plugin = plugin(wat!("fail"));
    for (name, error) in [
        ("missing", "Function not found: missing"),
        ("has_parameter", "expected 1 arguments, got 0"),
        (
            "returns_i64",
            "Function returns_i64 returns i64, expected i32",
        ),
    ] {
        assert_eq!(call_error(&mut plugin, name, "input"), error);
        assert!(!plugin.function_exists(name));
    }
    assert!(plugin.function_exists("succeed"));
}

#[test]
fn vars_live_from_call_to_call() {
    let mut plugin = plugin(wat!("vars"));
    assert_eq!(call(&mut plugin, "get", "").unwrap(), b"");
    call(&mut plugin, "set", "first").unwrap();
    assert_eq!(call(&mut plugin, "get", "some input").unwrap(), b"first");
    call(&mut plugin, "set", "second, and longer").unwrap();
    assert_eq!(call(&mut plugin, "get", "").unwrap(), b"second, and longer");
    call(&mut plugin, "delete", "").unwrap();
    assert_eq!(call(&mut plugin, "get", "").unwrap(), b"");
    call(&mut plugin, "set_to_itself", "v").unwrap();
    assert_eq!(call(&mut plugin, "get", "").unwrap(), b"v");
}

#[test]
fn vars_have_a_limit_and_keep_what_was_there() {
    let mut plugin = plugin(wat!("vars"));
    call(&mut plugin, "set", "small").unwrap();
    let full = "Variable store is full";
    assert_eq!(call_error(&mut plugin, "set", vec![b'x'; 1 << 20]), full);
    assert_eq!(call(&mut plugin, "get", "").unwrap(), b"small");
}

#[test]
fn config_is_found_by_its_key() {
    let config = [("color", "blue"), ("empty", "")];
    let manifest = manifest(wat!("config")).with_config(config.into_iter());
    let mut plugin = Plugin::new(manifest, [], false).unwrap();
    assert_eq!(call(&mut plugin, "get", "color").unwrap(), b"blue");
    assert_eq!(call(&mut plugin, "get", "empty").unwrap(), b"");
    assert_eq!(call(&mut plugin, "get", "colour").unwrap(), b"");
    let error = call_error(&mut plugin, "get", [0xff]);
    assert!(
        error.starts_with("invalid utf-8 sequence of 1 bytes"),
        "{error}"
    );
}

/// The plugin of host-functions.wat with its functions: `greet` needs a host context, a `String`, and adds
/// what it greets to it.
fn greeter() -> Plugin {
    use ValType::{F64, I32, I64};
    let greet = Function::from_fn("greet", [I64], [I64], |plugin, args, results| {
        let name: String = plugin.memory_get_val(&args[0])?;
        let greeting = plugin.host_context::<String>()?;
        greeting.push_str(&name);
        let greeting = greeting.clone();
        plugin.memory_set_val(&mut results[0], greeting)
    });
    let add = Function::from_fn("add", [I32, F64], [I32], |_, args, results| {
        results[0] = Val::I32(args[0].unwrap_i32() + args[1].unwrap_f64() as i32);
        Ok(())
    });
    let functions = [greet, add.with_namespace("calculator")];
    Plugin::new(&wat!("host-functions")[..], functions, false).unwrap()
}

#[test]
fn host_functions_of_any_namespace_and_type_can_be_called() {
    assert_eq!(call(&mut greeter(), "add", "").unwrap(), [42]);
}

#[test]
fn a_host_context_reaches_host_functions_for_one_call() {
    let mut plugin = greeter();
    let without = "this call has no host context of the expected type";
    assert_eq!(call_error(&mut plugin, "greet", "Ada"), without);
    let mut greet = |name: &str, greeting: &str| -> String {
        let output = plugin.call_with_host_context("greet", name, greeting.to_owned());
        output.unwrap()
    };
    assert_eq!(greet("Ada", "Hello, "), "Hello, Ada");
    assert_eq!(greet("Bob", "Bye, "), "Bye, Bob");
    assert_eq!(call_error(&mut plugin, "greet", "Ada"), without);
    let error = plugin.call_with_host_context::<_, (), _>("greet", "Ada", 42);
    assert_eq!(error.unwrap_err().root_cause().to_string(), without);
}

#[test]
fn a_host_context_is_dropped_when_its_call_is_over() {
    let context = Arc::new(());
    let mut plugin = greeter();
    let result = plugin.call_with_host_context::<_, (), _>("greet", "", context.clone());
    result.unwrap_err();
    assert_eq!(Arc::strong_count(&context), 1);
}

#[test]
fn missing_imports_are_named() {
    let error = load_error(PluginBuilder::new(&wat!("host-functions")[..]));
    let expected = "unknown import: `extism:host/user::greet` has not been defined";
    assert_eq!(error, expected);
}

#[test]
fn wasi_is_there_when_switched_on() {
    let mut plugin = Plugin::new(&wat!("wasi")[..], [], true).unwrap();
    // Initialised once, no error, no arguments.
    assert_eq!(call(&mut plugin, "ask", "").unwrap(), [1, 0, 0]);
    assert_eq!(call(&mut plugin, "ask", "").unwrap(), [1, 0, 0]);
    assert_eq!(call(&mut plugin, "exit_0", "").unwrap(), b"");
    let error = plugin.call::<_, ()>("exit_3", "").unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::Exit(3)));
}

#[test]
fn wasi_is_missing_when_off() {
    let error = load_error(PluginBuilder::new(&wat!("wasi")[..]));
    let expected = "unknown import: `wasi_snapshot_preview1::args_sizes_get` has not been defined";
    assert_eq!(error, expected);
}

#[test]
fn growth_beyond_the_limit_ends_the_call() {
    const PAGES: u32 = 20;
    let limited = manifest(wat!("memory")).with_memory_max(PAGES);
    for function in ["own", "kernel"] {
        let mut plugin = Plugin::new(&limited, [], false).unwrap();
        let error = plugin.call::<_, ()>(function, "").unwrap_err();
        assert_eq!(
            error.downcast_ref(),
            Some(&CallError::OutOfMemory),
            "{function}"
        );
        assert!(plugin.kernel_pages() <= 1 + u64::from(PAGES));
    }
    let mut plugin = Plugin::new(&limited, [], false).unwrap();
    let error = call_error(&mut plugin, "own", vec![0; 65536 * (PAGES as usize + 1)]);
    assert_eq!(error, "failed to allocate extism memory");
}

#[test]
fn plugins_larger_than_their_limit_are_not_loaded() {
    let large = manifest(b"(module (memory 3))").with_memory_max(2);
    assert_eq!(load_error(PluginBuilder::new(large)), "oom");
}

#[test]
fn fuel_ends_calls_and_is_there_again_for_the_next() {
    let builder = PluginBuilder::new(&wat!("fail")[..]).with_fuel_limit(100_000);
    let mut plugin = builder.build().unwrap();
    for _ in 0..2 {
        let error = plugin.call::<_, ()>("endless", "").unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&CallError::OutOfFuel));
        assert_eq!(call(&mut plugin, "succeed", "input").unwrap(), b"");
        let burnt = plugin.fuel_consumed().unwrap();
        assert!((1..10_000).contains(&burnt), "{burnt}");
    }
}

#[test]
fn files_that_are_no_wasm_are_named_as_such() {
    let none = "No wasm files specified in Extism manifest";
    assert_eq!(load_error(PluginBuilder::new(&b""[..])), none);
    let unknown = load_error(PluginBuilder::new(&b"GIF89a"[..]));
    assert!(unknown.starts_with("Unknown manifest format"), "{unknown}");
    for bytes in [
        &[0xff; 64][..],
        b"\0asm",
        b"\0asm\x01\0\0\0\xff",
        b"(module (func $broken",
    ] {
        assert!(!load_error(PluginBuilder::new(bytes)).contains("manifest"));
    }
}

/// A call after which variables, logs and memory answer as if no attack had happened.
fn assert_fair(plugin: &mut Plugin, attack: &str) {
    taken();
    assert_eq!(
        call(plugin, "fair", "some input").unwrap(),
        b"a value.",
        "after {attack}"
    );
    assert_eq!(
        taken(),
        [(Level::INFO, "message.".to_owned())],
        "after {attack}"
    );
}

#[test]
fn hostile_calls_get_true_answers() {
    let mut plugin = logging(PluginBuilder::new(&wat!("hostile")[..]));
    for attack in [
        "output_wraps",
        "input_wraps",
        "overwrite_front",
        "overwrite_everything",
    ] {
        let answer = call(&mut plugin, attack, "some input");
        assert_eq!(answer.as_deref(), Ok(&b"a value."[..]), "{attack}");
        assert_eq!(taken(), [(Level::INFO, "message.".to_owned())], "{attack}");
        assert_fair(&mut plugin, attack);
    }
}

#[test]
fn an_output_that_wraps_is_no_output() {
    let mut plugin = logging(PluginBuilder::new(&wat!("hostile")[..]));
    assert_eq!(
        call(&mut plugin, "output_wraps_last", "some input").unwrap(),
        b""
    );
    assert_fair(&mut plugin, "output_wraps_last");
}

#[test]
fn a_block_whose_front_was_overwritten_is_as_it_was_or_unknown() {
    let mut plugin = logging(PluginBuilder::new(&wat!("hostile")[..]));
    match call(&mut plugin, "overwrite_front_and_log", "some input") {
        Ok(_) => assert_eq!(taken(), [(Level::INFO, "message.".to_owned())]),
        Err(error) => assert!(
            error.starts_with("invalid handle offset for log message: "),
            "{error}"
        ),
    }
    assert_fair(&mut plugin, "overwrite_front_and_log");
}

#[test]
fn any_number_may_come_as_a_handle() {
    let mut plugin = logging(PluginBuilder::new(&wat!("hostile")[..]));
    let numbers = (0..200).chain((65536 - 64)..65536 + 16).chain([
        1 << 31,
        (1 << 32) - 8,
        1 << 32,
        (1 << 32) + 8,
        1 << 48,
        1 << 63,
        u64::MAX - 15,
        u64::MAX - 7,
        u64::MAX,
    ]);
    for number in numbers {
        let input = number.to_le_bytes();
        let answer = call(&mut plugin, "any_handle", input);
        assert_eq!(answer.as_deref(), Ok(&b"a value."[..]), "{number}");
        for function in [
            "log_any_handle",
            "config_any_handle",
            "var_any_handle",
            "error_any_handle",
        ] {
            // Some numbers are the input's handle. All others are errors, and none more than that.
            let _ = call(&mut plugin, function, input);
        }
        assert_fair(&mut plugin, &format!("{number} as a handle"));
    }
}

#[test]
fn calls_stopped_inside_the_kernel_leave_it_usable() {
    for fuel in 20_000..20_100 {
        let builder = PluginBuilder::new(&wat!("hostile")[..]).with_fuel_limit(fuel);
        let mut plugin = logging(builder);
        let error = call_error(&mut plugin, "alloc_forever", "some input");
        assert_eq!(error, "plugin ran out of fuel");
        assert_fair(&mut plugin, &format!("{fuel} units of fuel"));
    }
}

#[test]
fn count_vowels_counts_and_keeps_a_total() {
    let wasm = fs::read(rust_plugin("count-vowels")).unwrap();
    let mut counter = plugin(&wasm);
    let mut count = |text: &str| counter.call::<_, String>("count_vowels", text).unwrap();
    assert_eq!(
        count("Hello, World!"),
        r#"{"count":3,"total":3,"vowels":"aeiouAEIOU"}"#
    );
    assert_eq!(
        count("Hello, World!"),
        r#"{"count":3,"total":6,"vowels":"aeiouAEIOU"}"#
    );

    let manifest = manifest(&wasm).with_config_key("vowels", "lo");
    let mut other = Plugin::new(manifest, [], false).unwrap();
    let configured: String = other.call("count_vowels", "Hello, World!").unwrap();
    assert_eq!(configured, r#"{"count":5,"total":5,"vowels":"lo"}"#);
    assert!(!call_error(&mut other, "count_vowels", [0xff]).is_empty());
}

#[test]
fn handle_echo_reads_what_came_back_after_its_free() {
    let wasm = fs::read(rust_plugin("handle-echo")).unwrap();
    let echo = Function::from_fn(
        "echo_handle",
        [ValType::I64],
        [ValType::I64],
        |_, args, results| {
            results[0] = args[0];
            Ok(())
        },
    );
    let mut plugin = Plugin::new(wasm, [echo], false).unwrap();
    let long = "A text that takes a good many blocks of eight bytes. ".repeat(5000);
    for text in ["x", "eight by", "Hello, World!", &long] {
        let output = call(&mut plugin, "handle_echo", text).unwrap();
        assert!(output == text.as_bytes(), "{} bytes", text.len());
    }
}

/// What README shows of the runtime.
#[test]
fn readme_loads_the_runtime() -> Result<(), extism::Error> {
    rust_plugin("count-vowels");
    // README: begin
    use extism::{Manifest, Plugin, Wasm}; // extism = { package = "extism-kernel-runtime", path = "…/runtime" }
    let wasm = Wasm::file("target/plugins/wasm32-unknown-unknown/release/count_vowels.wasm");
    let mut plugin = Plugin::new(Manifest::new([wasm]), [], true)?;
    let output: String = plugin.call("count_vowels", "Hello, World!")?;
    assert_eq!(output, r#"{"count":3,"total":3,"vowels":"aeiouAEIOU"}"#);
    // README: end
    Ok(())
}

/// Runs the `call` example. `cargo test` builds it next to the tests; `cargo test --test host` alone doesn't.
fn call_example(args: &[&str], stdin: Stdio) -> Output {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let example = profile
        .join("examples")
        .join(format!("call{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(example)
        .args(args)
        .stdin(stdin)
        .current_dir(root())
        .output();
    output.expect("the example is there: cargo build --example call")
}

/// Status, stdout, stderr.
fn call_example_text(args: &[&str]) -> (Option<i32>, String, String) {
    let output = call_example(args, Stdio::null());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_example_prints_the_output_and_nothing_else() {
    let wasm = rust_plugin("count-vowels");
    let (status, stdout, stderr) = call_example_text(&[
        wasm.to_str().unwrap(),
        "count_vowels",
        "--input",
        "Hello, World!",
    ]);
    assert_eq!(stdout, r#"{"count":3,"total":3,"vowels":"aeiouAEIOU"}"#);
    assert_eq!((status, &stderr[..]), (Some(0), ""));
}

#[test]
fn the_example_takes_its_input_from_files_and_stdin_as_bytes() {
    let echo = "tests/plugins/echo.wat";
    let expected = fs::read(rust_plugin("count-vowels")).unwrap();
    let file = rust_plugin("count-vowels");
    let from_file = call_example(
        &[echo, "echo", "--input-file", file.to_str().unwrap()],
        Stdio::null(),
    );
    assert!(from_file.stdout == expected);
    let from_stdin = call_example(&[echo, "echo"], fs::File::open(&file).unwrap().into());
    assert!(from_stdin.stdout == expected);
}

#[test]
fn the_example_passes_on_its_options() {
    let config = [
        "tests/plugins/config.wat",
        "get",
        "--input",
        "b",
        "--config",
        "a=1",
        "--config",
        "b=2=3",
    ];
    assert_eq!(call_example_text(&config).1, "2=3");

    assert_eq!(
        call_example_text(&["tests/plugins/wasi.wat", "ask", "--wasi"]).1,
        "\u{1}\0\0"
    );

    let log = [
        "tests/plugins/log.wat",
        "log_each_level",
        "--log-level",
        "info",
    ];
    let lines = call_example_text(&log).2;
    let levels = lines.lines().map(|line| line.split_whitespace().nth(1));
    let levels: Vec<_> = levels.map(Option::unwrap).collect();
    assert_eq!(levels, ["INFO", "WARN", "ERROR"], "{lines}");

    let memory = ["tests/plugins/memory.wat", "own", "--memory-max", "33"];
    let (status, _, text) = call_example_text(&memory);
    assert_eq!((status, &text[..]), (Some(1), "oom\n"));

    let (_, stdout, stderr) = call_example_text(&[
        "tests/plugins/echo.wat",
        "echo",
        "--input",
        "abc",
        "--stats",
    ]);
    assert_eq!(stdout, "abc");
    assert!(
        stderr.contains("pages") && stderr.contains("fuel"),
        "{stderr}"
    );
}

#[test]
fn the_example_ends_with_1_for_errors_of_the_plugin() {
    let (status, stdout, stderr) = call_example_text(&[
        "tests/plugins/fail.wat",
        "error_text",
        "--input",
        "no such thing",
    ]);
    assert_eq!(
        (status, &stdout[..], &stderr[..]),
        (Some(1), "", "no such thing\n")
    );
}

#[test]
fn the_example_ends_with_2_and_one_line_for_what_it_cannot_call() {
    let echo = "tests/plugins/echo.wat";
    for (args, word) in [
        (&["missing.wasm", "echo"][..], "missing.wasm"),
        (&["Cargo.toml", "echo"], "Unknown manifest format"),
        (&[echo, "missing"], "missing"),
        (
            &[echo, "echo", "--input-file", "missing.txt"],
            "missing.txt",
        ),
        (&["tests/plugins/wasi.wat", "ask"], "wasi_snapshot_preview1"),
    ] {
        let (status, stdout, stderr) = call_example_text(args);
        assert_eq!(
            (status, &stdout[..], stderr.lines().count()),
            (Some(2), "", 1),
            "{args:?}: {stderr}"
        );
        assert!(stderr.contains(word), "{args:?}: {stderr}");
    }
    for args in [
        &[][..],
        &[echo],
        &[echo, "echo", "--config", "novalue"],
        &[echo, "echo", "--log-level", "loud"],
        &[echo, "echo", "--memory-max", "-1"],
        &[echo, "echo", "--input", "a", "--input-file", "b"],
    ] {
        let (status, stdout, stderr) = call_example_text(args);
        assert_eq!((status, &stdout[..]), (Some(2), ""), "{args:?}");
        assert!(!stderr.is_empty());
    }
}
