//! Any module that calls the kernel does the same linked as one module as it does linked as usual: the same results, traps and bytes.

mod common;

use arbitrary::Unstructured;
use common::{Kernel, LINKED, Way, engine, why};
use extism_kernel_linker::{Form, Options, PREFIX, link};
use proptest::{prelude::*, test_runner::Config as Cases};
use std::fmt::Write;
use wasm_smith::{Config, Module};
use wasmtime::{
    AsContextMut, Extern, ExternType, Func, Instance, Linker, Ref, Store, StoreLimits,
    StoreLimitsBuilder, Val, ValType,
};

/// Steps that a generated module may make, in loops and calls, until it traps.
const STEPS: u32 = 300;

/// What generated modules may import: all functions of the kernel, and some of the host.
fn imports() -> String {
    let functions = [
        ("alloc", "(param i64) (result i64)"),
        ("free", "(param i64)"),
        ("length", "(param i64) (result i64)"),
        ("length_unsafe", "(param i64) (result i64)"),
        ("load_u8", "(param i64) (result i32)"),
        ("load_u64", "(param i64) (result i64)"),
        ("store_u8", "(param i64 i32)"),
        ("store_u64", "(param i64 i64)"),
        ("input_set", "(param i64 i64)"),
        ("input_offset", "(result i64)"),
        ("input_length", "(result i64)"),
        ("input_load_u8", "(param i64) (result i32)"),
        ("input_load_u64", "(param i64) (result i64)"),
        ("output_set", "(param i64 i64)"),
        ("output_offset", "(result i64)"),
        ("output_length", "(result i64)"),
        ("error_set", "(param i64)"),
        ("error_get", "(result i64)"),
        ("memory_bytes", "(result i64)"),
        ("reset", ""),
        ("var_get", "(param i64) (result i64)"),
        ("log_info", "(param i64)"),
    ];
    let mut text = String::from("(module\n");
    for (name, ty) in functions {
        writeln!(text, "(import \"extism:host/env\" \"{name}\" (func {ty}))").unwrap();
    }
    text + ")"
}

/// A module of random code. In one memory what lies behind the plugin's own part is the kernel's, not outside of it, so
/// there only modules are compared that stay in their memory.
fn module(bytes: &[u8], stays_inside: bool) -> arbitrary::Result<Vec<u8>> {
    let mut config = Config {
        available_imports: Some(wat::parse_str(imports()).unwrap()),
        export_everything: true,
        min_imports: 8,
        max_imports: 40,
        min_funcs: 1,
        max_instructions: 200,
        max_memories: 1,
        min_memories: 0,
        max_memory32_bytes: 8 << 16,
        memory_max_size_required: false,
        max_tables: 2,
        max_table_elements: 100,
        table_max_size_required: true,
        canonicalize_nans: true,
        disallow_traps: stays_inside,
        generate_custom_sections: true,
        allow_start_export: true,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        tail_call_enabled: true,
        simd_enabled: true,
        gc_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        relaxed_simd_enabled: false,
        ..Config::default()
    };
    if stays_inside {
        config.min_data_segments = 0;
    }
    let mut module = Module::new(config, &mut Unstructured::new(bytes))?;
    // Else most would never end.
    module
        .ensure_termination(STEPS)
        .map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok(module.to_bytes())
}

struct Running {
    store: Store<StoreLimits>,
    instance: Instance,
    kernel: Kernel,
}

/// An instance linked in some way, or why there is none.
fn instantiate(wasm: &[u8], way: Way) -> Result<Running, String> {
    let engine = engine();
    let module =
        wasmtime::Module::new(engine, way.module(wasm)).map_err(|error| format!("{error:#}"))?;
    // Far above what anything here needs: where it counts differs between one memory and two.
    let mut store = Store::new(
        engine,
        StoreLimitsBuilder::new().memory_size(256 << 20).build(),
    );
    store.limiter(|limits| limits);
    store.set_fuel(u64::MAX).unwrap();
    let mut linker = Linker::new(engine);
    // The host's answer depends on what it is asked, so that another question would show.
    linker
        .func_wrap("extism:host/env", "var_get", |key: i64| {
            key.wrapping_mul(0x9e37_79b9).rotate_left(7)
        })
        .unwrap();
    linker
        .func_wrap("extism:host/env", "log_info", |_: i64| ())
        .unwrap();
    let collect = |store: &mut Store<_>, instance: Instance| -> Vec<(String, Extern)> {
        instance
            .exports(store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect()
    };
    let mut usual = None;
    if way == Way::Usual {
        let kernel = wasmtime::Module::new(engine, extism_kernel::KERNEL_BULK).unwrap();
        let kernel = Instance::new(&mut store, &kernel, &[]).unwrap();
        linker
            .instance(&mut store, "extism:host/env", kernel)
            .unwrap();
        usual = Some(Kernel::new(collect(&mut store, kernel).into_iter(), ""));
    }
    let instance = linker
        .instantiate(&mut store, &module)
        .map_err(|error| why(&error))?;
    let kernel =
        usual.unwrap_or_else(|| Kernel::new(collect(&mut store, instance).into_iter(), PREFIX));
    Ok(Running {
        store,
        instance,
        kernel,
    })
}

/// A value as text. Of references only whether they are null can be told.
fn show(value: &Val) -> String {
    match value {
        Val::I32(value) => format!("{value}"),
        Val::I64(value) => format!("{value}"),
        Val::F32(bits) => format!("f32 {bits:x}"),
        Val::F64(bits) => format!("f64 {bits:x}"),
        Val::V128(value) => format!("v128 {:x}", value.as_u128()),
        other => format!(
            "null: {}",
            other.ref_().is_none_or(|reference| reference.is_null())
        ),
    }
}

fn value(ty: &ValType, seed: u64) -> Val {
    match ty {
        ValType::I32 => Val::I32(seed as i32),
        ValType::I64 => Val::I64(seed as i64),
        ValType::F32 => Val::F32((seed as f32).to_bits()),
        ValType::F64 => Val::F64((seed as f64).to_bits()),
        ValType::V128 => Val::V128(u128::from(seed).into()),
        ValType::Ref(ty) if ty.heap_type().is_extern() => Val::ExternRef(None),
        ValType::Ref(_) => Val::FuncRef(None),
    }
}

impl Running {
    /// Calls an export, whose arguments come from a seed.
    fn call(&mut self, function: Func, seed: u64) -> String {
        let ty = function.ty(&self.store);
        let arguments: Vec<Val> = ty
            .params()
            .enumerate()
            .map(|(at, ty)| value(&ty, seed.rotate_right(at as u32 * 8)))
            .collect();
        let mut results: Vec<Val> = ty.results().map(|ty| value(&ty, 0)).collect();
        match function.call(&mut self.store, &arguments, &mut results) {
            Ok(()) => results.iter().map(show).collect::<Vec<_>>().join(", "),
            Err(error) => why(&error),
        }
    }

    /// All that can be seen of an instance, without what the kernel exports: its globals, tables, and memory, and the kernel's memory.
    fn state(&mut self, own: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        let base = self.kernel.base(&mut self.store);
        for name in own {
            let shown = match self.instance.get_export(&mut self.store, name).unwrap() {
                Extern::Global(global) => show(&global.get(&mut self.store)),
                Extern::Table(table) => {
                    let size = table.size(&self.store);
                    let is_null = |at| {
                        table
                            .get(&mut self.store, at)
                            .is_none_or(|it: Ref| it.is_null())
                    };
                    format!("{:?}", (0..size).map(is_null).collect::<Vec<_>>())
                }
                Extern::Memory(memory) => {
                    let bytes = memory.data(&self.store);
                    // In one memory the kernel's part follows.
                    let shared = base > 0
                        || self.kernel.memory().data_ptr(&self.store)
                            == memory.data_ptr(&self.store);
                    digest(if shared { &bytes[..base] } else { bytes })
                }
                _ => continue,
            };
            all.push(format!("{name}: {shown}"));
        }
        all.push(format!(
            "kernel: {}",
            digest(self.kernel.bytes(&mut self.store))
        ));
        for name in [
            "input_offset",
            "input_length",
            "output_offset",
            "output_length",
            "error_get",
            "memory_bytes",
        ] {
            all.push(format!(
                "{name}: {:?}",
                self.kernel
                    .call(self.store.as_context_mut(), name, &[])
                    .unwrap()
            ));
        }
        all
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("{} bytes, {:x}", bytes.len(), sha2::Sha256::digest(bytes))
}

/// Does the same with a module linked in two ways, and compares after each call.
fn compare(wasm: &[u8], ways: &[Way], seeds: &[u64]) -> Result<usize, TestCaseError> {
    let usual = instantiate(wasm, Way::Usual);
    let module = wasmtime::Module::new(engine(), wasm).unwrap();
    let own: Vec<String> = module
        .exports()
        .map(|export| export.name().to_owned())
        .collect();
    let called: Vec<String> = module
        .exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(_)))
        .map(|export| export.name().to_owned())
        .collect();
    let mut log = Vec::new();
    let mut calls = 0;
    let mut run = |running: Result<Running, String>, compared: Option<&[String]>, way: Way| {
        let mut made = Vec::new();
        let mut note = |text: String| -> Result<(), TestCaseError> {
            if let Some(expected) = compared {
                prop_assert_eq!(
                    &text,
                    &expected[made.len()],
                    "{:?}, step {}",
                    way,
                    made.len()
                );
            }
            made.push(text);
            Ok(())
        };
        match running {
            Err(error) => note(error)?,
            Ok(mut running) => {
                note(running.state(&own).join("\n"))?;
                for &seed in seeds {
                    let Some(name) = called.get(seed as usize % called.len().max(1)) else {
                        break;
                    };
                    let function = running.instance.get_func(&mut running.store, name).unwrap();
                    let result = running.call(function, seed);
                    note(format!("{name}: {result}"))?;
                    note(running.state(&own).join("\n"))?;
                    calls += 1;
                }
            }
        }
        if let Some(expected) = compared {
            prop_assert_eq!(made.len(), expected.len());
        }
        Ok::<_, TestCaseError>(made)
    };
    log.extend(run(usual, None, Way::Usual)?);
    for &way in ways {
        run(instantiate(wasm, way), Some(&log), way)?;
    }
    Ok(calls)
}

/// The modules that are compared do something: most of them are instantiated and called, and many change what the kernel has.
#[test]
fn generated_modules_use_the_kernel() {
    let mut random = 1u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut made, mut called, mut inlined, mut touched) = (0, 0, 0, 0);
    for round in 0..60 {
        let bytes: Vec<u8> = (0..4000).map(|_| next() as u8).collect();
        let Ok(wasm) = module(&bytes, round % 2 == 0) else {
            continue;
        };
        made += 1;
        inlined += link(&wasm, &Options::new(Form::TwoMemories))
            .unwrap()
            .inlined;
        let Ok(mut running) = instantiate(&wasm, Way::Usual) else {
            continue;
        };
        let before = running.state(&[]);
        let functions: Vec<Func> = {
            let exports = running.instance.exports(&mut running.store);
            exports.filter_map(|export| export.into_func()).collect()
        };
        for function in functions {
            called += 1;
            running.call(function, next() % 70_000);
        }
        touched += u32::from(running.state(&[]) != before);
    }
    println!("{made} modules, {called} calls, {inlined} inlined, {touched} used the kernel");
    assert!(
        made >= 50 && called >= 100 && inlined >= 50 && touched >= 20,
        "{made} {called} {inlined} {touched}"
    );
}

fn is_two(way: &Way) -> bool {
    matches!(way, Way::Two(_))
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 2000..6000)
}

fn any_seeds() -> impl Strategy<Value = Vec<u64>> {
    // Small ones are lengths and handles, all others whatever they are.
    proptest::collection::vec(
        prop_oneof![0..2000u64, 65_000..70_000u64, any::<u64>()],
        1..12,
    )
}

proptest! {
    #![proptest_config(Cases { cases: 48, max_shrink_iters: 200, ..Cases::default() })]

    #[test]
    fn in_two_memories(bytes in any_bytes(), seeds in any_seeds()) {
        let Ok(wasm) = module(&bytes, false) else { return Err(TestCaseError::reject("no module")) };
        let ways: Vec<Way> = LINKED.into_iter().filter(is_two).collect();
        compare(&wasm, &ways, &seeds)?;
    }

    #[test]
    fn in_one_memory(bytes in any_bytes(), seeds in any_seeds()) {
        let Ok(wasm) = module(&bytes, true) else { return Err(TestCaseError::reject("no module")) };
        compare(&wasm, &LINKED, &seeds)?;
    }
}
