//! How things stand when a scrape asks: calls, engines, webhooks, the process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use voice_bot_core::call::{Phase, Snapshot};
use voice_bot_core::pool::{EngineState, Fault};

use super::Sources;
use super::tally::{Labels, labels};
use crate::process::Process;
use crate::recordings::Recordings;
use crate::switchboard::{EngineStatus, Standing, TurnedAway};
use crate::transcription::Transcription;

/// A value that goes up and down.
type Level = Gauge<f64, std::sync::atomic::AtomicU64>;
type Levels = Family<Labels, Level>;
type Counts = Family<Labels, Counter>;

/// Where a running call can stand.
const PHASES: [&str; 7] =
    ["starting", "waiting", "priming", "live", "held", "recovering", "draining"];

pub(super) fn register(
    registry: &mut Registry,
    standing: &Standing,
    sources: &Sources,
    process: Option<&Process>,
) {
    calls(registry, standing);
    let named = by_name(&standing.engines);
    engines(registry, &named);
    sessions(registry, &named);
    of_sources(registry, sources);
    of_transcription(registry, sources.transcription.as_ref());
    registry.register(
        "voice_bot_build",
        "Which voice-bot this is",
        Info::new(labels([("version", env!("CARGO_PKG_VERSION"))])),
    );
    if let Some(process) = process {
        of_process(registry, process);
    }
}

pub(super) fn tasks(registry: &mut Registry, alive: usize) {
    let help = "Tasks of the asynchronous runtime that have not ended";
    level(registry, "voice_bot_tasks", help, alive as f64);
}

fn calls(registry: &mut Registry, Standing { calls, slots, .. }: &Standing) {
    let phases = Levels::default();
    PHASES.iter().for_each(|phase| set(&phases, [("phase", phase)], 0.0));
    for call in calls {
        let phase = call.map_or("starting", |call| phase_name(call.phase));
        phases.get_or_create_owned(&labels([("phase", phase)])).inc();
    }
    registry.register("voice_bot_calls", "Calls that run, by where they stand", phases);
    let each = |of: fn(&Snapshot) -> Duration| calls.iter().flatten().map(of);
    let deepest = each(|call| call.depth).max().unwrap_or_default();
    level(
        registry,
        "voice_bot_added_latency_max_seconds",
        "Engine audio between its arrival and the caller's ear, the most of all calls that run",
        deepest.as_secs_f64(),
    );
    level(
        registry,
        "voice_bot_queued_audio_seconds",
        "Engine audio that waits here to be sent, of all calls that run together",
        each(|call| call.queued).sum::<Duration>().as_secs_f64(),
    );
    level(
        registry,
        "voice_bot_callers_waiting",
        "Callers who ring or queue until an engine is ready",
        slots.waiting as f64,
    );
}

/// Each engine under a name that no other has; two that a program has named alike are told apart.
fn by_name(engines: &[EngineStatus]) -> Vec<(String, &EngineStatus)> {
    let mut seen = BTreeMap::<&str, usize>::new();
    let named = |engine: &EngineStatus, count: usize| match count {
        1 => engine.name.clone(),
        count => format!("{}#{count}", engine.name),
    };
    let mut all = Vec::new();
    for engine in engines {
        let count = seen.entry(&engine.name).or_default();
        *count += 1;
        all.push((named(engine, *count), engine));
    }
    all
}

fn engines(registry: &mut Registry, engines: &[(String, &EngineStatus)]) {
    let (states, factors) = (Levels::default(), Levels::default());
    let slots = Levels::default();
    for (name, engine) in engines {
        for state in EngineState::ALL {
            let is_it = f64::from(u8::from(engine.view.state == state));
            set(&states, [("engine", name), ("state", state.name())], is_it);
        }
        if let Some(factor) = engine.view.real_time_factor {
            set(&factors, [("engine", name)], factor.into());
        }
        for state in ["free", "reserved", "priming", "primed", "call"] {
            set(&slots, [("engine", name), ("state", state)], 0.0);
        }
        for slot in &engine.view.slots {
            let state = EngineStatus::slot_state(slot);
            slots.get_or_create_owned(&labels([("engine", name), ("state", state)])).inc();
        }
    }
    registry.register("voice_bot_engine_state", "1 for the state that the engine is in", states);
    registry.register(
        "voice_bot_engine_real_time_factor",
        "How fast the engine was when last looked at; 1 is real time",
        factors,
    );
    registry.register("voice_bot_engine_slots", "The engine's slots, by what is in them", slots);
}

fn sessions(registry: &mut Registry, engines: &[(String, &EngineStatus)]) {
    let (served, faults) = (Counts::default(), Counts::default());
    for (name, engine) in engines {
        count(&served, [("engine", name)], engine.view.served);
        for kind in FAULTS {
            count(&faults, [("engine", name), ("kind", kind)], 0);
        }
        for (fault, times) in &engine.view.faults {
            count(&faults, [("engine", name), ("kind", &fault_kind(*fault))], *times);
        }
    }
    registry.register(
        "voice_bot_engine_sessions",
        "Sessions of the engine that have ended, calls and trials",
        served,
    );
    registry.register(
        "voice_bot_engine_faults",
        "What the engine did against its side of the bargain",
        faults,
    );
}

/// Every kind of fault.
const FAULTS: [&str; 9] = [
    "open-busy",
    "open-refused",
    "open-unreachable",
    "open-protocol",
    "closed",
    "closed-lost",
    "closed-protocol",
    "silent",
    "slow",
];

/// The kind of a fault. The number with which an engine closes is its own to choose, and left out.
fn fault_kind(fault: Fault) -> String {
    let mut name = String::new();
    write!(name, "{fault}").expect("a text takes what is written");
    if FAULTS.contains(&name.as_str()) { name } else { "closed".to_owned() }
}

fn of_recordings(registry: &mut Registry, recordings: Option<&Recordings>) {
    let counted = recordings.map(Recordings::counters).unwrap_or_default();
    let lost = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    lost.inc_by(Duration::from_millis(counted.lost_ms).as_secs_f64());
    registry.register(
        "voice_bot_recording_lost_seconds",
        "Sound that no recording has, as the disk was too slow for it or failed",
        lost,
    );
    level(
        registry,
        "voice_bot_recordings_waiting",
        "Complete recordings that wait to be moved to S3",
        counted.waiting as f64,
    );
    let moved = "Recordings that were moved to S3";
    total(registry, "voice_bot_recordings_uploaded", moved, counted.uploaded);
    let failed = "Tries to move a recording to S3 that failed";
    total(registry, "voice_bot_recording_upload_failures", failed, counted.upload_failures);
}

fn of_sources(registry: &mut Registry, sources: &Sources) {
    let Sources { notes, webhooks, keeper, recordings, .. } = sources;
    of_recordings(registry, recordings.as_ref());
    let turned_away = Counts::default();
    let whys = [("too-many", TurnedAway::TooMany), ("unsigned", TurnedAway::Unsigned)];
    for (name, why) in whys {
        count(&turned_away, [("why", name)], notes.count_turned_away(why));
    }
    registry.register(
        "voice_bot_requests_turned_away",
        "Requests that were taken for no call: too many in a minute, or not signed by Twilio",
        turned_away,
    );
    total(
        registry,
        "voice_bot_notes_lost",
        "Things that happened and are missing in these figures, as too many came at once",
        notes.lost(),
    );
    total(
        registry,
        "voice_bot_traces_lost",
        "Traces of calls that no collector took, or that miss something",
        notes.untraced(),
    );
    let sent = webhooks.as_ref().map(|webhooks| webhooks.counters()).unwrap_or_default();
    level(
        registry,
        "voice_bot_webhook_events_waiting",
        "Events that wait in the spool for a receiver",
        sent.waiting as f64,
    );
    let totals = [
        ("voice_bot_webhook_events_delivered", "Events that receivers have taken", sent.delivered),
        ("voice_bot_webhook_events_retried", "Tries to deliver an event that failed", sent.retried),
        (
            "voice_bot_webhook_events_given_up",
            "Events that no receiver took in time",
            sent.given_up,
        ),
        ("voice_bot_webhook_events_dropped", "Events for which there was no room", sent.dropped),
        (
            "voice_bot_store_records_lost",
            "Records of calls that a store of them could not keep",
            keeper.as_ref().map_or(0, |keeper| keeper.counters().lost),
        ),
    ];
    totals.iter().for_each(|(name, help, value)| total(registry, name, help, *value));
}

fn of_transcription(registry: &mut Registry, transcription: Option<&Transcription>) {
    let is = transcription.map(Transcription::counters).unwrap_or_default();
    let utterances = Counts::default();
    let outcomes =
        [("written", is.written), ("empty", is.empty), ("failed", is.failed), ("lost", is.lost)];
    outcomes.iter().for_each(|(name, value)| count(&utterances, [("outcome", name)], *value));
    registry.register(
        "voice_bot_transcription_utterances",
        "What callers have said, by what became of it: written down, without words, refused or \
         not answered, or lost for want of room or time",
        utterances,
    );
    total(
        registry,
        "voice_bot_transcription_retries",
        "Tries to have something written down that failed and were made again",
        is.retried,
    );
    let audio = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    audio.inc_by(is.audio.as_secs_f64());
    registry.register(
        "voice_bot_transcription_audio_seconds",
        "Sound of callers that the server of transcription.url has answered",
        audio,
    );
    level(
        registry,
        "voice_bot_transcription_utterances_waiting",
        "Utterances of callers that wait to be written down",
        is.waiting as f64,
    );
    registry.register(
        "voice_bot_transcription_seconds",
        "How long the server of transcription.url takes to answer",
        transcription.map_or_else(Transcription::no_latency, Transcription::latency),
    );
}

/// Under the names that every Prometheus client has for them.
fn of_process(registry: &mut Registry, process: &Process) {
    let cpu = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    cpu.inc_by(process.cpu_seconds);
    let help = "Time of all processors that this process has used";
    registry.register("process_cpu_seconds", help, cpu);
    let levels = [
        ("process_resident_memory_bytes", "Memory that it holds", process.resident_bytes as f64),
        ("process_open_fds", "Files and sockets that it has open", process.open_files as f64),
        ("process_threads", "Its threads", process.threads as f64),
        ("process_start_time_seconds", "When it was started, in Unix time", process.start_seconds),
        (
            "process_max_fds",
            "How many files and sockets it may have open",
            process.most_files.map_or(f64::INFINITY, |most| most as f64),
        ),
    ];
    levels.iter().for_each(|(name, help, value)| level(registry, name, help, *value));
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Waiting => "waiting",
        Phase::Priming => "priming",
        Phase::Live => "live",
        Phase::Held => "held",
        Phase::Recovering(_) => "recovering",
        // One that has just ended is gone within a moment.
        Phase::Draining(_) | Phase::Ended(_) => "draining",
    }
}

fn set<const N: usize>(family: &Levels, named: [(&'static str, &str); N], value: f64) {
    family.get_or_create_owned(&labels(named)).set(value);
}

fn count<const N: usize>(family: &Counts, named: [(&'static str, &str); N], more: u64) {
    family.get_or_create_owned(&labels(named)).inc_by(more);
}

fn level(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Level::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn total(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}
