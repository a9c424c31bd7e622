//! Words that must not stand in the project: paths of one machine, unfinished code, bare unwraps.

use super::tree::Tree;
use super::{File, Finding};

/// Banned in every text file. Written in two halves, so that this file passes its own check.
const EVERYWHERE: [(&str, &str); 8] = [
    (concat!("/wor", "k/"), "a path of one machine; write it relative to the project"),
    (concat!("/roo", "t/"), "a path of one machine; write it relative to the project"),
    (concat!("index.", "crates.io"), "name the package, not the registry's host"),
    (concat!("static.", "crates.io"), "name the package, not the registry's host"),
    (concat!("files.", "pythonhosted.org"), "name the package, not the registry's host"),
    (concat!("pypi.", "org/simple"), "name the package, not the registry's host"),
    (concat!("registry.", "npmjs.org"), "name the package, not the registry's host"),
    (concat!("deb.", "debian.org"), "name the package, not the registry's host"),
];

/// Banned in code outside of tests.
const CODE: [(&str, &str); 5] = [
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    (".unwrap()", "return the error, or say in `expect` why it cannot fail"),
    ("#[allow(", "suppress a lint by `#[expect(..., reason = \"...\")]`"),
    ("#![allow(", "suppress a lint by `#![expect(..., reason = \"...\")]`"),
];

/// Checks every text file of the project.
pub(crate) fn check_all(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.all() {
        for (line, text) in text.lines().enumerate() {
            for (word, advice) in EVERYWHERE.iter().filter(|(word, _)| text.contains(word)) {
                let message = format!("`{word}` must not stand here: {advice}");
                findings.push(Finding { path: path.to_owned(), line: line + 1, message });
            }
        }
    }
    findings
}

/// Checks the code of one Rust file that is not for tests only.
pub(crate) fn check_code(file: &File<'_>) -> Vec<Finding> {
    let found = |(word, advice): &(&'static str, &'static str)| {
        let message = format!("`{word}` must not stand here: {advice}");
        file.source.find(word).map(|at| file.at(at, &*message)).collect::<Vec<_>>()
    };
    CODE.iter().flat_map(found).collect()
}
