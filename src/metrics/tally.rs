//! What has happened so far: calls that ended, were let in or refused, and what became of their
//! sound.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use voice_bot_core::call::{Phase, Snapshot};
use voice_bot_core::id::CallId;
use voice_bot_core::pool::Admission;
use voice_bot_core::record::{CallRecord, EndReason, TrackStats};
use voice_bot_core::{pace, record};

use crate::switchboard::{Direction, Note, Refusal};

/// Personas with figures of their own; what more there are share one.
const PERSONAS: usize = 100;
/// The persona that they share.
const OTHERS: &str = "others";

/// A sample's labels, by name.
pub(super) type Labels = Vec<(&'static str, String)>;
/// Seconds that add up.
type Seconds = Counter<f64, AtomicU64>;
type Counts = Family<Labels, Counter>;
type Sums = Family<Labels, Seconds>;
type Histograms = Family<Labels, Histogram, Buckets>;

/// The upper bounds of a histogram's classes, in seconds.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

const PICK_UP: Buckets =
    Buckets(&[0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0]);
const PRIMING: Buckets = Buckets(&[0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0]);
const LENGTH: Buckets =
    Buckets(&[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0]);
const LATENCY: Buckets =
    Buckets(&[0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0]);

/// The counters and histograms. Their locks are held by this task and by scrapes alone.
pub(super) struct Tally {
    ended: Counts,
    refused: Counts,
    asked: Counts,
    waited: Counts,
    length: Histograms,
    personas: BTreeSet<String>,
    pick_up: Histogram,
    latency: Histogram,
    through: Sums,
    filled: Sums,
    cut: Sums,
    dropped: Sums,
    underruns: Counter,
    undecodable: Counts,
    faults: Counts,
    unsent: Counts,
    successions: Counts,
    priming: Histograms,
    engines: BTreeSet<String>,
}

impl Tally {
    /// All of them at nothing, to be read from there.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut tally = Self::empty();
        tally.register_calls(registry);
        tally.register_sound(registry);
        tally.begin();
        tally
    }

    fn empty() -> Self {
        Self {
            ended: Family::default(),
            refused: Family::default(),
            asked: Family::default(),
            waited: Family::default(),
            length: Family::new_with_constructor(LENGTH),
            personas: BTreeSet::new(),
            pick_up: PICK_UP.new_metric(),
            latency: LATENCY.new_metric(),
            through: Family::default(),
            filled: Family::default(),
            cut: Family::default(),
            dropped: Family::default(),
            underruns: Counter::default(),
            undecodable: Family::default(),
            faults: Family::default(),
            unsent: Family::default(),
            successions: Family::default(),
            priming: Family::new_with_constructor(PRIMING),
            engines: BTreeSet::new(),
        }
    }

    fn register_calls(&self, registry: &mut Registry) {
        registry.register(
            "voice_bot_calls_ended",
            "Calls that are over, by the reason on their record and by who called whom",
            self.ended.clone(),
        );
        registry.register(
            "voice_bot_calls_refused",
            "Calls that were not taken, by what the switchboard says",
            self.refused.clone(),
        );
        registry.register(
            "voice_bot_admissions",
            "What calls were answered that asked for an engine for the first time",
            self.asked.clone(),
        );
        registry.register(
            "voice_bot_waits_ended",
            "What became of callers who rang or queued: connected, refused, or left",
            self.waited.clone(),
        );
        registry.register(
            "voice_bot_call_duration_seconds",
            "How long calls lasted, by persona",
            self.length.clone(),
        );
        registry.register(
            "voice_bot_pick_up_to_audio_seconds",
            "From the beginning of the caller's audio to the engine's first, once the call is over",
            self.pick_up.clone(),
        );
        registry.register(
            "voice_bot_added_latency_seconds",
            "Engine audio between its arrival and the caller's ear, each second of each live call",
            self.latency.clone(),
        );
        registry.register(
            "voice_bot_successions",
            "Sessions that followed another in a call: it was lost, or about to forget its persona",
            self.successions.clone(),
        );
        registry.register(
            "voice_bot_engine_priming_seconds",
            "How long sessions took to read their prompts, by engine",
            self.priming.clone(),
        );
    }

    fn register_sound(&self, registry: &mut Registry) {
        registry.register(
            "voice_bot_audio_seconds",
            "Audio handed on in calls that are over",
            self.through.clone(),
        );
        registry.register(
            "voice_bot_audio_filled_seconds",
            "Audio made up in calls that are over, by cause",
            self.filled.clone(),
        );
        registry.register(
            "voice_bot_audio_cut_seconds",
            "Audio left out in calls that are over, so that delay goes down, by cause",
            self.cut.clone(),
        );
        registry.register(
            "voice_bot_audio_dropped_seconds",
            "Audio dropped in calls that are over, by cause",
            self.dropped.clone(),
        );
        registry.register(
            "voice_bot_underruns",
            "How often sound had to be made up for the caller in calls that are over",
            self.underruns.clone(),
        );
        registry.register(
            "voice_bot_undecodable",
            "Pieces of audio that could not be decoded, in calls that are over",
            self.undecodable.clone(),
        );
        registry.register(
            "voice_bot_wire_faults",
            "What a leg did against its protocol, in calls that are over",
            self.faults.clone(),
        );
        registry.register(
            "voice_bot_messages_dropped",
            "Messages that were dropped because a leg was too slow, in calls that are over",
            self.unsent.clone(),
        );
    }

    /// What has not happened is 0 and not absent, so that the first time is seen as an increase.
    fn begin(&mut self) {
        for reason in EndReason::ALL {
            for direction in [Direction::Inbound, Direction::Outbound, Direction::Browser] {
                count(&self.ended, ended_labels(reason, direction), 0);
            }
        }
        for refusal in Refusal::ALL {
            count(&self.refused, labels([("why", refusal.name())]), 0);
        }
        for outcome in ["connect", "ring", "queue", "refuse"] {
            count(&self.asked, labels([("outcome", outcome)]), 0);
        }
        for outcome in ["connected", "refused", "left"] {
            count(&self.waited, labels([("outcome", outcome)]), 0);
        }
        for why in ["lost", "horizon"] {
            count(&self.successions, labels([("why", why)]), 0);
        }
        self.sound(&CallRecord::new(CallId::new(""), ""));
    }

    /// Counts one thing.
    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Asked(outcome) => {
                let name = match outcome {
                    Ok(Admission::Connect) => "connect",
                    Ok(Admission::Ring) => "ring",
                    Ok(Admission::Queue { .. }) => "queue",
                    Ok(Admission::Refuse) | Err(_) => "refuse",
                };
                count(&self.asked, labels([("outcome", name)]), 1);
                self.refused(outcome.err());
            }
            Note::Waited(outcome) => {
                let name = if outcome.is_ok() { "connected" } else { "refused" };
                count(&self.waited, labels([("outcome", name)]), 1);
                self.refused(outcome.err());
            }
            Note::Left => count(&self.waited, labels([("outcome", "left")]), 1),
            Note::Refused(refusal) => self.refused(Some(refusal)),
            Note::Primed(engine, took) => {
                let label = labels([("engine", &engine)]);
                self.priming.get_or_create_owned(&label).observe(took.as_secs_f64());
                self.engines.insert(engine);
            }
            Note::Ended(direction, record) => self.ended(direction, &record),
        }
    }

    fn refused(&self, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            count(&self.refused, labels([("why", refusal.name())]), 1);
        }
    }

    fn ended(&mut self, direction: Direction, record: &CallRecord) {
        count(&self.ended, ended_labels(record.reason, direction), 1);
        let persona = self.persona(&record.persona);
        let length = self.length.get_or_create_owned(&labels([("persona", &persona)]));
        length.observe(record.duration.as_secs_f64());
        if let Some(after) = record.first_audio_after {
            self.pick_up.observe(after.as_secs_f64());
        }
        for succession in &record.successions {
            let why = if succession.lost.is_some() { "lost" } else { "horizon" };
            count(&self.successions, labels([("why", why)]), 1);
        }
        self.sound(record);
    }

    /// The name under which a persona's calls are counted.
    fn persona(&mut self, name: &str) -> String {
        if self.personas.len() >= PERSONAS && !self.personas.contains(name) {
            return OTHERS.to_owned();
        }
        self.personas.insert(name.to_owned());
        name.to_owned()
    }

    fn sound(&self, record: &CallRecord) {
        let CallRecord { inbound, outbound, clock, governor, .. } = record;
        self.to_engine(inbound, clock);
        self.to_caller(outbound, governor);
        self.underruns.inc_by(governor.underruns);
        let record::Unsent { caller, engine } = record.unsent;
        count(&self.unsent, labels([("leg", "caller")]), caller);
        count(&self.unsent, labels([("leg", "engine")]), engine);
        count(&self.faults, labels([("leg", "caller")]), record.faults.values().sum());
        count(&self.faults, labels([("leg", "engine")]), record.engine_faults);
    }

    fn to_engine(&self, track: &TrackStats, clock: &pace::clock::Counters) {
        const WAY: &str = "to_engine";
        self.track(WAY, track);
        add(&self.filled, WAY, "missing", clock.filled_ms);
        add(&self.cut, WAY, "silence", clock.silence_cut_ms);
        add(&self.cut, WAY, "quietest", clock.shortened_ms);
        add(&self.dropped, WAY, "late", clock.late_ms);
        add(&self.dropped, WAY, "duplicate", clock.duplicate_ms);
        add(&self.dropped, WAY, "bound", clock.dropped_ms);
    }

    fn to_caller(&self, track: &TrackStats, governor: &pace::governor::Counters) {
        const WAY: &str = "to_caller";
        self.track(WAY, track);
        add(&self.filled, WAY, "concealed", governor.concealed_ms);
        add(&self.filled, WAY, "padded", governor.padded_ms);
        add(&self.filled, WAY, "stretched", governor.stretched_ms);
        add(&self.cut, WAY, "silence", governor.silence_cut_ms);
        add(&self.cut, WAY, "compressed", governor.compressed_ms);
        add(&self.dropped, WAY, "bound", governor.dropped_ms);
        add(&self.dropped, WAY, "cleared", governor.cleared_ms);
        add(&self.dropped, WAY, "flushed", governor.flushed_ms);
    }

    fn track(&self, way: &'static str, track: &TrackStats) {
        let label = labels([("direction", way)]);
        self.through.get_or_create_owned(&label).inc_by(seconds(track.out_ms));
        count(&self.undecodable, label, track.undecodable);
        add(&self.dropped, way, "unheard", track.unheard_ms);
    }

    /// Looks at the calls that run.
    pub(super) fn sample(&self, calls: &[Option<Snapshot>]) {
        let live = calls.iter().flatten().filter(|call| call.phase == Phase::Live);
        live.for_each(|call| self.latency.observe(call.depth.as_secs_f64()));
    }

    /// Forgets the figures of engines that are not there any more.
    pub(super) fn keep_engines<'a>(&mut self, there: impl Iterator<Item = &'a str>) {
        let there: BTreeSet<&str> = there.collect();
        self.engines.retain(|engine| {
            let stays = there.contains(engine.as_str());
            if !stays {
                self.priming.remove(&labels([("engine", engine)]));
            }
            stays
        });
    }
}

pub(super) fn labels<const N: usize>(all: [(&'static str, &str); N]) -> Labels {
    all.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// The words of a record, in figures as in JSON.
fn ended_labels(reason: EndReason, direction: Direction) -> Labels {
    labels([("reason", reason.name()), ("direction", direction.name())])
}

fn count(family: &Counts, labels: Labels, more: u64) {
    family.get_or_create_owned(&labels).inc_by(more);
}

fn add(family: &Sums, direction: &str, cause: &str, ms: u64) {
    let label = labels([("direction", direction), ("cause", cause)]);
    family.get_or_create_owned(&label).inc_by(seconds(ms));
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
