//! The contract's section 1: what the shipped modules export.

mod model;

use model::{Call, Subject, Wasm, shipped};
use wasmtime::{ExternRef, ExternType, Mutability, Ref, Rooted, Val};

#[test]
fn exports_are_exactly_the_contract() {
    let functions = [
        "alloc",
        "error_get",
        "error_set",
        "free",
        "input_length",
        "input_load_u64",
        "input_load_u8",
        "input_offset",
        "input_set",
        "length",
        "length_unsafe",
        "load_u64",
        "load_u8",
        "memory_bytes",
        "output_length",
        "output_offset",
        "output_set",
        "reset",
        "store_u64",
        "store_u8",
    ];
    for (module, context) in shipped().iter().zip([true, false, false]) {
        assert_eq!(module.imports().len(), 0);
        let mut names: Vec<_> = module
            .exports()
            .map(|export| export.name().to_owned())
            .collect();
        names.sort();
        let mut expected = functions.map(str::to_owned).to_vec();
        expected.push("memory".into());
        if context {
            expected.push("extism_context".into());
        }
        expected.sort();
        assert_eq!(names, expected);
        let ExternType::Memory(memory) = module.get_export("memory").unwrap() else {
            panic!("not a memory");
        };
        assert_eq!(
            (memory.minimum(), memory.maximum(), memory.is_64()),
            (1, None, false)
        );
        // That every function takes and gives what the contract says is checked by calling it.
        let mut wasm = Wasm::new(module);
        for call in Call::all(0, 0) {
            wasm.call(call);
        }
    }
}

#[test]
fn context_is_null_at_first_and_left_alone_by_reset() {
    let mut wasm = Wasm::new(&shipped()[0]);
    let context = wasm.global("extism_context").expect("it is exported");
    assert_eq!(context.ty(wasm.store()).mutability(), Mutability::Var);
    assert!(matches!(context.get(wasm.store()), Val::ExternRef(None)));
    let value: Rooted<ExternRef> = ExternRef::new(wasm.store(), 42u32).unwrap();
    context.set(wasm.store(), value.into()).unwrap();
    wasm.reset();
    let Ref::Extern(Some(value)) = context.get(wasm.store()).ref_().unwrap() else {
        panic!("the context is gone");
    };
    let store = wasm.store();
    assert_eq!(
        value.data(&store).unwrap().unwrap().downcast_ref(),
        Some(&42u32)
    );
}
