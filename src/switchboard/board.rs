//! The switchboard's task: the one owner of slots, admissions, running calls and their records.

mod admissions;
mod ends;
mod engines;
mod standbys;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, error, info, info_span, trace, warn};
use voice_bot_core::call::{self, Call, Control, Snapshot};
use voice_bot_core::id::{CallId, EngineId, SlotId};
use voice_bot_core::persona::{Action, Persona, SessionKey};
use voice_bot_core::pool::EnginePool;
use voice_bot_core::record::{CallRecord, EndReason};

use super::lease::News;
use super::open::open;
use super::probes;
use super::reports::Reports;
use super::standby::Standby;
use super::{About, Happenings, Notes, Overview, Refusal, Request, RunningCall, Settings};
use crate::config::EventKind;
use crate::driver::{Driver, Happening, Observers, Order};
use crate::engine::{BoxFuture, Engine};
use crate::port::CallerPort;
use crate::recordings::Recordings;
use crate::store::{Keeper, unix_ms};
use crate::tape::Tapes;
use crate::transcription::Transcription;
use crate::webhooks::Webhooks;

/// How often it is looked whether sessions are to be prepared, besides when something has changed.
const PREPARE_EVERY: Duration = Duration::from_secs(1);
/// Orders that may wait for one call.
const ORDERS: usize = 16;
/// Events of a call that who follows it may be behind before some are missed.
const OWN_EVENTS: usize = 64;
/// Who may wait for the record of one call.
const WAITING: usize = 8;
/// Finished calls that are remembered.
const REMEMBERED: usize = 256;

/// A call that was told to connect.
struct Admitted {
    persona: Persona,
    about: About,
    /// Until when that holds.
    until: Instant,
}

struct Running {
    about: About,
    persona: String,
    began_ms: i64,
    orders: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Option<Snapshot>>,
    /// Who wants its record.
    waiting: Vec<oneshot::Sender<Option<CallRecord>>>,
}

impl Running {
    /// Notes someone who wants the record; beyond the bound the oldest is let go.
    fn wait(&mut self, reply: oneshot::Sender<Option<CallRecord>>) {
        self.waiting.retain(|reply| !reply.is_closed());
        if self.waiting.len() == WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(reply);
    }
}

pub(super) struct Board {
    pool: EnginePool,
    standbys: BTreeMap<SlotId, Standby>,
    /// Whom standbys may be for, and what their sessions are primed with.
    usual: Vec<Persona>,
    keys: Vec<SessionKey>,
    /// Standbys so far.
    prepared: u64,
    engines: BTreeMap<EngineId, Arc<dyn Engine>>,
    /// Those that wait until another of their name is gone.
    coming: Vec<Arc<dyn Engine>>,
    /// Has the engines probed at once.
    probe: Arc<Notify>,
    call: call::Config,
    max_calls: usize,
    recordings: Option<Recordings>,
    tapes: Option<Tapes>,
    acts: Option<mpsc::Sender<(CallId, Action)>>,
    webhooks: Option<Webhooks>,
    notes: Notes,
    keeper: Option<Keeper>,
    transcription: Option<Transcription>,
    admitted: BTreeMap<CallId, Admitted>,
    /// How long a call has to connect, and one that waits to ask again.
    reserve: Duration,
    absent: Duration,
    running: BTreeMap<CallId, Running>,
    finished: VecDeque<CallRecord>,
    reports: Reports,
    stopping: bool,
    news: mpsc::UnboundedSender<News>,
    /// For the drivers' use; weak, so that the task ends when nobody asks any more.
    requests: mpsc::WeakSender<Request>,
    events: broadcast::Sender<Happening>,
}

impl Board {
    /// The task: answers until nobody can ask any more.
    pub(super) async fn run(
        settings: Settings,
        mut inbox: mpsc::Receiver<Request>,
        requests: mpsc::WeakSender<Request>,
        events: broadcast::Sender<Happening>,
    ) {
        let (news, mut told) = mpsc::unbounded_channel();
        let waits = !settings.pool.ring.is_zero() || settings.pool.queue > 0;
        let prepares = settings.pool.warm > 0 || waits;
        let (every, probed) = (settings.probe, requests.clone());
        let mut clock = tokio::time::interval(PREPARE_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut board = Self::new(settings, requests, events, news);
        if let Some(every) = every {
            tokio::spawn(probes::watch(every, Arc::clone(&board.probe), probed));
        }
        loop {
            tokio::select! {
                biased;
                Some(news) = told.recv() => board.told(&news, now()),
                request = inbox.recv() => match request {
                    Some(request) => board.handle(request, now()),
                    None => return,
                },
                _ = clock.tick(), if prepares => {}
            }
            board.settle(now());
            if prepares {
                board.prepare(now());
            }
        }
    }

    fn new(
        settings: Settings,
        requests: mpsc::WeakSender<Request>,
        events: broadcast::Sender<Happening>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let mut pool = EnginePool::new(settings.pool);
        let mut add = |engine: Arc<dyn Engine>| (pool.add(engine.sessions(), now()), engine);
        let engines = settings.engines.into_iter().map(&mut add).collect();
        Self {
            pool,
            standbys: BTreeMap::new(),
            keys: settings.standbys.iter().map(SessionKey::of).collect(),
            usual: settings.standbys,
            prepared: 0,
            engines,
            coming: Vec::new(),
            probe: Arc::default(),
            call: settings.call,
            max_calls: settings.max_calls,
            recordings: settings.recordings,
            tapes: settings.tapes,
            acts: settings.acts,
            webhooks: settings.webhooks,
            notes: settings.notes,
            keeper: settings.keeper,
            transcription: settings.transcription,
            admitted: BTreeMap::new(),
            reserve: settings.pool.reserve,
            absent: settings.pool.absent,
            running: BTreeMap::new(),
            finished: VecDeque::new(),
            reports: Reports::default(),
            stopping: false,
            news,
            requests,
            events,
        }
    }

    fn handle(&mut self, request: Request, now: Instant) {
        match request {
            Request::Admit(call, persona, about, reply) => {
                answer(reply, self.admit(call, persona, *about, now));
            }
            Request::Connect(call, persona, caller, reply) => {
                answer(reply, self.connect(call, persona, caller, now));
            }
            Request::AskAgain(call, reply) => answer(reply, self.ask_again(call, now)),
            Request::Take(call, key, most, reply) => {
                answer(reply, self.take(call, &key, most, now));
            }
            Request::Engines(reply) => answer(reply, self.roster()),
            Request::Probed(id, outcome, reply) => {
                answer(reply, self.probed(id, outcome, now));
            }
            Request::Change(remove, add) => self.change(&remove, add, now),
            Request::Usual(usual, call) => {
                self.expect(usual);
                self.call = *call;
            }
            Request::Status(reply) => answer(reply, self.engine_status(now)),
            Request::Opened(id, took) => self.opened(id, took),
            Request::Primed(id, took) => self.primed(id, took),
            Request::Lost(id, fault) => self.lost(id, fault, now),
            Request::Cancel(call) => {
                let was_awaited = self.admitted.contains_key(&call);
                self.notes.left(was_awaited && !self.stopping);
                self.forget(&call, EndReason::NeverStarted);
                self.pool.cancel(&call, now);
            }
            Request::Report(call, report, never_began) => {
                self.note(call, report, never_began.map(|never_began| *never_began), now);
            }
            Request::Return(call, caller, reply) => {
                let back = self.order(&call, Order::Caller(caller));
                answer(reply, if back { Ok(()) } else { Err(Refusal::Over) });
            }
            Request::Tell(call, control, reply) => {
                answer(reply, self.order(&call, Order::Control(control)));
            }
            Request::Record(call, reply) => match self.running.get_mut(&call) {
                Some(running) => running.wait(reply),
                None => answer(reply, self.record(&call)),
            },
            Request::Load(reply) => {
                self.forget_absent(now);
                answer(reply, self.running.len() + self.admitted.len());
            }
            Request::Running(reply) => answer(reply, self.running_calls()),
            Request::Watch(call, reply) => {
                let shown = self.running.get(&call).map(|running| running.snapshot.clone());
                answer(reply, shown);
            }
            Request::Standing(reply) => answer(reply, self.standing(now)),
            Request::Overview(reply) => answer(reply, self.overview(now)),
            Request::Finished(call, record) => self.finish(&call, record),
            Request::Close => {
                self.stopping = true;
                self.standbys.values_mut().for_each(Standby::retire);
            }
            Request::EndAll => {
                self.stopping = true;
                for call in self.running.keys().cloned().collect::<Vec<_>>() {
                    self.order(&call, Order::Control(Control::ShutDown));
                }
            }
        }
    }

    fn connect(
        &mut self,
        id: CallId,
        persona: Persona,
        caller: CallerPort,
        now: Instant,
    ) -> Result<Happenings, Refusal> {
        self.has_room(&id, now).inspect_err(|refusal| self.notes.refused(*refusal))?;
        let requests = self.requests.upgrade().ok_or(Refusal::Stopping)?;
        let (persona, about) = match self.admitted.remove(&id) {
            Some(Admitted { persona, about, .. }) => (persona, about),
            None => (persona, About::default()),
        };
        let span = info_span!("call", id = %id, persona = persona.name);
        let (ordering, orders) = mpsc::channel(ORDERS);
        let (snapshot, shown) = watch::channel(None);
        let (own, happenings) = broadcast::channel(OWN_EVENTS);
        let (events, acts) = (self.events.clone(), self.acts.clone());
        let (webhooks, keeper) = (self.webhooks.clone(), self.keeper.clone());
        if let Some(keeper) = &keeper {
            keeper.began(about.to_store(&id, &persona.name));
        }
        let observers = Observers { snapshot, own, events, acts, webhooks, keeper };
        let mut started = about.to_json();
        started["persona"] = persona.name.as_str().into();
        let name = persona.name.clone();
        self.tell(EventKind::CallStarted, &id, started);
        let tape = |tapes: &Tapes| tapes.start(&id, &persona, &self.call, now);
        let tape = self.tapes.as_ref().map(tape);
        let reel = self.recordings.as_ref().filter(|_| persona.record).map(|it| it.start(&id));
        let tap = self.transcription.as_ref().filter(|_| persona.transcribe);
        let tap = tap.map(|transcription| transcription.listen(&id, now));
        let call = Call::new(id.clone(), persona, self.call.clone(), now);
        let opener = {
            let (id, requests) = (id.clone(), self.requests.clone());
            Arc::new(move |wanted| {
                Box::pin(open(requests.clone(), id.clone(), wanted)) as BoxFuture<'static, _>
            })
        };
        let driver = Driver::new(id.clone(), call, caller, opener, orders, observers);
        let driver = driver.with_tape(tape).with_reel(reel).with_tap(tap);
        let (snapshot, waiting, began_ms) = (shown, Vec::new(), unix_ms());
        let running =
            Running { about, persona: name, began_ms, orders: ordering, snapshot, waiting };
        self.running.insert(id.clone(), running);
        tokio::spawn(async move {
            let record = tokio::spawn(driver.run().instrument(span)).await;
            if let Err(failure) = &record {
                error!(%id, %failure, "the call's task failed");
            }
            // Without a switchboard nobody wants the record.
            drop(requests.send(Request::Finished(id, record.ok().map(Box::new))).await);
        });
        Ok(happenings)
    }

    /// Hands a running call an order; false when it does not run. A call takes its orders within a
    /// moment, so one that does not fit repeats what waits, or comes from somebody who floods it.
    fn order(&self, call: &CallId, order: Order) -> bool {
        let Some(running) = self.running.get(call) else { return false };
        let taken = running.orders.try_send(order).is_ok();
        if !taken {
            warn!(%call, "an order was not taken: too many wait");
        }
        taken
    }

    fn finish(&mut self, call: &CallId, record: Option<Box<CallRecord>>) {
        self.pool.cancel(call, now());
        let Some(running) = self.running.remove(call) else { return };
        // Its task has failed; what it has seen is lost with it.
        let record = record.map(|record| *record).unwrap_or_else(|| {
            let record = CallRecord::new(call.clone(), running.persona);
            CallRecord { reason: EndReason::Internal, ..record }
        });
        let record = self.close(record, &running.about);
        for reply in running.waiting {
            answer(reply, Some(record.clone()));
        }
        if self.stopping {
            info!(left = self.running.len(), "a call ended while stopping");
        }
    }

    fn record(&self, call: &CallId) -> Option<CallRecord> {
        self.finished.iter().rev().find(|record| record.id == *call).cloned()
    }

    fn running_calls(&self) -> Vec<RunningCall> {
        let of = |(id, running): (&CallId, &Running)| RunningCall {
            id: id.clone(),
            about: running.about.clone(),
            persona: running.persona.clone(),
            began_ms: running.began_ms,
            snapshot: *running.snapshot.borrow(),
        };
        self.running.iter().map(of).collect()
    }

    fn overview(&self, now: Instant) -> Overview {
        let snapshot =
            |(id, running): (&CallId, &Running)| (id.clone(), *running.snapshot.borrow());
        Overview {
            calls: self.running.iter().map(snapshot).collect(),
            slots: self.pool.occupancy(now),
            engines: self.engine_status(now),
            finished: self.finished.iter().cloned().collect(),
        }
    }
}

/// Replies to who asked, if they still wait.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        trace!("who asked has gone");
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
