//! Reads a tape line by line, and says of the first wrong one what is wrong and what to do.

use serde_json::Value;

use super::entry::{Held, Line};
use super::{Header, Tape, VERSION};

/// Longer durations are refused, in seconds: ten years, far below what a clock can count.
const LONGEST: u64 = 10 * 365 * 86_400;

/// Why a text is no tape. Each message names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    /// There is no first line.
    #[error("line 1: no whole line is there; name a file that --tape wrote")]
    Empty,
    /// The first line does not begin a tape.
    #[error("line 1: not the beginning of a tape; name a file that --tape wrote")]
    NotATape,
    /// The tape has another version than [`VERSION`].
    #[error(
        "line 1: a tape of version {found}, where {VERSION} can be read; replay it with the \
         {program} that made it"
    )]
    Version {
        /// Its version.
        found: u64,
        /// Who made it.
        program: String,
    },
    /// The first line does not say what a call needs.
    #[error("line 1: {problem}; replay it with the {program} that made it")]
    Header {
        /// What is missing or wrong.
        problem: String,
        /// Who made it.
        program: String,
    },
    /// A later line is wrong.
    #[error("line {line}: {problem}; cut the tape before this line, or get it anew")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// See [`Tape::parse`].
pub(super) fn parse(text: &str) -> Result<Tape, TapeError> {
    let (whole, torn) = match text.rsplit_once('\n') {
        Some((whole, rest)) => (whole, !rest.is_empty()),
        None => return Err(TapeError::Empty),
    };
    let mut lines = whole.split('\n').zip(1..);
    let first = lines.next().map_or("", |(first, _)| first);
    let mut tape = Tape { header: header(first)?, entries: Vec::new(), end: None, torn };
    for (text, line) in lines {
        let wrong = |problem: &str| TapeError::Line { line, problem: problem.to_owned() };
        if tape.end.is_some() {
            return Err(wrong("something follows the end"));
        }
        let read: Line = serde_json::from_str(text).map_err(|error| wrong(&explain(&error)))?;
        match read.held() {
            Some(Held::End(end)) => {
                if end.inputs != tape.entries.len() as u64 {
                    let (told, there) = (end.inputs, tape.entries.len());
                    return Err(wrong(&format!("{told} inputs were told, and {there} are there")));
                }
                tape.end = Some(end);
            }
            Some(Held::Entry(entry)) => {
                if tape.entries.last().is_some_and(|last| last.at > entry.at) {
                    return Err(wrong("earlier than the line before it"));
                }
                if entry.at.as_secs() > LONGEST {
                    return Err(wrong("later than any call lasts"));
                }
                tape.entries.push(entry);
            }
            None => return Err(wrong("neither one input with its moment nor the end")),
        }
    }
    Ok(tape)
}

fn header(line: &str) -> Result<Header, TapeError> {
    let value: Value = serde_json::from_str(line).map_err(|_| TapeError::NotATape)?;
    let found = value.get("tape").and_then(Value::as_u64).ok_or(TapeError::NotATape)?;
    let maker = value.pointer("/made_by/program").and_then(Value::as_str);
    let program = maker.unwrap_or("program").to_owned();
    if found != u64::from(VERSION) {
        return Err(TapeError::Version { found, program });
    }
    if has_endless(&value) {
        let problem = "a duration of more than ten years".to_owned();
        return Err(TapeError::Header { problem, program });
    }
    let wrong = |problem| TapeError::Header { problem, program: program.clone() };
    let header: Header = serde_json::from_value(value).map_err(|error| wrong(explain(&error)))?;
    header.persona.to_persona().map_err(|error| wrong(error.to_string()))?;
    Ok(header)
}

/// Whether a duration in there is so long that no clock can be set by it.
fn has_endless(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let secs = fields.get("secs").and_then(Value::as_u64);
            secs.is_some_and(|secs| secs > LONGEST) || fields.values().any(has_endless)
        }
        Value::Array(items) => items.iter().any(has_endless),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What serde says, without its own count of lines.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.rfind(" at line ").map_or(&*text, |at| &text[..at]);
    if error.column() == 0 {
        message.to_owned()
    } else {
        format!("{message} (column {})", error.column())
    }
}
