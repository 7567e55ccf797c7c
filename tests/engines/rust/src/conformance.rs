//! Replays the cases of `dist/conformance.json`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Context, Engine, Error, Kernel, timed};

/// What a case's memory may grow by that doesn't say so itself.
const SPARE: u32 = 1024;

#[derive(Deserialize)]
struct File {
    version: u32,
    cases: Vec<Case>,
}

/// Fields that this knows nothing of are errors: a case that isn't understood must not count as passed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    name: String,
    section: String,
    reason: String,
    spare: Option<String>,
    steps: Vec<Step>,
}

type Step = Map<String, Value>;

pub(crate) fn read(json: &[u8]) -> Result<Vec<Case>, Error> {
    let file: File = serde_json::from_slice(json).map_err(crate::error)?;
    match file.version {
        1 => Ok(file.cases),
        other => Err(format!("conformance cases of the unknown version {other}")),
    }
}

/// Replays each case on an instance of its own, tells those that failed, and counts them.
pub(crate) fn replay<E: Engine>(engine: &Arc<E>, cases: Vec<Case>) -> usize {
    let mut failed = 0;
    for case in cases {
        let Case { section, name, .. } = &case;
        let title = format!("section {section}, {name}");
        let reason = case.reason.clone();
        let engine = Arc::clone(engine);
        if let Err(error) = timed(move || play(&*engine, &case)) {
            failed += 1;
            eprintln!("{}: FAILED {title}: {error} ({reason})", E::NAME);
        }
    }
    failed
}

fn play<E: Engine>(engine: &E, case: &Case) -> Result<(), Error> {
    // The limit counts from the size that the kernel starts with, which is asked of an instance without one.
    let initial = (engine.kernel(None)?.size() / 65536) as u32;
    let spare = match &case.spare {
        Some(spare) => spare.parse().map_err(crate::error)?,
        None => SPARE,
    };
    let mut kernel = engine.kernel(Some(initial + spare))?;
    let start = kernel.size();
    let mut player = Player { kernel: &mut kernel, names: HashMap::from([("start".to_owned(), start)]) };
    player.steps(&case.steps)
}

struct Player<'a, K> {
    kernel: &'a mut K,
    names: HashMap<String, u64>,
}

impl<K: Kernel> Player<'_, K> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            self.step(step).map_err(|error| format!("{}: {error}", Value::Object(step.clone())))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        const VERBS: [&str; 12] = [
            "call", "peek", "poke", "value", "read", "write", "pages", "grow", "inside", "exports", "context", "repeat",
        ];
        // "value" is a verb only if it is the only one: "poke" has it, too.
        let verb = VERBS.iter().find(|&&verb| step.contains_key(verb));
        let &verb = verb.ok_or("no known kind of step")?;
        let object = &step[verb];
        let mut result = 0;
        match verb {
            "call" => {
                let arguments = self.numbers(&step["args"])?;
                result = self.kernel.call(text(object)?, &arguments)?;
            }
            "peek" => {
                let offset = self.number(object)?;
                let bytes = self.kernel.read(offset, 8)?;
                result = u64::from_le_bytes(bytes.try_into().map_err(crate::error)?);
            }
            "poke" => {
                let (offset, value) = (self.number(object)?, self.number(&step["value"])?);
                self.kernel.write(offset, &value.to_le_bytes())?;
            }
            "value" => result = self.number(object)?,
            "read" => {
                let (offset, expected) = (self.number(object)?, self.bytes(step)?);
                let found = self.kernel.read(offset, expected.len() as u64)?;
                ensure(found == expected, "other bytes")?;
            }
            "write" => {
                let (offset, bytes) = (self.number(object)?, self.bytes(step)?);
                self.kernel.write(offset, &bytes)?;
            }
            "pages" => {
                let (found, expected) = (self.kernel.size(), self.number(object)? * 65536);
                ensure(found == expected, &format!("{found} bytes"))?;
            }
            "grow" => {
                let pages = self.number(object)?;
                self.kernel.grow(pages.try_into().map_err(crate::error)?)?;
            }
            "inside" => {
                let (offset, length) = (self.number(object)?, self.number(&step["length"])?);
                let size = self.kernel.size();
                let inside = offset.checked_add(length).is_some_and(|end| end <= size);
                ensure(length == 0 || inside, &format!("{length} bytes at {offset}"))?;
            }
            // That it imports nothing was shown by instantiating it with nothing.
            "exports" => {
                let mut found: BTreeSet<String> = self.kernel.exports().into_iter().collect();
                for name in list(&step["optional"])? {
                    found.remove(text(name)?);
                }
                let expected: Result<BTreeSet<_>, _> = list(object)?.iter().map(text).collect();
                let same = found.iter().map(String::as_str).eq(expected?);
                ensure(same, &format!("{found:?}"))?;
            }
            "context" => {
                let mut context = self.kernel.context();
                let expected = match text(object)? {
                    "null" => Context::Null,
                    _ => Context::Ours,
                };
                if object == "set" && context != Context::Absent {
                    self.kernel.set_context()?;
                    context = self.kernel.context();
                }
                let good = context == Context::Absent || context == expected;
                ensure(good, &format!("{context:?}"))?;
            }
            _ => {
                let steps: Vec<Step> = serde_json::from_value(step["steps"].clone()).map_err(crate::error)?;
                for _ in 0..self.number(object)? {
                    self.steps(&steps)?;
                }
            }
        }
        for (key, value) in step {
            let good = match key.as_str() {
                "result" => result == self.number(value)?,
                "result_not" => result != self.number(value)?,
                "result_below" => result < self.number(value)?,
                "result_at_least" => result >= self.number(value)?,
                "result_multiple_of" => result.is_multiple_of(self.number(value)?),
                "result_one_of" => self.numbers(value)?.contains(&result),
                "args" | "save" | "value" | "hex" | "length" | "byte" | "optional" | "steps" => true,
                key => key == verb,
            };
            ensure(good, &format!("{key}, but it gave {result}"))?;
        }
        if let Some(name) = step.get("save") {
            self.names.insert(text(name)?.to_owned(), result);
        }
        Ok(())
    }

    /// An operand: a number, or `$name`, perhaps with `+` or `-` a number.
    fn number(&mut self, operand: &Value) -> Result<u64, Error> {
        let operand = text(operand)?;
        let parse = |digits: &str| digits.parse::<u64>().map_err(crate::error);
        let Some(name) = operand.strip_prefix('$') else {
            return parse(operand);
        };
        let at = name.find(['+', '-']).unwrap_or(name.len());
        let (name, delta) = name.split_at(at);
        let start = match name {
            "end" => self.kernel.size(),
            name => *self.names.get(name).ok_or("an unknown name")?,
        };
        Ok(match delta.split_at_checked(1) {
            Some(("+", digits)) => start.wrapping_add(parse(digits)?),
            Some((_, digits)) => start.wrapping_sub(parse(digits)?),
            None => start,
        })
    }

    fn numbers(&mut self, operands: &Value) -> Result<Vec<u64>, Error> {
        list(operands)?.iter().map(|operand| self.number(operand)).collect()
    }

    /// What "read" and "write" are about: bytes in hexadecimal, or the same byte so many times.
    fn bytes(&mut self, step: &Step) -> Result<Vec<u8>, Error> {
        if let Some(hex) = step.get("hex") {
            let hex = text(hex)?;
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(crate::error);
            return (0..hex.len()).step_by(2).map(byte).collect();
        }
        let (length, byte) = (self.number(&step["length"])?, self.number(&step["byte"])?);
        // A kernel under test may answer with any length; nothing of that size is in a memory.
        ensure(length <= self.kernel.size(), "longer than the memory")?;
        Ok(vec![byte as u8; length as usize])
    }
}

fn ensure(good: bool, otherwise: &str) -> Result<(), Error> {
    if good { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn text(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| format!("{value} is no string"))
}

fn list(value: &Value) -> Result<&[Value], Error> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{value} is no list"))
}
