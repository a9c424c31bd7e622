//! A call that goes on for hours: nothing grows.

use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::pool;
use voice_bot_core::record::EndReason;
use voice_bot_sim::{
    LinkConfig, Links, Outcome, PlainCaller, PlainEngine, Scenario, Signal, World,
};

const SEED: u64 = 8;
const HOUR: Duration = Duration::from_secs(3600);

/// A quiet call without codecs, on links with some jitter.
fn quiet_call(length: Duration) -> Outcome {
    let ms = Duration::from_millis;
    let link = LinkConfig::new(ms(20), ms(30));
    let mut scenario = Scenario::new("CA1", length);
    scenario.says = Signal::silence();
    scenario.call = call::Config { max_duration: length + HOUR, ..scenario.call };
    scenario.links = Links {
        up: link.clone(),
        down: link,
        to_engine: LinkConfig::new(ms(1), ms(2)),
        from_engine: LinkConfig::new(ms(1), ms(2)),
    };
    let mut world = World::new(SEED, 1, pool::Config::default());
    world.add_nodes(
        scenario,
        Box::new(|scenario, now, out| Box::new(PlainCaller::new(scenario, now, out))),
        Box::new(|_, _| Box::new(PlainEngine::default())),
    );
    world.run()
}

fn check(length: Duration) {
    let [short, long] = [length / 10, length].map(quiet_call);
    for outcome in [&short, &long] {
        assert_eq!(outcome.complaint(), None);
        assert_eq!(outcome.reports[0].reason(), Some(EndReason::CallerHungUp));
    }
    let [early, late] = [&short, &long].map(|outcome| &outcome.reports[0]);
    let record = late.record.as_ref().expect("it ended");
    assert_eq!(record.inbound.in_ms, record.inbound.out_ms + record.inbound.unheard_ms);
    assert!(late.unanswered_ms() <= 80, "all but the last frames were answered");
    assert_eq!(record.governor.dropped_ms, 0);
    let governor = &record.governor;
    let due = governor.in_ms + governor.padded_ms - governor.silence_cut_ms;
    assert!(due.abs_diff(governor.out_ms) <= 100, "{governor:?}");
    // As the measured jitter moves, silence is drawn out or shortened by a frame now and then.
    assert!(governor.silence_cut_ms + governor.padded_ms <= governor.in_ms / 100, "{governor:?}");
    // The same jitter for ten times as long finds its worst case, but adds no drift.
    let grown = late.carrier.max_depth_ms.saturating_sub(early.carrier.max_depth_ms);
    assert!(grown <= 40, "the carrier's depth grew by {grown} ms");
    assert!(late.max_queued <= early.max_queued + Duration::from_millis(40));
    assert!(late.events <= early.events, "{} events", late.events);
}

#[test]
fn an_hour_of_quiet_leaves_no_trace() {
    println!("seed {SEED}");
    check(HOUR);
}

#[test]
#[ignore = "a minute without optimisation"]
fn eight_hours_of_quiet_leave_no_trace() {
    println!("seed {SEED}");
    check(8 * HOUR);
}
