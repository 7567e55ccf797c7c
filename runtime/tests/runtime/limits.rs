//! Memory, tables, fuel.

use extism::{CallError, Manifest, Plugin, PluginBuilder, Wasm};

use crate::{manifest, number, reason, wat};

const MEMORY: &str = r#"
  (memory $growing (export "memory") 1)
  (memory $bounded 1 3)
  (table $table 0 funcref)
  (func (export "grow") (call $number (i64.extend_i32_s (memory.grow $growing (i32.const 1)))))
  (func (export "grow_all") (loop $again (drop (memory.grow $growing (i32.const 1))) (br $again)))
  (func (export "grow_bounded") (call $number (i64.extend_i32_s (memory.grow $bounded (i32.const 2)))))
  (func (export "grow_past_maximum") (call $number (i64.extend_i32_s (memory.grow $bounded (i32.const 3)))))
  (func (export "kernel") (loop $again (br_if $again (i64.ne (call $alloc (i64.const 65536)) (i64.const 0)))))
  (func (export "table") (call $number (i64.extend_i32_s (table.grow $table (ref.null func) (i32.const 1000)))))
  (func (export "tables") (loop $again (drop (table.grow $table (ref.null func) (i32.const 100000))) (br $again)))
"#;

fn limited(pages: u32) -> Plugin {
    Plugin::new(manifest(MEMORY).with_memory_max(pages), [], false).unwrap()
}

#[test]
fn growth_of_all_memories_together_is_limited() {
    let mut plugin = limited(5);
    for pages in 1..=5 {
        assert_eq!(number(&mut plugin, "grow"), pages);
    }
    assert_eq!(
        reason(&mut plugin, "grow", ""),
        Some(CallError::OutOfMemory)
    );
    // The kernel's growth counts, too.
    assert_eq!(
        reason(&mut plugin, "kernel", ""),
        Some(CallError::OutOfMemory)
    );
    let failure = limited(5).call_raw("grow_all", b"", None).unwrap_err();
    assert_eq!((failure.code, failure.text().as_str()), (-1, "oom"));
}

#[test]
fn an_input_without_room_is_an_error_of_its_own() {
    let failure = limited(5)
        .call_raw("grow", &vec![0; 65536 * 6], None)
        .unwrap_err();
    assert_eq!(
        (failure.code, failure.text().as_str()),
        (-1, "failed to allocate extism memory")
    );
    assert_eq!(number(&mut limited(5), "grow"), 1);
}

/// D23: growth to a memory's own maximum was `oom`, and so was growth past it, which has an answer of its own: -1.
#[test]
fn a_memorys_own_maximum_is_no_limit_of_the_hosts() {
    let mut plugin = limited(5);
    assert_eq!(number(&mut plugin, "grow_past_maximum"), u64::MAX);
    assert_eq!(number(&mut plugin, "grow_bounded"), 1);
    assert_eq!(number(&mut plugin, "grow_bounded"), u64::MAX);
}

/// What was granted last came back with each refusal, so a plugin could have all memory there is, a page at a time.
#[test]
fn a_growth_that_is_refused_gives_nothing_back() {
    let body = r#"
      (memory $growing 1)
      (memory $bounded 1 3)
      (func (export "more_than_can_be") (loop $again
        (drop (memory.grow $growing (i32.const 1)))
        (drop (memory.grow $growing (i32.const 65536)))
        (br_if $again (i32.lt_u (memory.size $growing) (i32.const 100)))))
      (func (export "past_a_maximum") (loop $again
        (drop (memory.grow $growing (i32.const 1)))
        (drop (memory.grow $bounded (i32.const 3)))
        (br_if $again (i32.lt_u (memory.size $growing) (i32.const 100)))))"#;
    for function in ["more_than_can_be", "past_a_maximum"] {
        let mut plugin = Plugin::new(manifest(body).with_memory_max(5), [], false).unwrap();
        let reason = reason(&mut plugin, function, "");
        assert_eq!(reason, Some(CallError::OutOfMemory), "{function}");
    }
}

/// The start functions of linked modules could take any amount.
#[test]
fn linked_modules_grow_within_the_limit_from_the_start() {
    let with = |library: &str, pages| {
        let library = Wasm::data(library).with_name("library");
        let main = Wasm::data(r#"(module (func (export "run")))"#).with_name("main");
        let manifest = Manifest::new([library, main]).with_memory_max(pages);
        Plugin::new(manifest, [], false)
    };
    // What they start with is not the limit's.
    with("(module (memory 17))", 5).unwrap();
    let grows =
        "(module (memory 17) (func $start (drop (memory.grow (i32.const 6)))) (start $start))";
    with(grows, 6).unwrap();
    let error = with(grows, 5).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::OutOfMemory));
}

/// D24: 10^8 elements passed under `max_pages: 5`.
#[test]
fn tables_are_limited() {
    let mut plugin = limited(5);
    assert_eq!(number(&mut plugin, "table"), 0);
    assert_eq!(
        reason(&mut plugin, "tables", ""),
        Some(CallError::OutOfMemory)
    );
    let mut unlimited = Plugin::new(wat(MEMORY), [], false).unwrap();
    assert_eq!(
        reason(&mut unlimited, "tables", ""),
        Some(CallError::OutOfMemory)
    );
    let large = manifest("(table 100000000 funcref)").with_memory_max(5);
    let error = Plugin::new(large, [], false).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::OutOfMemory));
}

/// D24: what the collector manages wasn't limited, either.
#[test]
fn the_heap_of_the_collector_is_limited() {
    let body = r#"
      (type $list (struct (field (ref null $list)) (field i64) (field i64)))
      (global $list (mut (ref null $list)) (ref.null $list))
      (func (export "collect") (local $i i32)
        (loop $again
          (drop (struct.new $list (ref.null $list) (i64.const 1) (i64.const 2)))
          (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000)))))
      (func (export "keep")
        (loop $again
          (global.set $list (struct.new $list (global.get $list) (i64.const 1) (i64.const 2)))
          (br $again)))"#;
    let mut plugin = Plugin::new(manifest(body).with_memory_max(20), [], false).unwrap();
    plugin.call::<_, ()>("collect", "").unwrap();
    let failure = plugin.call_raw("keep", b"", None).unwrap_err();
    assert_eq!((failure.code, failure.text().as_str()), (-1, "oom"));
}

#[test]
fn the_memory_of_the_main_module_has_to_fit_at_first() {
    let module = "(module (memory 6))";
    let new = |pages| {
        Plugin::new(
            Manifest::new([Wasm::data(module)]).with_memory_max(pages),
            [],
            false,
        )
    };
    assert!(new(6).is_ok());
    let error = new(5).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::OutOfMemory));
}

const FUEL: &str = r#"
  (global $left (mut i32) (i32.const 0))
  (func (export "spin") (loop $again (br $again)))
  (func (export "work") (local $i i32)
    (loop $again
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))))
"#;

#[test]
fn each_call_has_the_same_fuel() {
    let mut plugin = PluginBuilder::new(wat(FUEL))
        .with_fuel_limit(10_000)
        .build()
        .unwrap();
    for _ in 0..5 {
        plugin.call::<_, ()>("work", "input").unwrap();
        let burnt = plugin.fuel_consumed().unwrap();
        assert!((4000..10_000).contains(&burnt), "{burnt}");
        let failure = plugin.call_raw("spin", b"", None).unwrap_err();
        assert_eq!(
            (failure.code, failure.text().as_str()),
            (-1, "plugin ran out of fuel")
        );
        assert_eq!(plugin.fuel_consumed(), Some(10_000));
    }
    let error = reason(
        &mut PluginBuilder::new(wat(FUEL))
            .with_fuel_limit(10)
            .build()
            .unwrap(),
        "work",
        "input",
    );
    assert_eq!(
        error,
        Some(CallError::OutOfFuel),
        "the kernel is paid for, too"
    );
}

#[test]
fn start_up_has_fuel_of_its_own() {
    let work = FUEL.replace(r#"(export "work")"#, r#"(export "_initialize")"#);
    let builder = || PluginBuilder::new(wat(&work)).with_fuel_limit(1000);
    let error = builder().build().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::OutOfFuel));
    builder()
        .with_initialization_fuel_limit(10_000)
        .build()
        .unwrap();
    let error = PluginBuilder::new(wat(FUEL))
        .with_initialization_fuel_limit(1)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "an initialization fuel limit requires a call fuel limit"
    );
}
