//! What is written into a store at once.

use std::sync::Arc;

use voice_bot_core::call::Snapshot;
use voice_bot_core::pace::speed::Speed;
use voice_bot_core::record::EndReason;

/// One call as a store has it, beside its words, notes and samples. Moments are milliseconds of
/// Unix time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallRow {
    /// Its name.
    pub id: Arc<str>,
    /// When it was let in; another call of its name has another moment.
    pub admitted_ms: i64,
    /// When its audio was connected, or else when it was let in.
    pub started_ms: i64,
    /// When something was last known of it.
    pub touched_ms: i64,
    /// When it ended; none for one that runs.
    pub ended_ms: Option<i64>,
    /// Its length so far.
    pub duration_ms: i64,
    /// The server that has it.
    pub instance: Arc<str>,
    /// `inbound`, `outbound` or `browser`.
    pub direction: &'static str,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Who talks.
    pub persona: String,
    /// The engines that it had, in order, separated by `, `.
    pub engines: String,
    /// Whether the caller is told that the call is recorded.
    pub announced: bool,
    /// Why it ended.
    pub reason: Option<EndReason>,
    /// Words so far.
    pub words: i64,
    /// From its start to the first audio of the engine.
    pub first_audio_ms: Option<i64>,
    /// The median of the depth, sampled once a second.
    pub depth_p50_ms: Option<i64>,
    /// How long it held sessions of engines, summed.
    pub engine_ms: i64,
    /// What is searched, in lower case: numbers, persona, and once it has ended its words.
    pub found_by: String,
    /// Its [`voice_bot_core::record::CallRecord`] as JSON, once it has ended.
    pub record: Option<String>,
    /// What its rows take, about.
    pub bytes: i64,
}

/// Something of a call, with its place among its like.
#[derive(Debug, Clone, PartialEq)]
pub struct RowOf<T> {
    /// The call.
    pub call: Arc<str>,
    /// Its number, from 0: of a word or note its place, of a sample its second.
    pub seq: i64,
    /// When, in milliseconds since the call began.
    pub at_ms: i64,
    /// What.
    pub what: T,
}

/// How a call stood at one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Engine audio on its way to the caller's ear.
    pub depth_ms: i64,
    /// What of it should be in hand.
    pub target_ms: i64,
    /// What of it waits here.
    pub queued_ms: i64,
    /// Level of the caller, in dBFS.
    pub caller_dbfs: f64,
    /// Level of the engine, in dBFS.
    pub engine_dbfs: f64,
    /// The engine's speed in thousandths of real time, if it is known.
    pub real_time_permille: Option<i64>,
}

impl From<&Snapshot> for Sample {
    fn from(snapshot: &Snapshot) -> Self {
        // As many digits as anybody reads.
        let tenth = |level: f32| (f64::from(level) * 10.0).round() / 10.0;
        let permille = |speed: Speed| (speed.real_time_factor * 1000.0).round() as i64;
        Self {
            depth_ms: millis(snapshot.depth),
            target_ms: millis(snapshot.target),
            queued_ms: millis(snapshot.queued),
            caller_dbfs: tenth(snapshot.caller_dbfs),
            engine_dbfs: tenth(snapshot.engine_dbfs),
            real_time_permille: snapshot.speed.map(permille),
        }
    }
}

/// What a caller said without a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// When that was over, in milliseconds since the call began.
    pub until_ms: i64,
    /// The words.
    pub text: String,
    /// It became known when the call was over and written.
    pub is_late: bool,
}

/// Where the recording of a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its path or key.
    pub place: String,
    /// `wav` or `ogg`.
    pub format: String,
    /// Its length in bytes.
    pub bytes: i64,
}

impl Recording {
    /// Whether it lies in a folder of the server that had the call, rather than in S3.
    #[must_use]
    pub fn is_in_folder(&self) -> bool {
        !self.place.contains("://")
    }
}

/// What is written at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Calls as they stand, and whether this is the first that is written of them.
    pub calls: Vec<(CallRow, bool)>,
    /// Words that the bot said.
    pub words: Vec<RowOf<String>>,
    /// What else happened: its kind, and what is to be said of it.
    pub notes: Vec<RowOf<(&'static str, String)>>,
    /// How calls stood.
    pub samples: Vec<RowOf<Sample>>,
    /// What callers said; nothing of a call that is not there.
    pub heard: Vec<RowOf<Said>>,
    /// Records of ended calls that are replaced, as JSON.
    pub amended: Vec<(Arc<str>, String)>,
    /// Recordings of calls.
    pub recordings: Vec<(Arc<str>, Recording)>,
}

impl Batch {
    /// Rows in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.calls.len() + self.items() + self.amended.len() + self.recordings.len()
    }

    /// Words, notes, samples and utterances in it.
    #[must_use]
    pub const fn items(&self) -> usize {
        self.words.len() + self.notes.len() + self.samples.len() + self.heard.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What of it is about the first call named in it, and the rest.
    #[must_use]
    pub(super) fn split(mut self) -> (Self, Self) {
        let first = self.calls.first().map(|(row, _)| Arc::clone(&row.id));
        let first = first.or_else(|| self.words.first().map(|row| Arc::clone(&row.call)));
        let first = first.or_else(|| self.notes.first().map(|row| Arc::clone(&row.call)));
        let first = first.or_else(|| self.samples.first().map(|row| Arc::clone(&row.call)));
        let first = first.or_else(|| self.heard.first().map(|row| Arc::clone(&row.call)));
        let first = first.or_else(|| self.amended.first().map(|(call, _)| Arc::clone(call)));
        let first = first.or_else(|| self.recordings.first().map(|(call, _)| Arc::clone(call)));
        let Some(first) = first else { return (self, Self::default()) };
        let own = Self {
            calls: self.calls.extract_if(.., |(row, _)| row.id == first).collect(),
            words: self.words.extract_if(.., |row| row.call == first).collect(),
            notes: self.notes.extract_if(.., |row| row.call == first).collect(),
            samples: self.samples.extract_if(.., |row| row.call == first).collect(),
            heard: self.heard.extract_if(.., |row| row.call == first).collect(),
            amended: self.amended.extract_if(.., |(call, _)| *call == first).collect(),
            recordings: self.recordings.extract_if(.., |(call, _)| *call == first).collect(),
        };
        (own, self)
    }
}

pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
