//! What is counted of notes, and that a scrape has every family in order.

use std::collections::{BTreeMap, BTreeSet};

use voice_bot_core::id::CallId;
use voice_bot_core::pool::{self, Admission};
use voice_bot_core::record::{CallRecord, EndReason, Succession};
use voice_bot_core::{call, record};

use super::*;
use crate::switchboard::{Direction, Refusal, Settings};

/// Samples by name and labels.
type Figures = BTreeMap<String, f64>;

fn figures(text: &str) -> Figures {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(read).collect()
}

fn counted(notes: impl IntoIterator<Item = Note>) -> Figures {
    let mut registry = Registry::default();
    let mut tally = Tally::register(&mut registry);
    notes.into_iter().for_each(|note| tally.note(note));
    let mut text = String::new();
    encode_registry(&mut text, &registry).unwrap();
    figures(&text)
}

fn of_persona(persona: &str) -> CallRecord {
    CallRecord { reason: EndReason::CallerHungUp, ..CallRecord::new(CallId::new("CA1"), persona) }
}

fn ended(record: CallRecord) -> Note {
    Note::Ended(Direction::Inbound, Box::new(record))
}

#[test]
fn what_a_record_says_is_counted_under_its_cause() {
    let mut record = of_persona("sam");
    record.duration = Duration::from_secs(90);
    record.first_audio_after = Some(Duration::from_millis(450));
    record.clock.filled_ms = 1500;
    record.clock.late_ms = 40;
    record.governor.compressed_ms = 250;
    record.governor.cleared_ms = 2000;
    record.governor.underruns = 3;
    record.outbound.out_ms = 60_000;
    record.inbound.unheard_ms = 700;
    record.unsent = record::Unsent { caller: 2, engine: 5 };
    let (at, took) = (Duration::from_secs(9), Duration::from_secs(1));
    record.successions = vec![
        Succession { at, took, lost: Some(EndReason::EngineLost) },
        Succession { at, took, lost: None },
    ];
    let figures = counted([ended(record.clone()), ended(record)]);
    let is = |name: &str, value: f64| assert_eq!(figures.get(name), Some(&value), "{name}");
    is("voice_bot_calls_ended_total{reason=\"caller-hung-up\",direction=\"inbound\"}", 2.0);
    is("voice_bot_calls_ended_total{reason=\"codec\",direction=\"outbound\"}", 0.0);
    is("voice_bot_call_duration_seconds_sum{persona=\"sam\"}", 180.0);
    is("voice_bot_pick_up_to_audio_seconds_bucket{le=\"0.3\"}", 0.0);
    is("voice_bot_pick_up_to_audio_seconds_bucket{le=\"0.5\"}", 2.0);
    is("voice_bot_audio_filled_seconds_total{direction=\"to_engine\",cause=\"missing\"}", 3.0);
    is("voice_bot_audio_dropped_seconds_total{direction=\"to_engine\",cause=\"late\"}", 0.08);
    is("voice_bot_audio_cut_seconds_total{direction=\"to_caller\",cause=\"compressed\"}", 0.5);
    is("voice_bot_audio_dropped_seconds_total{direction=\"to_caller\",cause=\"cleared\"}", 4.0);
    is("voice_bot_audio_dropped_seconds_total{direction=\"to_engine\",cause=\"unheard\"}", 1.4);
    is("voice_bot_audio_seconds_total{direction=\"to_caller\"}", 120.0);
    is("voice_bot_underruns_total", 6.0);
    is("voice_bot_messages_dropped_total{leg=\"engine\"}", 10.0);
    is("voice_bot_successions_total{why=\"lost\"}", 2.0);
}

#[test]
fn who_is_let_in_and_who_is_not_is_counted_once() {
    let figures = counted([
        Note::Asked(Ok(Admission::Queue { ahead: 7 })),
        Note::Waited(Ok(())),
        Note::Asked(Ok(Admission::Ring)),
        Note::Waited(Err(Refusal::Busy)),
        Note::Asked(Err(Refusal::Full)),
        Note::Refused(Refusal::Full),
        Note::Left,
    ]);
    let is = |name: &str, value: f64| assert_eq!(figures.get(name), Some(&value), "{name}");
    is("voice_bot_admissions_total{outcome=\"queue\"}", 1.0);
    is("voice_bot_admissions_total{outcome=\"connect\"}", 0.0);
    is("voice_bot_admissions_total{outcome=\"refuse\"}", 1.0);
    is("voice_bot_waits_ended_total{outcome=\"connected\"}", 1.0);
    is("voice_bot_waits_ended_total{outcome=\"left\"}", 1.0);
    is("voice_bot_calls_refused_total{why=\"busy\"}", 1.0);
    is("voice_bot_calls_refused_total{why=\"full\"}", 2.0);
}

#[test]
fn labels_have_a_bound() {
    let personas = (0..500).map(|n| ended(of_persona(&format!("persona {n}"))));
    let figures = counted(personas);
    let counts =
        |(name, _): &(&String, &f64)| name.starts_with("voice_bot_call_duration_seconds_count");
    let counts: BTreeMap<_, _> = figures.iter().filter(counts).collect();
    assert_eq!(counts.len(), 101);
    let others = "voice_bot_call_duration_seconds_count{persona=\"others\"}".to_owned();
    assert_eq!(counts.get(&others), Some(&&400.0));
}

#[test]
fn engines_that_are_gone_are_forgotten() {
    let mut registry = Registry::default();
    let mut tally = Tally::register(&mut registry);
    let took = Duration::from_secs(3);
    for engine in ["gpu-1", "gpu-2"] {
        tally.note(Note::Primed(engine.to_owned(), took));
    }
    tally.keep_engines(["gpu-2"].into_iter());
    let mut text = String::new();
    encode_registry(&mut text, &registry).unwrap();
    let figures = figures(&text);
    let sum = |engine| format!("voice_bot_engine_priming_seconds_sum{{engine=\"{engine}\"}}");
    assert_eq!((figures.get(&sum("gpu-1")), figures.get(&sum("gpu-2"))), (None, Some(&3.0)));
}

fn settings(notes: Notes) -> Settings {
    Settings {
        engines: Vec::new(),
        call: call::Config::default(),
        pool: pool::Config::default(),
        probe: None,
        standbys: Vec::new(),
        max_calls: 1,
        recordings: None,
        tapes: None,
        acts: None,
        webhooks: None,
        notes,
        keeper: None,
        transcription: None,
    }
}

#[tokio::test]
async fn a_scrape_has_each_family_and_each_sample_once() {
    let (notes, counted) = Notes::channel();
    let switchboard = Switchboard::start(settings(notes.clone()));
    let metrics = Metrics::start(switchboard, counted, Sources { notes, ..Sources::default() });
    let open = metrics.scrape().await.unwrap();
    assert!(open.ends_with("# EOF\n"), "{open}");
    let plain = text::plain(&open);
    for text in [&open, &plain] {
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = names.map(|rest| rest.split(' ').next().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(figures(text).len(), samples);
    }
    assert!(plain.contains("# TYPE voice_bot_calls_ended_total counter\n"), "{plain}");
    assert!(plain.contains("voice_bot_calls{phase=\"live\"} 0"), "{plain}");
    assert!(plain.contains("# TYPE voice_bot_build_info gauge\n"), "{plain}");
}

#[tokio::test]
async fn the_task_ends_with_the_last_who_could_read() {
    let (notes, counted) = Notes::channel();
    let switchboard = Switchboard::start(settings(notes.clone()));
    let metrics = Metrics::start(switchboard.clone(), counted, Sources::default());
    assert!(metrics.clone().scrape().await.is_some());
    drop((metrics, switchboard));
    let ended = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(Duration::from_secs(10), ended).await.is_ok());
}
