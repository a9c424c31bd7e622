//! Calls between two ports that a test holds the far ends of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::call::{self, Phase};
use voice_bot_core::leg::{Audio, Format, Mark};
use voice_bot_core::record::EndReason;

use super::*;
use crate::port::{FarEnd, RESERVED};

/// A mark of a call whose audio was never cleared.
const fn mark(number: u64) -> Mark {
    Mark { generation: 0, number }
}

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
        assert!(timeout(CLOSE_DEADLINE / 2, gone).await.is_ok(), "it is not dropped at once");
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
    events: broadcast::Receiver<(CallId, Event)>,
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
            snapshot: watch::channel(None).0,
            events: watchers,
            acts: None,
            webhooks: None,
        };
        let driver = Driver::new(id, call, near, opener, orders, observers);
        let record = tokio::spawn(driver.run());
        caller.events.try_send(caller::Event::Started(Format::Pcm(Rate::Hz8000))).unwrap();
        Self { caller, control, events, record }
    }

    async fn reaches(&mut self, wanted: Phase) {
        let reached = async {
            while !matches!(self.events.recv().await.unwrap().1, Event::Phase(p) if p == wanted) {}
        };
        timeout(PATIENCE, reached).await.unwrap();
    }

    async fn ends(self) -> CallRecord {
        timeout(PATIENCE, self.record).await.unwrap().unwrap()
    }
}

/// A session that is open at once, its lease, and its far end.
fn session(gone: &Gone) -> (Opener, FarEnd<engine::Event, engine::Command>) {
    let (port, far) = EnginePort::pair(64, 64);
    let link = Link { format: Format::Pcm(Rate::Hz8000), lockstep: true };
    let opened = Opened { session: Session::new(link, port), lease: Box::new(gone.kept()) };
    (Box::new(|_| Box::pin(async { Ok(opened) })), far)
}

fn silence() -> Audio {
    Audio::Pcm(vec![0; 160])
}

#[tokio::test]
async fn ending_while_an_engine_is_opened_ends_the_opening() {
    let gone = Gone::default();
    let kept = gone.kept();
    let opener: Opener = Box::new(|_| {
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
    let command = timeout(PATIENCE, call.caller.commands.recv()).await.unwrap();
    assert_eq!(command, Some(caller::Command::Mark(mark(1))));
    call.caller.events.send(caller::Event::MarkPlayed(mark(1))).await.unwrap();
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
    assert_eq!(call.ends().await.reason, EndReason::HungUp);
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
