//! What is asked of a store, and what it answers, as the control API shows it.

use std::time::Duration;

use serde_json::{Value, json};
use voice_bot_core::record::EndReason;
use voice_bot_core::transcript::Transcript;

use super::batch::{Recording, Sample, millis};

/// Calls that one answer holds at most.
pub(super) const MOST: u32 = 1000;
/// Bytes of a transcript that is shown.
const TRANSCRIPT_BYTES: usize = 4 * 1024 * 1024;

/// Which calls are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Those that run, or that have ended; both, if not told.
    pub state: Option<State>,
    /// What stands in numbers, persona or words, whatever its case.
    pub search: Option<String>,
    /// Who talks.
    pub persona: Option<String>,
    /// Why they ended.
    pub reason: Option<EndReason>,
    /// `inbound`, `outbound` or `browser`.
    pub direction: Option<String>,
    /// Those that began at this millisecond of Unix time or later.
    pub since_ms: Option<i64>,
    /// Those that began before this one.
    pub until_ms: Option<i64>,
    /// How many, 1000 at most.
    pub limit: u32,
    /// Those behind this one.
    pub before: Option<Cursor>,
}

/// Whether a call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Running,
    /// It has ended.
    Ended,
}

/// A place in a list of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When its call began.
    pub started_ms: i64,
    /// Its call.
    pub call: String,
}

impl Cursor {
    /// Reads what [`ToString`] has written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (started_ms, call) = text.split_once('_')?;
        let is_one = !call.is_empty();
        is_one.then_some(Self { started_ms: started_ms.parse().ok()?, call: call.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.started_ms, self.call)
    }
}

/// Some calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Them, the latest first.
    pub calls: Vec<Summary>,
    /// Where the next page goes on, if there is one.
    pub next: Option<Cursor>,
    /// How many there are on all pages.
    pub total: i64,
}

impl Page {
    /// As the control API shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let calls: Vec<_> = self.calls.iter().map(Summary::to_json).collect();
        let next = self.next.as_ref().map(ToString::to_string);
        json!({"calls": calls, "next": next, "total": self.total})
    }
}

/// One call in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its name.
    pub id: String,
    /// `inbound`, `outbound` or `browser`.
    pub direction: String,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Who talks.
    pub persona: String,
    /// The engines that it had, separated by `, `.
    pub engine: String,
    /// When it began, in milliseconds of Unix time.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Its length so far.
    pub duration_ms: i64,
    /// Why it ended, by name.
    pub reason: Option<String>,
    /// Words so far.
    pub words: i64,
    /// Where its recording is.
    pub recording: Option<Recording>,
    /// From its start to the first audio of the engine.
    pub first_audio_ms: Option<i64>,
    /// The median of the depth.
    pub depth_p50_ms: Option<i64>,
    /// Whether the caller was told that it is recorded.
    pub announced: bool,
    /// How long it held sessions of engines, summed.
    pub engine_ms: i64,
}

impl Summary {
    /// As the control API shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let recording = self.recording.as_ref();
        json!({
            "id": self.id,
            "direction": self.direction,
            "from": self.from,
            "to": self.to,
            "persona": self.persona,
            "engine": self.engine,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "duration_ms": self.duration_ms,
            "reason": self.reason,
            "reason_text": self.reason_text(),
            "words": self.words,
            "recording": recording.map(|r| json!({"bytes": r.bytes, "format": r.format})),
            "first_audio_ms": self.first_audio_ms,
            "depth_p50_ms": self.depth_p50_ms,
        })
    }

    /// Why it ended, in words; of one that runs, that it does.
    #[must_use]
    pub fn reason_text(&self) -> String {
        match self.reason.as_deref() {
            None => "the call goes on".to_owned(),
            Some(name) => EndReason::from_name(name)
                .map_or_else(|| name.to_owned(), |reason| reason.to_string()),
        }
    }
}

/// All that is known of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// What lists show.
    pub summary: Summary,
    /// Its words: when each is heard, in milliseconds since the call began, and who says it.
    pub words: Vec<(i64, String, String)>,
    /// What the caller said: from when to when, in milliseconds since the call began.
    pub heard: Vec<(i64, i64, String)>,
    /// What else happened: when, its kind, and what is to be said of it.
    pub notes: Vec<(i64, String, String)>,
    /// How it stood, by the second.
    pub samples: Vec<(i64, Sample)>,
    /// Its record, if it has ended.
    pub record: Option<Value>,
    /// The server that has it.
    pub instance: String,
}

impl Detail {
    /// As the control API shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let summary = &self.summary;
        let mut detail = summary.to_json();
        let notes = self.notes.iter();
        let note = |at_ms, kind, text| json!({"at_ms": at_ms, "kind": kind, "text": text});
        detail["transcript"] = self.transcript().into();
        detail["notes"] = notes.map(|(at_ms, kind, text)| note(at_ms, kind, text)).collect();
        detail["curve"] = self.curve();
        detail["record"] = self.record.clone().unwrap_or_default();
        detail["announced"] = summary.announced.into();
        detail["cost"] = json!({
            "seconds": of_thousandths(summary.duration_ms),
            "engine_seconds": of_thousandths(summary.engine_ms),
        });
        detail
    }

    /// Its lines, in order; those of the bot with each word and when it is heard.
    #[must_use]
    pub fn transcript(&self) -> Vec<Value> {
        let mut transcript = Transcript::with_room(TRANSCRIPT_BYTES);
        let mut words: Vec<Vec<Value>> = Vec::new();
        for (at_ms, _, word) in &self.words {
            let at = Duration::from_millis(u64::try_from(*at_ms).unwrap_or_default());
            transcript.push(word, at);
            words.resize_with(transcript.lines().len(), Vec::new);
            if let Some(line) = words.last_mut().filter(|_| !transcript.is_cut()) {
                line.push(json!({"at_ms": at_ms, "text": word}));
            }
        }
        let line = |at_ms: i64, until_ms: i64, who, text: &str| {
            (at_ms, json!({"at_ms": at_ms, "until_ms": until_ms, "who": who, "text": text}))
        };
        let bot = transcript.lines().iter().zip(words).map(|(it, words)| {
            let (at_ms, mut line) = line(millis(it.at), millis(it.until), "bot", &it.text);
            line["words"] = words.into();
            (at_ms, line)
        });
        let caller = self.heard.iter();
        let caller = caller.map(|(at_ms, until_ms, text)| line(*at_ms, *until_ms, "caller", text));
        let mut lines: Vec<_> = bot.chain(caller).collect();
        lines.sort_by_key(|(at_ms, _)| *at_ms);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// A place for every second up to the last that is known; nothing where none was written.
    fn curve(&self) -> Value {
        let length = self.samples.last().map_or(0, |(at_s, _)| *at_s + 1);
        let mut places = vec![None; usize::try_from(length).unwrap_or_default()];
        for (at_s, sample) in &self.samples {
            if let Some(place) = usize::try_from(*at_s).ok().and_then(|at| places.get_mut(at)) {
                *place = Some(*sample);
            }
        }
        let of = |of: fn(&Sample) -> Value| -> Vec<Value> {
            places.iter().map(|place| place.as_ref().map_or(Value::Null, of)).collect()
        };
        json!({
            "every_ms": 1000,
            "depth_ms": of(|sample| sample.depth_ms.into()),
            "target_ms": of(|sample| sample.target_ms.into()),
            "queued_ms": of(|sample| sample.queued_ms.into()),
            "caller_dbfs": of(|sample| sample.caller_dbfs.into()),
            "engine_dbfs": of(|sample| sample.engine_dbfs.into()),
            "real_time_factor": of(|sample| sample.real_time_permille.map(of_thousandths).into()),
        })
    }
}

fn of_thousandths(count: i64) -> f64 {
    count as f64 / 1000.0
}
