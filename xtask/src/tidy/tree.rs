//! The project's own text files, by path, without what is built, installed or recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::scan::Source;

const SKIPPED: [&str; 8] =
    [".git", ".venv", "target", "corpus", "artifacts", "fixtures", "node_modules", "__pycache__"];
const EXTENSIONS: [&str; 9] = ["rs", "toml", "md", "py", "sh", "txt", "yml", "yaml", "example"];
const NAMED: [&str; 3] = [".ci/run", "justfile", ".gitignore"];

/// Text files by their path from the project's root, with forward slashes.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
    tests: BTreeSet<String>,
}

impl Tree {
    /// Reads what is below `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        read_folder(root, "", &mut files)?;
        Ok(Self::new(files))
    }

    /// A tree of the given files.
    pub(crate) fn new(files: BTreeMap<String, String>) -> Self {
        let tests = files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .flat_map(|(path, text)| {
                let folder = module_folder(path);
                let source = Source::new(text);
                let modules: Vec<_> =
                    source.test_modules().map(|name| format!("{folder}/{name}")).collect();
                modules
            })
            .collect();
        Self { files, tests }
    }

    /// Every text file, by path.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files, by path.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Whether a Rust file is built for tests only.
    pub(crate) fn is_test(&self, path: &str) -> bool {
        let in_tests = path.ends_with("/tests.rs")
            || path.split('/').any(|part| part == "tests" || part == "benches");
        in_tests || self.tests.iter().any(|module| is_below(path, module))
    }
}

/// Whether `path` is the file of `module` or lies in its folder.
fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The folder in which the file at `path` keeps its child modules.
fn module_folder(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    }
}

fn read_folder(
    folder: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, String>,
) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                read_folder(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if is_text(&path) {
            files.insert(path, std::fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    NAMED.contains(&path)
        || path.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}
