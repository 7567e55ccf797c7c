//! What the READMEs say that a machine can look up: the hosts on other engines are what stands in their runners, which run it;
//! links lead to files, commands name what there is; and the one at the root stays short.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The folders of the engines, which are those with a runner, and the folders that engines share.
fn folders() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut folders = entries(&root().join("tests/engines"));
    folders.retain(|path| path.is_dir());
    folders
        .into_iter()
        .partition(|path| path.join("run").is_file())
}

/// The lines between the markers of a source, without the indentation that all of them have.
fn snippets(source: &str) -> Vec<String> {
    let mut snippets = Vec::new();
    let mut lines = source.lines();
    while lines.any(|line| line.trim_end().ends_with("README: begin")) {
        let mut inside = Vec::new();
        loop {
            let line = lines.next().expect("a snippet has an end");
            if line.trim_end().ends_with("README: end") {
                break;
            }
            inside.push(line);
        }
        let indentation = inside
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.len() - line.trim_start().len())
            .min()
            .expect("a snippet has lines");
        let dedented = inside
            .iter()
            .map(|line| format!("{}\n", line.get(indentation..).unwrap_or("")));
        snippets.push(dedented.collect());
    }
    snippets
}

/// All sources of a folder; what an engine builds or installs is none.
fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !MADE.contains(&&*name) {
                found.extend(sources(&path));
            }
        } else {
            found.extend(fs::read_to_string(&path));
        }
    }
    found
}

fn snippets_of(folder: &Path) -> Vec<String> {
    let sources = sources(folder);
    sources.iter().flat_map(|source| snippets(source)).collect()
}

/// Whether a source of the engine names a file of the shared folder, which is beside its own.
fn uses(engine: &Path, shared: &Path) -> bool {
    let name = shared.file_name().unwrap_or_default().to_string_lossy();
    let mut sources = sources(engine).into_iter();
    sources.any(|source| source.contains(&format!("../{name}/")))
}

/// The code blocks of a text: their languages, and what is in them.
fn code_blocks(text: &str) -> Vec<(&str, &str)> {
    // Before, in and after a block by turns; a block starts with the rest of the line that names its language.
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .map(|block| block.split_once('\n').expect("a block has lines"))
        .collect()
}

/// The contents of the code blocks of the engines' README, of its section for authors of hosts.
fn shown() -> BTreeSet<String> {
    let readme = read("tests/engines/README.md");
    let (_, section) = readme
        .split_once("\n## On your engine\n")
        .expect("README has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = code_blocks(section).into_iter();
    blocks.map(|(_, block)| block.to_owned()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is there because somebody built or installed it.
const MADE: [&str; 5] = ["target", "node_modules", "build", "bin", "corpus"];

/// All files of this name below the folder, as paths from the root.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_symlink() || last.starts_with('.') {
            continue;
        }
        if path.is_dir() && !MADE.contains(&&*last) {
            found.extend(files(&path, name));
        } else if last == name {
            let inner = path.strip_prefix(root()).expect("it is below the root");
            found.push(inner.to_owned());
        }
    }
    found
}

/// Documents whose links and commands are looked up: every README, and what the one at the root leads to.
fn documents() -> Vec<PathBuf> {
    let mut documents = files(root(), "README.md");
    documents.extend(["CHANGELOG.md", "RATIONALE.md"].map(PathBuf::from));
    documents
}

/// The text outside of code blocks, where links are.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What links and pictures of the text lead to.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link)
        .collect()
}

#[test]
fn relative_links_lead_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = prose(&read(&document));
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&document)
            } else {
                root()
                    .join(document.parent().expect("a file has a folder"))
                    .join(file)
            };
            assert!(
                target.exists(),
                "{}: {link} leads nowhere",
                document.display()
            );
            let anchors = || {
                let text = read(&target);
                let headings = text.lines().filter(|line| line.starts_with('#'));
                headings.map(anchor).collect::<Vec<_>>()
            };
            assert!(
                heading.is_empty() || anchors().iter().any(|anchor| anchor == heading),
                "{}: no heading for {link}",
                document.display()
            );
            count += 1;
        }
    }
    assert!(count > 20, "only {count} links were found");
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// The lines of a document's shell code, without comments, and what stands in backquotes like a command.
fn commands(text: &str) -> Vec<String> {
    let blocks = code_blocks(text).into_iter();
    let lines = blocks
        .filter(|(language, _)| *language == "sh")
        .flat_map(|(_, block)| block.lines());
    let prose = prose(text).replace('\n', " ");
    let quoted = prose.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|text| {
        let first = text.split(' ').next().unwrap_or_default();
        first.starts_with("./")
            || [".ci/", "tests/"]
                .iter()
                .any(|folder| first.starts_with(folder))
            || (["cargo", "node"].contains(&first) && text.contains(' '))
    });
    let all = lines.chain(quoted).map(|line| {
        let line = line.split(" #").next().unwrap_or_default();
        line.trim().to_owned()
    });
    all.filter(|line| !line.is_empty()).collect()
}

/// Whether the words name a target or a package of one of the manifests: by `name = "…"`, or by its file.
fn named(flag: &str, name: &str, manifests: &[(PathBuf, String)]) -> bool {
    let folder = match flag {
        "--test" => "tests",
        "--bench" => "benches",
        "--example" => "examples",
        "--bin" => "src/bin",
        _ => "",
    };
    manifests.iter().any(|(path, text)| {
        let by_name = text
            .lines()
            .any(|line| line.trim() == format!("name = \"{name}\""));
        let base = root()
            .join(path)
            .parent()
            .expect("a manifest has a folder")
            .join(folder);
        let by_file = !folder.is_empty()
            && (base.join(name).with_extension("rs").is_file()
                || base.join(name).join("main.rs").is_file());
        by_name || by_file
    })
}

/// A word in capitals stands for something; one in a variable or with a star can't be looked up.
fn is_placeholder(word: &str) -> bool {
    let letters: Vec<_> = word.chars().filter(|c| c.is_alphabetic()).collect();
    let stem = word.split('.').next().unwrap_or_default();
    word.contains(['*', '$', '…'])
        || letters.is_empty()
        || stem.chars().all(|c| c.is_uppercase() || "_-[]".contains(c))
}

/// What is wrong with a command, if something is.
fn complaint(command: &str, document: &Path, manifests: &[(PathBuf, String)]) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    // Variables that are set for it come first.
    let start = words
        .iter()
        .position(|word| !word.contains('=') && *word != "nice")?;
    let words = &words[start..];
    let here = root().join(document.parent()?);
    let there = |word: &str| root().join(word).exists() || here.join(word).exists();
    let script = words[0]
        .contains('/')
        .then(|| words[0].trim_start_matches("./"));
    if let Some(script) = script {
        if script.split('/').any(is_placeholder) {
            return None;
        }
        if !there(script) {
            return Some(format!("there is no {script}"));
        }
        if there(&format!("{script}/.")) {
            return None; // a folder
        }
        // Its options, and what it calls its parts.
        let text = read(if root().join(script).exists() {
            script.into()
        } else {
            document.parent()?.join(script)
        });
        for option in words[1..].iter().map(|word| word.trim_matches(['[', ']'])) {
            if option.starts_with("--") && !text.contains(option) {
                return Some(format!("{script} knows no {option}"));
            }
        }
    }
    if words[0] == "cargo" {
        let ours = words
            .iter()
            .position(|word| *word == "--")
            .unwrap_or(words.len());
        for pair in words[..ours].windows(2) {
            let flag = if pair[0] == "-p" {
                "--package"
            } else {
                pair[0]
            };
            let names = ["--package", "--test", "--bench", "--example", "--bin"].contains(&flag);
            if names && !is_placeholder(pair[1]) && !named(flag, pair[1], manifests) {
                return Some(format!("there is no {} {}", pair[0], pair[1]));
            }
            if flag == "--profile"
                && !manifests
                    .iter()
                    .any(|(_, text)| text.contains(&format!("[profile.{}]", pair[1])))
            {
                return Some(format!("there is no profile {}", pair[1]));
            }
        }
        if let Some(at) = words.iter().position(|word| *word == "--example")
            && let Some(example) = words.get(at + 1)
        {
            let text = read(format!("examples/{example}.rs"));
            for option in words[ours..]
                .iter()
                .filter(|word| word.len() > 2 && word.starts_with("--"))
            {
                // clap takes them from fields of a struct.
                let field = format!(
                    "    {}: ",
                    option.trim_start_matches("--").replace('-', "_")
                );
                if !text.contains(&field) {
                    return Some(format!("the example {example} knows no {option}"));
                }
            }
        }
    }
    // Files: what has a slash and isn't made, or absolute. A folder's first part tells.
    for word in &words[1..] {
        let word = word
            .trim_matches(['\'', '"', ',', '[', ']'])
            .trim_start_matches("./");
        let first = word.split('/').next().unwrap_or_default();
        let ours = word.contains('/')
            && !word.starts_with(['/', '-'])
            && !MADE.contains(&first)
            && !word.contains("corpus");
        if ours && !is_placeholder(word) && !word.contains("://") && !there(word) {
            return Some(format!("there is no {word}"));
        }
    }
    None
}

/// All manifests: their paths, and what is in them.
fn manifests() -> Vec<(PathBuf, String)> {
    let files = files(root(), "Cargo.toml").into_iter();
    files.map(|path| (path.clone(), read(&path))).collect()
}

#[test]
fn commands_name_what_there_is() {
    let manifests = manifests();
    let mut count = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for command in commands(&read(&document)) {
            count += 1;
            let complaint = complaint(&command, &document, &manifests);
            wrong.extend(
                complaint
                    .map(|complaint| format!("{}: `{command}`: {complaint}", document.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn wrong_commands_are_complained_about() {
    let manifests = manifests();
    for (command, wrong) in [
        ("./build.sh --check", false),
        ("./build.sh --chek", true),
        ("./built.sh", true),
        ("cargo test --test readme", false),
        ("cargo test --test reading", true),
        ("cargo run -p kernel-bench --bin report", false),
        ("cargo run -p kernel-bench --bin reports", true),
        ("cargo run -p kernel-benches", true),
        (
            "cargo run --example call -- PLUGIN.wasm FUNCTION --input x",
            false,
        ),
        (
            "cargo run --example call -- PLUGIN.wasm FUNCTION --inputs x",
            true,
        ),
        ("cargo build --profile shipped", false),
        ("cargo build --profile ship", true),
        ("cp dist/extism-runtime.wasm /tmp", false),
        ("cp dist/extism-runtimes.wasm /tmp", true),
    ] {
        let complaint = complaint(command, Path::new("README.md"), &manifests);
        assert_eq!(complaint.is_some(), wrong, "{command}: {complaint:?}");
    }
}

/// Both readers are served on the first screen, and nobody drowns.
#[test]
fn readme_is_short() {
    let readme = read("README.md");
    let lines: Vec<_> = readme.lines().collect();
    let second = lines
        .iter()
        .position(|line| line.starts_with("## "))
        .expect("README has sections");
    assert!(second <= 40, "the second heading is in line {}", second + 1);
    assert!(lines.len() < 220, "{} lines", lines.len());
}

/// The lines of Rust that load the runtime are those that `tests/host.rs` runs. (Those of JavaScript `.ci/vendoring.sh` runs.)
#[test]
fn readme_loads_the_runtime_as_a_test_does() {
    let readme = read("README.md");
    let rust: Vec<_> = code_blocks(&readme)
        .into_iter()
        .filter(|(language, _)| *language == "rust")
        .collect();
    let run = snippets(&read("tests/host.rs"));
    assert_eq!(rust.len(), 1);
    assert_eq!(run, [rust[0].1]);
}

#[test]
fn the_linkers_hosts_are_shown_as_they_run() {
    let folder = "linker/engines";
    let readme = read(format!("{folder}/README.md"));
    let shown = code_blocks(&readme).into_iter();
    let shown = shown.filter(|(language, _)| *language != "sh");
    let shown: BTreeSet<_> = shown.map(|(_, block)| block.to_owned()).collect();
    assert!(!shown.is_empty(), "{folder} shows no host");
    assert_eq!(
        shown,
        snippets_of(&root().join(folder)).into_iter().collect()
    );
}

#[test]
fn readme_shows_what_the_runners_run() {
    let mut shown = shown();
    let (engines, shared) = folders();
    assert!(
        !engines.is_empty(),
        "no folder of tests/engines has a runner"
    );
    let mut run = BTreeSet::new();
    for engine in engines {
        let mut snippets = snippets_of(&engine);
        if snippets.is_empty() {
            let used = shared.iter().filter(|folder| uses(&engine, folder));
            snippets.extend(used.flat_map(|folder| snippets_of(folder)));
        }
        let engine = engine.display();
        assert_eq!(snippets.len(), 1, "{engine} has one snippet for README");
        run.extend(snippets);
    }
    for snippet in shared.iter().flat_map(|folder| snippets_of(folder)) {
        assert!(run.contains(&snippet), "no runner has this:\n{snippet}");
    }
    for snippet in run {
        assert!(
            shown.remove(&snippet),
            "tests/engines/README.md does not show:\n{snippet}"
        );
    }
    assert!(
        shown.is_empty(),
        "tests/engines/README.md shows what no runner has: {shown:?}"
    );
}

#[test]
fn snippets_are_found_and_dedented() {
    let source = "a\n    # README: begin\n    b\n\n      c\n    # README: end\nd\n";
    assert_eq!(snippets(source), ["b\n\n  c\n"]);
}
