//! Tells other programs what happens in calls: signed as Standard Webhooks are, from a spool on the
//! disk, so that neither a receiver that is down nor a restart loses an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::warn;
use url::Url;

use self::post::Poster;
use self::send::{Courier, Job};
use self::sign::{Signer, new_id, unix_time};
use self::spool::Spool;
pub use crate::config::EventKind;
use crate::config::{WebhooksConfig, is_webhook_url};

mod line;
mod post;
mod send;
mod sign;
mod spool;

/// Events that may wait to be put on the disk.
const EVENTS: usize = 4096;
/// Seconds between two warnings that events are lost.
const WARN_EVERY: u64 = 60;
/// What the task may take to end beyond the time that it is given.
const MARGIN: Duration = Duration::from_secs(1);

/// Why no webhooks can be sent.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// The folder cannot be made, read, or written to.
    #[error(
        "{folder}: {error}; set webhooks.spool_dir to a folder that can be written to",
        folder = folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another server uses the folder.
    #[error(
        "{folder}: another server sends the events in there; give each server a \
         webhooks.spool_dir of its own",
        folder = folder.display()
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// There is an address, but nothing that signs.
    #[error("webhooks.url needs a secret; set VOICE_BOT_WEBHOOK_SECRET")]
    NoSecret,
    /// No HTTP client can be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// Something that happened in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The call's name, which is not sent: events of one call come in order, others side by side.
    pub call: String,
    /// What is sent about it, 256 KiB at most.
    pub data: Value,
    /// Where it goes beside `webhooks.url`, whatever `webhooks.events` says: see
    /// [`is_webhook_url`].
    pub to: Option<Url>,
}

/// What became of events so far. An event with two addresses counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Those that receivers have taken.
    pub delivered: u64,
    /// Tries that failed and are made again.
    pub retried: u64,
    /// Those that no receiver took within `webhooks.give_up_after_h`, or wanted (410).
    pub given_up: u64,
    /// Those for which there was no room in the queue or the spool.
    pub dropped: u64,
    /// Those that wait in the spool now.
    pub waiting: usize,
}

/// Sends events. Cheap to clone; when the last clone is gone nothing is sent any more, and what was
/// handed over waits in the spool for the next start.
///
/// An event is posted until its receiver answers 2xx, always with the same `webhook-id`, by which
/// the receiver knows one that it has already: each comes at least once. What is not taken is tried
/// again after a pause that doubles, until it is older than `give_up_after`; 410 gives it up at
/// once. While a receiver cannot be reached everything waits for it; an event that it refuses waits
/// alone, with the later ones of its call, which it lets pass after twelve tries. When the spool is
/// full the newest events are dropped, so that what is there stays whole.
#[derive(Debug, Clone)]
pub struct Webhooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: Option<Url>,
    events: Vec<EventKind>,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    stop: watch::Sender<Option<std::time::Instant>>,
    ended: watch::Receiver<()>,
}

impl Webhooks {
    /// Begins to send, with what waits in the spool; nothing where `config` has no secret. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// [`WebhooksError`] when the spool cannot be used, or there is an address without a secret.
    pub fn start(config: &WebhooksConfig) -> Result<Option<Self>, WebhooksError> {
        let Some(secret) = &config.secret else {
            return if config.url.is_some() { Err(WebhooksError::NoSecret) } else { Ok(None) };
        };
        let opened = Spool::open(&config.spool_dir, config.spool_bytes)?;
        let poster = Poster::new(config, Signer::new(secret), opened.0.dir());
        let poster = poster.map_err(|error| WebhooksError::Client(error.to_string()))?;
        let (jobs, handed_over) = mpsc::channel(EVENTS);
        let (stop, stopped) = watch::channel(None);
        let (ends, ended) = watch::channel(());
        let shared = Arc::new(Shared::default());
        let courier = Courier::new(config, poster, opened, Arc::clone(&shared), ends);
        tokio::spawn(courier.run(handed_over, stopped));
        let (url, events) = (config.url.clone(), config.events.clone());
        Ok(Some(Self(Arc::new(Inner { url, events, jobs, shared, stop, ended }))))
    }

    /// Hands an event over; it happened now. Never waits: an event for which there is no room is
    /// dropped, counted, and once a minute warned of. Safe from a crash once it is [`written`].
    ///
    /// [`written`]: Self::written
    pub fn send(&self, event: Event) {
        let at = unix_time();
        let Inner { url, events, jobs, shared, .. } = &*self.0;
        let Event { kind, call, data, to: own } = event;
        let mut to = Vec::new();
        if url.is_some() && events.contains(&kind) {
            to.push(None);
        }
        match own {
            Some(own) if !is_webhook_url(&own) => shared.drop_one("its address is not https"),
            Some(own) if !(to.contains(&None) && url.as_ref() == Some(&own)) => to.push(Some(own)),
            Some(_) | None => {}
        }
        if to.is_empty() {
            return;
        }
        let Some(id) = new_id() else {
            return shared.drop_one("the system has no randomness for its id");
        };
        shared.unwritten.send_modify(|unwritten| *unwritten += 1);
        if let Err(error) = jobs.try_send(Job { id, kind, call, at, data, to }) {
            shared.unwritten.send_modify(|unwritten| *unwritten -= 1);
            shared.drop_one(match error {
                TrySendError::Full(_) => "the disk is too slow",
                TrySendError::Closed(_) => "the server has stopped",
            });
        }
    }

    /// Waits until everything that was handed over lies in the spool, at most for `limit`.
    pub async fn written(&self, limit: Duration) {
        let mut unwritten = self.0.shared.unwritten.subscribe();
        if timeout(limit, unwritten.wait_for(|unwritten| *unwritten == 0)).await.is_err() {
            warn!("some events could not be put on the disk in time");
        }
    }

    /// Puts what was handed over into the spool, delivers what can be within `limit`, and leaves
    /// the spool to the next start. What is sent after this is dropped.
    pub async fn stop(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        self.0.stop.send_replace(Some(deadline.into_std()));
        let mut ended = self.0.ended.clone();
        // An error is the news itself: the sender is gone.
        if timeout(limit + MARGIN, async { drop(ended.changed().await) }).await.is_err() {
            warn!("some events could not be put on the disk in time");
        }
    }

    /// What became of events so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.shared.counters()
    }
}

/// What the task and those who hand events over both see.
#[derive(Debug, Default)]
struct Shared {
    /// Events that were handed over and are not on the disk yet.
    unwritten: watch::Sender<usize>,
    delivered: AtomicU64,
    retried: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicUsize,
    /// The second of Unix time of the last warning that events are lost.
    warned: AtomicU64,
}

impl Shared {
    fn counters(&self) -> Counters {
        Counters {
            delivered: self.delivered.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    fn retried(&self, tries: u64) {
        self.retried.fetch_add(tries, Ordering::Relaxed);
    }

    fn given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self, files: usize) {
        self.waiting.store(files, Ordering::Relaxed);
    }

    fn drop_one(&self, why: &str) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        let (now, last) = (unix_time().as_secs(), self.warned.load(Ordering::Relaxed));
        let due = now >= last.saturating_add(WARN_EVERY) || now < last;
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        if due && self.warned.compare_exchange(last, now, order.0, order.1).is_ok() {
            warn!(why, dropped, "an event was dropped; others may be for the next minute, unsaid");
        }
    }
}
