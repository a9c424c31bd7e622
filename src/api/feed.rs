//! `/api/v1/live`: what happens, for whoever watches, as server-sent events (WHATWG HTML, 9.2).
//!
//! Each event is put into words once for all watchers, and only while there are any. One ring holds
//! them all: who reads too slowly misses some, is told how many, and costs no more than its place.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use voice_bot_core::call::{Event, Snapshot};

use super::Problem;
use super::door::EVENTS;
use crate::fleet::Fleet;
use crate::store::{Note, unix_ms};
use crate::switchboard::{Happening, RunningCall, Switchboard};
use crate::transcription::{Spoken, Transcription};

/// How often watchers are told how everything stands.
const EVERY: Duration = Duration::from_millis(500);
/// Events that a watcher may be behind before it misses some, besides what the system holds for its
/// socket. Many may be how everything stands, which is some 350 bytes for each call.
const BEHIND: usize = 128;
/// Watchers at once.
const WATCHERS: usize = 64;

/// Tells watchers what happens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Inner>);

struct Inner {
    switchboard: Switchboard,
    fleet: Fleet,
    /// Writes down what callers say, if somebody does.
    transcription: Option<Transcription>,
    places: Arc<Semaphore>,
    audience: Mutex<Audience>,
}

#[derive(Default)]
struct Audience {
    /// Where watchers listen, while there are any.
    events: Option<broadcast::Sender<Bytes>>,
    is_over: bool,
}

impl Feed {
    /// What happens on this switchboard.
    pub(crate) fn new(
        switchboard: Switchboard,
        fleet: Fleet,
        transcription: Option<Transcription>,
    ) -> Self {
        let (places, audience) = (Arc::new(Semaphore::new(WATCHERS)), Mutex::default());
        Self(Arc::new(Inner { switchboard, fleet, transcription, places, audience }))
    }

    /// Tells nobody anything any more: each watcher's answer ends.
    pub(crate) fn stop(&self) {
        let mut audience = self.0.audience.lock().unwrap_or_else(PoisonError::into_inner);
        *audience = Audience { events: None, is_over: true };
    }

    /// Everything from now on; `None` once it is over.
    fn watch(&self) -> Option<broadcast::Receiver<Bytes>> {
        let mut audience = self.0.audience.lock().unwrap_or_else(PoisonError::into_inner);
        if audience.is_over {
            return None;
        }
        if let Some(events) = &audience.events {
            return Some(events.subscribe());
        }
        let (events, watched) = broadcast::channel(BEHIND);
        audience.events = Some(events);
        tokio::spawn(self.clone().tell());
        Some(watched)
    }

    /// Hands an event to everybody; false when nobody is there any more, or it is over.
    fn hand(&self, event: &Bytes) -> bool {
        let mut audience = self.0.audience.lock().unwrap_or_else(PoisonError::into_inner);
        let heard =
            audience.events.as_ref().is_some_and(|events| events.send(event.clone()).is_ok());
        if !heard {
            audience.events = None;
        }
        heard
    }

    /// Tells everybody everything, as long as somebody listens.
    async fn tell(self) {
        let mut happenings = self.0.switchboard.subscribe();
        let mut spoken = self.0.transcription.as_ref().map(Transcription::subscribe);
        let mut clock = interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                happening = happenings.recv() => match happening {
                    Ok(happening) => of_happening(&happening),
                    Err(RecvError::Lagged(count)) => Some(missed(count)),
                    Err(RecvError::Closed) => return,
                },
                spoken = next_spoken(&mut spoken) => Some(spoken),
                _ = clock.tick() => Some(self.state().await),
            };
            if event.is_some_and(|event| !self.hand(&event)) {
                return;
            }
        }
    }

    /// How everything stands.
    async fn state(&self) -> Bytes {
        let engines = self.0.fleet.list().await;
        let mut at = BTreeMap::new();
        for engine in &engines {
            for slot in engine["slots"].as_array().into_iter().flatten() {
                if let Some(call) = slot["call"].as_str() {
                    at.insert(call, &engine["name"]);
                }
            }
        }
        let calls = self.0.switchboard.running().await;
        let calls: Vec<_> =
            calls.iter().map(|call| of_call(call, at.get(call.id.as_str()))).collect();
        event("state", &json!({"now_ms": unix_ms(), "calls": calls, "engines": engines}))
    }
}

pub(super) fn router(feed: Feed) -> Router {
    Router::new().route("/api/v1/live", get(live)).with_state(feed)
}

async fn live(State(feed): State<Feed>) -> Result<Response, Problem> {
    let refused = |code, why: &str| Problem(StatusCode::SERVICE_UNAVAILABLE, code, why.to_owned());
    let place = Arc::clone(&feed.0.places).try_acquire_owned();
    let place = place.map_err(|_| refused("too_many", "too many watch; close another page"))?;
    let watched = feed.watch().ok_or_else(|| refused("stopping", "the server is stopping"))?;
    let headers = [
        (header::CONTENT_TYPE, EVENTS),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies on the way are to hand each event on at once.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream::unfold((watched, place), next))).into_response())
}

/// A watcher and its place.
type Watcher = (broadcast::Receiver<Bytes>, OwnedSemaphorePermit);

async fn next(
    (mut watched, place): Watcher,
) -> Option<(Result<Bytes, std::convert::Infallible>, Watcher)> {
    let event = match watched.recv().await {
        Ok(event) => event,
        Err(RecvError::Lagged(count)) => missed(count),
        Err(RecvError::Closed) => return None,
    };
    Some((Ok(event), (watched, place)))
}

/// What is written down next of what callers say; never, where nobody writes.
async fn next_spoken(spoken: &mut Option<broadcast::Receiver<Spoken>>) -> Bytes {
    let Some(spoken) = spoken else { return pending().await };
    match spoken.recv().await {
        Ok(Spoken { call, at, text, .. }) => {
            let at_ms = at.as_millis();
            let word =
                json!({"call": call.as_str(), "at_ms": at_ms, "who": "caller", "text": text});
            event("word", &word)
        }
        Err(RecvError::Lagged(count)) => missed(count),
        Err(RecvError::Closed) => pending().await,
    }
}

/// One event as it goes over the wire.
fn event(kind: &str, data: &Value) -> Bytes {
    format!("event: {kind}\ndata: {data}\n\n").into()
}

fn missed(count: u64) -> Bytes {
    event("missed", &json!({"count": count}))
}

fn of_call(call: &RunningCall, engine: Option<&&Value>) -> Value {
    let RunningCall { id, about, persona, began_ms, snapshot } = call;
    let level = |of: fn(&Snapshot) -> f32| tenths(snapshot.as_ref().map_or(-100.0, of));
    let length = |of: fn(&Snapshot) -> Duration| {
        json!(snapshot.as_ref().map_or(Duration::ZERO, of).as_millis())
    };
    let speed = snapshot.and_then(|it| Some(f64::from(it.speed?.real_time_factor)));
    json!({
        "id": id.as_str(),
        "direction": about.direction,
        "from": about.from,
        "to": about.to,
        "persona": persona,
        "engine": engine,
        "started_ms": began_ms,
        "elapsed_ms": (unix_ms() - began_ms).max(0),
        "phase": snapshot.map_or("starting", |snapshot| snapshot.phase.name()),
        "caller_dbfs": level(|it| it.caller_dbfs),
        "engine_dbfs": level(|it| it.engine_dbfs),
        "depth_ms": length(|it| it.depth),
        "target_ms": length(|it| it.target),
        "queued_ms": length(|it| it.queued),
        "real_time_factor": speed,
    })
}

/// A level with one decimal, as more tells nobody anything.
fn tenths(dbfs: f32) -> Value {
    json!((f64::from(dbfs.max(-100.0)) * 10.0).round() / 10.0)
}

/// What is told of a happening, if it is anything.
fn of_happening(Happening { call, at, event: what }: &Happening) -> Option<Bytes> {
    let (call, at_ms) = (call.as_str(), at.as_millis());
    Some(match what {
        Event::Word(word) => {
            event("word", &json!({"call": call, "at_ms": at_ms, "who": "bot", "text": word}))
        }
        Event::Ended(record) => {
            let (reason, text) = (record.reason.name(), record.reason.to_string());
            event("ended", &json!({"call": call, "reason": reason, "reason_text": text}))
        }
        Event::Phase(_)
        | Event::Digit(_)
        | Event::Turn(_)
        | Event::Speed(_)
        | Event::Cleared
        | Event::RuleMet(_)
        | Event::Action { .. }
        | Event::Succeeded(_) => {
            let Note { kind, text } = Note::of(what)?;
            event("note", &json!({"call": call, "at_ms": at_ms, "kind": kind, "text": text}))
        }
    })
}
