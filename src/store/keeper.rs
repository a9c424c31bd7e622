//! Keeps calls as they go: a task that owns what is not written yet, so that no call waits for the
//! store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tracing::warn;
use voice_bot_core::call::Snapshot;
use voice_bot_core::record::CallRecord;

use self::work::Work;
use super::backlog::{Backlog, Ended, ITEM_BYTES, Told};
use super::batch::millis;
use super::{Note, Recording, RowOf, Said, Sample, Store, unix_ms};

mod work;

/// What may wait for the task, which waits for nothing.
const TOLD: usize = 32 * 1024;
/// Places of those that words, notes and samples leave free.
const RESERVED: usize = 4 * 1024;
/// Seconds between two warnings that something is lost.
const WARN_EVERY_MS: u64 = 60_000;
/// What the task may take to end beyond the time that it is given.
const MARGIN: Duration = Duration::from_millis(500);

/// What is known of a call besides what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub call: Arc<str>,
    /// `inbound`, `outbound` or `browser`.
    pub direction: &'static str,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Who talks.
    pub persona: String,
    /// Whether the caller is told that the call is recorded.
    pub announced: bool,
}

/// What became of what was to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows that the store has taken.
    pub written: u64,
    /// Writes that failed and were tried again.
    pub retried: u64,
    /// Words, notes, samples and calls that are lost: there was no room, or the store refused them.
    pub lost: u64,
    /// Bytes that wait for the store now.
    pub waiting_bytes: u64,
}

/// Tells the task what happens in calls. Cheap to clone; never waits. When the last clone is gone,
/// what is left is written once, if the store takes it.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    told: mpsc::Sender<Told>,
    shared: Arc<Shared>,
    stop: watch::Sender<Option<tokio::time::Instant>>,
    ended: watch::Receiver<()>,
}

impl Keeper {
    /// Begins to keep calls in `store`, which it prepares, and in which it first closes those that
    /// an earlier run of `instance` left open. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, instance: &str) -> Self {
        Self::with_room(store, instance, ITEM_BYTES)
    }

    /// The same, with room for that many bytes of words, notes and samples.
    #[must_use]
    pub fn with_room(store: Arc<dyn Store>, instance: &str, bytes: usize) -> Self {
        let (told, inbox) = mpsc::channel(TOLD);
        let (stop, stopped) = watch::channel(None);
        let (ends, ended) = watch::channel(());
        let shared = Arc::new(Shared::default());
        let instance: Arc<str> = clean(instance).into();
        let backlog = Backlog::new(Arc::clone(&instance), bytes);
        let work = Work::new(store, instance, backlog, Arc::clone(&shared), ends);
        tokio::spawn(work.run(inbox, stopped));
        Self(Arc::new(Inner { told, shared, stop, ended }))
    }

    /// A call was let in.
    pub fn admitted(&self, about: About) {
        self.tell(Told::Admitted(cleaned(about)));
    }

    /// Its audio is connected.
    pub fn began(&self, about: About) {
        self.tell(Told::Began(cleaned(about)));
    }

    /// It has a session of that engine.
    pub fn engine(&self, call: &Arc<str>, engine: &str) {
        self.tell(Told::Engine(Arc::clone(call), clean(engine).into()));
    }

    /// The bot says a word, which is heard so long after the call's beginning.
    pub fn word(&self, call: &Arc<str>, at: Duration, word: &str) {
        self.tell(Told::Word(Arc::clone(call), millis(at), clean(word)));
    }

    /// The caller has said this, from and until so long after the call's beginning: their utterance
    /// of that number, from 0. The call may be over.
    pub fn heard(&self, call: &str, number: u64, at: Duration, until: Duration, text: &str) {
        let seq = i64::try_from(number).unwrap_or(i64::MAX);
        let said = Said { until_ms: millis(until), text: clean(text), is_late: false };
        let row = RowOf { call: clean(call).into(), seq, at_ms: millis(at), what: said };
        self.tell(Told::Heard(Box::new(row)));
    }

    /// Something happened so long after the call's beginning.
    pub fn note(&self, call: &Arc<str>, at: Duration, note: Note) {
        self.tell(Told::Note(Arc::clone(call), millis(at), note.kind, clean(&note.text)));
    }

    /// How it stands, and how long it has held sessions of engines. To be told once a second.
    pub fn sample(&self, call: &Arc<str>, snapshot: &Snapshot, used: Duration) {
        let second = millis(snapshot.elapsed) / 1000;
        self.tell(Told::Sample(Arc::clone(call), second, Sample::from(snapshot)));
        self.used(call, used);
    }

    /// How long it has held sessions of engines.
    pub fn used(&self, call: &Arc<str>, used: Duration) {
        self.tell(Told::Used(Arc::clone(call), millis(used)));
    }

    /// It is over.
    pub fn ended(&self, about: About, record: &CallRecord) {
        let Some(json) = to_json(record) else { return };
        self.tell(Told::Ended(Box::new(Ended {
            about: cleaned(about),
            reason: record.reason,
            duration_ms: millis(record.duration),
            words: i64::try_from(record.words).unwrap_or(i64::MAX),
            first_audio_ms: record.first_audio_after.map(millis),
            record: json,
        })));
    }

    /// The record of one that is over has changed.
    pub fn amended(&self, record: &CallRecord) {
        let Some(json) = to_json(record) else { return };
        self.tell(Told::Amended(record.id.as_str().into(), json));
    }

    /// Its recording is there. What it gives comes true once that is written, and never if it is
    /// lost.
    pub fn recorded(
        &self,
        call: &str,
        recording: Recording,
    ) -> impl Future<Output = ()> + Send + use<> {
        let noted = Arc::new(Notify::new());
        let Recording { place, format, bytes } = recording;
        let recording = Recording { place: clean(&place), format: clean(&format), bytes };
        self.tell(Told::Recorded(clean(call).into(), recording, Arc::clone(&noted)));
        async move { noted.notified().await }
    }

    /// What became of what was to be kept.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.shared.counters()
    }

    /// Writes what waits, for which it takes `limit` at most; what is left is lost and counted,
    /// as is what is told later.
    pub async fn stop(&self, limit: Duration) {
        self.0.stop.send_replace(Some(tokio::time::Instant::now() + limit));
        let mut ended = self.0.ended.clone();
        // An error is the news itself: the sender is gone.
        if timeout(limit + MARGIN, async { drop(ended.changed().await) }).await.is_err() {
            warn!("the last records of calls could not be written in time");
        }
    }

    fn tell(&self, told: Told) {
        let Inner { told: to, shared, .. } = &*self.0;
        let is_full = told.is_item() && to.capacity() <= RESERVED;
        if is_full || to.try_send(told).is_err() {
            shared.lose(1, "too much happens at once, or the server has stopped");
        }
    }
}

/// What the task and those who tell it both see.
#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    retried: AtomicU64,
    lost: AtomicU64,
    waiting_bytes: AtomicU64,
    /// The millisecond of Unix time of the last warning.
    warned: AtomicU64,
}

impl Shared {
    fn counters(&self) -> Counters {
        Counters {
            written: self.written.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed),
        }
    }

    fn lose(&self, count: u64, why: &str) {
        if count == 0 {
            return;
        }
        let lost = self.lost.fetch_add(count, Ordering::Relaxed) + count;
        let now = u64::try_from(unix_ms()).unwrap_or_default();
        let last = self.warned.load(Ordering::Relaxed);
        let due = now >= last.saturating_add(WARN_EVERY_MS) || now < last;
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        if due && self.warned.compare_exchange(last, now, order.0, order.1).is_ok() {
            warn!(why, lost, "records of calls are lost; more may be for the next minute, unsaid");
        }
    }
}

fn cleaned(about: About) -> About {
    let About { call, direction, from, to, persona, announced } = about;
    let (from, to, persona) = (clean(&from), clean(&to), clean(&persona));
    About { call, direction, from, to, persona, announced }
}

/// No database takes the character 0 in a text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn to_json(record: &CallRecord) -> Option<String> {
    let json = serde_json::to_string(record);
    if let Err(error) = &json {
        warn!(call = %record.id, %error, "the record cannot be written as JSON");
    }
    json.ok()
}

#[cfg(test)]
mod tests;
