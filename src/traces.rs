//! A trace of each call for a collector that takes OTLP over HTTP, put together when the call is
//! over, in tasks of their own. No call waits for them, and a collector that is down costs nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{trace, warn};
use url::Url;
use voice_bot_core::call::Event;
use voice_bot_core::id::CallId;

use crate::config::TelemetryConfig;
use crate::http;
use crate::switchboard::{Happening, Mark, Marked, Notes, Switchboard};
use trail::Trail;

mod trail;

/// Calls that are followed at once; beyond, the one that began first is let go.
const FOLLOWED: usize = 4096;
/// Traces that may wait to be sent.
const WAITING: usize = 256;
/// Spans that are sent at once, at most about.
const BATCH: usize = 512;
/// How long spans wait for others to be sent with them.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The least time between two warnings that traces are lost.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Sends traces. Cheap to clone; nothing is traced any more once the last clone is gone.
#[derive(Clone)]
pub(crate) struct Traces(mpsc::Sender<oneshot::Sender<()>>);

/// What is handed to whoever sends.
enum Parcel {
    Spans(Vec<SpanData>),
    /// To be told once all before it is sent or lost.
    Flush(oneshot::Sender<()>),
}

impl Traces {
    /// Begins to follow calls; nothing where there is no collector or it cannot be sent to. Must be
    /// called inside a tokio runtime.
    pub(crate) fn start(
        config: &TelemetryConfig,
        switchboard: &Switchboard,
        marks: mpsc::Receiver<Mark>,
        notes: Notes,
    ) -> Option<Self> {
        let exporter = match exporter(config.otlp_url.as_ref()?) {
            Ok(exporter) => exporter,
            Err(error) => {
                warn!(%error, "calls cannot be traced");
                return None;
            }
        };
        let (flush, flushes) = mpsc::channel(1);
        let (out, parcels) = mpsc::channel(WAITING);
        tokio::spawn(send(exporter, parcels, notes.clone()));
        let percent = config.sample_percent;
        let follower = Follower { percent, trails: BTreeMap::new(), out, notes };
        tokio::spawn(follower.run(switchboard.subscribe(), marks, flushes));
        Some(Self(flush))
    }

    /// Waits until what has happened is sent, at most for `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let flushed = async {
            let (done, is_done) = oneshot::channel();
            self.0.send(done).await.ok()?;
            is_done.await.ok()
        };
        if timeout(limit, flushed).await.is_err() {
            warn!("some traces could not be sent in time");
        }
    }
}

/// Follows the calls that run.
struct Follower {
    percent: u8,
    trails: BTreeMap<CallId, Trail>,
    out: mpsc::Sender<Parcel>,
    notes: Notes,
}

impl Follower {
    async fn run(
        mut self,
        mut events: broadcast::Receiver<Happening>,
        mut marks: mpsc::Receiver<Mark>,
        mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        loop {
            // All events of a call are there before the mark of its end is.
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Ok(Happening { call, event, .. }) => self.event(call, &event),
                    Err(RecvError::Lagged(_)) => self.notes.add_untraced(1),
                    Err(RecvError::Closed) => return,
                },
                Some(mark) = marks.recv() => self.mark(mark),
                flush = flushes.recv() => {
                    let Some(done) = flush else { return };
                    // An error is the news itself: nobody sends any more.
                    drop(self.out.send(Parcel::Flush(done)).await);
                }
            }
        }
    }

    fn event(&mut self, call: CallId, event: &Event) {
        match event {
            Event::Phase(phase) => {
                let now = SystemTime::now();
                self.trail(call, now, |trail| trail.phase(*phase, now));
            }
            Event::Action { rule, action } => {
                let now = SystemTime::now();
                self.trail(call, now, |trail| trail.action(rule, action, now));
            }
            Event::Word(_)
            | Event::Digit(_)
            | Event::Turn(_)
            | Event::Speed(_)
            | Event::Cleared
            | Event::RuleMet(_)
            | Event::Succeeded(_)
            | Event::Ended(_) => {}
        }
    }

    fn mark(&mut self, Mark { call, at, what }: Mark) {
        match what {
            Marked::Answered(took) => {
                let began = at.checked_sub(took).unwrap_or(at);
                self.trail(call, began, |trail| trail.webhook(began, at));
            }
            Marked::Ended(direction, record) => {
                if !is_chosen(&call, self.percent) {
                    return;
                }
                let trail = self.trails.remove(&call).unwrap_or_else(|| Trail::new(at));
                let spans = trail.spans(direction, &record, at);
                if self.out.try_send(Parcel::Spans(spans)).is_err() {
                    self.notes.add_untraced(1);
                }
            }
        }
    }

    fn trail(&mut self, call: CallId, began: SystemTime, more: impl FnOnce(&mut Trail)) {
        if !is_chosen(&call, self.percent) {
            return;
        }
        if self.trails.len() >= FOLLOWED && !self.trails.contains_key(&call) {
            let first = self.trails.iter().min_by_key(|(_, trail)| trail.began());
            if let Some(first) = first.map(|(call, _)| call.clone()) {
                self.trails.remove(&first);
            }
        }
        more(self.trails.entry(call).or_insert_with(|| Trail::new(began)));
    }
}

/// Whether a call is among those that are traced: by its name, so that every server says the same.
fn is_chosen(call: &CallId, percent: u8) -> bool {
    let digest = Sha256::digest(call.as_str().as_bytes());
    let number = u64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    (number * 100) >> 32 < u64::from(percent)
}

fn exporter(collector: &Url) -> Result<SpanExporter, Box<dyn std::error::Error + Send + Sync>> {
    let client = http::client_for(collector)
        .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut address = collector.clone();
    address.set_path(&format!("{}/v1/traces", collector.path().trim_end_matches('/')));
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(address.as_str())
        .with_timeout(DEADLINE)
        .with_http_client(client)
        .build()?;
    let about = [("service.name", "voice-bot"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let about = about.map(|(key, value)| KeyValue::new(key, value));
    exporter.set_resource(&Resource::builder_empty().with_attributes(about).build());
    Ok(exporter)
}

async fn send(exporter: SpanExporter, mut parcels: mpsc::Receiver<Parcel>, notes: Notes) {
    let mut warned: Option<Instant> = None;
    while let Some(parcel) = parcels.recv().await {
        let (mut traces, mut spans, mut flush) = (0, Vec::new(), None);
        let gathered = Instant::now() + GATHER;
        let mut next = Some(parcel);
        while let Some(parcel) = next.take() {
            match parcel {
                Parcel::Spans(more) => {
                    traces += 1;
                    spans.extend(more);
                }
                Parcel::Flush(done) => {
                    flush = Some(done);
                    break;
                }
            }
            if spans.len() < BATCH {
                next = timeout_at(gathered, parcels.recv()).await.ok().flatten();
            }
        }
        if traces > 0 && !matches!(timeout(DEADLINE, exporter.export(spans)).await, Ok(Ok(()))) {
            notes.add_untraced(traces);
            if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                warned = Some(Instant::now());
                warn!(traces, "the collector at telemetry.otlp_url does not take traces; lost");
            }
        }
        if flush.is_some_and(|done| done.send(()).is_err()) {
            trace!("who waited has gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_in_a_hundred_are_traced_and_always_the_same() {
        let calls: Vec<_> = (0..10_000).map(|n| CallId::new(&format!("CA{n:032x}"))).collect();
        let chosen = |percent| calls.iter().filter(|call| is_chosen(call, percent)).count();
        assert_eq!(chosen(100), calls.len());
        assert!((800..1200).contains(&chosen(10)), "{}", chosen(10));
        assert!(calls.iter().all(|call| is_chosen(call, 30) || !is_chosen(call, 10)));
    }
}
