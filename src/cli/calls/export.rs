//! Writes calls to a file or to standard output.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::Value;
use voice_bot::store::{Archive, Detail, Query};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line, as GET /api/v1/calls/CALL gives it
    Jsonl,
    /// A line a call, with what was said in the last column
    Csv,
}

/// The columns of the CSV: names of a summary's fields, but for the last.
const COLUMNS: [&str; 15] = [
    "id",
    "direction",
    "from",
    "to",
    "persona",
    "engine",
    "started_ms",
    "ended_ms",
    "duration_ms",
    "reason",
    "reason_text",
    "words",
    "first_audio_ms",
    "depth_p50_ms",
    "transcript",
];

/// Writes the calls that `query` wants, the latest first.
///
/// # Errors
/// When they cannot be read or written.
pub(super) async fn run(
    archive: &Archive,
    mut query: Query,
    format: Format,
    out: Option<&Path>,
) -> anyhow::Result<()> {
    let mut out: Box<dyn Write> = match out {
        Some(path) => Box::new(BufWriter::new(create(path)?)),
        None => Box::new(stdout().lock()),
    };
    if format == Format::Csv {
        writeln!(out, "{}", COLUMNS.join(","))?;
    }
    loop {
        let page = archive.list(&query).await?;
        for call in &page.calls {
            // One that was deleted meanwhile is left out.
            let Some(detail) = archive.find(&call.id).await? else { continue };
            match format {
                Format::Jsonl => writeln!(out, "{}", detail.to_json())?,
                Format::Csv => writeln!(out, "{}", row(&detail))?,
            }
        }
        query.before = page.next;
        if query.before.is_none() {
            break;
        }
    }
    out.flush()?;
    Ok(())
}

/// A file that holds what was said: only its owner may read it.
pub(super) fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).with_context(|| format!("--out {}: cannot be made", path.display()))
}

fn row(detail: &Detail) -> String {
    let summary = detail.summary.to_json();
    let lines = detail.transcript();
    // Who says what is told where it is not the bot alone.
    let are_two = lines.iter().any(|line| line["who"] == "caller");
    let said = lines.iter().filter_map(|line| {
        let (who, text) = (line["who"].as_str()?, line["text"].as_str()?);
        Some(if are_two { format!("{who}: {text}") } else { text.to_owned() })
    });
    let said: Vec<_> = said.collect();
    let cell = |column: &&str| match (*column, &summary[*column]) {
        ("transcript", _) => quoted(&said.join("\n")),
        (_, Value::Null) => String::new(),
        (_, Value::String(text)) => quoted(text),
        (_, value) => value.to_string(),
    };
    COLUMNS.iter().map(cell).collect::<Vec<_>>().join(",")
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
