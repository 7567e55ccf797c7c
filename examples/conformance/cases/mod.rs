//! The contract's cases, a module for each part of it, and what they are written with.
//!
//! A case may only use what the contract promises, never this kernel's own addresses, so that every conforming kernel
//! passes. The format is described in `schema.json`.

mod access;
mod allocation;
mod exports;
mod hostile;
mod input_output;
mod release;
mod reuse;

use std::fmt::{self, Display};

/// The JSON Schema of the file.
pub const SCHEMA: &str = include_str!("schema.json");

/// Bytes of a page.
const PAGE: u64 = 65536;

/// Sizes of blocks: around the alignment, of ordinary data, and around a page.
const SIZES: [u64; 17] = [
    1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 100, 1000, 4095, 65535, 65536, 65537, 1_000_000,
];

/// Arguments at which sums wrap, signs change and addresses lose bits.
const EDGES: [u64; 14] = [
    1,
    7,
    65536,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 8,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 8,
    1 << 48,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// All cases, in the contract's order.
pub fn all() -> Book {
    let mut book = Book::default();
    exports::cases(book.section("1"));
    allocation::cases(book.section("2"));
    reuse::cases(book.section("2"));
    release::cases(book.section("2"));
    access::cases(book.section("2"));
    input_output::cases(book.section("3"));
    hostile::cases(book.section("4"));
    book
}

/// The cases.
#[derive(Default)]
pub struct Book {
    section: &'static str,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    section: &'static str,
    reason: String,
    script: Script,
}

impl Book {
    fn section(&mut self, section: &'static str) -> &mut Self {
        self.section = section;
        self
    }

    /// Adds a case. A name is `kind: what`.
    fn case(&mut self, name: impl Into<String>, reason: &str, write: impl FnOnce(&mut Script)) {
        let mut script = Script::default();
        write(&mut script);
        self.cases.push(Case {
            name: name.into(),
            section: self.section,
            reason: reason.into(),
            script,
        });
    }

    /// The file, a step on each line.
    pub fn to_json(&self) -> String {
        let cases: Vec<_> = self.cases.iter().map(Case::to_string).collect();
        format!(
            "{{\n\"$schema\": \"conformance.schema.json\",\n\"version\": 1,\n\"cases\": [\n{}\n]\n}}\n",
            cases.join(",\n")
        )
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{\"name\": {}, \"section\": {}, \"reason\": {}, ",
            quoted(&self.name),
            quoted(self.section),
            quoted(&self.reason)
        )?;
        if let Some(pages) = self.script.spare {
            write!(f, "\"spare\": \"{pages}\", ")?;
        }
        let steps: Vec<_> = self.script.steps.iter().map(Step::to_string).collect();
        write!(f, "\"steps\": [\n  {}\n]}}", steps.join(",\n  "))
    }
}

/// A string of JSON. None here holds anything that must be escaped.
fn quoted(text: &str) -> String {
    assert!(
        text.chars()
            .all(|c| (' '..='~').contains(&c) && c != '"' && c != '\\'),
        "{text}"
    );
    format!("\"{text}\"")
}

/// A step: an object of keys and values that are JSON already.
struct Step(Vec<(&'static str, String)>);

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        write!(f, "{{{}}}", fields.join(", "))
    }
}

/// A number as cases write it: itself, or `$name`, `$name+8`, `$name-8`. `$start` is the
/// memory's size in bytes at the start of the case, `$end` its current size.
trait Operand {
    fn text(&self) -> String;
}

impl Operand for u64 {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Operand for &str {
    fn text(&self) -> String {
        (*self).into()
    }
}

impl Operand for String {
    fn text(&self) -> String {
        self.clone()
    }
}

fn operand(value: impl Operand) -> String {
    quoted(&value.text())
}

fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(", "))
}

/// What a step must answer.
struct Answer<'a>(&'a mut Step);

impl Answer<'_> {
    fn with(self, key: &'static str, value: String) -> Self {
        self.0.0.push((key, value));
        self
    }
    fn is(self, value: impl Operand) -> Self {
        self.with("result", operand(value))
    }
    fn not(self, value: impl Operand) -> Self {
        self.with("result_not", operand(value))
    }
    fn below(self, value: impl Operand) -> Self {
        self.with("result_below", operand(value))
    }
    fn at_least(self, value: impl Operand) -> Self {
        self.with("result_at_least", operand(value))
    }
    fn multiple_of(self, value: impl Operand) -> Self {
        self.with("result_multiple_of", operand(value))
    }
    /// One of two.
    fn either(self, one: impl Operand, other: impl Operand) -> Self {
        self.with("result_one_of", list([operand(one), operand(other)]))
    }
    /// Names the answer.
    fn save(self, name: &str) -> Self {
        self.with("save", quoted(name))
    }
}

/// The steps of a case.
#[derive(Default)]
struct Script {
    spare: Option<u64>,
    steps: Vec<Step>,
}

/// A method for each export.
macro_rules! exports {
    ($($name:ident($($argument:ident),*);)*) => {
        /// The exported functions: name, and how many arguments.
        const FUNCTIONS: &[(&str, usize)] = &[$((stringify!($name), <[&str]>::len(&[$(stringify!($argument)),*]))),*];

        impl Script {
            // Not every getter is called by its own name.
            $(#[allow(dead_code)]
            fn $name(&mut self, $($argument: impl Operand),*) -> Answer<'_> {
                self.call(stringify!($name), [$($argument.text()),*])
            })*
        }
    };
}

exports! {
    alloc(n);
    free(handle);
    length(handle);
    length_unsafe(handle);
    load_u8(offset);
    load_u64(offset);
    store_u8(offset, value);
    store_u64(offset, value);
    input_set(handle, length);
    input_offset();
    input_length();
    input_load_u8(index);
    input_load_u64(index);
    output_set(offset, length);
    output_offset();
    output_length();
    error_set(handle);
    error_get();
    memory_bytes();
    reset();
}

impl Script {
    fn step<const N: usize>(&mut self, fields: [(&'static str, String); N]) -> Answer<'_> {
        self.steps.push(Step(fields.into()));
        Answer(self.steps.last_mut().expect("just pushed"))
    }

    /// The most pages that the memory may grow by.
    fn spare(&mut self, pages: u64) {
        self.spare = Some(pages);
    }

    /// Calls an export by name.
    fn call<const N: usize>(&mut self, name: &str, arguments: [String; N]) -> Answer<'_> {
        self.step([
            ("call", quoted(name)),
            ("args", list(arguments.map(|argument| quoted(&argument)))),
        ])
    }

    /// Nothing but a number, to compare or to name.
    fn value(&mut self, value: impl Operand) -> Answer<'_> {
        self.step([("value", operand(value))])
    }

    /// The host reads eight bytes, little endian.
    fn peek(&mut self, offset: impl Operand) -> Answer<'_> {
        self.step([("peek", operand(offset))])
    }

    /// The host writes eight bytes, little endian.
    fn poke(&mut self, offset: impl Operand, value: impl Operand) {
        self.step([("poke", operand(offset)), ("value", operand(value))]);
    }

    /// The host reads these bytes.
    fn read(&mut self, offset: impl Operand, hex: &str) {
        self.step([("read", operand(offset)), ("hex", quoted(hex))]);
    }

    /// The host writes these bytes.
    fn write(&mut self, offset: impl Operand, hex: &str) {
        self.step([("write", operand(offset)), ("hex", quoted(hex))]);
    }

    /// The host reads the same byte so many times.
    fn read_all(&mut self, offset: impl Operand, length: impl Operand, byte: u64) {
        self.step([
            ("read", operand(offset)),
            ("length", operand(length)),
            ("byte", operand(byte)),
        ]);
    }

    /// The host writes the same byte so many times.
    fn write_all(&mut self, offset: impl Operand, length: impl Operand, byte: u64) {
        self.step([
            ("write", operand(offset)),
            ("length", operand(length)),
            ("byte", operand(byte)),
        ]);
    }

    /// The memory has so many pages, whoever owns them.
    fn pages(&mut self, pages: u64) {
        self.step([("pages", operand(pages))]);
    }

    /// The host adds pages.
    fn grow(&mut self, pages: u64) {
        self.step([("grow", operand(pages))]);
    }

    /// The range is inside of the memory, or empty.
    fn inside(&mut self, offset: impl Operand, length: impl Operand) {
        self.step([("inside", operand(offset)), ("length", operand(length))]);
    }

    /// The module exports exactly the contract's names.
    fn exports(&mut self) {
        let names = FUNCTIONS.iter().map(|(name, _)| quoted(name));
        self.step([
            ("exports", list(names.chain([quoted("memory")]))),
            ("optional", list([quoted("extism_context")])),
        ]);
    }

    /// `extism_context`: is null, or is set by the host, or is what the host has set.
    fn context(&mut self, what: &str) {
        self.step([("context", quoted(what))]);
    }

    /// The same steps many times.
    fn repeat(&mut self, times: u64, write: impl FnOnce(&mut Script)) {
        let mut script = Script::default();
        write(&mut script);
        let steps = list(script.steps.iter().map(Step::to_string));
        self.step([("repeat", operand(times)), ("steps", steps)]);
    }

    // What many cases do.

    /// A block that must be had.
    fn block(&mut self, name: &str, n: u64) {
        self.alloc(n).not(0).save(name);
    }

    /// A block full of one byte.
    fn filled(&mut self, name: &str, n: u64, byte: u64) {
        self.block(name, n);
        self.write_all(format!("${name}"), n, byte);
    }

    /// The block is live and holds what `filled` put there.
    fn intact(&mut self, name: &str, n: u64, byte: u64) {
        self.length(format!("${name}")).is(n);
        self.read_all(format!("${name}"), n, byte);
    }

    /// Uses up all fresh space, where growth is limited, with ever smaller blocks.
    fn use_up(&mut self) {
        assert!(self.spare.is_some());
        for n in (3..=22).rev().map(|bit| 1 << bit) {
            self.repeat(4, |c| {
                c.alloc(n);
            });
        }
    }

    /// The memory has grown by so many pages since the start.
    fn grown(&mut self, pages: u64) {
        let size = format!("$start+{}", pages * PAGE).replace("+0", "");
        self.value("$end").is(size);
    }

    /// The input or output is that range.
    fn named(&mut self, which: &str, offset: impl Operand, length: impl Operand) {
        self.call(&format!("{which}_offset"), []).is(offset);
        self.call(&format!("{which}_length"), []).is(length);
    }

    /// Sets input or output.
    fn set(&mut self, which: &str, offset: impl Operand, length: impl Operand) {
        self.call(&format!("{which}_set"), [offset.text(), length.text()]);
    }

    /// Names the first handle of all `first`, and how much memory there was `bytes`.
    fn learn_first(&mut self) {
        self.block("first", 1);
        self.reset();
        self.memory_bytes().save("bytes");
    }

    /// After `learn_first`: nothing tells this kernel from a new one, but for the memory that it holds.
    fn as_new(&mut self) {
        self.named("input", 0, 0);
        self.named("output", 0, 0);
        self.error_get().is(0);
        self.length("$first").is(0);
        self.memory_bytes().at_least("$bytes");
        self.alloc(9).is("$first");
        self.length("$first").is(9);
        self.read_all("$first", 9, 0);
        self.block("second", 8);
        self.length("$second").is(8);
        self.free("$first");
        self.length("$first").is(0);
    }

    /// All that hosts build slices from lies inside of the memory: input, output, error, and a handle.
    fn ranges_inside(&mut self, handle: &str) {
        for which in ["input", "output"] {
            self.call(&format!("{which}_offset"), []).save("offset");
            self.call(&format!("{which}_length"), []).save("length");
            self.inside("$offset", "$length");
        }
        self.error_get().save("offset");
        self.length("$offset").save("length");
        self.inside("$offset", "$length");
        self.length(handle).save("length");
        self.inside(handle, "$length");
    }
}
