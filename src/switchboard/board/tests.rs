//! Slots come back, whatever becomes of the calls that had them.

use std::future;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;
use voice_bot_core::leg::Format;
use voice_bot_core::leg::caller;
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::pool::{self, Admission};
use voice_bot_core::record::{EndReason, Report};

use super::super::Switchboard;
use super::super::lease::Taken;
use super::*;
use crate::config::StoreConfig;
use crate::engine::{BoxFuture, Session};
use crate::port::FarEnd;
use crate::store;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an engine does when it is asked for a session.
#[derive(Debug, Clone, Copy)]
enum Opens {
    Panics,
    Fails,
    Never,
}

struct Fake {
    opens: Opens,
    asked: AtomicUsize,
}

impl Engine for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn sessions(&self) -> usize {
        2
    }

    fn open(&self, _persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            match self.opens {
                Opens::Panics => panic!("the engine's adapter has a fault"),
                Opens::Fails => Err(OpenError::Unreachable),
                Opens::Never => future::pending().await,
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }
}

fn settings(opens: Opens) -> (Settings, Arc<Fake>) {
    let engine = Arc::new(Fake { opens, asked: AtomicUsize::new(0) });
    let engines: Vec<Arc<dyn Engine>> = vec![engine.clone()];
    let (call, pool) = (call::Config::default(), pool::Config::default());
    (
        Settings {
            engines,
            call,
            pool,
            max_calls: 10,
            recordings: None,
            tapes: None,
            probe: None,
            standbys: Vec::new(),
            acts: None,
            webhooks: None,
            notes: Notes::default(),
            keeper: None,
            transcription: None,
        },
        engine,
    )
}

fn key() -> SessionKey {
    SessionKey::of(&persona())
}

fn persona() -> Persona {
    Persona::new("test", "v", "p")
}

async fn connect(switchboard: &Switchboard, id: &CallId) -> FarEnd<caller::Event, caller::Command> {
    let (near, far) = CallerPort::pair(16, 16);
    switchboard.connect(id.clone(), persona(), near).await.unwrap();
    far.events.try_send(caller::Event::Started(Format::Mulaw)).unwrap();
    far
}

async fn record(switchboard: &Switchboard, id: &CallId) -> Option<CallRecord> {
    timeout(PATIENCE, switchboard.record(id.clone())).await.unwrap()
}

/// Waits until the slots stand like this: free, taken, resting.
async fn slots(switchboard: &Switchboard, wanted: (usize, usize, usize)) {
    let come = async {
        loop {
            let slots = switchboard.overview().await.slots;
            if (slots.free, slots.taken, slots.resting) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, come).await.is_ok(), "the slots never are {wanted:?}");
}

#[tokio::test]
async fn an_engine_that_panics_costs_its_call_and_no_slot() {
    let (settings, engine) = settings(Opens::Panics);
    let switchboard = Switchboard::start(settings);
    for n in 1..=5 {
        let id = CallId::new(&format!("CA{n}"));
        switchboard.admit(id.clone(), persona(), About::default()).await.unwrap();
        let mut far = connect(&switchboard, &id).await;
        let told = async { while far.commands.recv().await.is_some() {} };
        assert!(timeout(PATIENCE, told).await.is_ok(), "the caller is let go");
        let reason = record(&switchboard, &id).await.unwrap().reason;
        assert_eq!(reason, EndReason::Internal);
        slots(&switchboard, (2, 0, 0)).await;
        assert!(switchboard.overview().await.calls.is_empty());
        assert_eq!(engine.asked.load(Ordering::Relaxed), n);
    }
}

#[tokio::test]
async fn every_engine_is_tried_once_and_rests_when_it_fails() {
    let (mut settings, engine) = settings(Opens::Fails);
    settings.engines.push(engine.clone());
    let switchboard = Switchboard::start(settings);
    let id = CallId::new("CA1");
    let _far = connect(&switchboard, &id).await;
    let reason = record(&switchboard, &id).await.unwrap().reason;
    assert_eq!(reason, EndReason::EngineUnreachable);
    assert_eq!(engine.asked.load(Ordering::Relaxed), 2);
    slots(&switchboard, (0, 0, 4)).await;
    let refused = switchboard.admit(id, persona(), About::default()).await;
    assert_eq!(refused, Err(Refusal::NoEngine));
}

#[tokio::test]
async fn a_caller_who_leaves_while_an_engine_is_opened_gives_the_slot_back() {
    let (settings, engine) = settings(Opens::Never);
    let switchboard = Switchboard::start(settings);
    let id = CallId::new("CA1");
    let far = connect(&switchboard, &id).await;
    slots(&switchboard, (1, 1, 0)).await;
    assert_eq!(engine.asked.load(Ordering::Relaxed), 1);
    drop(far);
    assert_eq!(record(&switchboard, &id).await.unwrap().reason, EndReason::CallerLost);
    slots(&switchboard, (2, 0, 0)).await;
}

#[tokio::test]
async fn a_cancelled_admission_keeps_nothing() {
    let (settings, _engine) = settings(Opens::Never);
    let switchboard = Switchboard::start(settings);
    let calls = [1, 2, 3].map(|n| CallId::new(&format!("CA{n}")));
    assert_eq!(
        switchboard.admit(calls[0].clone(), persona(), About::default()).await,
        Ok(Admission::Connect)
    );
    assert_eq!(
        switchboard.admit(calls[1].clone(), persona(), About::default()).await,
        Ok(Admission::Connect)
    );
    assert_eq!(
        switchboard.admit(calls[2].clone(), persona(), About::default()).await,
        Err(Refusal::Busy)
    );
    switchboard.cancel(calls[0].clone()).await;
    assert_eq!(
        switchboard.admit(calls[2].clone(), persona(), About::default()).await,
        Ok(Admission::Connect)
    );
    switchboard.cancel(CallId::new("CA9")).await;
    assert_eq!(switchboard.overview().await.slots.reserved, 2);
}

/// A board without its task, and where slots come back.
fn board() -> (Board, mpsc::UnboundedReceiver<News>) {
    let (settings, _engine) = settings(Opens::Never);
    let (requests, _) = mpsc::channel(1);
    let (returns, returned) = mpsc::unbounded_channel();
    let (events, _) = broadcast::channel(1);
    (Board::new(settings, requests.downgrade(), events, returns), returned)
}

fn free(board: &Board) -> usize {
    board.overview(now()).slots.free
}

#[test]
fn a_slot_comes_back_though_nobody_says_that_its_call_is_over() {
    let (mut board, mut returned) = board();
    let id = CallId::new("CA1");
    let Taken { lease, .. } = board.take(id.clone(), &key(), 1, now()).unwrap();
    assert_eq!(free(&board), 1);
    assert!(board.take(id.clone(), &key(), 1, now()).is_none(), "a call has one engine");
    drop(lease);
    let back = returned.try_recv().unwrap();
    board.told(&back, now());
    assert_eq!(free(&board), 2);
    // Said twice, it does no harm to the next one who has the slot.
    let other = CallId::new("CA2");
    let _taken = board.take(other, &key(), 1, now()).unwrap();
    board.told(&back, now());
    board.finish(&id, None);
    assert_eq!(free(&board), 1);
}

#[test]
fn a_slot_that_nobody_waits_for_any_more_comes_back() {
    let (mut board, mut returned) = board();
    let (reply, answer) = oneshot::channel();
    drop(answer);
    board.handle(Request::Take(CallId::new("CA1"), key(), 1, reply), now());
    assert_eq!(free(&board), 1);
    let back = returned.try_recv().unwrap();
    board.told(&back, now());
    assert_eq!(free(&board), 2);
}

#[tokio::test]
async fn every_call_that_was_let_in_is_kept_however_it_ends() {
    let store = store::open(&StoreConfig::in_memory()).unwrap();
    let keeper = Keeper::start(Arc::clone(&store), "here");
    let (settings, _engine) = settings(Opens::Fails);
    let settings = Settings { keeper: Some(keeper.clone()), ..settings };
    let switchboard = Switchboard::start(settings);
    let about = || About { from: "+15550100".to_owned(), ..About::default() };
    for call in ["leaves", "connects", "reported"] {
        let admitted = switchboard.admit(CallId::new(call), persona(), about()).await;
        assert!(admitted.is_ok() || call == "reported", "{call}: {admitted:?}");
    }
    switchboard.cancel(CallId::new("leaves")).await;
    let connects = CallId::new("connects");
    let _far = connect(&switchboard, &connects).await;
    assert!(record(&switchboard, &connects).await.is_some());
    // What the carrier reports later is put there, too.
    let report = Report { what: "completed".to_owned(), code: None, meaning: None };
    switchboard.report(connects, report, None).await;
    assert_eq!(switchboard.load().await, 0);
    keeper.stop(PATIENCE).await;

    let mut ends = Vec::new();
    for call in ["leaves", "connects", "reported"] {
        let shown = store.find(call).await.unwrap().unwrap().to_json();
        assert_eq!((&shown["from"], &shown["persona"]), (&"+15550100".into(), &"test".into()));
        let reports = shown["record"]["reports"].as_array().unwrap().len();
        ends.push((shown["reason"].as_str().unwrap().to_owned(), reports));
    }
    let wanted = [("never-started", 0), ("engine-unreachable", 1), ("engine-busy", 0)];
    assert_eq!(ends, wanted.map(|(reason, reports)| (reason.to_owned(), reports)));
}
