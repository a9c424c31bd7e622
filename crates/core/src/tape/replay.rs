//! Has a call again from its tape, and says whether the same came of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::digest::Digests;
use super::entry::Entry;
use super::{End, Header, Keeps, Tape, lines};
use crate::call::{Call, Event, Output};
use crate::id::CallId;
use crate::leg::{Mark, caller};
use crate::persona::Persona;
use crate::record::CallRecord;

/// A call that is fed from a tape.
pub struct Replay {
    call: Call,
    base: Instant,
    now: Instant,
    inputs: u64,
    digests: Digests,
    record: Option<CallRecord>,
    latest_mark: Option<Mark>,
    events: Vec<(Duration, Event)>,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The call's record; none if the tape stops before the call's end.
    pub record: Option<CallRecord>,
    /// How many outputs there were.
    pub outputs: u64,
    /// As [`End::decisions`].
    pub decisions: String,
    /// As [`End::everything`].
    pub everything: String,
    /// What happened, and when, counted from the call's beginning.
    pub events: Vec<(Duration, Event)>,
}

/// What a replay is, next to the call itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// In a word.
    pub verdict: Verdict,
    /// Lines of the two reports that differ.
    pub differences: Vec<Difference>,
}

/// How alike a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every output is the same, to the last bit.
    Same,
    /// The call decided the same, but bytes of audio differ: another processor or libopus.
    SameDecisions,
    /// Something else was decided, as may be where noise stands for the sound.
    Noise,
    /// Something else was decided, though all was there to decide by: another program.
    Different,
    /// The tape has no last line to compare with.
    Open,
}

/// A line of a report that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What it is about.
    pub key: String,
    /// What the call had.
    pub recorded: String,
    /// What the replay has.
    pub replayed: String,
}

impl Replay {
    /// A call as the header says, which begins at `base`: any moment. A clip that no persona can
    /// have is left out; one that was read from a tape is not of that kind.
    #[must_use]
    pub fn new(header: &Header, base: Instant) -> Self {
        let (id, who) = (CallId::new(&header.call), &header.persona);
        let without_start = |_| Persona::new(&who.name, &who.voice, &who.prompt);
        let persona = who.to_persona().unwrap_or_else(without_start);
        let mut replay = Self {
            call: Call::new(id, persona, header.config.clone(), base),
            base,
            now: base,
            inputs: 0,
            digests: Digests::new(base, header.keeps.words),
            record: None,
            latest_mark: None,
            events: Vec::new(),
        };
        replay.drain();
        replay
    }

    /// Tells the call what the next entry says.
    pub fn feed(&mut self, entry: &Entry) {
        self.now = self.base + entry.at;
        self.call.handle_input(entry.to_input(self.inputs, self.latest_mark), self.now);
        self.inputs += 1;
        self.drain();
    }

    /// What came of it.
    #[must_use]
    pub fn finish(self) -> Replayed {
        let (decisions, everything) = self.digests.values();
        let outputs = self.digests.outputs();
        let (record, events) = (self.record, self.events);
        Replayed { record, outputs, decisions, everything, events }
    }

    fn drain(&mut self) {
        loop {
            let output = self.call.poll_output();
            self.digests.push(&output);
            match output {
                Output::Caller(caller::Command::Mark(mark)) => self.latest_mark = Some(mark),
                Output::Caller(_) | Output::Engine(_) | Output::Act(_) | Output::Recording(_) => {}
                Output::Event(event) => {
                    if let Event::Ended(record) = &event {
                        self.record = Some(*record.clone());
                    }
                    self.events.push((self.now.saturating_duration_since(self.base), event));
                }
                Output::Timeout(_) => return,
            }
        }
    }
}

impl Tape {
    /// Has the call again; `base` may be any moment.
    #[must_use]
    pub fn replay(&self, base: Instant) -> Replayed {
        let mut replay = Replay::new(&self.header, base);
        self.entries.iter().for_each(|entry| replay.feed(entry));
        replay.finish()
    }
}

impl Replayed {
    /// Compares it with what the tape says of the call.
    #[must_use]
    pub fn compare(&self, keeps: Keeps, end: Option<&End>) -> Comparison {
        let Some(end) = end else {
            return Comparison { verdict: Verdict::Open, differences: Vec::new() };
        };
        let differences = differences(end.record.as_ref(), self.record_as_read().as_ref());
        let same = self.outputs == end.outputs && differences.is_empty();
        let verdict = match (same && self.decisions == end.decisions, keeps.audio) {
            (true, _) if self.everything == end.everything => Verdict::Same,
            (true, true) => Verdict::SameDecisions,
            (true | false, false) => Verdict::Noise,
            (false, true) => Verdict::Different,
        };
        Comparison { verdict, differences }
    }

    /// The record as it would be read from a tape, with numbers rounded as JSON rounds them.
    #[must_use]
    pub fn record_as_read(&self) -> Option<Value> {
        let text = serde_json::to_string(self.record.as_ref()?).ok()?;
        serde_json::from_str(&text).ok()
    }
}

fn differences(recorded: Option<&Value>, replayed: Option<&Value>) -> Vec<Difference> {
    let report = |record: Option<&Value>| record.map(lines).unwrap_or_default();
    let (recorded, replayed) = (report(recorded), report(replayed));
    let of = |report: &[(String, String)], key: &str| {
        let found = report.iter().find(|(name, _)| name == key);
        found.map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    let only_replayed =
        |(key, _): &&(String, String)| !recorded.iter().any(|(name, _)| name == key);
    let keys = recorded.iter().chain(replayed.iter().filter(only_replayed)).map(|(key, _)| key);
    let both = keys.map(|key| Difference {
        key: key.clone(),
        recorded: of(&recorded, key),
        replayed: of(&replayed, key),
    });
    both.filter(|line| line.recorded != line.replayed).collect()
}
