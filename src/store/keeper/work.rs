//! The keeper's task: gathers, writes batch after batch, and waits while the store does not take
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tracing::{error, info, warn};

use super::super::backlog::{Backlog, Told};
use super::super::{Batch, Store, StoreError, unix_ms};
use super::Shared;

/// How long is gathered before something is written: what a crash may cost, with a write.
const GATHER: Duration = Duration::from_millis(250);
/// How long a write may take before it is taken to have failed.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The pause after the first failure, doubled after each, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often calls of which nothing is told are touched.
const BEAT: Duration = Duration::from_secs(30);
/// With more than that waiting it is written without a pause.
const HURRY_BYTES: usize = 1024 * 1024;
/// What is told at once is taken in so many pieces before something else is looked at.
const AT_ONCE: usize = 1024;

pub(super) struct Work {
    store: Arc<dyn Store>,
    instance: Arc<str>,
    backlog: Backlog,
    shared: Arc<Shared>,
    /// Dropped when the task has ended.
    _ends: watch::Sender<()>,
    /// Whether the store is prepared, and the calls that were left open are closed.
    is_prepared: bool,
    /// What is being written.
    writing: Option<Arc<Batch>>,
    /// Batches that are to be written first, as they were not.
    again: VecDeque<Arc<Batch>>,
    /// Who is to be told when a recording's place is written.
    noted: BTreeMap<(Arc<str>, String), Arc<Notify>>,
    failures: u32,
    /// When the last write began, and before when none does.
    began: Instant,
    not_before: Instant,
}

/// A write that goes on, or the preparation of the store; it gives the calls that were cut off.
type Doing = JoinHandle<Result<u64, StoreError>>;

impl Work {
    pub(super) fn new(
        store: Arc<dyn Store>,
        instance: Arc<str>,
        backlog: Backlog,
        shared: Arc<Shared>,
        ends: watch::Sender<()>,
    ) -> Self {
        let (now, again) = (Instant::now(), VecDeque::new());
        Self {
            store,
            instance,
            backlog,
            shared,
            _ends: ends,
            is_prepared: false,
            writing: None,
            again,
            noted: BTreeMap::new(),
            failures: 0,
            began: now,
            not_before: now,
        }
    }

    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Told>,
        mut stop: watch::Receiver<Option<Instant>>,
    ) {
        let mut doing: Option<Doing> = Some(self.begin());
        let mut beat = interval(BEAT);
        let mut told = Vec::with_capacity(AT_ONCE);
        let (mut deadline, mut is_open) = (None, true);
        while is_open || self.writing.is_some() || self.has_rows() {
            let has_work = !self.is_prepared || self.has_rows();
            let write_at = (doing.is_none() && has_work).then_some(self.not_before);
            tokio::select! {
                biased;
                outcome = finished(&mut doing) => {
                    doing = None;
                    self.finish(outcome);
                }
                () = until(write_at) => doing = Some(self.begin()),
                count = inbox.recv_many(&mut told, AT_ONCE), if is_open => {
                    is_open = count > 0;
                    self.gather(&mut told);
                }
                _ = beat.tick() => self.backlog.beat(unix_ms()),
                changed = stop.changed(), if deadline.is_none() => {
                    // Where all who tell are gone nobody has named a moment.
                    let limit = changed.ok().and_then(|()| *stop.borrow());
                    deadline = Some(limit.unwrap_or_else(|| Instant::now() + WRITE_DEADLINE));
                    self.not_before = Instant::now();
                    inbox.close();
                }
                () = until(deadline) => return self.give_up(),
            }
        }
    }

    /// Whether something is to be written.
    fn has_rows(&self) -> bool {
        !self.again.is_empty() || self.backlog.is_due()
    }

    fn gather(&mut self, told: &mut Vec<Told>) {
        let (now, was_due) = (unix_ms(), self.backlog.is_due());
        for told in told.drain(..) {
            if let Told::Recorded(call, recording, noted) = &told {
                // Those for whom nobody waits any more need no place.
                self.noted.retain(|_, noted| Arc::strong_count(noted) > 1);
                let key = (Arc::clone(call), recording.place.clone());
                self.noted.insert(key, Arc::clone(noted));
            }
            self.backlog.take_in(told, now);
        }
        if !was_due && self.again.is_empty() {
            self.not_before = self.not_before.max(Instant::now() + GATHER);
        }
        self.show();
    }

    /// Says what is lost, and how much waits.
    fn show(&mut self) {
        let lost = self.backlog.take_lost();
        self.shared.lose(lost, "the store is down or too slow, and no more may wait");
        self.shared.waiting_bytes.store(self.backlog.bytes() as u64, Ordering::Relaxed);
    }

    fn begin(&mut self) -> Doing {
        self.began = Instant::now();
        let store = Arc::clone(&self.store);
        if !self.is_prepared {
            let instance = Arc::clone(&self.instance);
            return tokio::spawn(in_time(async move {
                store.prepare().await?;
                store.cut_off(&instance, unix_ms()).await
            }));
        }
        let next = self.again.pop_front().unwrap_or_else(|| Arc::new(self.backlog.next_batch()));
        let batch = Arc::clone(self.writing.insert(next));
        tokio::spawn(in_time(async move { store.write(&batch).await.map(|()| 0) }))
    }

    fn finish(&mut self, outcome: Result<u64, StoreError>) {
        match (self.writing.take(), outcome) {
            (None, Ok(cut_off)) => {
                self.is_prepared = true;
                self.is_well();
                if cut_off > 0 {
                    warn!(calls = cut_off, "calls were cut off when voice-bot was last stopped");
                }
            }
            (Some(batch), Ok(_)) => {
                self.shared.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
                self.backlog.done_with(&batch);
                self.note(&batch);
                self.is_well();
            }
            (Some(batch), Err(StoreError::Refused(why))) => self.part(batch, &why),
            (None, Err(error)) => self.fail(&error),
            (Some(batch), Err(error)) => {
                self.again.push_front(batch);
                self.fail(&error);
            }
        }
        self.show();
    }

    fn note(&mut self, written: &Batch) {
        for (call, recording) in &written.recordings {
            let key = (Arc::clone(call), recording.place.clone());
            if let Some(noted) = self.noted.remove(&key) {
                noted.notify_one();
            }
        }
    }

    /// Something of a batch is never taken: what is about one call is tried apart from the rest.
    fn part(&mut self, batch: Arc<Batch>, why: &str) {
        let (own, rest) = Arc::unwrap_or_clone(batch).split();
        if rest.is_empty() {
            error!(why, rows = own.len(), "the store refuses the records of a call");
            self.backlog.done_with(&own);
            return self.shared.lose(own.len() as u64, "the store refuses them");
        }
        self.again.push_front(Arc::new(rest));
        self.again.push_front(Arc::new(own));
    }

    fn is_well(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            info!("the store takes the records of calls again");
        }
        self.not_before = self.began + GATHER;
        if !self.again.is_empty() || self.backlog.bytes() > HURRY_BYTES {
            self.not_before = Instant::now();
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.shared.retried.fetch_add(1, Ordering::Relaxed);
        if self.failures == 0 {
            warn!(%error, "records of calls wait, as the store does not take them");
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.not_before = Instant::now() + pause;
    }

    fn give_up(&self) {
        let begun = self.again.iter().chain(&self.writing).map(|batch| batch.len() as u64);
        let left = self.backlog.waiting() + begun.sum::<u64>();
        self.shared.lose(left, "the store did not take them before the server stopped");
    }
}

async fn in_time<T>(doing: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::Down(format!("no answer within {} s", WRITE_DEADLINE.as_secs()));
    timeout(WRITE_DEADLINE, doing).await.unwrap_or_else(|_| Err(late()))
}

/// What comes of it. Safe to cancel.
async fn finished(doing: &mut Option<Doing>) -> Result<u64, StoreError> {
    match doing {
        Some(task) => match task.await {
            Ok(done) => done,
            Err(failure) => Err(StoreError::Down(failure.to_string())),
        },
        None => future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}
