//! Calls as text for people.

use voice_bot::store::{Detail, Page, Summary};

use super::date;

/// One line for each call.
pub(super) fn list(page: &Page) -> anyhow::Result<()> {
    let heads = ["STARTED (UTC)", "LENGTH", "FROM", "TO", "PERSONA", "WORDS", "END", "CALL"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(page.calls.iter().map(row));
    let width = |column: usize| {
        rows.iter().map(|row: &[String; 8]| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!("{} of {} calls", page.calls.len(), page.total);
    Ok(())
}

fn row(call: &Summary) -> [String; 8] {
    [
        date::show(call.started_ms),
        length(call.duration_ms),
        plain(&call.from),
        plain(&call.to),
        plain(&call.persona),
        call.words.to_string(),
        call.reason.clone().unwrap_or_else(|| "running".to_owned()),
        plain(&call.id),
    ]
}

/// What a stranger has chosen must not steer the terminal.
fn plain(text: &str) -> String {
    let text = if text.is_empty() { "-" } else { text };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn length(ms: i64) -> String {
    let seconds = ms / 1000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// All of one call.
pub(super) fn detail(detail: &Detail) -> anyhow::Result<()> {
    let call = &detail.summary;
    let line = |name: &str, value: &str| println!("{name:<12} {value}");
    let millis = |ms: Option<i64>| ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    line("call", &plain(&call.id));
    line("direction", &call.direction);
    line("from", &plain(&call.from));
    line("to", &plain(&call.to));
    line("persona", &plain(&call.persona));
    line("engine", &plain(&call.engine));
    line("started", &format!("{} UTC", date::show(call.started_ms)));
    line("length", &length(call.duration_ms));
    line("end", &call.reason_text());
    line("announced", if call.announced { "yes" } else { "no" });
    line("first audio", &millis(call.first_audio_ms));
    line("depth", &millis(call.depth_p50_ms));
    line("engine time", &length(call.engine_ms));
    let recording = call.recording.as_ref();
    line("recording", &recording.map_or("-".to_owned(), |r| plain(&r.place)));
    println!();
    let mut lines: Vec<(i64, String)> = Vec::new();
    for said in detail.transcript() {
        let (who, text) = (said["who"].as_str(), said["text"].as_str());
        let said_at = said["at_ms"].as_i64().unwrap_or_default();
        let (who, text) = (who.unwrap_or_default(), plain(text.unwrap_or_default()));
        lines.push((said_at, format!("{who}: {text}")));
    }
    let notes = detail.notes.iter();
    lines.extend(notes.map(|(at_ms, kind, text)| (*at_ms, format!("[{kind}] {}", plain(text)))));
    lines.sort_by_key(|(at_ms, _)| *at_ms);
    for (at_ms, text) in lines {
        println!("{:>8.1} s  {text}", at_ms as f64 / 1000.0);
    }
    Ok(())
}
