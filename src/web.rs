//! Routes for whoever runs the server: is it alive, and would a call be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::engine::Engine;

/// How long an answer about the engines holds, so that asking often does not bother them.
const FRESH: Duration = Duration::from_secs(2);
/// How long one engine may take to be reached.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// The engines and what is known of them.
#[derive(Clone)]
pub struct Readiness {
    engines: Arc<[Arc<dyn Engine>]>,
    /// When someone last looked, and how many engines were reached.
    known: Arc<Mutex<Option<(Instant, usize)>>>,
    stopping: Arc<AtomicBool>,
}

impl Readiness {
    /// Asks these engines.
    #[must_use]
    pub fn new(engines: &[Arc<dyn Engine>]) -> Self {
        Self { engines: engines.into(), known: Arc::default(), stopping: Arc::default() }
    }

    /// Says from now on that no call would be answered.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The routes `/health` and `/ready`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .with_state(self)
    }

    /// How many engines can be reached, as of two seconds ago at most.
    pub async fn reachable(&self) -> usize {
        let mut known = self.known.lock().await;
        match *known {
            Some((at, count)) if at.elapsed() < FRESH => count,
            _ => {
                let count = self.probe().await.into_iter().filter(|(_, found)| *found).count();
                *known = Some((Instant::now(), count));
                count
            }
        }
    }

    /// Logs a warning for every engine that cannot be reached now.
    pub async fn warn_of_absent(&self) {
        for (engine, _) in self.probe().await.into_iter().filter(|(_, found)| !found) {
            warn!(
                engine,
                "this engine cannot be reached, so calls will fail; start it, or name its \
                 address with --engine-url, PERSONAPLEX_URL or engine.urls"
            );
        }
    }

    /// Every engine by name, and whether it can be reached.
    async fn probe(&self) -> Vec<(&str, bool)> {
        let probes = self.engines.iter().map(|engine| async move {
            let probed = timeout(PROBE_DEADLINE, engine.probe()).await;
            (engine.name(), matches!(probed, Ok(Ok(()))))
        });
        futures_util::future::join_all(probes).await
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let all = readiness.engines.len();
    match readiness.reachable().await {
        0 => (StatusCode::SERVICE_UNAVAILABLE, format!("no engine of {all} can be reached\n"))
            .into_response(),
        count => format!("ready: {count} of {all} engines can be reached\n").into_response(),
    }
}
