//! `cargo xtask counts`: how many instructions each part of a call's path takes, by callgrind.
//! Unlike times, counts repeat on a busy machine, so a part that has become dearer is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::setup;
use crate::shell::{capture, cargo_command, command, root};

/// Where the counts that are expected are kept.
const TABLE: &str = "crates/core/benches/counts.txt";
/// How far a count of our own code may be above what is expected, in percent.
const TOLERANCE: f64 = 5.0;
/// Repetitions; the difference leaves out what starting costs.
const FEW: u64 = 2;
const MANY: u64 = 5;

const HEAD: &str = "\
# Instructions for each 20 ms of audio: `cargo xtask counts` compares, `--write` renews.
# Parts that hold the codec are for information: libopus chooses its code by the processor.
";

/// Counts, prints, and compares with the table, or writes it.
pub(crate) fn run(write: bool) -> Result<(), String> {
    setup::valgrind()?;
    let program = build()?;
    let expected = read_table()?;
    let mut table = String::from(HEAD);
    let mut dearer = Vec::new();
    println!("{:<16} {:>14} {:>14} {:>9}", "part", "expected", "instructions", "change");
    let mut counts = Vec::new();
    for part in list(&program)? {
        let count = (count(&program, &part.name, MANY)? - count(&program, &part.name, FEW)?) as f64;
        let count = (count / (MANY - FEW) as f64 / part.frames as f64).round();
        counts.push((part.name, part.own, count));
    }
    counts.extend(call_itself(&counts));
    for (name, own, count) in counts {
        table.push_str(&format!("{name} {count:.0}\n"));
        let Some(before) = expected.get(&name) else {
            println!("{name:<16} {:>14} {count:>14.0}", "-");
            continue;
        };
        let change = 100.0 * (count / before - 1.0);
        let note = if own { "" } else { "  (with the codec)" };
        println!("{name:<16} {before:>14.0} {count:>14.0} {change:>8.1}%{note}");
        if own && change > TOLERANCE {
            dearer.push(name);
        }
    }
    if write {
        return fs::write(root().join(TABLE), table).map_err(|e| format!("{TABLE}: {e}"));
    }
    if dearer.is_empty() {
        return Ok(());
    }
    let names = dearer.join(", ");
    Err(format!(
        "more than {TOLERANCE} % dearer than {TABLE} says: {names}; make it cheaper, or say why in \
         the commit and renew the table: cargo xtask counts --write"
    ))
}

/// What a call takes beyond the codec that works for it.
fn call_itself(counts: &[(String, bool, f64)]) -> Option<(String, bool, f64)> {
    let of = |part: &str| counts.iter().find(|(name, ..)| name == part).map(|(.., count)| count);
    let rest = of("call")? - of("opus-encode")? - of("opus-decode")?;
    Some(("call-itself".to_owned(), true, rest))
}

struct Part {
    name: String,
    /// Frames of 20 ms in one repetition.
    frames: u64,
    own: bool,
}

/// Builds the program that holds the parts, optimised, and says where it is.
fn build() -> Result<PathBuf, String> {
    let mut build = cargo_command();
    build.args(["bench", "--package", "voice-bot-core", "--bench", "counts", "--no-run"]);
    let output = capture(build.args(["--message-format", "json-render-diagnostics"]))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().filter_map(|line| line.split_once(r#""executable":""#)).next_back();
    let path = path.and_then(|(_, rest)| rest.split_once('"')).map(|(path, _)| path);
    path.map(PathBuf::from).ok_or_else(|| "cargo does not say where the benches are".to_owned())
}

fn list(program: &PathBuf) -> Result<Vec<Part>, String> {
    let output = capture(&mut command(program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let part = |line: &str| {
        let mut words = line.split(' ');
        let (name, frames) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Part { name, frames, own: words.next()? == "own" })
    };
    Ok(text.lines().filter_map(part).collect())
}

/// Instructions that so many repetitions take, starting included.
fn count(program: &PathBuf, part: &str, times: u64) -> Result<u64, String> {
    let mut valgrind = command("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = capture(valgrind.arg(program).args([part, &times.to_string()]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).ok_or_else(|| format!("valgrind does not count {part}:\n{said}"))
}

/// The number behind `Collected :`.
fn collected(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("Collected : ")?;
    rest.lines().next()?.trim().parse().ok()
}

fn read_table() -> Result<BTreeMap<String, f64>, String> {
    let text = fs::read_to_string(root().join(TABLE)).map_err(|e| format!("{TABLE}: {e}"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==1== Events    : Ir\n==1== Collected : 123456\n==1==\n";
        assert_eq!(collected(said), Some(123_456));
        assert_eq!(collected("==1== nothing"), None);
    }

    #[test]
    fn every_row_of_the_table_can_be_read() {
        let text = fs::read_to_string(root().join(TABLE)).unwrap();
        let rows = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(read_table().unwrap().len(), rows);
    }
}
