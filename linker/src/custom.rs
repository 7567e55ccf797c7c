//! Custom sections: the mark of a linked module, and what becomes of those that the plugin has.

use crate::{
    Error, Form, KERNEL_ONE_MEMORY, KERNEL_ONE_MEMORY_MVP, SECTION, indices::PluginIndices,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use wasm_encoder::{IndirectNameMap, NameMap, NameSection, reencode::Reencode};
use wasmparser::{Name, NameSectionReader, Parser, Payload};

/// What a linked module says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The version of the kernel; "unknown" if it is none of this release.
    pub version: String,
    /// The SHA-256 of the kernel's file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// How it was linked.
    pub form: Form,
}

impl Mark {
    pub(crate) fn new(kernel: &[u8], form: Form) -> Self {
        let known = [
            extism_kernel::KERNEL_BULK,
            extism_kernel::KERNEL_MVP,
            KERNEL_ONE_MEMORY,
            KERNEL_ONE_MEMORY_MVP,
        ];
        let version = if known.contains(&kernel) {
            extism_kernel::VERSION
        } else {
            "unknown"
        };
        let mut sha256 = String::new();
        for byte in Sha256::digest(kernel) {
            write!(sha256, "{byte:02x}").expect("writing to a string succeeds");
        }
        Self {
            version: version.to_owned(),
            sha256,
            form,
        }
    }

    /// The content of the section: one word for each field, in their order.
    pub(crate) fn text(&self) -> String {
        format!("{} {} {}", self.version, self.sha256, form_name(self.form))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let (version, sha256, form) = (
            words.next()?.to_owned(),
            words.next()?.to_owned(),
            words.next()?,
        );
        let form = [Form::TwoMemories, Form::OneMemory]
            .into_iter()
            .find(|&known| form_name(known) == form)?;
        Some(Self {
            version,
            sha256,
            form,
        })
    }
}

fn form_name(form: Form) -> &'static str {
    match form {
        Form::TwoMemories => "two-memories",
        Form::OneMemory => "one-memory",
    }
}

/// What a module says about its being linked; `None` if it says nothing, or is no module. Anybody can write such a section.
pub fn linked(wasm: &[u8]) -> Option<Mark> {
    let sections = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    sections
        .filter_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == SECTION => {
                Mark::parse(section.data())
            }
            _ => None,
        })
        .next()
}

/// Whether a custom section says where in the code something is.
pub(crate) fn says_places(name: &str) -> bool {
    let names = ["external_debug_info", "linking", "sourceMappingURL"];
    let kinds = [".debug_", "metadata.code.", "reloc."];
    names.contains(&name) || kinds.iter().any(|kind| name.starts_with(kind))
}

/// The plugin's names for what they name now, and names for the functions of the kernel and the linker. An error if they can't be
/// read, as in any custom section.
pub(crate) fn names(
    section: NameSectionReader<'_>,
    plugin: &PluginIndices,
    added: &[(u32, String)],
) -> Result<NameSection, Error> {
    let mut names = NameSection::new();
    for subsection in section {
        match subsection? {
            Name::Function(map) => {
                let mut functions = Vec::new();
                for naming in map {
                    let naming = naming?;
                    let is_there = naming.index < plugin.imports.len() as u32 + plugin.defined;
                    if is_there && plugin.kernel_function(naming.index).is_none() {
                        functions.push((plugin.function(naming.index), naming.name));
                    }
                }
                functions.extend(added.iter().map(|(index, name)| (*index, name.as_str())));
                functions.sort_by_key(|&(index, _)| index);
                let mut map = NameMap::new();
                functions
                    .iter()
                    .for_each(|&(index, name)| map.append(index, name));
                names.functions(&map);
            }
            // Imports have no labels, and names of their parameters help nobody.
            Name::Local(map) => names.locals(&of_defined(map, plugin)?),
            Name::Label(map) => names.labels(&of_defined(map, plugin)?),
            other => {
                let mut same = plugin;
                same.parse_custom_name_subsection(&mut names, other)?;
            }
        }
    }
    Ok(names)
}

fn of_defined(
    map: wasmparser::IndirectNameMap<'_>,
    plugin: &PluginIndices,
) -> Result<IndirectNameMap, Error> {
    let mut all = IndirectNameMap::new();
    for function in map {
        let function = function?;
        let imports = plugin.imports.len() as u32;
        if (imports..imports + plugin.defined).contains(&function.index) {
            let mut names = NameMap::new();
            for naming in function.names {
                let naming = naming?;
                names.append(naming.index, naming.name);
            }
            all.append(plugin.function(function.index), &names);
        }
    }
    Ok(all)
}
