//! A session that is primed before anybody calls, in a task of its own until a call takes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};
use voice_bot_core::id::SlotId;
use voice_bot_core::leg::engine::Event;
use voice_bot_core::persona::Persona;
use voice_bot_core::pool::Fault;

use super::Request;
use crate::engine::{Engine, Session};

/// How long a session that is not wanted any more may take to be gone.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Which standby of which slot: one that is gone is not taken for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StandbyId {
    pub(super) slot: SlotId,
    pub(super) number: u64,
}

/// The session, as whoever may hand it on holds it. When this is dropped the session is closed.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) id: StandbyId,
    /// None once it is to be closed.
    asks: Option<mpsc::Sender<oneshot::Sender<Session>>>,
    task: JoinHandle<()>,
}

impl Standby {
    /// Opens and primes a session for that persona.
    pub(super) fn start(
        id: StandbyId,
        engine: Arc<dyn Engine>,
        persona: Persona,
        requests: mpsc::WeakSender<Request>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(1);
        let task = tokio::spawn(stand_by(id, engine, persona, asked, requests));
        Self { id, asks: Some(asks), task }
    }

    /// Closes it; that it is gone is reported.
    pub(super) fn retire(&mut self) {
        self.asks = None;
    }

    /// The session; none if it could not be opened or is gone, and then its engine is free.
    pub(super) async fn hand_over(mut self) -> Option<Session> {
        let (reply, session) = oneshot::channel();
        if let Some(asks) = self.asks.take()
            && asks.send(reply).await.is_ok()
            && let Ok(session) = session.await
        {
            return Some(session);
        }
        self.close().await;
        None
    }

    /// Closes it and waits until it is gone.
    pub(super) async fn close(self) {
        drop(self.asks);
        if timeout(CLOSE_DEADLINE, self.task).await.is_err() {
            warn!("a session that nobody wanted did not close in time");
        }
    }
}

async fn stand_by(
    id: StandbyId,
    engine: Arc<dyn Engine>,
    persona: Persona,
    mut asked: mpsc::Receiver<oneshot::Sender<Session>>,
    requests: mpsc::WeakSender<Request>,
) {
    let report = async |request: Request| {
        if let Some(requests) = requests.upgrade() {
            // Without a switchboard nobody wants to know.
            drop(requests.send(request).await);
        }
    };
    let (began, name) = (Instant::now(), persona.name.clone());
    let opening = engine.open(persona);
    let opened = tokio::select! {
        opened = opening => opened,
        // Nobody wants it any more: the attempt is dropped.
        () = abandoned(&mut asked) => return report(Request::Lost(id, None)).await,
    };
    let mut session = match opened {
        Ok(session) => {
            report(Request::Opened(id, began.elapsed())).await;
            session
        }
        Err(error) => {
            warn!(engine = engine.name(), %error, "no session could be prepared");
            return report(Request::Lost(id, Some(Fault::Open(error)))).await;
        }
    };
    let asker = loop {
        tokio::select! {
            biased;
            asker = asked.recv() => break Ok(asker),
            event = session.port.recv() => {
                if event == Some(Event::Ready) {
                    session.primed = true;
                    let took = began.elapsed();
                    let seconds = took.as_secs_f32();
                    info!(engine = engine.name(), persona = name, seconds, "a session is primed");
                    report(Request::Primed(id, took)).await;
                }
                if let Some(fault) = Fault::of(event.as_ref()) {
                    break Err(fault);
                }
            }
        }
    };
    match asker {
        // Whoever asked may have gone; then the session is dropped, and so closed.
        Ok(Some(reply)) => drop(reply.send(session)),
        Err(fault) => {
            warn!(engine = engine.name(), %fault, "a prepared session is lost");
            gone(&mut session).await;
            report(Request::Lost(id, Some(fault))).await;
        }
        Ok(None) => {
            session.port.close();
            gone(&mut session).await;
            debug!(engine = engine.name(), "a prepared session is closed");
            report(Request::Lost(id, None)).await;
        }
    }
}

/// Waits until nobody can ask any more; whoever asks meanwhile waits for the session.
async fn abandoned(asked: &mut mpsc::Receiver<oneshot::Sender<Session>>) {
    while !asked.is_closed() || !asked.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the session's connection is gone.
async fn gone(session: &mut Session) {
    let gone = async { while session.port.recv().await.is_some() {} };
    if timeout(CLOSE_DEADLINE, gone).await.is_err() {
        warn!("a prepared session did not close in time");
    }
}
