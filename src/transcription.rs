//! Has what callers say written down by a server that takes sound as OpenAI's audio API does. It
//! goes on beside the calls: none waits for it, and none ends by it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;
use voice_bot_core::id::CallId;
use voice_bot_core::utterance::Utterance;

use crate::config::{TranscriptionConfig, When};
use crate::telemetry::Pii;
use desk::Desk;

mod ask;
mod desk;
mod tap;

pub use ask::{Answer, Client, Failure, wav};
pub use tap::Tap;

/// Utterances that may wait for the task, which waits for nothing.
const UTTERANCES: usize = 4096;
/// Bytes of sound that may wait to be written down: of all calls, over an hour of speech by
/// telephone; and of one, a quarter of an hour. From a browser it is a third.
const BYTES: usize = 64 * 1024 * 1024;
const BYTES_OF_ONE: usize = 16 * 1024 * 1024;
/// What a slow watcher may be behind before it misses something.
const WATCHED: usize = 1024;
/// What the task may take to end beyond the time that it is given.
const MARGIN: Duration = Duration::from_millis(500);
/// The upper bounds of the classes of how long answers take, in seconds.
const SECONDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// What a caller has said.
#[derive(Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The call.
    pub call: CallId,
    /// Which utterance of the call it is, from 0. Some may be missing, or come after later ones.
    pub number: u64,
    /// When it was said, from and until, counted from the call's beginning.
    pub at: Duration,
    /// Its end.
    pub until: Duration,
    /// The words; never none.
    pub text: String,
}

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, number, at, until, text } = self;
        let mut shown = f.debug_struct("Spoken");
        shown.field("call", call).field("number", number).field("at", at).field("until", until);
        shown.field("text", &Pii(text)).finish()
    }
}

/// What became of what callers have said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Utterances that were written down.
    pub written: u64,
    /// Those in which the server has found no words.
    pub empty: u64,
    /// Those that the server did not write down, whatever was tried.
    pub failed: u64,
    /// Those for which there was no room, or no time before the server stopped.
    pub lost: u64,
    /// Tries that failed and were made again.
    pub retried: u64,
    /// The length of the sound that servers were given and have answered.
    pub audio: Duration,
    /// Utterances that wait now, those that are sent included.
    pub waiting: u64,
}

/// Has it written down. Cheap to clone. When the last clone is gone, what waits is still sent.
#[derive(Clone)]
pub struct Transcription(Arc<Inner>);

struct Inner {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    spoken: broadcast::Sender<Spoken>,
    when: When,
    stop: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<()>,
}

impl fmt::Debug for Transcription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcription").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Transcription {
    /// Begins to have things written down as `config` says, and tells `told` of what was said;
    /// nothing where no server is named. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(
        config: &TranscriptionConfig,
        told: impl Fn(&Spoken) + Send + Sync + 'static,
    ) -> Option<Self> {
        let client = Client::new(config)?;
        let (jobs, inbox) = mpsc::channel(UTTERANCES);
        let (stop, stopped) = watch::channel(None);
        let (ends, ended) = watch::channel(());
        let (spoken, _) = broadcast::channel(WATCHED);
        let shared = Arc::new(Shared::default());
        let watched = spoken.clone();
        let told = move |news: Spoken| {
            told(&news);
            // Nobody may be watching, and that is fine.
            drop(watched.send(news));
        };
        let desk = Desk::new(config, client, Arc::clone(&shared), Box::new(told), ends);
        tokio::spawn(desk.run(inbox, stopped));
        Some(Self(Arc::new(Inner { jobs, shared, spoken, when: config.when, stop, ended })))
    }

    /// Listens to the caller of a call that begins at `began`.
    #[must_use]
    pub fn listen(&self, call: &CallId, began: std::time::Instant) -> Tap {
        Tap::new(self.clone(), call.clone(), began)
    }

    /// What callers say, from now on, in the order in which it becomes known.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Spoken> {
        self.0.spoken.subscribe()
    }

    /// What became of what callers have said.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.shared.counters()
    }

    /// How long answers take, in seconds.
    pub(crate) fn latency(&self) -> Histogram {
        self.0.shared.latency.clone()
    }

    /// How long answers take, where there are none.
    pub(crate) fn no_latency() -> Histogram {
        Histogram::new(SECONDS)
    }

    /// Waits for what was said to be written down, at most for `limit`; what is left is lost and
    /// counted, as is what is said later.
    pub async fn stop(&self, limit: Duration) {
        self.0.stop.send_replace(Some(Instant::now() + limit));
        let mut ended = self.0.ended.clone();
        // An error is the news itself: the sender is gone.
        if timeout(limit + MARGIN, async { drop(ended.changed().await) }).await.is_err() {
            warn!("what callers have said could not be written down in time");
        }
    }

    /// Takes an utterance, if there is room: `of_one` is what waits of its call, in bytes.
    fn job(&self, call: &CallId, of_one: &Arc<AtomicUsize>, utterance: Utterance) -> Option<Job> {
        let bytes = utterance.samples.len() * size_of::<i16>();
        let Some(room) = Room::take(&self.0.shared, of_one, bytes) else {
            self.0.shared.lose(1, "too much waits to be written down");
            return None;
        };
        let (call, utterance) = (call.clone(), Arc::new(utterance));
        Some(Job { call, utterance, _room: room, tries: 0, not_before: None })
    }

    fn send(&self, job: Job) {
        if self.0.jobs.try_send(job).is_err() {
            self.0.shared.lose(1, "too much waits to be written down, or the server has stopped");
        }
    }
}

/// An utterance that is to be written down.
struct Job {
    call: CallId,
    utterance: Arc<Utterance>,
    /// Held until it is written down.
    _room: Room,
    /// Tries so far.
    tries: u32,
    not_before: Option<Instant>,
}

/// The place of an utterance among those that wait; dropping it gives the place back.
struct Room {
    shared: Arc<Shared>,
    of_one: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    fn take(shared: &Arc<Shared>, of_one: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let has_room = of_one.load(Ordering::Relaxed) + bytes <= BYTES_OF_ONE
            && shared.bytes.load(Ordering::Relaxed) + bytes <= BYTES;
        has_room.then(|| {
            of_one.fetch_add(bytes, Ordering::Relaxed);
            shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            Self { shared: Arc::clone(shared), of_one: Arc::clone(of_one), bytes }
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of_one.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the task and those who give it something to do both see.
#[derive(Debug)]
struct Shared {
    began: Instant,
    written: AtomicU64,
    empty: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    retried: AtomicU64,
    audio_ms: AtomicU64,
    waiting: AtomicU64,
    bytes: AtomicUsize,
    latency: Histogram,
    /// The second, since it began, before which there is no other warning.
    quiet_until: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            began: Instant::now(),
            written: zero(),
            empty: zero(),
            failed: zero(),
            lost: zero(),
            retried: zero(),
            audio_ms: zero(),
            waiting: zero(),
            bytes: AtomicUsize::default(),
            latency: Histogram::new(SECONDS),
            quiet_until: zero(),
        }
    }
}

impl Shared {
    /// Seconds between two warnings.
    const QUIET_S: u64 = 60;

    fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            written: read(&self.written),
            empty: read(&self.empty),
            failed: read(&self.failed),
            lost: read(&self.lost),
            retried: read(&self.retried),
            audio: Duration::from_millis(read(&self.audio_ms)),
            waiting: read(&self.waiting),
        }
    }

    fn lose(&self, count: u64, why: &str) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.warn(why);
    }

    fn fail(&self, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.warn(why);
    }

    /// Says why something is not written down, once a minute. It runs in calls' tasks too.
    fn warn(&self, why: &str) {
        let (now, until) =
            (self.began.elapsed().as_secs(), self.quiet_until.load(Ordering::Relaxed));
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        let next = now + Self::QUIET_S;
        if now >= until && self.quiet_until.compare_exchange(until, next, order.0, order.1).is_ok()
        {
            let Counters { failed, lost, .. } = self.counters();
            warn!(why, failed, lost, "what callers said is not written down; for a minute unsaid");
        }
    }
}

#[cfg(test)]
mod tests;
