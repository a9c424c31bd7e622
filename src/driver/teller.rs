//! Tells other programs what happens in one call, by webhooks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracing::warn;
use url::Url;
use voice_bot_core::call::{Event, Phase};

use crate::config::EventKind;
use crate::webhooks::{self, Webhooks};

/// Words closer together than this are one line of the transcript.
const PAUSE: Duration = Duration::from_millis(1200);
/// Bytes of a transcript at most; what is said later is left out.
const TRANSCRIPT_BYTES: usize = 100 * 1024;

/// What is told of one call; nothing where nobody is to be told.
#[derive(Debug)]
pub(super) struct Teller {
    webhooks: Option<Webhooks>,
    call: String,
    began: Instant,
    is_answered: bool,
    lines: Vec<Line>,
    bytes: usize,
    is_cut: bool,
}

/// Words that the bot said without a long pause.
#[derive(Debug)]
struct Line {
    at: Duration,
    until: Instant,
    text: String,
}

impl Teller {
    pub(super) fn new(call: &str, webhooks: Option<Webhooks>, began: Instant) -> Self {
        let (call, lines) = (call.to_owned(), Vec::new());
        Self { webhooks, call, began, is_answered: false, lines, bytes: 0, is_cut: false }
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: &Event, now: Instant) {
        if self.webhooks.is_none() {
            return;
        }
        match event {
            Event::Phase(Phase::Live) if !self.is_answered => {
                self.is_answered = true;
                let after_ms = millis(now.saturating_duration_since(self.began));
                self.tell(EventKind::CallAnswered, json!({"after_ms": after_ms}), None);
            }
            Event::Word(word) => self.word(word, now),
            // An address of its own is told together with the others.
            Event::Action { action: "webhook", .. } => {}
            Event::Action { rule, action } => {
                self.tell(EventKind::Action, json!({"rule": rule, "action": action}), None);
            }
            Event::Ended(_) => self.transcript(),
            Event::Phase(_)
            | Event::Digit(_)
            | Event::Turn(_)
            | Event::Speed(_)
            | Event::Cleared
            | Event::RuleMet(_)
            | Event::Succeeded(_) => {}
        }
    }

    /// A rule wants this address to be told.
    pub(super) fn told_to(&self, rule: &str, url: &str) {
        let data = json!({"rule": rule, "action": "webhook"});
        match (url.parse(), &self.webhooks) {
            (Ok(url), Some(_)) => self.tell(EventKind::Action, data, Some(url)),
            (Ok(_) | Err(_), _) => warn!(rule, "no webhook can be sent"),
        }
    }

    fn word(&mut self, word: &str, now: Instant) {
        self.bytes += word.len() + 1;
        self.is_cut |= self.bytes > TRANSCRIPT_BYTES;
        if self.is_cut {
            return;
        }
        match self.lines.last_mut() {
            Some(line) if now.saturating_duration_since(line.until) < PAUSE => {
                line.text.push(' ');
                line.text.push_str(word);
                line.until = now;
            }
            Some(_) | None => {
                let at = now.saturating_duration_since(self.began);
                self.lines.push(Line { at, until: now, text: word.to_owned() });
            }
        }
    }

    fn transcript(&mut self) {
        let line = |line: &Line| json!({"at_ms": millis(line.at), "who": "bot", "text": line.text});
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        self.tell(EventKind::Transcript, json!({"lines": lines, "is_cut": self.is_cut}), None);
    }

    fn tell(&self, kind: EventKind, mut data: Value, to: Option<Url>) {
        let Some(webhooks) = &self.webhooks else { return };
        data["call"] = Value::from(self.call.as_str());
        webhooks.send(webhooks::Event { kind, call: self.call.clone(), data, to });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
