//! The pool alone, with a truth of its own about sockets and callers to hold it against.
//!
//! A session is there from when it is begun until its close has finished, whoever has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use voice_bot_core::id::{CallId, EngineId, SlotId};
use voice_bot_core::leg::engine::{Closed, OpenError};
use voice_bot_core::persona::{Persona, SessionKey};
use voice_bot_core::pool::{Admission, Config, EnginePool, EngineState, EngineView, Fault, Way};
use voice_bot_sim::Rng;

/// When the last caller comes, and when everything must have come to rest, in ms.
const LAST_CALLER: u64 = 90_000;
const REST: u64 = 1_500_000;

/// What became of the callers, and how much went wrong.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// They had a session.
    pub(super) connected: usize,
    pub(super) refused: usize,
    /// They hung up before.
    pub(super) left: usize,
    /// They were told to connect, and then every engine failed them.
    pub(super) stranded: usize,
    /// Slots that were taken from someone who waited, because of their engines.
    pub(super) taken_away: usize,
    /// Engines that died, and that were removed.
    pub(super) died: usize,
    pub(super) removed: usize,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.connected += other.connected;
        self.refused += other.refused;
        self.left += other.left;
        self.stranded += other.stranded;
        self.taken_away += other.taken_away;
        self.died += other.died;
        self.removed += other.removed;
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Ask(usize),
    /// The caller hangs up, wherever they are.
    HangUp(usize),
    /// The caller's stream comes.
    Stream(usize),
    /// The session of that number is there; it may have been told to close meanwhile.
    Ready(SlotId, u64),
    /// Its socket is gone.
    Gone(SlotId, u64),
    Die(SlotId),
    Slow(SlotId),
    Recover(SlotId),
    Probe(SlotId, bool),
    Remove(SlotId),
    Add,
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Standby,
    /// Of a caller who talks, or will once it is open.
    Call(usize),
    /// A standby that was in the way of this caller, who opens another when it is gone.
    InTheWayOf(usize),
}

#[derive(Debug, Clone, Copy)]
struct Session {
    number: u64,
    holder: Holder,
    is_ready: bool,
    /// What it ends with once its socket is gone, if it is closing.
    closing: Option<Option<Fault>>,
}

#[derive(Debug)]
struct Engine {
    id: EngineId,
    session: Option<Session>,
    dead_until: u64,
    removed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Away,
    Waiting {
        /// Since when, and after how many others.
        since: (u64, u64),
        asked: u64,
        queued: bool,
    },
    /// Told to connect.
    Told {
        by: u64,
    },
    /// In a call, for which these slots were tried.
    Taken(BTreeSet<SlotId>),
    Over,
}

#[derive(Debug)]
struct Caller {
    id: CallId,
    key: SessionKey,
    stage: Stage,
    /// The slot that is kept for them, as the pool shows it.
    kept: Option<SlotId>,
    /// Their engine has failed while they waited: they keep their place, whatever the bound.
    taken_away: bool,
    asks_every: u64,
    /// Who goes silently is noticed by their absence alone.
    tells: bool,
    has_left: bool,
    talks: u64,
}

pub(super) struct Floor {
    seed: u64,
    rng: Rng,
    config: Config,
    pool: EnginePool,
    usual: Vec<SessionKey>,
    start: Instant,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    engines: BTreeMap<SlotId, Engine>,
    callers: Vec<Caller>,
    sessions: u64,
    outcome: Outcome,
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Floor {
    pub(super) fn new(seed: u64, mut rng: Rng, config: Config, engines: usize, n: usize) -> Self {
        let key = |name: &str| SessionKey::of(&Persona::new(name, "NATM1.pt", name));
        let keys = ["usual", "other", "rare"].map(key);
        let mut caller = |n: usize| Caller {
            id: CallId::new(&format!("CA{n}")),
            key: keys[rng.pick(&[0, 0, 0, 1, 1, 2])].clone(),
            stage: Stage::Away,
            kept: None,
            taken_away: false,
            asks_every: 500 + rng.below(4500),
            tells: rng.below(3) > 0,
            has_left: false,
            talks: 1000 + rng.below(30_000),
        };
        let callers: Vec<_> = (0..n).map(&mut caller).collect();
        #[expect(clippy::disallowed_methods, reason = "Instant has no other constructor")]
        let start = Instant::now();
        let mut floor = Self {
            seed,
            rng,
            config,
            pool: EnginePool::new(config),
            // What is rare is never prepared beforehand.
            usual: keys[..2].to_vec(),
            start,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            engines: BTreeMap::new(),
            callers,
            sessions: 0,
            outcome: Outcome::default(),
        };
        (0..engines).for_each(|_| floor.add());
        floor.plan();
        floor
    }

    /// Who comes when, for how long, and what goes wrong.
    fn plan(&mut self) {
        for caller in 0..self.callers.len() {
            let comes = self.rng.below(LAST_CALLER);
            self.at(comes, Event::Ask(caller));
            if self.rng.below(2) == 0 {
                let stays = self.rng.pick(&[300, 3000, 15_000, 60_000]);
                let leaves = comes + self.rng.below(stays);
                self.at(leaves, Event::HangUp(caller));
            }
        }
        let slots: Vec<_> = self.engines.keys().copied().collect();
        for _ in 0..self.rng.below(12) {
            let (when, slot) = (self.rng.below(LAST_CALLER * 2), self.rng.pick(&slots));
            match self.rng.below(3) {
                0 => self.at(when, Event::Die(slot)),
                1 => {
                    self.at(when, Event::Slow(slot));
                    let lasts = self.rng.below(20_000);
                    self.at(when + lasts, Event::Recover(slot));
                }
                _ => {
                    self.at(when, Event::Probe(slot, false));
                    let lasts = self.rng.below(20_000);
                    self.at(when + lasts, Event::Probe(slot, true));
                }
            }
        }
        if self.rng.below(2) == 0 {
            let (when, slot) = (self.rng.below(LAST_CALLER), self.rng.pick(&slots));
            self.at(when, Event::Remove(slot));
            let later = self.rng.below(20_000);
            self.at(when + later, Event::Add);
        }
        self.at(0, Event::Tick);
    }

    pub(super) fn run(&mut self) -> Outcome {
        while let Some(((when, _), event)) = self.events.pop_first() {
            self.now = when;
            self.handle(event);
            self.prepare();
            self.check();
        }
        self.is_at_rest();
        std::mem::take(&mut self.outcome)
    }

    fn at(&mut self, when: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((when, self.scheduled), event);
    }

    fn after(&mut self, least: u64, most: u64, event: Event) {
        let wait = least + self.rng.below(most - least + 1);
        self.at(self.now + wait, event);
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn handle(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Ask(caller) => self.ask(caller),
            Event::HangUp(caller) => self.hang_up(caller),
            Event::Stream(caller) => self.stream(caller),
            Event::Ready(slot, number) => self.ready(slot, number),
            Event::Gone(slot, number) => self.gone(slot, number),
            Event::Die(slot) => self.die(slot),
            Event::Slow(slot) => self.pool.slowed(slot, 0.8, now),
            Event::Recover(slot) => self.pool.recovered(slot, 1.0, now),
            Event::Probe(slot, is_there) => {
                self.pool.probed(self.engines[&slot].id, is_there, now);
            }
            Event::Remove(slot) => {
                let engine = self.engines.get_mut(&slot).expect("it was there from the start");
                engine.removed = true;
                self.pool.remove(engine.id);
                self.outcome.removed += 1;
            }
            Event::Add => self.add(),
            Event::Tick if self.now < REST => {
                let busy = self.now < 3 * LAST_CALLER;
                self.at(self.now + if busy { 2000 } else { 60_000 }, Event::Tick);
            }
            Event::Tick => {}
        }
    }

    fn add(&mut self) {
        let id = self.pool.add(1, self.instant());
        let engine = Engine { id, session: None, dead_until: 0, removed: false };
        self.engines.insert(SlotId(id.0), engine);
    }

    fn ask(&mut self, n: usize) {
        let (now, at) = (self.instant(), self.now);
        let absent = ms(self.config.absent);
        self.scheduled += 1;
        let anew = (at, self.scheduled);
        let caller = &mut self.callers[n];
        let (since, was_queued) = match caller.stage {
            Stage::Away => (anew, false),
            Stage::Waiting { since, asked, queued } if at - asked < absent => (since, queued),
            // Whoever was away for too long begins anew.
            Stage::Waiting { .. } => {
                (caller.taken_away, caller.kept) = (false, None);
                (anew, false)
            }
            Stage::Told { .. } | Stage::Taken(_) | Stage::Over => return,
        };
        let waited = at - since.0;
        caller.stage = Stage::Waiting { since, asked: at, queued: was_queued };
        let admission = self.pool.ask(&caller.id, &caller.key, now);
        let mut queued = was_queued;
        match admission {
            Admission::Connect => {
                caller.stage = Stage::Told { by: at + ms(self.config.reserve) };
                self.look();
                let slot = self.callers[n].kept.expect("something is kept");
                // Before ringing and waiting are over, only what is ready is promised.
                let may_wait = waited < ms(self.config.ring) || was_queued;
                let session = self.engines[&slot].session.filter(|session| session.is_ready);
                // Of one that has just broken the pool is told once its socket is gone.
                let is_ready = session.is_some_and(|session| session.closing != Some(None));
                let is_late = waited >= ms(self.config.longest_wait);
                let rightly = is_ready || is_late || !may_wait;
                assert!(rightly, "{} is promised what is not ready", self.place(n));
                let late = if self.rng.below(30) == 0 { 40_000 } else { 3000 };
                return self.after(100, late, Event::Stream(n));
            }
            Admission::Refuse => {
                caller.stage = Stage::Over;
                self.outcome.refused += 1;
                return;
            }
            Admission::Ring => {
                assert!(waited < ms(self.config.ring) && !was_queued, "{} rings", self.place(n));
            }
            Admission::Queue { .. } => queued = true,
        }
        assert!(waited < ms(self.config.longest_wait), "{} waits too long", self.place(n));
        let absence = if self.rng.below(40) == 0 { 20_000 } else { 0 };
        let again = at + self.callers[n].asks_every + absence;
        self.at(again, Event::Ask(n));
        self.callers[n].stage = Stage::Waiting { since, asked: at, queued };
        self.look();
        if let Admission::Queue { ahead } = admission {
            assert_eq!(ahead, self.ahead_of(n), "{}", self.place(n));
            if !was_queued {
                self.queue_is_bounded(n);
            }
        }
    }

    /// Those who came before and have nothing yet. Who has something has nobody ahead.
    fn ahead_of(&self, n: usize) -> usize {
        if self.callers[n].kept.is_some() {
            return 0;
        }
        let own = self.since(n).expect("they wait");
        let others = 0..self.callers.len();
        others.filter(|other| self.waits_for_slot(*other) && self.since(*other) < Some(own)).count()
    }

    /// Nobody is sent into a queue that is full. Those who had a slot and lost it with its engine
    /// come on top: they keep their places.
    fn queue_is_bounded(&self, n: usize) {
        let is_queued = |caller: &&Caller| {
            let queued = matches!(caller.stage, Stage::Waiting { queued: true, .. });
            queued && caller.kept.is_none() && !caller.taken_away
        };
        let queued = (0..self.callers.len())
            .filter(|n| self.is_present(*n) && is_queued(&&self.callers[*n]))
            .count();
        assert!(queued <= self.config.queue, "{}: {queued} are queued", self.place(n));
    }

    fn hang_up(&mut self, n: usize) {
        let now = self.instant();
        let caller = &mut self.callers[n];
        match caller.stage.clone() {
            Stage::Away | Stage::Over => return,
            Stage::Waiting { .. } | Stage::Told { .. } => {
                if caller.has_left {
                    return;
                }
                caller.has_left = true;
                if caller.tells {
                    self.pool.cancel(&caller.id, now);
                }
                self.outcome.left += 1;
            }
            Stage::Taken(_) => return self.close_call(n, None),
        }
        // The pool cannot know of one who asks no more, so they count as waiting for a while.
        if caller.tells || matches!(caller.stage, Stage::Told { .. }) {
            caller.stage = Stage::Over;
        }
        self.events.retain(|_, event| !matches!(event, Event::Ask(other) if *other == n));
    }

    fn stream(&mut self, n: usize) {
        let Stage::Told { by } = self.callers[n].stage else { return };
        let kept = self.callers[n].kept;
        self.callers[n].stage = Stage::Taken(BTreeSet::new());
        let got = self.take(n);
        if by > self.now && kept.is_some_and(|slot| !self.engines[&slot].removed) {
            assert!(got, "{}: what was kept is not to be had", self.place(n));
        }
    }

    /// Takes a slot for a call, as often as its engines fail; false if there is none.
    fn take(&mut self, n: usize) -> bool {
        let (now, caller) = (self.instant(), &mut self.callers[n]);
        let taken = self.pool.take(&caller.id, &caller.key, 1, now);
        let Stage::Taken(tried) = &mut caller.stage else { panic!("the call is not there") };
        let Some((slot, way)) = taken else {
            self.outcome.stranded += 1;
            caller.stage = Stage::Over;
            return false;
        };
        if !tried.insert(slot) {
            let id = caller.id.clone();
            caller.stage = Stage::Over;
            self.outcome.stranded += 1;
            self.pool.release(slot, &id, now);
            return false;
        }
        let there = self.engines[&slot].session;
        match (way, there) {
            (Way::Open, None) => self.begin(slot, Holder::Call(n)),
            (Way::HandOver, Some(session)) if session.closing.is_none() => {
                self.hold(slot, Holder::Call(n));
                self.talk(n, slot, session.number);
            }
            // It broke just before, or is others': it must be gone first.
            (Way::HandOver | Way::Replace, Some(_)) => {
                self.hold(slot, Holder::InTheWayOf(n));
                self.close(slot, None);
            }
            (way, there) => panic!("{}: {way:?} where there is {there:?}", self.place(n)),
        }
        true
    }

    fn hold(&mut self, slot: SlotId, holder: Holder) {
        let session = self.engines.get_mut(&slot).and_then(|engine| engine.session.as_mut());
        let session = session.expect("there is one");
        assert_eq!(session.holder, Holder::Standby, "seed {}: not free to be taken", self.seed);
        session.holder = holder;
    }

    /// Opens a session: never beside another one.
    fn begin(&mut self, slot: SlotId, holder: Holder) {
        self.sessions += 1;
        let number = self.sessions;
        let (seed, now) = (self.seed, self.now);
        let engine = self.engines.get_mut(&slot).expect("nobody takes what is not there");
        assert!(engine.session.is_none(), "seed {seed}, {now} ms: two sessions on {slot:?}");
        engine.session = Some(Session { number, holder, is_ready: false, closing: None });
        if engine.dead_until > now {
            self.close(slot, Some(Fault::Open(OpenError::Unreachable)));
        } else if holder == Holder::Standby {
            self.after(2000, 10_000, Event::Ready(slot, number));
        } else {
            self.after(50, 500, Event::Ready(slot, number));
        }
    }

    fn ready(&mut self, slot: SlotId, number: u64) {
        let Some(session) = self.session(slot, number) else { return };
        if session.closing.is_some() {
            return;
        }
        match session.holder {
            Holder::Standby => {
                let engine = self.engines.get_mut(&slot).expect("it has a session");
                engine.session = Some(Session { is_ready: true, ..session });
                self.pool.primed(slot, Duration::from_secs(5));
            }
            Holder::Call(n) => self.talk(n, slot, number),
            Holder::InTheWayOf(_) => {}
        }
    }

    fn talk(&mut self, n: usize, slot: SlotId, number: u64) {
        let is_first = self.session(slot, number).is_some();
        let Stage::Taken(_) = &self.callers[n].stage else { return };
        assert!(is_first, "{} talks to nobody", self.place(n));
        let ends = self.now + self.callers[n].talks;
        self.at(ends, Event::HangUp(n));
    }

    fn session(&self, slot: SlotId, number: u64) -> Option<Session> {
        self.engines.get(&slot)?.session.filter(|session| session.number == number)
    }

    /// Ends the session in a slot, which takes a moment.
    fn close(&mut self, slot: SlotId, fault: Option<Fault>) {
        let engine = self.engines.get_mut(&slot).expect("it has a session");
        let session = engine.session.as_mut().expect("there is one");
        if session.closing.is_some() {
            return;
        }
        session.closing = Some(fault);
        let number = session.number;
        self.after(10, 2000, Event::Gone(slot, number));
    }

    fn close_call(&mut self, n: usize, fault: Option<Fault>) {
        let holds = |session: &Session| session.holder == Holder::Call(n);
        let mut engines = self.engines.iter();
        let own = engines.find(|(_, engine)| engine.session.as_ref().is_some_and(holds));
        // While something is still in the way they hear it out.
        if let Some(slot) = own.map(|(slot, _)| *slot) {
            self.close(slot, fault);
        }
    }

    fn gone(&mut self, slot: SlotId, number: u64) {
        let Some(Session { holder, closing: Some(fault), .. }) = self.session(slot, number) else {
            return;
        };
        let now = self.instant();
        self.engines.get_mut(&slot).expect("it had a session").session = None;
        match holder {
            Holder::Standby => self.pool.lost(slot, fault, now),
            Holder::InTheWayOf(n) => self.begin(slot, Holder::Call(n)),
            Holder::Call(n) => {
                let id = self.callers[n].id.clone();
                match fault {
                    Some(fault) => self.pool.fail(slot, &id, fault, now),
                    None => self.pool.release(slot, &id, now),
                }
                if matches!(fault, Some(Fault::Open(_))) {
                    self.take(n);
                } else {
                    self.callers[n].stage = Stage::Over;
                    self.outcome.connected += 1;
                }
            }
        }
    }

    /// An engine is gone for a while, and its session with it.
    fn die(&mut self, slot: SlotId) {
        let until = self.now + 1000 + self.rng.below(30_000);
        let engine = self.engines.get_mut(&slot).expect("it was there from the start");
        engine.dead_until = until;
        self.outcome.died += 1;
        if engine.session.is_some() {
            self.close(slot, Some(Fault::Closed(Closed::Lost)));
        }
    }

    /// Does what the pool wants prepared and closed, as the switchboard does.
    fn prepare(&mut self) {
        let now = self.instant();
        while let Some(slot) = self.pool.outdated(&self.usual, now) {
            let session = self.engines[&slot].session.expect("what is outdated is there");
            assert_eq!(session.holder, Holder::Standby, "seed {}", self.seed);
            self.close(slot, None);
        }
        while let Some((slot, _)) = self.pool.prepare(&self.usual, now) {
            self.begin(slot, Holder::Standby);
        }
    }

    fn since(&self, n: usize) -> Option<(u64, u64)> {
        match self.callers[n].stage {
            Stage::Waiting { since, .. } => Some(since),
            Stage::Away | Stage::Told { .. } | Stage::Taken(_) | Stage::Over => None,
        }
    }

    /// Whether a caller waits, as far as the pool can know.
    fn is_present(&self, n: usize) -> bool {
        let absent = ms(self.config.absent);
        match self.callers[n].stage {
            Stage::Waiting { asked, .. } => self.now - asked < absent,
            Stage::Away | Stage::Told { .. } | Stage::Taken(_) | Stage::Over => false,
        }
    }

    fn waits_for_slot(&self, n: usize) -> bool {
        self.is_present(n) && self.callers[n].kept.is_none()
    }

    /// Notes for whom slots are kept: nobody gets one while somebody who came earlier has none.
    fn look(&mut self) -> Vec<EngineView> {
        let mut kept = BTreeMap::new();
        let views = self.pool.engines(self.instant());
        for engine in &views {
            for slot in engine.slots.iter().filter(|slot| !slot.is_taken) {
                if let Some(call) = &slot.call {
                    let other = kept.insert(call.clone(), SlotId(engine.engine.0));
                    assert_eq!(other, None, "seed {}: two are kept for one", self.seed);
                }
            }
        }
        let mut given = Vec::new();
        for (n, caller) in self.callers.iter_mut().enumerate() {
            let before = std::mem::replace(&mut caller.kept, kept.get(&caller.id).copied());
            if before.is_none() && caller.kept.is_some() {
                given.push(n);
            } else if before.is_some()
                && caller.kept.is_none()
                && matches!(caller.stage, Stage::Waiting { .. })
            {
                caller.taken_away = true;
                self.outcome.taken_away += 1;
            }
        }
        for n in given {
            let Some(own) = self.since(n) else { continue };
            for other in 0..self.callers.len() {
                let is_wronged = self.waits_for_slot(other) && self.since(other) < Some(own);
                assert!(!is_wronged, "{} overtakes CA{other}", self.place(n));
            }
        }
        views
    }

    /// What must hold at any time.
    fn check(&mut self) {
        let (views, now) = (self.look(), self.instant());
        let present = (0..self.callers.len()).filter(|n| self.is_present(*n)).count();
        assert_eq!(self.pool.waiting(now).0, present, "{}", self.moment());
        let is_served = (0..self.callers.len()).all(|n| !self.waits_for_slot(n));
        for view in views {
            let slot = &view.slots[0];
            let engine = &self.engines[&SlotId(view.engine.0)];
            let standby = engine.session.filter(|session| session.holder == Holder::Standby);
            assert_eq!(slot.standby.is_some(), standby.is_some(), "{}", self.moment());
            let well = matches!(view.state, EngineState::Ready | EngineState::Priming);
            let is_idle = slot.call.is_none() && well;
            assert!(is_served || !is_idle, "{}: someone waits for nothing", self.moment());
        }
    }

    /// In the end everything has come back.
    fn is_at_rest(&self) {
        let now = self.instant();
        for view in self.pool.engines(now) {
            assert_eq!(view.slots[0].call, None, "{}", self.moment());
        }
        let held = self.engines.values().filter_map(|engine| engine.session);
        assert!(held.clone().all(|it| it.holder == Holder::Standby), "{}", self.moment());
        assert_eq!(held.count(), self.config.warm.min(self.left()), "{}", self.moment());
        assert_eq!(self.pool.engines(now).len(), self.left(), "{}", self.moment());
        for (n, caller) in self.callers.iter().enumerate() {
            let gone = !self.is_present(n) && !matches!(caller.stage, Stage::Taken(_));
            assert!(gone, "{} was forgotten: {caller:?}", self.place(n));
        }
    }

    fn left(&self) -> usize {
        self.engines.values().filter(|engine| !engine.removed).count()
    }

    fn moment(&self) -> String {
        format!("seed {}, {} ms", self.seed, self.now)
    }

    fn place(&self, n: usize) -> String {
        format!("seed {}, {} ms: CA{n}", self.seed, self.now)
    }
}
