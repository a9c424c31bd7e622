//! The figures of a running server for Prometheus: a task of its own counts what the switchboard
//! notes and looks at the calls once a second, a scrape asks for the rest, and no call waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::process::Process;
use crate::recordings::Recordings;
use crate::store::Keeper;
use crate::switchboard::{Note, Notes, Standing, Switchboard};
use crate::transcription::Transcription;
use crate::webhooks::Webhooks;
use tally::Tally;

mod gauges;
mod tally;
mod text;

/// How often the running calls are looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How long a scrape may wait for the switchboard, and for a scrape before it.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(2);

/// What is at `/metrics` besides the calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// What the switchboard takes down.
    pub(crate) notes: Notes,
    /// Tells other programs what happens in calls.
    pub(crate) webhooks: Option<Webhooks>,
    /// Keeps what is left of calls.
    pub(crate) keeper: Option<Keeper>,
    /// Has what callers say written down.
    pub(crate) transcription: Option<Transcription>,
    /// Keeps the recordings of calls.
    pub(crate) recordings: Option<Recordings>,
}

/// The figures. Cheap to clone; nothing is counted any more once the last clone is gone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Parts>);

struct Parts {
    switchboard: Switchboard,
    sources: Sources,
    counted: Registry,
    /// One scrape at a time: whoever asks for many is to keep the switchboard from nobody.
    turn: Semaphore,
    /// Ends the task when dropped.
    _alive: watch::Sender<()>,
}

impl Metrics {
    /// Begins to count. Must be called inside a tokio runtime.
    pub(crate) fn start(
        switchboard: Switchboard,
        notes: mpsc::Receiver<Note>,
        sources: Sources,
    ) -> Self {
        let (mut counted, (alive, over)) = (Registry::default(), watch::channel(()));
        let tally = Tally::register(&mut counted);
        tokio::spawn(count(tally, switchboard.clone(), notes, over));
        let turn = Semaphore::new(1);
        Self(Arc::new(Parts { switchboard, sources, counted, turn, _alive: alive }))
    }

    /// The route `/metrics`, open to everybody who reaches it.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/metrics", get(answer)).with_state(self)
    }

    /// All figures, in the format of OpenMetrics 1.0; `None` when they cannot be had in time.
    async fn scrape(&self) -> Option<String> {
        let Parts { switchboard, sources, counted, turn, .. } = &*self.0;
        let standing = async {
            let turn = turn.acquire().await.ok()?;
            Some((switchboard.standing().await?, turn))
        };
        let (standing, _turn) = timeout(SCRAPE_DEADLINE, standing).await.ok()??;
        // It reads files.
        let process = tokio::task::spawn_blocking(Process::read).await.ok().and_then(Result::ok);
        let mut now = Registry::default();
        gauges::register(&mut now, &standing, sources, process.as_ref());
        gauges::tasks(&mut now, Handle::current().metrics().num_alive_tasks());
        let mut text = String::new();
        encode_registry(&mut text, counted).ok()?;
        encode_registry(&mut text, &now).ok()?;
        encode_eof(&mut text).ok()?;
        Some(text)
    }
}

async fn answer(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let Some(figures) = metrics.scrape().await else {
        let why = "the figures cannot be had right now\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let (kind, body) = if accepted.is_some_and(|accepted| accepted.contains(text::OPEN_METRICS)) {
        (text::OPEN_METRICS_TYPE, figures)
    } else {
        (text::PLAIN_TYPE, text::plain(&figures))
    };
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Counts until nobody can read it any more.
async fn count(
    mut tally: Tally,
    switchboard: Switchboard,
    mut notes: mpsc::Receiver<Note>,
    mut over: watch::Receiver<()>,
) {
    let mut clock = interval(SAMPLE_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // An error is the news itself: the sender is gone.
            _ = over.changed() => return,
            Some(note) = notes.recv() => tally.note(note),
            _ = clock.tick() => {
                let Ok(standing) = timeout(SCRAPE_DEADLINE, switchboard.standing()).await else {
                    continue;
                };
                let Some(Standing { calls, engines, .. }) = standing else { return };
                tally.sample(&calls);
                tally.keep_engines(engines.iter().map(|engine| engine.name.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
