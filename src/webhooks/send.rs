//! The task behind the webhooks: puts events on the disk, gives each receiver what waits for it,
//! and remembers who failed. It owns all of that; nobody waits for it.

use std::collections::{BTreeMap, HashMap};
use std::future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout_at;
use tracing::{debug, info, warn};
use url::Url;

use super::line::{About, Item, Line, Next};
use super::post::{Outcome, Poster};
use super::sign::{random_part, rfc3339, unix_time};
use super::spool::{self, Entry, Letter, Spool};
use super::{EventKind, Shared};
use crate::config::{BackOff, WebhooksConfig};

/// Events that are written to the disk together at most.
const BATCH: usize = 256;
/// Bytes of a body at most; receivers are promised much less.
const BODY_BYTES: usize = 256 * 1024;

/// Where an event goes: to an address of its own, or to where all go.
pub(super) type To = Option<Url>;

/// An event that was handed over.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) kind: EventKind,
    pub(super) call: String,
    /// When it happened, in Unix time.
    pub(super) at: Duration,
    pub(super) data: Value,
    pub(super) to: Vec<To>,
}

/// What became of each event that was put on the disk.
type Written = Vec<(Entry, io::Result<()>)>;

/// Events that are being put on the disk.
#[derive(Debug)]
struct Writing {
    /// How many events, and how long the letters that came of them.
    count: usize,
    lengths: Vec<u64>,
    task: JoinHandle<Written>,
}

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: &'a Value,
}

impl Job {
    fn body(&self) -> Option<Vec<u8>> {
        let (kind, timestamp) = (self.kind.name(), rfc3339(self.at));
        let body = serde_json::to_vec(&Body { kind, timestamp, data: &self.data });
        body.ok().filter(|body| body.len() <= BODY_BYTES)
    }

    fn entry(&self, to: To) -> Entry {
        Entry {
            name: String::new(),
            id: self.id.clone(),
            kind: self.kind.name().to_owned(),
            call: self.call.clone(),
            to,
            at_ms: u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            bytes: 0,
        }
    }
}

/// The task. Its lock is gone before others see that it has ended.
#[derive(Debug)]
pub(super) struct Courier {
    /// Where events go that have no address of their own.
    url: Option<Url>,
    back_off: BackOff,
    give_up_after: Duration,
    poster: Poster,
    lines: BTreeMap<To, Line>,
    tries: JoinSet<Outcome>,
    under_way: HashMap<Id, (To, Item)>,
    /// Letters so far.
    number: u64,
    shared: Arc<Shared>,
    spool: Spool,
    _ended: watch::Sender<()>,
}

impl Courier {
    /// One that begins with what lies in the spool.
    pub(super) fn new(
        config: &WebhooksConfig,
        poster: Poster,
        (spool, entries): (Spool, Vec<Entry>),
        shared: Arc<Shared>,
        ended: watch::Sender<()>,
    ) -> Self {
        let mut courier = Self {
            url: config.url.clone(),
            back_off: config.back_off,
            give_up_after: config.give_up_after,
            poster,
            lines: BTreeMap::new(),
            tries: JoinSet::new(),
            under_way: HashMap::new(),
            number: 0,
            shared,
            spool,
            _ended: ended,
        };
        let (found, mut stranded) = (entries.len(), 0_usize);
        for entry in entries {
            if entry.to.is_none() && courier.url.is_none() {
                stranded += 1;
            } else {
                courier.enqueue(entry);
            }
        }
        if stranded > 0 {
            warn!(events = stranded, "events wait on the disk for webhooks.url, which is not set");
        }
        if found > stranded {
            info!(events = found - stranded, "events of before are delivered now");
        }
        courier.note_waiting();
        courier
    }

    /// Goes on until nobody can hand over events any more, or until it is stopped; then some time
    /// is left for what can be delivered at once.
    pub(super) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Job>,
        mut stop: watch::Receiver<Option<Instant>>,
    ) {
        let mut batch = Vec::new();
        let mut writing = None;
        loop {
            let wake = self.dispatch(now());
            tokio::select! {
                came = jobs.recv_many(&mut batch, BATCH), if writing.is_none() => {
                    if came == 0 {
                        break;
                    }
                    writing = Some(self.write(std::mem::take(&mut batch)));
                }
                written = written(writing.as_mut()) => {
                    if let Some(writing) = writing.take() {
                        self.keep(&writing, written);
                    }
                }
                Some(done) = self.tries.join_next_with_id() => self.landed(done).await,
                () = sleep_until(wake) => {}
                () = stopped(&mut stop) => break,
            }
        }
        jobs.close();
        while writing.is_some() || jobs.recv_many(&mut batch, BATCH).await > 0 {
            let next = writing.take();
            let mut next = next.unwrap_or_else(|| self.write(std::mem::take(&mut batch)));
            let written = written(Some(&mut next)).await;
            self.keep(&next, written);
        }
        let Some(deadline) = *stop.borrow() else { return };
        self.dispatch(now());
        while let Ok(Some(done)) = timeout_at(deadline.into(), self.tries.join_next_with_id()).await
        {
            self.landed(done).await;
            self.dispatch(now());
        }
    }

    /// Sends whatever may be sent. Gives back when to look again, if nothing else happens.
    fn dispatch(&mut self, now: Instant) -> Option<Instant> {
        let mut wake = None::<Instant>;
        for (to, line) in &mut self.lines {
            let Some(url) = to.as_ref().or(self.url.as_ref()) else { continue };
            loop {
                match line.next(now) {
                    Next::Send(item) => {
                        let poster = self.poster.clone();
                        let one =
                            self.tries.spawn(poster.try_once(item.entry.clone(), url.clone()));
                        self.under_way.insert(one.id(), (to.clone(), *item));
                    }
                    Next::At(at) => {
                        wake = Some(wake.map_or(at, |wake| wake.min(at)));
                        break;
                    }
                    Next::Nothing => break,
                }
            }
        }
        wake
    }

    /// Begins to put events on the disk.
    fn write(&mut self, jobs: Vec<Job>) -> Writing {
        let count = jobs.len();
        let mut letters = Vec::new();
        for job in jobs {
            self.write_letters(job, &mut letters);
        }
        let lengths = letters.iter().map(|letter| letter.entry.bytes).collect();
        let dir = self.spool.dir();
        let task = spawn_blocking(move || {
            let written = spool::write(&dir, &letters);
            letters.into_iter().map(|letter| letter.entry).zip(written).collect()
        });
        Writing { count, lengths, task }
    }

    /// Puts events that are on the disk into their lines.
    fn keep(&mut self, writing: &Writing, written: Result<Written, JoinError>) {
        match written {
            Ok(written) => {
                for (entry, result) in written {
                    match result {
                        Ok(()) => self.enqueue(entry),
                        Err(error) => self.lose(entry.bytes, &error),
                    }
                }
            }
            Err(error) => writing.lengths.iter().for_each(|bytes| self.lose(*bytes, &error)),
        }
        self.note_waiting();
        self.shared.unwritten.send_modify(|unwritten| *unwritten -= writing.count);
    }

    fn lose(&mut self, bytes: u64, error: &dyn std::error::Error) {
        self.spool.give_back(bytes);
        self.shared.drop_one(&format!("it cannot be put on the disk: {error}"));
    }

    /// A letter to each receiver of an event, where there is room for it.
    fn write_letters(&mut self, job: Job, letters: &mut Vec<Letter>) {
        let Some(body) = job.body() else {
            return self.shared.drop_one("it is longer than 256 KiB");
        };
        for to in &job.to {
            self.number += 1;
            let Some(letter) = Letter::new(job.entry(to.clone()), self.number, &body) else {
                self.shared.drop_one("its address is too long");
                continue;
            };
            if self.spool.take(letter.entry.bytes) {
                letters.push(letter);
            } else {
                self.shared.drop_one(
                    "the spool is full: raise webhooks.spool_mb, or see why events are not taken",
                );
            }
        }
    }

    fn enqueue(&mut self, mut entry: Entry) {
        let to = entry.to.take().filter(|to| Some(to) != self.url.as_ref());
        let back_off = self.back_off;
        self.lines.entry(to).or_insert_with(|| Line::new(back_off)).push(entry);
    }

    /// What came of a try.
    async fn landed(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = done.unwrap_or_else(|error| {
            let why = error.to_string();
            (error.id(), Outcome::Failed { about: About::Receiver, asked: None, why })
        });
        let Some((to, item)) = self.under_way.remove(&id) else { return };
        let receiver = self.receiver(&to);
        let Some(line) = self.lines.get_mut(&to) else { return };
        match outcome {
            Outcome::Delivered => {
                self.spool.give_back(item.entry.bytes);
                self.shared.delivered();
                debug!(id = item.entry.id, kind = item.entry.kind, "event delivered");
                if line.delivered(&item) {
                    info!(receiver, waiting = line.len(), "a receiver of events takes them again");
                }
            }
            Outcome::Gone => {
                line.given_up(&item);
                self.give_up(&item.entry, &receiver, "the receiver wants no more of them (410)");
            }
            Outcome::Unreadable => {
                line.given_up(&item);
                self.give_up(&item.entry, &receiver, "its file cannot be read");
            }
            Outcome::Failed { about, asked, why } => {
                let old = self.put_back(&to, item, about, asked, &why);
                for entry in &old {
                    self.give_up(entry, &receiver, &format!("it is too old, and at last: {why}"));
                }
                remove_all(self.spool.dir(), old).await;
            }
        }
        if self.lines.get(&to).is_some_and(Line::is_idle) {
            self.lines.remove(&to);
        }
        self.note_waiting();
    }

    /// Puts an event that could not be delivered back into its line. What is too old by now to be
    /// tried again is given back instead: itself, and what waits as well if it is the receiver that
    /// fails.
    fn put_back(
        &mut self,
        to: &To,
        item: Item,
        about: About,
        asked: Option<Duration>,
        why: &str,
    ) -> Vec<Entry> {
        let receiver = self.receiver(to);
        let Some(line) = self.lines.get_mut(to) else { return Vec::new() };
        let oldest = unix_time().saturating_sub(self.give_up_after).as_millis();
        let oldest = u64::try_from(oldest).unwrap_or_default();
        let (id, kind) = (item.entry.id.clone(), item.entry.kind.clone());
        let old = item.entry.at_ms < oldest;
        if old && about == About::Event {
            line.given_up(&item);
            return vec![item.entry];
        }
        self.shared.retried(u64::from(!old));
        if line.failed(item, about, asked, random_part(), now()) {
            let waiting = line.len();
            warn!(receiver, why, id, kind, waiting, "an event is not taken; it is tried again");
        } else {
            debug!(receiver, why, id, kind, "an event is not taken; it is tried again");
        }
        if about == About::Receiver { line.take_older(oldest) } else { Vec::new() }
    }

    /// An event is not sent any more; its file is gone or will be.
    fn give_up(&mut self, entry: &Entry, receiver: &str, why: &str) {
        self.spool.give_back(entry.bytes);
        self.shared.given_up();
        warn!(receiver, why, id = entry.id, kind = entry.kind, "an event was given up");
    }

    /// What the log calls a receiver: what stands behind its host may be a secret.
    fn receiver(&self, to: &To) -> String {
        let url = to.as_ref().or(self.url.as_ref());
        url.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }

    fn note_waiting(&self) {
        self.shared.waiting(self.spool.files());
    }
}

async fn remove_all(dir: Arc<Path>, entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    let remove = move || entries.iter().for_each(|entry| spool::remove(&dir, &entry.name));
    drop(spawn_blocking(remove).await);
}

/// Waits until events are on the disk, for ever if none are on their way there.
async fn written(writing: Option<&mut Writing>) -> Result<Written, JoinError> {
    match writing {
        Some(writing) => (&mut writing.task).await,
        None => future::pending().await,
    }
}

/// Waits until the task is to stop, or nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) {
    drop(stop.wait_for(Option::is_some).await);
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => future::pending().await,
    }
}
