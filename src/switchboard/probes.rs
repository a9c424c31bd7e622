//! Asks every engine now and then whether it is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use voice_bot_core::id::EngineId;
use voice_bot_core::leg::engine::OpenError;

use super::Request;
use crate::engine::Engine;

/// Engines that are asked at once.
const AT_ONCE: usize = 64;
/// How long an engine may take to answer whose own deadline is longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// One that was there and does not answer is asked again after this.
const SOON: Duration = Duration::from_secs(1);

/// Asks all of them each time that `every` has passed, or somebody wakes it, until the switchboard
/// is gone.
pub(super) async fn watch(every: Duration, wake: Arc<Notify>, requests: mpsc::WeakSender<Request>) {
    while let Some(engines) = ask(&requests, Request::Engines).await {
        let (mut probes, mut is_doubtful) = (JoinSet::new(), false);
        for (id, engine) in engines {
            if probes.len() == AT_ONCE {
                is_doubtful |= probes.join_next().await.is_some_and(|told| told.unwrap_or(false));
            }
            probes.spawn(probe(id, engine, requests.clone()));
        }
        while let Some(told) = probes.join_next().await {
            // One that panics has told nothing.
            is_doubtful |= told.unwrap_or(false);
        }
        tokio::select! {
            () = sleep(if is_doubtful { SOON.min(every) } else { every }) => {}
            () = wake.notified() => {}
        }
    }
}

/// Asks one engine; true if it is to be asked again soon.
async fn probe(id: EngineId, engine: Arc<dyn Engine>, requests: mpsc::WeakSender<Request>) -> bool {
    let probed = timeout(DEADLINE, engine.probe()).await;
    let outcome = probed.unwrap_or(Err(OpenError::Unreachable));
    ask(&requests, |reply| Request::Probed(id, outcome, reply)).await.unwrap_or(false)
}

async fn ask<T>(
    requests: &mpsc::WeakSender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let sender = requests.upgrade()?;
    sender.send(request(reply)).await.ok()?;
    drop(sender);
    answer.await.ok()
}
