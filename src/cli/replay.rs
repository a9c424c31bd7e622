//! `voice-bot replay`: has a recorded call again, and says whether the same came of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use voice_bot::core::call::Event;
use voice_bot::core::tape::{Comparison, Keeps, Replayed, Tape, Verdict, lines};

/// The exit status when the replay is not the call that was recorded, though it should be.
const EXIT_DIFFERENT: u8 = 1;

/// Run a recorded call again, and compare what comes of it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tape: a file that serve --tape or demo --tape wrote
    #[arg(value_name = "TAPE")]
    tape: PathBuf,
    /// Print also what happened in the call, and when
    #[arg(long, conflicts_with = "json")]
    events: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Replays the tape, and prints the report and the comparison. The status is 1 if something else
/// was decided although the tape keeps the sound.
///
/// # Errors
/// When the file cannot be read or is no tape.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = args.tape.display();
    let text = read(&args.tape)?;
    let tape = Tape::parse(&text).map_err(|error| anyhow!("{name} {error}"))?;
    drop(text);
    let replayed = tape.replay(Instant::now());
    let comparison = replayed.compare(tape.header.keeps, tape.end.as_ref());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&tape, &replayed, &comparison))?);
    } else {
        print!("{}", as_text(&tape, &replayed, &comparison, args.events));
    }
    let different = comparison.verdict == Verdict::Different;
    Ok(if different { ExitCode::from(EXIT_DIFFERENT) } else { ExitCode::SUCCESS })
}

/// The file's text. Where a broken-off recording stops within a letter, the letter is left out.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("{}: name a file that --tape wrote", path.display()))?;
    String::from_utf8(bytes).or_else(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        if bytes[valid..].contains(&b'\n') {
            let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
            let name = path.display();
            return Err(anyhow!("{name} line {line}: not UTF-8; name a file that --tape wrote"));
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    })
}

fn as_json(tape: &Tape, replayed: &Replayed, comparison: &Comparison) -> serde_json::Value {
    let header = &tape.header;
    json!({
        "call": header.call,
        "persona": header.persona.name,
        "made_by": header.made_by,
        "keeps": header.keeps,
        "inputs": tape.entries.len(),
        "outputs": replayed.outputs,
        "decisions": replayed.decisions,
        "everything": replayed.everything,
        "incomplete": incomplete(tape),
        "verdict": comparison.verdict,
        "differences": comparison.differences,
        "recorded": tape.end.as_ref().map(|end| &end.record),
        "replayed": replayed.record_as_read(),
    })
}

fn as_text(tape: &Tape, replayed: &Replayed, comparison: &Comparison, events: bool) -> String {
    let header = &tape.header;
    let (maker, inputs) = (&header.made_by, tape.entries.len());
    let mut text = format!(
        "{}: {inputs} inputs, {}, recorded by {} on {}\n",
        header.call,
        kept(header.keeps),
        maker.program,
        maker.target
    );
    let mut line = |parts: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        text.write_fmt(parts).ok();
        text.push('\n');
    };
    for (at, event) in replayed.events.iter().filter(|_| events) {
        if !matches!(event, Event::Ended(_)) {
            line(format_args!("  {:9.3} s  {event:?}", at.as_secs_f64()));
        }
    }
    for (key, value) in replayed.record_as_read().iter().flat_map(lines) {
        line(format_args!("  {key:18} {value}"));
    }
    if let Some(why) = incomplete(tape) {
        line(format_args!("the tape stops before the call's end: {why}"));
    }
    describe(tape, replayed, comparison, &mut line);
    text
}

/// Says how alike the replay is.
fn describe(
    tape: &Tape,
    replayed: &Replayed,
    comparison: &Comparison,
    line: &mut impl FnMut(std::fmt::Arguments<'_>),
) {
    line(format_args!(
        "{}",
        match comparison.verdict {
            Verdict::Same => "the replay is the same, bit for bit",
            Verdict::SameDecisions =>
                "the replay decided the same; bytes of audio differ, as they may between \
                 processors or versions of libopus",
            Verdict::Noise => "noise was replayed for want of sound, so what follows may differ:",
            Verdict::Different => "the replay is NOT the same:",
            Verdict::Open => "there is nothing to compare with",
        }
    ));
    for difference in &comparison.differences {
        let (key, recorded) = (&difference.key, &difference.recorded);
        line(format_args!("  {key:18} {recorded}"));
        line(format_args!("  {:18} {}", "  replayed", difference.replayed));
    }
    let told = matches!(comparison.verdict, Verdict::Noise | Verdict::Different);
    if let (true, Some(end)) = (told && comparison.differences.is_empty(), &tape.end) {
        let (then, now) = (end.outputs, replayed.outputs);
        line(format_args!("  the reports are the same; outputs: {then} recorded, {now} replayed"));
    }
}

/// Why there is less on the tape than the call, if there is.
fn incomplete(tape: &Tape) -> Option<&str> {
    match &tape.end {
        Some(end) => end.incomplete.as_deref(),
        None if tape.torn => Some("its last line is cut short"),
        None => Some("its last line is not there"),
    }
}

const fn kept(keeps: Keeps) -> &'static str {
    match (keeps.words, keeps.audio) {
        (true, true) => "with words and sound",
        (true, false) => "with words, without sound",
        (false, true) => "with sound, without words",
        (false, false) => "without words and sound",
    }
}
