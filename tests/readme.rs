//! What README shows of the hosts on other engines is what stands in their runners, which run it.

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
    const NOT_SOURCES: [&str; 4] = ["target", "node_modules", "build", "bin"];
    let mut found = Vec::new();
    for path in entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !NOT_SOURCES.contains(&&*name) {
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

/// The contents of the code blocks of README's section about engines.
fn code_blocks() -> BTreeSet<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md can be read");
    let (_, section) = readme
        .split_once("\n## On your engine\n")
        .expect("README has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    // Before, in and after a block by turns; a block starts with the rest of the line that names its language.
    let blocks = section.split("```").skip(1).step_by(2);
    blocks
        .map(|block| {
            block
                .split_once('\n')
                .expect("a block has lines")
                .1
                .to_owned()
        })
        .collect()
}

#[test]
fn readme_shows_what_the_runners_run() {
    let mut shown = code_blocks();
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
        assert!(shown.remove(&snippet), "README does not show:\n{snippet}");
    }
    assert!(
        shown.is_empty(),
        "README shows what no runner has: {shown:?}"
    );
}

#[test]
fn snippets_are_found_and_dedented() {
    let source = "a\n    # README: begin\n    b\n\n      c\n    # README: end\nd\n";
    assert_eq!(snippets(source), ["b\n\n  c\n"]);
}
