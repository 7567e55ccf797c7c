//! What a C API promises: its header is what cbindgen makes of the sources, and the shared library exports what the header declares,
//! no more. For the tests of both APIs.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSymbol};

/// A C API.
pub struct Interface {
    /// That of its package.
    pub folder: &'static str,
    /// Relative to the folder, each with the modules that it names.
    pub sources: [&'static str; 2],
    /// The name of the shared library, for Rust.
    pub library: &'static str,
    /// All that it has, by name.
    pub functions: &'static [&'static str],
}

impl Interface {
    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder).join(name)
    }

    fn generated(&self) -> String {
        let config = cbindgen::Config::from_file(self.file("cbindgen.toml")).unwrap();
        let mut builder = cbindgen::Builder::new().with_config(config);
        for source in self.sources {
            builder = builder.with_src(self.file(source));
        }
        let mut bytes = Vec::new();
        builder.generate().unwrap().write(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        // What Rust calls safety is said in the header's words already.
        without_safety_sections(&text)
    }

    /// The header is what cbindgen makes of the sources.
    pub fn check_header(&self) {
        let file = self.file("include/extism.h");
        let generated = self.generated();
        if env::var_os("EXTISM_BLESS").is_some() {
            fs::write(&file, &generated).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        let package = env!("CARGO_PKG_NAME");
        assert!(
            committed == generated,
            "include/extism.h isn't: run `EXTISM_BLESS=1 cargo test -p {package} --test header`"
        );
    }

    /// The header declares all functions and no other.
    pub fn check_declared(&self) {
        assert_eq!(self.declared(), self.names());
    }

    /// The shared library exports them and nothing else.
    pub fn check_exported(&self) {
        let bytes = fs::read(self.built()).unwrap();
        let library = object::File::parse(&*bytes).unwrap();
        let symbols = library
            .dynamic_symbols()
            .filter(|symbol| symbol.is_definition());
        let exported: BTreeSet<_> = symbols
            .map(|symbol| symbol.name().unwrap().to_owned())
            .collect();
        assert_eq!(exported, self.names());
    }

    fn names(&self) -> BTreeSet<String> {
        self.functions
            .iter()
            .map(|name| (*name).to_owned())
            .collect()
    }

    /// The shared library that cargo built beside the test.
    fn built(&self) -> PathBuf {
        let test = env::current_exe().unwrap();
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        test.with_file_name(format!("{prefix}{}{suffix}", self.library))
    }

    /// The functions that the header declares.
    fn declared(&self) -> BTreeSet<String> {
        let header = fs::read_to_string(self.file("include/extism.h")).unwrap();
        let mut code = String::new();
        for part in header.split("/*") {
            code += part.rsplit("*/").next().unwrap();
        }
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(');
        let names = words.filter_map(|word| {
            word.strip_suffix('(')
                .or(word.split_once('(').map(|(name, _)| name))
        });
        names
            .filter(|name| name.starts_with("extism_"))
            .map(str::to_owned)
            .collect()
    }
}

/// Leaves out of each comment what stands below `# Safety`, and the empty lines that remain.
fn without_safety_sections(text: &str) -> String {
    let mut lines = Vec::new();
    let mut skips = false;
    for line in text.lines() {
        if line.trim() == "# Safety" {
            skips = true;
            while lines
                .last()
                .is_some_and(|line: &&str| line.trim().is_empty())
            {
                lines.pop();
            }
        }
        if line.trim() == "*/" {
            skips = false;
        }
        if !skips {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}
