//! Calls between two ports that a test holds the far ends of.

use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::call::{self, Phase};
use voice_bot_core::leg::engine::{Link, OpenError};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::persona::Persona;
use voice_bot_core::record::EndReason;

use super::*;
use crate::engine::Session;
use crate::port::{EnginePort, FarEnd, RESERVED};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells when it was dropped; stands for a lease, or for an attempt to open a session.
#[derive(Clone, Default)]
struct Gone(Arc<AtomicBool>);

struct Kept(Gone);

impl Lease for Kept {
    fn primed(&mut self, _took: Duration) {}

    fn speed(&mut self, _change: Change) {}

    fn fail(&mut self, _fault: Fault) {}
}

impl Gone {
    fn kept(&self) -> Kept {
        Kept(self.clone())
    }

    async fn comes_true(&self) {
        let gone = async {
            while !self.0.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE / 4, gone).await.is_ok(), "it is not dropped at once");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A running call.
struct Running {
    caller: FarEnd<caller::Event, caller::Command>,
    control: mpsc::Sender<Order>,
    events: broadcast::Receiver<Happening>,
    record: JoinHandle<CallRecord>,
}

impl Running {
    /// A call whose caller takes so many commands at once.
    fn start(commands: usize, opener: Opener) -> Self {
        let persona = Persona::new("test", "v", "p");
        let id = CallId::new("CA1");
        let call = Call::new(id.clone(), persona, call::Config::default(), now());
        let (near, caller) = CallerPort::pair(64, commands);
        let (control, orders) = mpsc::channel(4);
        let (watchers, events) = broadcast::channel(256);
        let observers = Observers {
            own: broadcast::channel(1).0,
            snapshot: watch::channel(None).0,
            events: watchers,
            acts: None,
            webhooks: None,
            keeper: None,
        };
        let driver = Driver::new(id, call, near, opener, orders, observers);
        let record = tokio::spawn(driver.run());
        caller.events.try_send(caller::Event::Started(Format::Pcm(Rate::Hz8000))).unwrap();
        Self { caller, control, events, record }
    }

    async fn reaches(&mut self, wanted: Phase) {
        let reached = async {
            while !matches!(self.events.recv().await.unwrap().event, Event::Phase(p) if p == wanted)
            {
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    }

    async fn ends(self) -> CallRecord {
        timeout(PATIENCE, self.record).await.unwrap().unwrap()
    }
}

/// A session that is open at once, its lease, and its far end.
fn session(gone: &Gone) -> (Opener, FarEnd<engine::Event, engine::Command>) {
    let (opener, mut far) = sessions(&[gone]);
    (opener, far.remove(0))
}

/// Sessions that are open at once, one after the other, and their far ends; then all are busy.
fn sessions(gone: &[&Gone]) -> (Opener, Vec<FarEnd<engine::Event, engine::Command>>) {
    let (mut opened, mut far) = (VecDeque::new(), Vec::new());
    for gone in gone {
        let (port, end) = EnginePort::pair(64, 64);
        let link = Link { format: Format::Pcm(Rate::Hz8000), lockstep: true };
        let session = Session::new(link, port);
        opened.push_back(Opened { session, lease: Box::new(gone.kept()), engine: "e".into() });
        far.push(end);
    }
    let opened = Mutex::new(opened);
    let opener: Opener = Arc::new(move |_| {
        let next = opened.lock().unwrap().pop_front().ok_or(OpenError::Busy);
        Box::pin(async { next })
    });
    (opener, far)
}

fn silence() -> Audio {
    Audio::Pcm(vec![0; 160])
}

#[tokio::test]
async fn ending_while_an_engine_is_opened_ends_the_opening() {
    let gone = Gone::default();
    let kept = gone.clone();
    let opener: Opener = Arc::new(move |_| {
        let kept = kept.kept();
        Box::pin(async move {
            let _kept = kept;
            future::pending().await
        })
    });
    let mut call = Running::start(16, opener);
    call.reaches(Phase::Waiting).await;
    call.control.send(Order::Control(Control::HangUp)).await.unwrap();
    let record = call.ends().await;
    assert_eq!(record.reason, EndReason::HungUp);
    gone.comes_true().await;
}

#[tokio::test]
async fn a_caller_who_goes_while_an_engine_is_prepared_frees_it() {
    let gone = Gone::default();
    let (opener, mut far) = session(&gone);
    let mut call = Running::start(16, opener);
    call.reaches(Phase::Priming).await;
    drop(call.caller);
    assert_eq!(call.record.await.unwrap().reason, EndReason::CallerLost);
    assert_eq!(far.commands.recv().await, None, "it was told nothing, and is closed");
    assert!(!gone.0.load(Ordering::Relaxed), "the lease is kept while the session is there");
    drop(far);
    gone.comes_true().await;
}

#[tokio::test]
async fn a_session_that_panics_ends_the_call_and_gives_its_lease_back() {
    let gone = Gone::default();
    let (opener, mut far) = session(&gone);
    let mut call = Running::start(16, opener);
    let engine = tokio::spawn(async move {
        far.events.send(engine::Event::Ready).await.unwrap();
        let command = far.commands.recv().await;
        panic!("the engine's session fails at {command:?}");
    });
    call.reaches(Phase::Live).await;
    call.caller.events.send(caller::Event::Audio { audio: silence(), at: None }).await.unwrap();
    assert!(engine.await.unwrap_err().is_panic());
    // The mark behind the last audio comes, and is answered.
    while let Some(command) = timeout(PATIENCE, call.caller.commands.recv()).await.unwrap() {
        if let caller::Command::Mark(mark) = command {
            drop(call.caller.events.send(caller::Event::MarkPlayed(mark)).await);
        }
    }
    assert_eq!(call.ends().await.reason, EndReason::EngineLost);
    gone.comes_true().await;
}

#[tokio::test]
async fn a_driver_that_is_dropped_closes_its_session_and_gives_its_lease_back() {
    let gone = Gone::default();
    let (opener, mut far) = session(&gone);
    let mut call = Running::start(16, opener);
    far.events.send(engine::Event::Ready).await.unwrap();
    call.reaches(Phase::Live).await;
    call.record.abort();
    assert_eq!(timeout(PATIENCE, far.commands.recv()).await.unwrap(), None);
    assert_eq!(timeout(PATIENCE, call.caller.commands.recv()).await.unwrap(), None);
    drop(far);
    gone.comes_true().await;
}

#[tokio::test]
async fn the_end_reaches_a_caller_whose_channel_is_full() {
    let gone = Gone::default();
    let (opener, far) = session(&gone);
    let mut call = Running::start(RESERVED + 1, opener);
    far.events.send(engine::Event::Ready).await.unwrap();
    call.reaches(Phase::Live).await;
    for _ in 0..20 {
        far.events.send(engine::Event::Audio(silence())).await.unwrap();
    }
    let filled = async {
        while call.caller.commands.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, filled).await.unwrap();
    call.control.send(Order::Control(Control::HangUp)).await.unwrap();
    call.reaches(Phase::Draining(EndReason::HungUp)).await;
    // An order that comes again changes nothing.
    call.control.send(Order::Control(Control::ShutDown)).await.unwrap();
    let taken = async {
        let mut commands = Vec::new();
        while let Some(command) = call.caller.commands.recv().await {
            if let caller::Command::Mark(mark) = command {
                call.caller.events.send(caller::Event::MarkPlayed(mark)).await.unwrap();
            }
            commands.push(command);
        }
        commands
    };
    let commands = timeout(PATIENCE, taken).await.unwrap();
    assert!(matches!(commands.last(), Some(caller::Command::Mark(_))), "{commands:?}");
    assert!(commands.len() <= RESERVED + 1, "media left its places free: {}", commands.len());
    let record = call.ends().await;
    assert_eq!(record.reason, EndReason::HungUp);
    assert!(record.unsent.caller > 0 && record.unsent.engine == 0, "{:?}", record.unsent);
    drop(far);
    gone.comes_true().await;
}

#[tokio::test]
async fn deadlines_and_orders_come_through_a_flood_from_the_caller() {
    let gone = Gone::default();
    let (opener, _far) = session(&gone);
    let mut call = Running::start(16, opener);
    call.reaches(Phase::Priming).await;
    let flood = call.caller.events.clone();
    let flood = tokio::spawn(async move {
        while flood.send(caller::Event::Audio { audio: silence(), at: None }).await.is_ok() {}
    });
    call.control.send(Order::Control(Control::ShutDown)).await.unwrap();
    assert_eq!(call.ends().await.reason, EndReason::ShutDown);
    timeout(PATIENCE, flood).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_goes_on_with_another_session_when_its_own_is_lost() {
    let gone = [Gone::default(), Gone::default()];
    let (opener, mut far) = sessions(&[&gone[0], &gone[1]]);
    let mut call = Running::start(64, opener);
    let (second, first) = (far.pop().unwrap(), far.pop().unwrap());
    first.events.send(engine::Event::Ready).await.unwrap();
    call.reaches(Phase::Live).await;
    drop(first);
    call.reaches(Phase::Recovering(EndReason::EngineLost)).await;
    gone[0].comes_true().await;
    second.events.send(engine::Event::Ready).await.unwrap();
    call.reaches(Phase::Live).await;
    // The next one that is lost is the last.
    drop(second);
    let mut call_ends = call.caller.commands;
    while let Some(command) = timeout(PATIENCE, call_ends.recv()).await.unwrap() {
        if let caller::Command::Mark(mark) = command {
            drop(call.caller.events.send(caller::Event::MarkPlayed(mark)).await);
        }
    }
    let record = timeout(PATIENCE, call.record).await.unwrap().unwrap();
    assert_eq!(record.reason, EndReason::EngineLost);
    assert_eq!(record.successions.len(), 1);
    assert_eq!(record.successions[0].lost, Some(EndReason::EngineLost));
    gone[1].comes_true().await;
}

#[tokio::test]
async fn the_next_session_waits_until_it_is_changed_to() {
    let gone = [Gone::default(), Gone::default()];
    let (opener, mut far) = sessions(&[&gone[0], &gone[1]]);
    let mut legs = Legs::new(opener);
    let persona = Persona::new("test", "v", "p");
    let (mut second, first) = (far.pop().unwrap(), far.pop().unwrap());
    legs.open(persona.clone());
    assert!(matches!(legs.next().await, engine::Event::Connected(_)));
    first.events.send(engine::Event::Ready).await.unwrap();
    assert_eq!(legs.next().await, engine::Event::Ready);
    legs.prepare(persona.clone());
    second.events.send(engine::Event::Ready).await.unwrap();
    second.events.send(engine::Event::Text("early".into())).await.unwrap();
    assert!(matches!(legs.next().await, engine::Event::NextReady(_)));
    assert!(legs.send(engine::Command::Audio(silence())));
    assert!(second.commands.try_recv().is_err(), "nothing goes to it yet");
    legs.switch(None);
    assert!(legs.send(engine::Command::Audio(silence())));
    assert_eq!(second.commands.recv().await, Some(engine::Command::Audio(silence())));
    drop(first);
    gone[0].comes_true().await;
    // With all engines busy the next one fails, and this one goes on.
    legs.prepare(persona);
    let text = engine::Event::Text("early".into());
    let mut told = [legs.next().await, legs.next().await];
    told.sort_by_key(|event| *event == text);
    assert_eq!(told, [engine::Event::NextFailed(OpenError::Busy), text]);
    drop(second);
    assert!(matches!(legs.next().await, engine::Event::Closed(_)));
    gone[1].comes_true().await;
}

#[tokio::test]
async fn a_session_that_is_changed_to_before_it_is_ready_tells_all_from_the_beginning() {
    let gone = [Gone::default(), Gone::default()];
    let (opener, mut far) = sessions(&[&gone[0], &gone[1]]);
    let mut legs = Legs::new(opener);
    let persona = Persona::new("test", "v", "p");
    let (second, first) = (far.pop().unwrap(), far.pop().unwrap());
    legs.open(persona.clone());
    assert!(matches!(legs.next().await, engine::Event::Connected(_)));
    legs.prepare(persona);
    drop(first);
    let told = async {
        // Its standing is swallowed, then the loss of the other is told.
        while !matches!(legs.next().await, engine::Event::Closed(_)) {}
    };
    timeout(PATIENCE, told).await.unwrap();
    legs.switch(None);
    assert!(matches!(legs.next().await, engine::Event::Connected(_)));
    second.events.send(engine::Event::Ready).await.unwrap();
    assert_eq!(legs.next().await, engine::Event::Ready);
}
