//! Routes for whoever runs the server: is it alive, and would a call be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use voice_bot_core::pool::EngineState;

use crate::switchboard::Switchboard;

/// What is known of the engines, and whether the server is about to stop.
#[derive(Clone)]
pub struct Readiness {
    switchboard: Switchboard,
    stopping: Arc<AtomicBool>,
}

impl Readiness {
    /// Asks this switchboard.
    #[must_use]
    pub fn new(switchboard: Switchboard) -> Self {
        Self { switchboard, stopping: Arc::default() }
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
}

/// Ready as long as one engine is well, be it in use: whoever takes this server out of its balancer
/// would also take the webhooks away from the calls that run.
async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let engines = readiness.switchboard.engines().await;
    let is_well = |state| match state {
        EngineState::Ready | EngineState::Priming | EngineState::Busy => true,
        EngineState::Slow | EngineState::Down | EngineState::Draining => false,
    };
    let well = engines.iter().filter(|engine| is_well(engine.view.state)).count();
    let in_use = engines.iter().filter(|engine| engine.view.state == EngineState::Busy).count();
    let all = engines.len();
    if well == 0 {
        let body = format!("no engine of {all} can take a call\n");
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    format!("ready: {well} of {all} engines are well, {in_use} in use\n").into_response()
}
