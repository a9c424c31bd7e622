//! A page is a page: headers, columns, and the lengths of functions and files.

use super::scan::item_end;
use super::{File, Finding};

const COLUMNS: usize = 100;
const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 400;
const HEADER_LINES: usize = 3;

/// Checks one Rust file; the lengths do not bind tests.
pub(crate) fn check(file: &File<'_>, is_test: bool) -> Vec<Finding> {
    let mut findings = columns(file);
    findings.extend(header(file));
    if !is_test {
        findings.extend(functions(file));
        findings.extend(length(file));
    }
    findings
}

fn columns(file: &File<'_>) -> Vec<Finding> {
    let too_long = |line: &str| line.chars().count() > COLUMNS && !line.contains("://");
    let lines = file.text.lines().enumerate().filter(|(_, line)| too_long(line));
    lines
        .map(|(at, _)| file.on_line(at + 1, format!("the line is longer than {COLUMNS} columns")))
        .collect()
}

fn header(file: &File<'_>) -> Option<Finding> {
    let header = file.text.lines().take_while(|line| line.starts_with("//!"));
    let lines = header.filter(|line| line.trim_end() != "//!").count();
    let may_be_long = file.path.ends_with("/lib.rs")
        || file.path == "src/lib.rs"
        || file.path.starts_with("examples/");
    if lines == 0 {
        let message = "the file must open with a `//!` header that says its job in 1 to 3 lines";
        return Some(file.on_line(1, message));
    }
    (lines > HEADER_LINES && !may_be_long).then(|| {
        file.on_line(1, format!("the `//!` header has {lines} lines; {HEADER_LINES} must do"))
    })
}

fn functions(file: &File<'_>) -> Vec<Finding> {
    let code = &file.source.code;
    let mut findings = Vec::new();
    for at in file.source.find("fn").filter(|&at| function_name(code, at).is_some()) {
        let lines = 1 + file.source.line(item_end(code, at) - 1) - file.source.line(at);
        if lines > FUNCTION_LINES {
            let name = function_name(code, at).unwrap_or_default();
            let message = format!("function `{name}` has {lines} lines; {FUNCTION_LINES} must do");
            findings.push(file.at(at, message));
        }
    }
    findings
}

/// The name of the function whose `fn` stands at `at`; none for a function pointer's type.
fn function_name(code: &str, at: usize) -> Option<&str> {
    let rest = code[at..].strip_prefix("fn")?.trim_start();
    let end = rest.find(|c| !super::scan::is_ident(c)).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

fn length(file: &File<'_>) -> Option<Finding> {
    let lines = file.source.lines_without_tests();
    (lines > FILE_LINES).then(|| {
        let message = format!("the file has {lines} lines without tests; {FILE_LINES} must do");
        file.on_line(1, message)
    })
}
