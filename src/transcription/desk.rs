//! The task that owns what is to be written down: so many requests at once, the oldest first, and
//! those that failed again after a while.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use voice_bot_core::utterance::Utterance;

use super::ask::{Answer, Client, Failure, wav};
use super::{Job, Shared, Spoken};
use crate::config::{BackOff, TranscriptionConfig};

/// Tries of one utterance at most.
const TRIES: u32 = 4;

/// Is told of what was said.
type Told = Box<dyn Fn(Spoken) + Send + Sync>;
/// What came of a try, and how long it took.
type Tried = (Job, Result<Answer, Failure>, Duration);

pub(super) struct Desk {
    client: Client,
    requests: usize,
    back_off: BackOff,
    shared: Arc<Shared>,
    told: Told,
    /// Dropped when the task has ended.
    _ends: watch::Sender<()>,
    waiting: VecDeque<Job>,
    tries: JoinSet<Tried>,
    /// The server wants to be left alone until then.
    pause: Option<Instant>,
}

impl Desk {
    pub(super) fn new(
        config: &TranscriptionConfig,
        client: Client,
        shared: Arc<Shared>,
        told: Told,
        ends: watch::Sender<()>,
    ) -> Self {
        Self {
            client,
            requests: config.requests,
            back_off: config.back_off,
            shared,
            told,
            _ends: ends,
            waiting: VecDeque::new(),
            tries: JoinSet::new(),
            pause: None,
        }
    }

    /// Works until nobody can give it anything to do, or it is told to stop.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Job>,
        mut stop: watch::Receiver<Option<Instant>>,
    ) {
        let (mut deadline, mut is_open, mut may_stop) = (None, true, true);
        while is_open || !self.waiting.is_empty() || !self.tries.is_empty() {
            self.begin(Instant::now());
            let next = (self.tries.len() < self.requests).then(|| self.next()).flatten();
            tokio::select! {
                biased;
                () = until(deadline) => return self.give_up(&mut inbox),
                Some(tried) = self.tries.join_next() => match tried {
                    Ok(tried) => self.settle(tried),
                    Err(_) => self.shared.fail("a request has failed within"),
                },
                job = inbox.recv(), if is_open => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => is_open = false,
                },
                changed = stop.changed(), if may_stop => {
                    may_stop = false;
                    // Where nobody is left who could say so, what waits is done.
                    if changed.is_ok() {
                        deadline = *stop.borrow();
                        inbox.close();
                    }
                }
                () = until(next) => {}
            }
        }
    }

    /// When the next of those that wait may be sent.
    fn next(&self) -> Option<Instant> {
        let soonest = self.waiting.iter().map(|job| job.not_before).min()?;
        soonest.max(self.pause).or_else(|| Some(Instant::now()))
    }

    /// Sends what is due.
    fn begin(&mut self, now: Instant) {
        let is_due = |moment: Option<Instant>| moment.is_none_or(|moment| moment <= now);
        if !is_due(self.pause) {
            return;
        }
        while self.tries.len() < self.requests
            && let Some(at) = self.waiting.iter().position(|job| is_due(job.not_before))
            && let Some(job) = self.waiting.remove(at)
        {
            self.tries.spawn(try_once(self.client.clone(), job));
        }
    }

    fn settle(&mut self, (mut job, outcome, took): Tried) {
        let shared = &self.shared;
        match outcome {
            Ok(Answer { text }) => {
                let Utterance { number, at, until, .. } = *job.utterance;
                let audio_ms = job.utterance.length().as_millis() as u64;
                shared.audio_ms.fetch_add(audio_ms, Ordering::Relaxed);
                shared.latency.observe(took.as_secs_f64());
                if text.is_empty() {
                    shared.empty.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                shared.written.fetch_add(1, Ordering::Relaxed);
                let took_ms = took.as_millis();
                debug!(id = %job.call, number, took_ms, "an utterance is written down");
                (self.told)(Spoken { call: job.call, number, at, until, text });
            }
            Err(failure) => {
                job.tries += 1;
                if !failure.is_passing || job.tries >= TRIES {
                    return shared.fail(&failure.why);
                }
                shared.retried.fetch_add(1, Ordering::Relaxed);
                let BackOff { first, longest } = self.back_off;
                let wait = first.saturating_mul(1 << (job.tries - 1)).min(longest);
                let now = Instant::now();
                job.not_before = Some(now + wait);
                if let Some(asked) = failure.asked {
                    self.pause = self.pause.max(Some(now + asked.min(longest)));
                }
                self.waiting.push_back(job);
            }
        }
    }

    fn give_up(&self, inbox: &mut mpsc::Receiver<Job>) {
        let mut left = (self.waiting.len() + self.tries.len()) as u64;
        while inbox.try_recv().is_ok() {
            left += 1;
        }
        self.shared.lose(left, "it was not written down before the server stopped");
    }
}

async fn try_once(client: Client, job: Job) -> Tried {
    let utterance = Arc::clone(&job.utterance);
    let file = spawn_blocking(move || wav(&utterance.samples, utterance.rate)).await;
    let began = Instant::now();
    let outcome = match file {
        Ok(file) => client.ask(&file).await,
        Err(error) => Err(Failure::passing(error.to_string())),
    };
    (job, outcome, began.elapsed())
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}
