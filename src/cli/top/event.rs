//! What the server tells of its calls and engines, read with patience: what is missing is left
//! empty, and no text holds what a terminal would obey.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::text::plain;

/// What of one text is kept, in characters: a line of a transcript.
const LONGEST: usize = 2000;

/// How loud nothing is, in dBFS.
pub(super) const SILENCE: f32 = -100.0;

/// Text of whoever sent it, without what a terminal would obey.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(String);

impl Text {
    /// Cleans `text`.
    pub(super) fn new(text: &str) -> Self {
        Self(plain(text, LONGEST))
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        Ok(Self::new(&text.unwrap_or_default()))
    }
}

/// All that runs, as it stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) calls: Vec<Call>,
    pub(super) engines: Vec<Engine>,
}

/// A running call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub(super) id: Text,
    pub(super) direction: Text,
    pub(super) from: Text,
    pub(super) to: Text,
    pub(super) persona: Text,
    pub(super) engine: Text,
    pub(super) phase: Text,
    pub(super) started_ms: u64,
    pub(super) elapsed_ms: u64,
    pub(super) caller_dbfs: Option<f32>,
    pub(super) engine_dbfs: Option<f32>,
    pub(super) depth_ms: Option<f64>,
    pub(super) target_ms: Option<f64>,
    pub(super) queued_ms: Option<f64>,
    pub(super) real_time_factor: Option<f64>,
}

/// An engine and who is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Engine {
    pub(super) name: Text,
    pub(super) state: Text,
    pub(super) rests_s: Option<f64>,
    pub(super) on_trial: bool,
    pub(super) slots: Vec<Slot>,
    pub(super) opened_ms: Option<Spread>,
    pub(super) primed_ms: Option<Spread>,
    pub(super) real_time_factor: Option<f64>,
    pub(super) served: u64,
    pub(super) faults: BTreeMap<Text, u64>,
}

/// A place on an engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slot {
    pub(super) state: Text,
    pub(super) call: Text,
    pub(super) persona: Text,
    pub(super) age_s: Option<f64>,
}

/// The middle and the slow end of durations, in milliseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spread {
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
}

/// What somebody has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub(super) call: Text,
    pub(super) at_ms: u64,
    pub(super) who: Text,
    pub(super) text: Text,
}

/// What has happened in a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    pub(super) call: Text,
    pub(super) at_ms: u64,
    pub(super) kind: Text,
    pub(super) text: Text,
}

/// A call is over.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ended {
    pub(super) call: Text,
    pub(super) reason: Text,
    pub(super) reason_text: Text,
}

/// What was said and done in a call so far.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) transcript: Vec<Spoken>,
    pub(super) notes: Vec<Note>,
}

/// A line of a transcript.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken {
    /// When it begins.
    at_ms: u64,
    who: Text,
    text: Text,
    /// Each word and when it is heard, where that is known.
    words: Vec<Word>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Word {
    at_ms: u64,
    text: Text,
}

impl Spoken {
    /// What of it is told one by one while the call runs: its words, or else the whole line.
    pub(super) fn single(self) -> Vec<Said> {
        let Self { at_ms, who, text, words } = self;
        if words.is_empty() {
            return vec![Said { call: Text::default(), at_ms, who, text }];
        }
        let said =
            |Word { at_ms, text }| Said { call: Text::default(), at_ms, who: who.clone(), text };
        words.into_iter().map(said).collect()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Missed {
    count: u64,
}

/// One of the server's messages.
#[derive(Debug, Clone)]
pub(super) enum Told {
    State(State),
    Word(Said),
    Note(Note),
    Ended(Ended),
    /// So many messages did not reach us: we were too slow.
    Missed(u64),
}

impl Told {
    /// Reads an event; `None` for kinds that a later server may have.
    ///
    /// # Errors
    /// When the data is no JSON, or of another shape.
    pub(super) fn read(kind: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match kind {
            "state" => Self::State(serde_json::from_str(data)?),
            "word" => Self::Word(serde_json::from_str(data)?),
            "note" => Self::Note(serde_json::from_str(data)?),
            "ended" => Self::Ended(serde_json::from_str(data)?),
            "missed" => Self::Missed(serde_json::from_str::<Missed>(data)?.count),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_with_what_is_missing_left_empty() {
        let data = r#"{"now_ms":1,"calls":[{"id":"C1","engine":null,"from":"\u001b[2Jx",
            "caller_dbfs":-17.5,"real_time_factor":null,"later":{}}],"engines":[{"name":"gpu",
            "opened_ms":{"p50":41,"p95":null},"primed_ms":null,"faults":{"lo\u0007st":2},
            "slots":[{"state":"call","call":null,"age_s":null}]}]}"#;
        let Ok(Some(Told::State(state))) = Told::read("state", data) else { panic!("{data}") };
        let call = &state.calls[0];
        assert_eq!((&*call.id, &*call.from, &*call.engine), ("C1", "[2Jx", ""));
        assert_eq!((call.caller_dbfs, call.depth_ms), (Some(-17.5), None));
        let engine = &state.engines[0];
        assert_eq!(engine.faults.iter().next(), Some((&Text::new("lost"), &2)));
        assert_eq!(engine.opened_ms.as_ref().and_then(|spread| spread.p50), Some(41.0));
    }

    #[test]
    fn kinds_of_a_later_server_are_passed_over_and_nonsense_is_told() {
        assert!(matches!(Told::read("weather", "?"), Ok(None)));
        assert!(matches!(Told::read("missed", "{\"count\":3}"), Ok(Some(Told::Missed(3)))));
        for nonsense in ["", "[1]", "{\"calls\":7}", "null"] {
            assert!(Told::read("state", nonsense).is_err(), "{nonsense}");
        }
    }
}
