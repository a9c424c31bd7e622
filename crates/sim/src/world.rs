//! The world: conversations, their links, the engines' slots, and the order in which things happen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use voice_bot_core::id::SlotId;
use voice_bot_core::leg::engine::Command;
use voice_bot_core::persona::SessionKey;
use voice_bot_core::pool::{self, Admission, EnginePool};
use voice_bot_core::tape::Trace;

use crate::call::CallNode;
use crate::caller::CallerNode;
use crate::engine::EngineNode;
use crate::link::Link;
use crate::message::{Message, Node, Outbox, Place};
use crate::report::{Outcome, Report};
use crate::rng::Rng;
use crate::scenario::Scenario;

/// Steps at one moment that mean that time stands still.
const STANDSTILL: u64 = 10_000;

/// Where time begins. It is the only look at a clock; all else counts from it.
pub(crate) fn epoch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "Instant has no other constructor")]
    Instant::now()
}

/// Builds the caller of a scenario at the moment when the stream begins.
type MakeCaller = Box<dyn Fn(&Scenario, Instant, &mut Outbox) -> Box<dyn Node>>;

/// Builds the engine of a scenario at that moment too.
type MakeEngine = Box<dyn Fn(&Scenario, Instant) -> Box<dyn Node>>;

/// Everything that happens, in virtual time.
pub struct World {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    pool: EnginePool,
    patience: pool::Config,
    /// Who has a session on each slot, as the engine's side sees it.
    sessions: Vec<Option<usize>>,
    conversations: Vec<Conversation>,
    /// What will happen, by time and then by the order in which it was decided.
    agenda: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    trace: Trace,
    steps: u64,
    most_sessions: usize,
    violations: Vec<String>,
}

struct Conversation {
    scenario: Scenario,
    make_caller: MakeCaller,
    make_engine: MakeEngine,
    /// Caller, call and engine, once the stream has begun.
    parties: Option<[Party; 3]>,
    /// Caller to call, call to caller, call to engine, engine to call.
    links: [Link; 4],
    late: Rng,
    slot: Option<SlotId>,
    turned_away: bool,
}

struct Party {
    node: Box<dyn Node>,
    /// What the node asked for, and when it will be woken for that.
    alarm: Option<(Instant, Instant)>,
}

enum Happening {
    Rings(usize),
    Connects(usize),
    Arrives { conversation: usize, from: Place, to: Place, message: Message },
}

impl World {
    /// An empty world with that many engine slots.
    #[must_use]
    pub fn new(seed: u64, slots: usize, patience: pool::Config) -> Self {
        let start = epoch();
        let mut pool = EnginePool::new(patience);
        for _ in 0..slots {
            pool.add(1, start);
        }
        Self {
            seed,
            rng: Rng::new(seed),
            start,
            now: start,
            pool,
            patience,
            sessions: vec![None; slots],
            conversations: Vec::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
            trace: Trace::default(),
            steps: 0,
            most_sessions: 0,
            violations: Vec::new(),
        }
    }

    /// Runs one conversation alone, to its end.
    #[must_use]
    pub fn run_one(seed: u64, scenario: Scenario) -> Outcome {
        let mut world = Self::new(seed, 1, pool::Config::default());
        world.add(scenario);
        world.run()
    }

    /// Adds a conversation: a caller at Twilio, a call, a PersonaPlex.
    pub fn add(&mut self, scenario: Scenario) {
        self.add_nodes(
            scenario,
            Box::new(|scenario, now, out| Box::new(CallerNode::new(scenario, now, out))),
            Box::new(|scenario, now| Box::new(EngineNode::new(scenario, now))),
        );
    }

    /// Adds a conversation with a caller and an engine of your own around the call.
    pub fn add_nodes(&mut self, scenario: Scenario, caller: MakeCaller, engine: MakeEngine) {
        let index = self.conversations.len();
        let rng = self.rng.part(index as u64);
        let links = &scenario.links;
        let configs = [&links.up, &links.down, &links.to_engine, &links.from_engine];
        let mut part = 0;
        let links = configs.map(|config| {
            part += 1;
            Link::new(config.clone(), rng.part(part), self.start)
        });
        self.plan(self.start + scenario.rings, Happening::Rings(index));
        self.conversations.push(Conversation {
            scenario,
            make_caller: caller,
            make_engine: engine,
            parties: None,
            links,
            late: rng.part(0),
            slot: None,
            turned_away: false,
        });
    }

    /// Lets everything happen until nothing more will.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let mut at_once = 0;
        while let Some((at, next)) = self.next() {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > STANDSTILL {
                self.violations.push(format!("time stands still at {:?}", at - self.start));
                break;
            }
            self.now = self.now.max(at);
            self.steps += 1;
            match next {
                Next::Wake(conversation, place) => self.wake(conversation, place),
                Next::Happening(happening) => self.happen(happening),
            }
        }
        self.outcome()
    }

    /// What comes next: at one moment alarms come first, as in the shell.
    fn next(&mut self) -> Option<(Instant, Next)> {
        let alarms = self.conversations.iter().enumerate().flat_map(|(index, conversation)| {
            let parties = conversation.parties.iter().flatten();
            parties.zip([Place::Caller, Place::Call, Place::Engine]).filter_map(
                move |(party, place)| party.alarm.map(|(_, rings)| (rings, index, place)),
            )
        });
        let alarm = alarms.min_by_key(|(rings, ..)| *rings);
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        match alarm {
            Some((rings, index, place)) if planned.is_none_or(|at| rings <= at) => {
                Some((rings, Next::Wake(index, place)))
            }
            _ => {
                let ((at, _), happening) = self.agenda.pop_first()?;
                Some((at, Next::Happening(happening)))
            }
        }
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((at, self.sequence), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Rings(index) => self.ring(index),
            Happening::Connects(index) => self.connect(index),
            Happening::Arrives { conversation, from, to, message } => {
                self.arrive(conversation, from, to, message);
            }
        }
    }

    /// The carrier asks what to do with a call: a slot is kept, or the caller is turned away.
    fn ring(&mut self, index: usize) {
        let conversation = &mut self.conversations[index];
        let scenario = &conversation.scenario;
        let key = SessionKey::of(&scenario.persona);
        if self.pool.ask(&scenario.id, &key, self.now) != Admission::Connect {
            conversation.turned_away = true;
        } else if let Some(after) = conversation.scenario.connects {
            self.plan(self.now + after, Happening::Connects(index));
        }
    }

    fn connect(&mut self, index: usize) {
        let conversation = &mut self.conversations[index];
        let scenario = &conversation.scenario;
        let mut out = Outbox::new();
        let nodes: [Box<dyn Node>; 3] = [
            (conversation.make_caller)(scenario, self.now, &mut out),
            Box::new(CallNode::new(scenario, index as u32, self.now)),
            (conversation.make_engine)(scenario, self.now),
        ];
        conversation.parties = Some(nodes.map(|node| Party { node, alarm: None }));
        self.send(index, Place::Caller, out);
        [Place::Caller, Place::Call].into_iter().for_each(|place| self.set_alarm(index, place));
    }

    fn arrive(&mut self, index: usize, from: Place, to: Place, message: Message) {
        self.trace.number((self.now - self.start).as_nanos() as u64);
        self.trace.number(index as u64 * 16 + from as u64 * 4 + to as u64);
        message.trace(&mut self.trace);
        if to == Place::Engine && is_opening(&message) {
            self.begin_session(index);
        }
        if from == Place::Engine && to == Place::Call && message.is_end() {
            self.release(index);
        }
        self.act(index, to, |node, now, out| node.receive(from, message, now, out));
    }

    fn wake(&mut self, index: usize, place: Place) {
        if let Some(parties) = &mut self.conversations[index].parties {
            parties[place as usize].alarm = None;
        }
        self.act(index, place, |node, now, out| node.wake(now, out));
    }

    fn act(
        &mut self,
        index: usize,
        place: Place,
        act: impl FnOnce(&mut dyn Node, Instant, &mut Outbox),
    ) {
        let mut out = Outbox::new();
        if let Some(parties) = &mut self.conversations[index].parties {
            act(parties[place as usize].node.as_mut(), self.now, &mut out);
        }
        self.send(index, place, out);
        self.set_alarm(index, place);
    }

    fn set_alarm(&mut self, index: usize, place: Place) {
        let conversation = &mut self.conversations[index];
        let Some(parties) = &mut conversation.parties else { return };
        let party = &mut parties[place as usize];
        let wanted = party.node.deadline();
        if wanted == party.alarm.map(|(wanted, _)| wanted) {
            return;
        }
        let most = if place == Place::Call { conversation.scenario.late } else { Duration::ZERO };
        party.alarm = wanted.map(|wanted| {
            (wanted, wanted.max(self.now) + conversation.late.between(Duration::ZERO, most))
        });
    }

    fn send(&mut self, index: usize, from: Place, out: Outbox) {
        for (to, message) in out {
            if from == Place::Call && is_opening(&message) && !self.take(index) {
                self.plan_arrival(self.now, index, Place::Call, Place::Call, Message::Cut);
                continue;
            }
            if from == Place::Engine && message.is_end() {
                self.end_session(index);
            }
            let link = match (from, to) {
                (Place::Caller, _) => 0,
                (Place::Engine, _) => 3,
                (Place::Call, Place::Engine) => 2,
                (Place::Call, Place::Caller | Place::Call) => 1,
            };
            let arrival = self.conversations[index].links[link].arrival(&message, self.now);
            if let Some(at) = arrival {
                self.plan_arrival(at, index, from, to, message);
            }
        }
    }

    fn plan_arrival(
        &mut self,
        at: Instant,
        conversation: usize,
        from: Place,
        to: Place,
        message: Message,
    ) {
        self.plan(at, Happening::Arrives { conversation, from, to, message });
    }

    /// The call takes its slot; false when there is none.
    fn take(&mut self, index: usize) -> bool {
        let conversation = &mut self.conversations[index];
        let scenario = &conversation.scenario;
        let key = SessionKey::of(&scenario.persona);
        let taken = self.pool.take(&scenario.id, &key, 1, self.now);
        conversation.slot = taken.map(|(slot, _)| slot);
        conversation.slot.is_some()
    }

    /// The call gives its slot back, as the session is gone.
    fn release(&mut self, index: usize) {
        let conversation = &mut self.conversations[index];
        match conversation.slot.take() {
            Some(slot) => self.pool.release(slot, &conversation.scenario.id, self.now),
            None => self.violations.push(format!("call {index} gave back what it did not have")),
        }
    }

    fn begin_session(&mut self, index: usize) {
        let Some(slot) = self.conversations[index].slot else {
            return self.violations.push(format!("call {index} opened a session without a slot"));
        };
        if let Some(other) = self.sessions[slot.0].replace(index) {
            let what = format!("calls {other} and {index} met on slot {}", slot.0);
            self.violations.push(what);
        }
        let now = self.sessions.iter().flatten().count();
        self.most_sessions = self.most_sessions.max(now);
    }

    fn end_session(&mut self, index: usize) {
        for session in &mut self.sessions {
            if *session == Some(index) {
                *session = None;
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let reports = self.conversations.iter().map(|conversation| {
            let mut report = Report::new(conversation.scenario.id.clone());
            report.turned_away = conversation.turned_away;
            if let Some(parties) = &conversation.parties {
                parties.iter().for_each(|party| party.node.report(&mut report));
                report.judge();
            }
            report
        });
        let reports = reports.collect();
        // By then every reservation of a caller who never came has lapsed.
        let slots = self.pool.occupancy(self.now + self.patience.reserve + self.patience.rest);
        if slots.free != self.sessions.len() {
            self.violations.push(format!("not every slot is free in the end: {slots:?}"));
        }
        Outcome {
            seed: self.seed,
            reports,
            trace: self.trace.value(),
            lasted: self.now - self.start,
            steps: self.steps,
            slots,
            most_sessions: self.most_sessions,
            violations: self.violations,
        }
    }
}

enum Next {
    Wake(usize, Place),
    Happening(Happening),
}

const fn is_opening(message: &Message) -> bool {
    matches!(message, Message::Dial(_) | Message::ToEngine(Command::Open(_)))
}
