//! Two hundred calls in which anything may go wrong: what must always hold, holds.

use std::collections::BTreeMap;
use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::demo::{Behaviour, Config, Faults};
use voice_bot_core::pace::governor;
use voice_bot_core::record::EndReason;
use voice_bot_sim::{Leaving, LinkConfig, Links, Outcome, Rng, Scenario, Signal, Stall, World};

/// Seeds that once found a fault; put one here to run it by itself.
const FOUND: [u64; 0] = [];

/// Every so many seeds one is run twice, to see that it does the same again.
const TWICE: u64 = 5;

/// What the carrier may have beyond the governor's bound: its target, what has just come, what it
/// takes to cut at a quiet place, and sound that was made up.
const SLACK: Duration = Duration::from_millis(600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A short call of which the seed decides everything.
fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed).part(1_000);
    let how = rng.pick(&[
        Leaving::HangsUp,
        Leaving::HangsUp,
        Leaving::HangsUp,
        Leaving::Breaks,
        Leaving::Freezes,
    ]);
    let leaves = Some((rng.between(ms(0), ms(5000)), how));
    let far = |rng: &mut Rng| LinkConfig {
        lost_per_mille: rng.pick(&[0, 0, 20, 200]),
        stalls: vec![Stall {
            at: rng.between(ms(500), ms(3000)),
            length: rng.pick(&[ms(0), ms(700)]),
        }],
        ..LinkConfig::new(rng.between(ms(0), ms(80)), rng.between(ms(0), ms(120)))
    };
    let near = |rng: &mut Rng| LinkConfig {
        stalls: vec![Stall {
            at: rng.between(ms(500), ms(3000)),
            length: rng.pick(&[ms(0), ms(900)]),
        }],
        ..LinkConfig::new(rng.between(ms(0), ms(10)), rng.between(ms(0), ms(30)))
    };
    Scenario {
        leaves,
        keys: (0..10).map(|n| ms(300 * n)).collect(),
        says: rng
            .below(2)
            .checked_sub(1)
            .map_or_else(Signal::silence, |_| Signal::beeps(ms(610), ms(150))),
        links: Links {
            up: far(&mut rng),
            down: far(&mut rng),
            to_engine: near(&mut rng),
            from_engine: near(&mut rng),
        },
        late: rng.pick(&[ms(0), ms(2), ms(30)]),
        engine: engine(&mut rng),
        call: call(&mut rng),
        drift_ppm: rng.pick(&[0, 100, -100]),
        engine_stalls: vec![Stall {
            at: rng.between(ms(500), ms(3000)),
            length: rng.pick(&[ms(0), ms(0), ms(900)]),
        }],
        ..Scenario::new("CA1", ms(0))
    }
}

/// An engine with one fault or none.
fn engine(rng: &mut Rng) -> Config {
    let frame = rng.below(12);
    let mut faults = Faults::default();
    match rng.below(7) {
        0 => faults.drop_before_handshake = true,
        1 => faults.drop_after_frames = Some(frame),
        2 => faults.stall_at_frame = Some(frame),
        3 => faults.close_after_frames = Some(frame),
        4 => faults.slow_step = Some((frame, ms(200))),
        _ => {}
    }
    let behaviour = match rng.below(3) {
        0 => Behaviour::Echo,
        1 => Behaviour::Tone,
        _ => Behaviour::default(),
    };
    let voice_frames = rng.pick(&[0, 0, 5, 5, 20, 100]);
    Config {
        step: rng.between(ms(1), ms(75)),
        voice_frames,
        behaviour,
        faults,
        ..Config::default()
    }
}

/// Sometimes so impatient that the deadlines themselves are met.
fn call(rng: &mut Rng) -> call::Config {
    let bound = rng.pick(&[ms(100), ms(320), ms(2000)]);
    let governor = governor::Config { bound, ..governor::Config::default() };
    let patient = call::Config { governor, ..call::Config::default() };
    if rng.below(3) > 0 {
        let engine_silence = rng.pick(&[ms(1000), ms(5000)]);
        return call::Config { engine_silence, caller_silence: ms(2000), ..patient };
    }
    let mut short = |least, most| rng.between(ms(least), ms(most));
    call::Config {
        start: short(0, 1000),
        wait: short(0, 200),
        prime: short(0, 3000),
        caller_silence: short(20, 1000),
        engine_silence: short(20, 500),
        max_duration: short(0, 3000),
        drain: short(0, 1500),
        ..patient
    }
}

/// Bounds beyond what the world itself watches over.
fn check(outcome: &Outcome, scenario: &Scenario) {
    let seed = outcome.seed;
    assert_eq!(outcome.complaint(), None);
    assert_eq!(outcome.slots.free, 1, "seed {seed}");
    let report = &outcome.reports[0];
    // A link that held audio back delivers it on top of what the call sends meanwhile, and the
    // end of a call sends all that is left.
    let link = &scenario.links.down;
    let stall: Duration = link.stalls.iter().map(|stall| stall.length).sum();
    let most = scenario.call.governor.bound + SLACK + link.jitter + stall;
    let depth = ms(report.carrier.max_depth_ms);
    assert!(depth <= most, "seed {seed}: {depth:?} at the carrier");
}

/// How many calls came to what.
#[derive(Debug, Default)]
struct Tally {
    reasons: BTreeMap<EndReason, u64>,
    live: u64,
    overflowed: u64,
    drained: u64,
}

fn run(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let scenario = scenario(seed);
        let outcome = World::run_one(seed, scenario.clone());
        check(&outcome, &scenario);
        if seed % TWICE == 0 {
            let again = World::run_one(seed, scenario);
            assert_eq!((outcome.trace, outcome.steps), (again.trace, again.steps), "seed {seed}");
        }
        let record = outcome.reports[0].record.as_ref().expect("the complaint would say so");
        *tally.reasons.entry(record.reason).or_default() += 1;
        tally.live += u64::from(record.primed_after.is_some());
        tally.overflowed += u64::from(record.governor.dropped_ms > 0);
        let died = [EndReason::EngineLeft, EndReason::EngineLost, EndReason::EngineStalled];
        tally.drained += u64::from(died.contains(&record.reason));
    }
    tally
}

#[test]
fn seeds_that_found_a_fault_find_none() {
    println!("seeds {FOUND:?}");
    run(FOUND.into_iter());
}

#[test]
fn whatever_goes_wrong_a_call_keeps_its_rules_1() {
    let tally = run(0..100);
    println!("seeds 0 to 99: {tally:?}");
    assert!(tally.is_telling(), "the seeds no longer reach everything: {tally:?}");
}

#[test]
fn whatever_goes_wrong_a_call_keeps_its_rules_2() {
    let tally = run(100..200);
    println!("seeds 100 to 199: {tally:?}");
    assert!(tally.is_telling(), "the seeds no longer reach everything: {tally:?}");
}

impl Tally {
    /// Whether enough went wrong, in enough ways, for the rules to have been tried.
    fn is_telling(&self) -> bool {
        self.reasons.len() >= 9 && self.live >= 35 && self.overflowed >= 1 && self.drained >= 5
    }
}
