//! Logs into memory and reads it back.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;

/// A log that can be read back.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What is logged under `config` by a program that logs at every level.
fn logged(config: &LogConfig, terminal: bool) -> String {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = subscriber(config, terminal, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!(target: "voice_bot::driver", "a decision");
        tracing::info!(target: "voice_bot", caller = %Pii("+15551234567"), "a call");
        tracing::info!(target: "hyper", "a library's chatter");
        tracing::warn!(target: "hyper", "a library's warning");
    });
    page.text()
}

fn config(level: &str, format: LogFormat) -> LogConfig {
    LogConfig { level: level.parse().unwrap(), format, show_personal_data: false }
}

#[test]
fn without_a_terminal_each_line_is_json() {
    let text = logged(&config("info", LogFormat::Auto), false);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["message"], "a call");
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["caller"], "[redacted]");
    assert_eq!(lines[1]["message"], "a library's warning");
}

#[test]
fn people_get_one_plain_line_per_event() {
    for (format, terminal) in [(LogFormat::Auto, true), (LogFormat::Pretty, false)] {
        let text = logged(&config("debug", format), terminal);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().next().unwrap()).is_err());
        assert!(text.contains("a decision") && text.contains("[redacted]"), "{text}");
    }
    assert!(!logged(&config("debug", LogFormat::Pretty), false).contains('\x1b'));
    assert!(logged(&config("debug", LogFormat::Json), true).starts_with('{'));
}

#[test]
fn directives_reach_the_libraries() {
    let text = logged(&config("error,hyper=info", LogFormat::Json), false);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("a library's chatter"));
    assert_eq!(logged(&config("off", LogFormat::Json), false), "");
}

#[test]
fn personal_data_is_hidden_until_someone_asks() {
    let pii = Pii("+15551234567");
    assert_eq!(format!("{pii} {pii:?}"), "[redacted] [redacted]");
}
