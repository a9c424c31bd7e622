//! How a call comes to its session: slot after slot, prepared or opened.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::persona::SessionKey;
use voice_bot_core::pool::{Fault, Way};

use super::Request;
use super::lease::{Taken, Tiding};
use super::standby::Standby;
use crate::driver::{Lease as _, Opened, Wanted};
use crate::engine::Session;

/// Tries the slots that can be had, one after the other, until a session is open.
pub(super) async fn open(
    requests: mpsc::WeakSender<Request>,
    call: CallId,
    wanted: Wanted,
) -> Result<Opened, OpenError> {
    let Wanted { persona, usual, slots } = wanted;
    let mut last = OpenError::Busy;
    let mut tried = BTreeSet::new();
    loop {
        let (reply, answer) = oneshot::channel();
        let Some(requests) = requests.upgrade() else { return Err(last) };
        let key = SessionKey::of(&usual);
        let asked = requests.send(Request::Take(call.clone(), key, slots, reply)).await;
        drop(requests);
        let taken = if asked.is_ok() { answer.await.ok().flatten() } else { None };
        let Some(Taken { mut lease, engine, way, standby }) = taken else { return Err(last) };
        // One that has rested meanwhile would fail again.
        if !tried.insert(lease.slot) {
            return Err(last);
        }
        if let Some(session) = handed_over(way, standby).await {
            info!(engine = engine.name(), primed = session.primed, "engine connected");
            return Ok(Opened { session, lease: Box::new(lease), engine: engine.name().into() });
        }
        engine.check(&persona)?;
        let began = Instant::now();
        match engine.open(persona.clone()).await {
            Ok(session) => {
                lease.tell(Tiding::Opened(began.elapsed()));
                info!(engine = engine.name(), "engine connected");
                let engine = engine.name().into();
                return Ok(Opened { session, lease: Box::new(lease), engine });
            }
            Err(failure) => {
                warn!(engine = engine.name(), %failure, "engine not opened");
                lease.fail(Fault::Open(failure));
                last = failure;
            }
        }
    }
}

/// The session that was prepared in a slot, if it can be had; otherwise the slot's engine is free.
async fn handed_over(way: Way, standby: Option<Standby>) -> Option<Session> {
    match (way, standby?) {
        (Way::HandOver, standby) => standby.hand_over().await,
        (Way::Open | Way::Replace, standby) => {
            standby.close().await;
            None
        }
    }
}
