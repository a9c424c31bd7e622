//! Tells other programs what happens in one call, by webhooks.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;
use url::Url;
use voice_bot_core::call::{Event, Phase};
use voice_bot_core::transcript::{Line, Transcript};

use crate::config::EventKind;
use crate::webhooks::{self, Webhooks};

/// Bytes of a transcript at most; what is said later is left out.
const TRANSCRIPT_BYTES: usize = 100 * 1024;

/// What is told of one call; nothing where nobody is to be told.
#[derive(Debug)]
pub(super) struct Teller {
    webhooks: Option<Webhooks>,
    call: String,
    is_answered: bool,
    transcript: Transcript,
}

impl Teller {
    pub(super) fn new(call: &str, webhooks: Option<Webhooks>) -> Self {
        let transcript = Transcript::with_room(TRANSCRIPT_BYTES);
        Self { webhooks, call: call.to_owned(), is_answered: false, transcript }
    }

    /// Something happened, or is heard, so long after the call's beginning.
    pub(super) fn event(&mut self, event: &Event, at: Duration) {
        if self.webhooks.is_none() {
            return;
        }
        match event {
            Event::Phase(Phase::Live) if !self.is_answered => {
                self.is_answered = true;
                self.tell(EventKind::CallAnswered, json!({"after_ms": millis(at)}), None);
            }
            Event::Word(word) => self.transcript.push(word, at),
            // An address of its own is told together with the others.
            Event::Action { action: "webhook", .. } => {}
            Event::Action { rule, action } => {
                self.tell(EventKind::Action, json!({"rule": rule, "action": action}), None);
            }
            Event::Ended(_) => self.tell_transcript(),
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

    fn tell_transcript(&self) {
        let line = |line: &Line| json!({"at_ms": millis(line.at), "who": "bot", "text": line.text});
        let lines: Vec<Value> = self.transcript.lines().iter().map(line).collect();
        let is_cut = self.transcript.is_cut();
        self.tell(EventKind::Transcript, json!({"lines": lines, "is_cut": is_cut}), None);
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
