//! The contract as data, `dist/conformance.json`: it is what its source gives, it has the form that its schema says,
//! and the native core, both shipped modules and the model agree with it.

#[path = "../examples/conformance/cases/mod.rs"]
mod cases;
mod model;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use extism_kernel::machine::Registers;
use model::{Call, Lockstep, Model, Native, Op, PAGE, Place, Subject, Wasm, native, shipped};
use serde_json::Value;
use wasmtime::{ExternRef, Module, Ref, Val};

fn committed(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("dist")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(file: &str) -> Value {
    serde_json::from_str(&committed(file)).expect("valid JSON")
}

#[test]
fn files_are_what_the_source_gives() {
    let advice = "run cargo run --example conformance";
    assert!(
        committed("conformance.json") == cases::all().to_json(),
        "{advice}"
    );
    assert!(
        committed("conformance.schema.json") == cases::SCHEMA,
        "{advice}"
    );
}

#[test]
fn there_are_enough_cases_of_every_section() {
    let document = document("conformance.json");
    let cases = document["cases"].as_array().unwrap();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let all = |key: &str| -> BTreeSet<_> { cases.iter().map(|case| text(&case[key])).collect() };
    assert_eq!(all("section"), ["1", "2", "3", "4"].into());
    assert_eq!(
        all("name").len(),
        cases.len(),
        "two cases have the same name"
    );
}

// --- the schema -------------------------------------------------------------------------------------------------------

/// Whether a value is as a schema says. Knows the keywords that this schema uses and no others.
fn conforms(value: &Value, schema: &Value, root: &Value) -> bool {
    schema
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, rule)| match key.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => conforms(
                value,
                &root["$defs"][text(rule).trim_start_matches("#/$defs/")],
                root,
            ),
            "type" => match text(rule) {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                other => panic!("unknown type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| conforms(item, rule, root))),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(text(key)).is_some()),
            "properties" => value.as_object().is_none_or(|fields| {
                let known = |(key, field): (&String, &Value)| {
                    rule.get(key).is_none_or(|rule| conforms(field, rule, root))
                };
                fields.iter().all(known)
            }),
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = &schema["properties"];
                value
                    .as_object()
                    .is_none_or(|fields| fields.keys().all(|key| known.get(key).is_some()))
            }
            "oneOf" => {
                1 == rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|rule| conforms(value, rule, root))
                    .count()
            }
            "pattern" => value
                .as_str()
                .is_none_or(|text| matches(text, rule.as_str().unwrap())),
            other => panic!("unknown keyword {other}"),
        })
}

/// The schema's patterns, by hand.
fn matches(text: &str, pattern: &str) -> bool {
    let number = |text: &str| {
        text == "0"
            || (!text.is_empty()
                && !text.starts_with('0')
                && text.bytes().all(|c| c.is_ascii_digit()))
    };
    let name =
        |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    match pattern {
        "^(0|[1-9][0-9]*)$" => number(text),
        "^[a-z_]+$" => name(text),
        "^([0-9a-f][0-9a-f])+$" => {
            !text.is_empty()
                && text.len().is_multiple_of(2)
                && text
                    .bytes()
                    .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        }
        r"^((0|[1-9][0-9]*)|\$[a-z_]+([+-][1-9][0-9]*)?)$" => match text.strip_prefix('$') {
            None => number(text),
            Some(text) => text
                .split_once(['+', '-'])
                .map_or(name(text), |(start, delta)| {
                    name(start) && delta != "0" && number(delta)
                }),
        },
        other => panic!("unknown pattern {other}"),
    }
}

#[test]
fn the_file_is_as_its_schema_says() {
    let schema = document("conformance.schema.json");
    let file = document("conformance.json");
    for case in file["cases"].as_array().unwrap() {
        assert!(conforms(case, &schema["$defs"]["case"], &schema), "{case}");
    }
    assert!(conforms(&file, &schema, &schema));
}

#[test]
fn the_schema_refuses_what_is_not_a_case() {
    let schema = document("conformance.schema.json");
    let step = &schema["$defs"]["step"];
    for (json, good) in [
        (
            r#"{"call": "alloc", "args": ["5", "$a", "$a+8", "$end-1"], "save": "a", "result": "0"}"#,
            true,
        ),
        (r#"{"call": "alloc", "args": [5]}"#, false),
        (r#"{"call": "alloc"}"#, false),
        (r#"{"call": "alloc", "args": ["05"]}"#, false),
        (r#"{"call": "alloc", "args": ["-1"]}"#, false),
        (r#"{"call": "alloc", "args": ["$a+0"]}"#, false),
        (r#"{"call": "alloc", "args": [], "results": "0"}"#, false),
        (r#"{"call": "alloc", "args": [], "peek": "0"}"#, false),
        (r#"{"read": "$a", "hex": "00ff"}"#, true),
        (r#"{"read": "$a", "hex": "00f"}"#, false),
        (
            r#"{"read": "$a", "hex": "00", "length": "1", "byte": "0"}"#,
            false,
        ),
        (r#"{"repeat": "2", "steps": []}"#, false),
        (r#"{"context": "gone"}"#, false),
    ] {
        let value = serde_json::from_str(json).unwrap();
        assert_eq!(conforms(&value, step, &schema), good, "{json}");
    }
}

// --- the replayer -----------------------------------------------------------------------------------------------------

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// The exports in the order of `Call::all`.
const EXPORTS: [&str; 20] = [
    "alloc",
    "free",
    "length",
    "length_unsafe",
    "load_u8",
    "load_u64",
    "store_u8",
    "store_u64",
    "input_set",
    "input_offset",
    "input_length",
    "input_load_u8",
    "input_load_u64",
    "output_set",
    "output_offset",
    "output_length",
    "error_set",
    "error_get",
    "memory_bytes",
    "reset",
];

/// A kernel that cases are replayed on.
trait Target {
    fn subject(&mut self) -> &mut dyn Subject;
    fn call(&mut self, call: Call) -> u64 {
        self.subject().call(call)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.subject().memory_mut()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    fn grow(&mut self, pages: u64) {
        self.subject().grow_by_host(pages);
    }
    /// The names of the exports, if it has any.
    fn exports(&self) -> Option<BTreeSet<String>> {
        None
    }
    /// Whether `extism_context` is null or kept, after setting it if it is to be set; true without one.
    fn context(&mut self, _what: &str) -> bool {
        true
    }
}

impl Target for Native {
    fn subject(&mut self) -> &mut dyn Subject {
        self
    }
}

impl Target for Lockstep {
    fn subject(&mut self) -> &mut dyn Subject {
        self
    }
}

/// A shipped module, alone.
struct Shipped<'a>(&'a Module, Wasm);

impl Target for Shipped<'_> {
    fn subject(&mut self) -> &mut dyn Subject {
        &mut self.1
    }
    fn exports(&self) -> Option<BTreeSet<String>> {
        assert_eq!(self.0.imports().len(), 0);
        Some(
            self.0
                .exports()
                .map(|export| export.name().to_owned())
                .collect(),
        )
    }
    fn context(&mut self, what: &str) -> bool {
        let Some(context) = self.1.global("extism_context") else {
            return true;
        };
        if what == "set" {
            let object = ExternRef::new(self.1.store(), 42u32).unwrap();
            context.set(self.1.store(), object.into()).unwrap();
        }
        let value = context.get(self.1.store());
        match value {
            Val::ExternRef(None) => what == "null",
            value => {
                let Some(Ref::Extern(Some(value))) = value.ref_() else {
                    return false;
                };
                let store = self.1.store();
                let data = value.data(&store).unwrap().unwrap();
                what != "null" && data.downcast_ref() == Some(&42u32)
            }
        }
    }
}

/// Replays the steps of a case.
struct Player<'a> {
    target: &'a mut dyn Target,
    names: HashMap<String, u64>,
}

impl Player<'_> {
    fn number(&mut self, value: &Value) -> u64 {
        let Some(name) = text(value).strip_prefix('$') else {
            return text(value).parse().expect("a u64");
        };
        let (name, delta) = match name.find(['+', '-']) {
            None => (name, 0),
            Some(at) => {
                let delta: i128 = name[at..].parse().expect("a number");
                (&name[..at], delta as u64)
            }
        };
        let start = match name {
            "end" => self.target.subject().memory().len() as u64,
            name => self.names[name],
        };
        start.wrapping_add(delta)
    }

    fn call(&mut self, step: &Value) -> u64 {
        let name = text(&step["call"]);
        let arguments = step["args"].as_array().unwrap();
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| self.number(argument))
            .collect();
        let at = |i: usize| arguments.get(i).copied().unwrap_or(0);
        let place = EXPORTS.iter().position(|&export| export == name);
        self.target
            .call(Call::all(at(0), at(1))[place.expect(name)])
    }

    fn bytes(&mut self, step: &Value) -> Vec<u8> {
        match &step["hex"] {
            Value::Null => {
                vec![self.number(&step["byte"]) as u8; self.number(&step["length"]) as usize]
            }
            hex => (0..text(hex).len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text(hex)[at..at + 2], 16).expect("hex"))
                .collect(),
        }
    }

    fn bytes_at(&mut self, offset: &Value, length: usize) -> Vec<u8> {
        let offset = self.number(offset) as usize;
        self.target.subject().memory()[offset..][..length].to_vec()
    }

    fn step(&mut self, step: &Value) {
        let fields = step.as_object().unwrap();
        let verbs = [
            "call", "peek", "poke", "value", "read", "write", "pages", "grow", "inside", "exports",
            "context", "repeat",
        ];
        let verb = *verbs
            .iter()
            .find(|&&verb| fields.contains_key(verb))
            .expect("a verb");
        let object = &step[verb];
        let mut result = 0;
        match verb {
            "call" => result = self.call(step),
            "peek" => {
                let bytes = self.bytes_at(object, 8);
                result = u64::from_le_bytes(bytes.try_into().unwrap());
            }
            "poke" => {
                let (offset, value) = (self.number(object), self.number(&step["value"]));
                self.target.write(offset, &value.to_le_bytes());
            }
            "value" => result = self.number(object),
            "read" => {
                let bytes = self.bytes(step);
                assert!(self.bytes_at(object, bytes.len()) == bytes, "{step}");
            }
            "write" => {
                let (offset, bytes) = (self.number(object), self.bytes(step));
                self.target.write(offset, &bytes);
            }
            "pages" => assert_eq!(self.target.subject().pages(), self.number(object), "{step}"),
            "grow" => {
                let pages = self.number(object);
                self.target.grow(pages);
            }
            "inside" => {
                let (offset, length) = (self.number(object), self.number(&step["length"]));
                let end = offset.checked_add(length);
                let size = self.target.subject().memory().len() as u64;
                assert!(
                    length == 0 || end.is_some_and(|end| end <= size),
                    "{step}: {offset}+{length}"
                );
            }
            "exports" => {
                let names = |key: &str| {
                    step[key]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|name| text(name).to_owned())
                };
                if let Some(mut found) = self.target.exports() {
                    names("optional").for_each(|name| _ = found.remove(&name));
                    assert_eq!(found, names("exports").collect(), "{step}");
                }
            }
            "context" => assert!(self.target.context(text(object)), "{step}"),
            _ => {
                for _ in 0..self.number(object) {
                    self.steps(&step["steps"]);
                }
            }
        }
        for (key, expected) in fields {
            let good = match (key.as_str(), expected) {
                ("result_one_of", Value::Array(list)) => {
                    list.iter().any(|one| result == self.number(one))
                }
                ("result", expected) => result == self.number(expected),
                ("result_not", expected) => result != self.number(expected),
                ("result_below", expected) => result < self.number(expected),
                ("result_at_least", expected) => result >= self.number(expected),
                ("result_multiple_of", expected) => result.is_multiple_of(self.number(expected)),
                _ => true,
            };
            assert!(good, "{step} gave {result}");
        }
        if let Some(name) = fields.get("save") {
            self.names.insert(text(name).to_owned(), result);
        }
    }

    fn steps(&mut self, steps: &Value) {
        for step in steps.as_array().unwrap() {
            self.step(step);
        }
    }
}

/// The most pages of a case that has no limit of its own.
const MOST_PAGES: u64 = 1024;

fn replay(case: &Value, target: &mut dyn Target) {
    // Shown only if a step fails.
    println!("{}: {}", case["section"], case["name"]);
    let size = target.subject().memory().len() as u64;
    target.subject().set_limit(limit(case, size / PAGE));
    let names = HashMap::from([("start".to_owned(), size)]);
    Player { target, names }.steps(&case["steps"]);
}

fn limit(case: &Value, pages: u64) -> u64 {
    let spare = case
        .get("spare")
        .map(|spare| text(spare).parse::<u64>().unwrap());
    pages + spare.unwrap_or(MOST_PAGES)
}

#[test]
fn native_core_passes() {
    for case in document("conformance.json")["cases"].as_array().unwrap() {
        replay(case, &mut native());
    }
}

#[test]
fn shipped_modules_pass() {
    for case in document("conformance.json")["cases"].as_array().unwrap() {
        for module in shipped() {
            replay(case, &mut Shipped(module, Wasm::new(module)));
        }
    }
}

// --- the model --------------------------------------------------------------------------------------------------------

/// A subject that remembers what was called and what that gave.
struct Recorded<S> {
    subject: S,
    calls: Vec<(Call, u64)>,
}

impl<S: Subject> Subject for Recorded<S> {
    fn attempt(&mut self, call: Call, budget: u64) -> (Option<u64>, u64) {
        let (result, cost) = self.subject.attempt(call, budget);
        self.calls.extend(result.map(|result| (call, result)));
        (result, cost)
    }
    fn memory(&self) -> &[u8] {
        self.subject.memory()
    }
    fn memory_mut(&mut self) -> &mut [u8] {
        self.subject.memory_mut()
    }
    fn grow_by_host(&mut self, pages: u64) {
        self.subject.grow_by_host(pages);
    }
    fn set_limit(&mut self, pages: u64) {
        self.subject.set_limit(pages);
    }
    fn set_growth_traps(&mut self, traps: bool) {
        self.subject.set_growth_traps(traps);
    }
    fn registers(&self) -> &Registers {
        self.subject.registers()
    }
}

/// A native core each of whose calls the model makes too, and compares.
struct Modelled {
    subject: Recorded<Native>,
    model: Model,
}

impl Modelled {
    fn new(case: &Value) -> Self {
        let mut subject = Recorded {
            subject: native(),
            calls: Vec::new(),
        };
        let model = Model::new(&mut subject, limit(case, 1));
        Self { subject, model }
    }
}

impl Target for Modelled {
    fn subject(&mut self) -> &mut dyn Subject {
        &mut self.subject
    }
    fn call(&mut self, call: Call) -> u64 {
        let op = match call {
            Call::Alloc(n) => Op::Alloc(n),
            Call::Free(h) => Op::Free(Place::Exact(h)),
            Call::Length(h) | Call::LengthUnsafe(h) => Op::Length(Place::Exact(h)),
            Call::LoadU8(p) | Call::LoadU64(p) => Op::Load(Place::Exact(p)),
            Call::StoreU8(p, v) => Op::StoreU8(Place::Exact(p), v),
            Call::StoreU64(p, v) => Op::StoreU64(Place::Exact(p), v),
            Call::InputSet(h, n) => Op::InputSet(Place::Exact(h), n),
            Call::InputLoadU8(i) | Call::InputLoadU64(i) => Op::InputLoad(i),
            Call::OutputSet(p, n) => Op::OutputSet(Place::Exact(p), n),
            Call::ErrorSet(h) => Op::ErrorSet(Place::Exact(h)),
            Call::Reset => Op::Reset,
            // The model checks these after each step.
            Call::InputOffset
            | Call::InputLength
            | Call::OutputOffset
            | Call::OutputLength
            | Call::ErrorGet
            | Call::MemoryBytes => return self.subject.call(call),
        };
        self.subject.calls.clear();
        self.model.step(op, &mut self.subject);
        let made = self.subject.calls.iter().find(|(made, _)| *made == call);
        made.map_or(0, |(_, result)| *result)
    }
    /// To the model a host that fills a block is a plugin that stores into it.
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            self.call(Call::StoreU8(offset + i as u64, byte.into()));
        }
    }
    fn grow(&mut self, pages: u64) {
        self.model
            .step(Op::HostGrow(pages as u8), &mut self.subject);
    }
}

/// How much the model would have to do for a step; `None` if it is about what the model does not know.
fn work(step: &Value) -> Option<u64> {
    let number = |key: &str| text(&step[key]).parse::<u64>();
    if step.get("repeat").is_some() {
        let steps = step["steps"].as_array().unwrap().iter();
        let once: Option<u64> = steps.map(work).sum();
        return Some(once? * number("repeat").unwrap());
    }
    match step.get("write") {
        // Outside of a block.
        Some(place) if !text(place).starts_with('$') || text(place).starts_with("$end") => None,
        Some(_) if step.get("hex").is_some() => Some(text(&step["hex"]).len() as u64 / 2),
        Some(_) => number("length").ok(),
        None if step.get("poke").is_some() || step.get("context").is_some() => None,
        None => Some(1),
    }
}

#[test]
fn model_agrees() {
    let document = document("conformance.json");
    let cases = document["cases"].as_array().unwrap();
    let mut agreed = 0;
    for case in cases {
        let steps = case["steps"].as_array().unwrap().iter();
        let pages: u64 = steps
            .clone()
            .filter_map(|step| step.get("grow"))
            .map(|pages| text(pages).parse::<u64>().unwrap())
            .sum();
        // Each step compares the whole memory.
        if steps
            .map(work)
            .sum::<Option<u64>>()
            .is_some_and(|work| work <= 3000)
            && pages < 10
        {
            replay(case, &mut Modelled::new(case));
            agreed += 1;
        }
    }
    println!("the model ran {agreed} of {} cases", cases.len());
    assert!(agreed >= 200, "the model can run only {agreed} cases");
}

/// Both shipped modules do in every case what the native core does, byte by byte.
#[test]
fn shipped_modules_do_as_the_native_core() {
    for case in document("conformance.json")["cases"].as_array().unwrap() {
        // Each call compares the whole memory.
        let steps = case["steps"].as_array().unwrap();
        if steps.iter().all(|step| step.get("repeat").is_none()) {
            for module in shipped() {
                replay(case, &mut Lockstep::new(module));
            }
        }
    }
}
