//! Plugins running on the shipped kernel: what each feature of the host gives them, what attacks get, and the
//! `call` example as its users see it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
};

use extism_kernel::KERNEL;
use extism_kernel_host::{Builder, Error, LogLevel, Plugin, Val, ValType};

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
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    // How the tests themselves are built, for coverage say, is not how plugins are built.
    const PREFIXES: [&str; 6] = [
        "RUSTFLAGS",
        "RUSTC",
        "CARGO_ENCODED",
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
    ];
    for (name, _) in std::env::vars_os() {
        if PREFIXES
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            cargo.env_remove(name);
        }
    }
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

fn builder(plugin: &[u8]) -> Builder<'_> {
    Plugin::builder(KERNEL, plugin)
}

fn plugin(bytes: &[u8]) -> Plugin {
    builder(bytes).build().expect("the plugin can be loaded")
}

/// The error of a call that has to fail as a call.
fn call_error(result: Result<Vec<u8>, Error>) -> String {
    match result {
        Err(Error::Call(text)) => text,
        other => panic!("expected a failed call, got {other:?}"),
    }
}

fn load_error(builder: Builder<'_>) -> String {
    match builder.build().map(|_| ()) {
        Err(Error::Load(text)) => text,
        other => panic!("expected a plugin that can't be loaded, got {other:?}"),
    }
}

/// What a plugin logged.
type Messages = Arc<Mutex<Vec<(LogLevel, String)>>>;

fn logging(builder: Builder<'_>, level: LogLevel) -> (Plugin, Messages) {
    let messages = Messages::default();
    let sink = messages.clone();
    let plugin = builder
        .log_level(level)
        .log_sink(move |level, text| sink.lock().unwrap().push((level, text.to_owned())))
        .build()
        .expect("the plugin can be loaded");
    (plugin, messages)
}

/// The messages up to now, which are forgotten.
fn taken(messages: &Messages) -> Vec<(LogLevel, String)> {
    std::mem::take(&mut messages.lock().unwrap())
}

#[test]
fn echo_gives_back_inputs_of_every_size() {
    let mut plugin = plugin(wat!("echo"));
    for size in [0, 1, 7, 8, 9, 65536, 1000003, 3] {
        let input: Vec<u8> = (0..size).map(|i| (i * 31 + i / 251) as u8).collect();
        assert!(
            plugin.call("echo", &input).unwrap() == input,
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
        assert_eq!(
            call_error(plugin.call(function, "no such thing")),
            "no such thing",
            "{function}"
        );
        assert_eq!(plugin.call("succeed", "").unwrap(), b"");
    }
}

#[test]
fn failures_without_a_text_are_described() {
    let mut plugin = plugin(wat!("fail"));
    assert_eq!(
        call_error(plugin.call("error_code", "")),
        "the plugin's function `error_code` returned 7"
    );
    assert_eq!(
        call_error(plugin.call("trap", "")),
        "wasm trap: wasm `unreachable` instruction executed"
    );
    assert_eq!(
        call_error(plugin.call("http", "{}")),
        "HTTP requests are not allowed by this host"
    );
    assert_eq!(plugin.call("succeed", "").unwrap(), b"");
}

#[test]
fn only_plugin_functions_can_be_called() {
    let mut plugin = plugin(wat!("fail"));
    for name in ["missing", "has_parameter", "returns_i64"] {
        assert_eq!(
            plugin.call(name, "input"),
            Err(Error::NoFunction(name.to_owned()))
        );
    }
}

#[test]
fn vars_live_from_call_to_call() {
    let mut plugin = plugin(wat!("vars"));
    assert_eq!(plugin.call("get", "").unwrap(), b"");
    plugin.call("set", "first").unwrap();
    assert_eq!(plugin.call("get", "some input").unwrap(), b"first");
    plugin.call("set", "second, and longer").unwrap();
    assert_eq!(plugin.call("get", "").unwrap(), b"second, and longer");
    plugin.call("delete", "").unwrap();
    assert_eq!(plugin.call("get", "").unwrap(), b"");
    plugin.call("set_to_itself", "v").unwrap();
    assert_eq!(plugin.call("get", "").unwrap(), b"v");
}

#[test]
fn vars_have_a_limit_and_keep_what_was_there() {
    let mut plugin = plugin(wat!("vars"));
    plugin.call("set", "small").unwrap();
    let error = call_error(plugin.call("set", vec![b'x'; 1 << 20]));
    assert!(error.contains("1048576 bytes"), "{error}");
    assert_eq!(plugin.call("get", "").unwrap(), b"small");
}

#[test]
fn config_is_found_by_its_key() {
    let mut plugin = builder(wat!("config"))
        .config("color", "blue")
        .config("empty", "")
        .build()
        .unwrap();
    assert_eq!(plugin.call("get", "color").unwrap(), b"blue");
    assert_eq!(plugin.call("get", "empty").unwrap(), b"");
    assert_eq!(plugin.call("get", "colour").unwrap(), b"");
    assert!(call_error(plugin.call("get", [0xff])).contains("UTF-8"));
}

#[test]
fn logs_are_filtered_by_level_and_always_freed() {
    use LogLevel::{Debug, Error, Info, Off, Trace, Warn};
    let all = [
        (Trace, "t"),
        (Debug, "d"),
        (Info, "i"),
        (Warn, "w"),
        (Error, "e"),
    ];
    for wanted in [Trace, Debug, Info, Warn, Error, Off] {
        let (mut plugin, messages) = logging(builder(wat!("log")), wanted);
        assert_eq!(plugin.call("log_each_level", "").unwrap(), b"0", "{wanted}");
        let expected = all.iter().filter(|(level, _)| *level >= wanted);
        let expected: Vec<_> = expected
            .map(|(level, text)| (*level, text.to_string()))
            .collect();
        assert_eq!(taken(&messages), expected, "{wanted}");
    }
}

#[test]
fn plugins_can_ask_for_the_log_level() {
    let (mut plugin, messages) = logging(builder(wat!("log")), LogLevel::Warn);
    assert_eq!(plugin.call("level", "").unwrap(), b"3");
    plugin.call("log_nothing", "").unwrap();
    assert_eq!(taken(&messages), [(LogLevel::Error, String::new())]);
}

/// The plugin of host-functions.wat with its functions: `greet` needs a host context, a `String`, and adds
/// what it greets to it.
fn greeter() -> Plugin {
    use ValType::{F64, I32, I64};
    builder(wat!("host-functions"))
        .function(
            "extism:host/user",
            "greet",
            &[I64],
            &[I64],
            |plugin, args, results| {
                let name = plugin.take_bytes(args[0].unwrap_i64() as u64)?;
                let greeting = plugin.host_context::<String>()?;
                greeting.push_str(&String::from_utf8_lossy(&name));
                let greeting = greeting.clone();
                results[0] = Val::I64(plugin.alloc_bytes(greeting)? as i64);
                Ok(())
            },
        )
        .function(
            "calculator",
            "add",
            &[I32, F64],
            &[I32],
            |_, args, results| {
                results[0] = Val::I32(args[0].unwrap_i32() + args[1].unwrap_f64() as i32);
                Ok(())
            },
        )
        .build()
        .unwrap()
}

#[test]
fn host_functions_of_any_namespace_and_type_can_be_called() {
    assert_eq!(greeter().call("add", "").unwrap(), [42]);
}

#[test]
fn a_host_context_reaches_host_functions_for_one_call() {
    let mut plugin = greeter();
    let without = "this call has no host context of the expected type";
    assert_eq!(call_error(plugin.call("greet", "Ada")), without);
    assert_eq!(
        plugin
            .call_with_context("greet", "Ada", "Hello, ".to_owned())
            .unwrap(),
        b"Hello, Ada"
    );
    assert_eq!(
        plugin
            .call_with_context("greet", "Bob", "Bye, ".to_owned())
            .unwrap(),
        b"Bye, Bob"
    );
    assert_eq!(call_error(plugin.call("greet", "Ada")), without);
    assert_eq!(
        call_error(plugin.call_with_context("greet", "Ada", 42)),
        without
    );
}

#[test]
fn a_host_context_is_dropped_when_its_call_is_over() {
    let context = Arc::new(());
    let mut plugin = greeter();
    plugin
        .call_with_context("greet", "", context.clone())
        .unwrap_err();
    assert_eq!(Arc::strong_count(&context), 1);
}

#[test]
fn a_name_can_be_defined_only_once() {
    let twice =
        builder(wat!("echo")).function("extism:host/env", "alloc", &[], &[], |_, _, _| Ok(()));
    assert!(load_error(twice).contains("alloc"));
}

#[test]
fn missing_imports_are_named() {
    let error = load_error(builder(wat!("host-functions")));
    assert_eq!(
        error,
        "the plugin imports extism:host/user::greet, which this host does not provide"
    );
}

#[test]
fn wasi_is_there_when_switched_on() {
    let mut plugin = builder(wat!("wasi")).wasi(true).build().unwrap();
    // Initialised once, no error, no arguments.
    assert_eq!(plugin.call("ask", "").unwrap(), [1, 0, 0]);
    assert_eq!(plugin.call("ask", "").unwrap(), [1, 0, 0]);
    assert_eq!(plugin.call("exit_0", "").unwrap(), b"");
    assert_eq!(
        call_error(plugin.call("exit_3", "")),
        "the plugin's function `exit_3` returned 3"
    );
}

#[test]
fn wasi_is_missing_when_off() {
    let error = load_error(builder(wat!("wasi")));
    assert!(
        error.contains("wasi_snapshot_preview1::args_sizes_get"),
        "{error}"
    );
    assert!(error.contains("needs WASI, which is off"), "{error}");
}

#[test]
fn memory_limits_refuse_growth_without_a_trap() {
    const PAGES: u32 = 20;
    let mut plugin = builder(wat!("memory"))
        .memory_max_pages(PAGES)
        .build()
        .unwrap();
    let number = |output: Vec<u8>| u64::from_le_bytes(output.try_into().unwrap());
    assert_eq!(number(plugin.call("own", "").unwrap()), PAGES.into());
    // Each block takes a page and its bookkeeping, so the last of them doesn't fit.
    let blocks = number(plugin.call("kernel", "").unwrap());
    assert!(
        (PAGES as u64 - 3..PAGES as u64).contains(&blocks),
        "{blocks} blocks in {PAGES} pages"
    );
    assert_eq!(plugin.stats().kernel_pages, PAGES.into());

    let error = call_error(plugin.call("own", vec![0; 65536 * PAGES as usize]));
    assert_eq!(error, "the kernel has no room for 1310720 bytes");
    assert_eq!(number(plugin.call("own", "").unwrap()), PAGES.into());
}

#[test]
fn plugins_larger_than_their_limit_are_not_loaded() {
    let large = builder(b"(module (memory 3))").memory_max_pages(2);
    assert!(load_error(large).contains("memory"));
}

#[test]
fn fuel_ends_calls_and_is_there_again_for_the_next() {
    let mut plugin = builder(wat!("fail")).fuel(100_000).build().unwrap();
    for _ in 0..2 {
        assert_eq!(
            call_error(plugin.call("endless", "")),
            "wasm trap: all fuel consumed by WebAssembly"
        );
        assert_eq!(plugin.call("succeed", "input").unwrap(), b"");
    }
}

#[test]
fn files_that_are_no_wasm_are_named_as_such() {
    for bytes in [&b""[..], b"GIF89a", b"# a text", &[0xff; 64]] {
        let error = load_error(builder(bytes));
        assert_eq!(
            error,
            "the plugin is not WebAssembly, neither binary nor text"
        );
    }
    for bytes in [
        &b"\0asm"[..],
        b"\0asm\x01\0\0\0\xff",
        b"(module (func $broken",
    ] {
        assert!(load_error(builder(bytes)).starts_with("the plugin: "));
    }
}

#[test]
fn stats_count_what_the_plugin_did() {
    let mut plugin = builder(wat!("echo")).stats(true).build().unwrap();
    plugin.call("echo", "Hello, World!").unwrap();
    let stats = plugin.stats();
    let calls: Vec<_> = stats
        .kernel_calls
        .iter()
        .map(|(name, calls)| (&name[..], *calls))
        .collect();
    assert_eq!(
        calls,
        [
            ("alloc", 1),
            ("input_length", 1),
            ("input_load_u64", 1),
            ("input_load_u8", 5),
            ("output_set", 1),
            ("store_u64", 1),
            ("store_u8", 5)
        ]
    );
    assert!((100..10_000).contains(&stats.fuel), "{stats}");
}

/// A call after which variables, logs and memory answer as if no attack had happened.
fn assert_fair(plugin: &mut Plugin, messages: &Messages, attack: &str) {
    taken(messages);
    assert_eq!(
        plugin.call("fair", "some input").unwrap(),
        b"a value.",
        "after {attack}"
    );
    assert_eq!(
        taken(messages),
        [(LogLevel::Info, "message.".to_owned())],
        "after {attack}"
    );
}

#[test]
fn hostile_calls_get_true_answers() {
    let (mut plugin, messages) = logging(builder(wat!("hostile")), LogLevel::Info);
    for attack in [
        "output_wraps",
        "input_wraps",
        "overwrite_front",
        "overwrite_everything",
    ] {
        assert_eq!(
            plugin.call(attack, "some input").as_deref(),
            Ok(&b"a value."[..]),
            "{attack}"
        );
        assert_eq!(
            taken(&messages),
            [(LogLevel::Info, "message.".to_owned())],
            "{attack}"
        );
        assert_fair(&mut plugin, &messages, attack);
    }
}

#[test]
fn an_output_that_wraps_is_no_output() {
    let (mut plugin, messages) = logging(builder(wat!("hostile")), LogLevel::Info);
    assert_eq!(plugin.call("output_wraps_last", "some input").unwrap(), b"");
    assert_fair(&mut plugin, &messages, "output_wraps_last");
}

#[test]
fn a_block_whose_front_was_overwritten_is_as_it_was_or_unknown() {
    let (mut plugin, messages) = logging(builder(wat!("hostile")), LogLevel::Info);
    match plugin.call("overwrite_front_and_log", "some input") {
        Ok(_) => assert_eq!(taken(&messages), [(LogLevel::Info, "message.".to_owned())]),
        Err(error) => assert!(
            error.to_string().ends_with("is not the handle of a block"),
            "{error}"
        ),
    }
    assert_fair(&mut plugin, &messages, "overwrite_front_and_log");
}

#[test]
fn any_number_may_come_as_a_handle() {
    let (mut plugin, messages) = logging(builder(wat!("hostile")), LogLevel::Info);
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
        assert_eq!(
            plugin.call("any_handle", input).as_deref(),
            Ok(&b"a value."[..]),
            "{number}"
        );
        for function in [
            "log_any_handle",
            "config_any_handle",
            "var_any_handle",
            "error_any_handle",
        ] {
            // Some numbers are the input's handle. All others are errors, and none more than that.
            let _ = plugin.call(function, input);
        }
        assert_fair(&mut plugin, &messages, &format!("{number} as a handle"));
    }
}

#[test]
fn calls_stopped_inside_the_kernel_leave_it_usable() {
    for fuel in 20_000..20_100 {
        let (mut plugin, messages) = logging(builder(wat!("hostile")).fuel(fuel), LogLevel::Info);
        let error = call_error(plugin.call("alloc_forever", "some input"));
        assert_eq!(error, "wasm trap: all fuel consumed by WebAssembly");
        assert_fair(&mut plugin, &messages, &format!("{fuel} units of fuel"));
    }
}

#[test]
fn count_vowels_counts_and_keeps_a_total() {
    let wasm = fs::read(rust_plugin("count-vowels")).unwrap();
    let mut plugin = plugin(&wasm);
    let text = |output: Vec<u8>| String::from_utf8(output).unwrap();
    let first = text(plugin.call("count_vowels", "Hello, World!").unwrap());
    assert_eq!(first, r#"{"count":3,"total":3,"vowels":"aeiouAEIOU"}"#);
    let second = text(plugin.call("count_vowels", "Hello, World!").unwrap());
    assert_eq!(second, r#"{"count":3,"total":6,"vowels":"aeiouAEIOU"}"#);

    let mut other = builder(&wasm).config("vowels", "lo").build().unwrap();
    let configured = text(other.call("count_vowels", "Hello, World!").unwrap());
    assert_eq!(configured, r#"{"count":5,"total":5,"vowels":"lo"}"#);
    assert!(!call_error(other.call("count_vowels", [0xff])).is_empty());
}

#[test]
fn handle_echo_reads_what_came_back_after_its_free() {
    let wasm = fs::read(rust_plugin("handle-echo")).unwrap();
    let mut plugin = builder(&wasm)
        .function(
            "extism:host/user",
            "echo_handle",
            &[ValType::I64],
            &[ValType::I64],
            |_, args, results| {
                results[0] = args[0];
                Ok(())
            },
        )
        .build()
        .unwrap();
    let long = "A text that takes a good many blocks of eight bytes. ".repeat(5000);
    for text in ["x", "eight by", "Hello, World!", &long] {
        assert!(
            plugin.call("handle_echo", text).unwrap() == text.as_bytes(),
            "{} bytes",
            text.len()
        );
    }
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
    assert_eq!(call_example_text(&log).2, "info: i\nwarn: w\nerror: e\n");

    let memory = ["tests/plugins/memory.wat", "own", "--memory-max", "33"];
    assert_eq!(call_example_text(&memory).1, "!\0\0\0\0\0\0\0");

    let (_, stdout, stderr) = call_example_text(&[
        "tests/plugins/echo.wat",
        "echo",
        "--input",
        "abc",
        "--stats",
    ]);
    assert_eq!(stdout, "abc");
    assert!(
        stderr.contains("store_u8") && stderr.contains("pages") && stderr.contains("fuel"),
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
        (&["Cargo.toml", "echo"], "not WebAssembly"),
        (&[echo, "missing"], "`missing`"),
        (
            &[echo, "echo", "--input-file", "missing.txt"],
            "missing.txt",
        ),
        (&["tests/plugins/wasi.wat", "ask"], "WASI"),
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
