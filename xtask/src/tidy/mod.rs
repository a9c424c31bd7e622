//! Checks the house rules that the compiler and clippy do not know.

mod imports;
mod lines;
mod scan;
mod tree;
mod words;

use std::fmt;
use std::path::Path;

use scan::Source;
use tree::Tree;

/// A place that breaks a house rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path from the project's root, with forward slashes.
    path: String,
    /// Line from 1.
    line: usize,
    /// What is wrong and what to do.
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// One file as the checks see it.
struct File<'a> {
    path: &'a str,
    text: &'a str,
    source: Source,
}

impl File<'_> {
    fn at(&self, offset: usize, message: impl Into<String>) -> Finding {
        self.on_line(self.source.line(offset), message)
    }

    fn on_line(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.to_owned(), line, message: message.into() }
    }
}

/// Checks every file below `root`; the error lists what was found.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|e| format!("cannot read the source tree: {e}"))?;
    let findings = check(&tree);
    if findings.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    Err(format!("{}\n{} places break the house rules", list.join("\n"), list.len()))
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = words::check_all(tree);
    let modules = imports::Modules::of(tree);
    for (path, text) in tree.rust() {
        let file = File { path, text, source: Source::new(text) };
        let is_test = tree.is_test(path);
        findings.extend(lines::check(&file, is_test));
        if !is_test {
            findings.extend(words::check_code(&file));
            findings.extend(modules.check(&file));
        }
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests;
