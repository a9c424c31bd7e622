//! Two hundred calls in which anything may go wrong: what must always hold, holds.

use std::collections::BTreeMap;
use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::demo::{Behaviour, Config, Faults};
use voice_bot_sim::{Leaving, LinkConfig, Links, Outcome, Rng, Scenario, Signal, Stall, World};

/// Seeds that once found a fault; put one here to run it by itself.
const FOUND: [u64; 0] = [];

/// Every so many seeds one is run twice, to see that it does the same again.
const TWICE: u64 = 5;

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
    let leaves = Some((rng.between(ms(0), ms(3000)), how));
    let far = |rng: &mut Rng| LinkConfig {
        lost_per_mille: rng.pick(&[0, 0, 20, 200]),
        stalls: vec![Stall {
            at: rng.between(ms(0), ms(3000)),
            length: rng.pick(&[ms(0), ms(700)]),
        }],
        ..LinkConfig::new(rng.between(ms(0), ms(80)), rng.between(ms(0), ms(120)))
    };
    let near =
        |rng: &mut Rng| LinkConfig::new(rng.between(ms(0), ms(10)), rng.between(ms(0), ms(30)));
    Scenario {
        leaves,
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
    let voice_frames = rng.pick(&[0, 5, 20, 200]);
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
    let patient = call::Config::default();
    if rng.below(3) > 0 {
        return call::Config { engine_silence: ms(1000), caller_silence: ms(2000), ..patient };
    }
    let mut short = |least, most| rng.between(ms(least), ms(most));
    call::Config {
        start: short(0, 200),
        wait: short(0, 100),
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
    let playout = &scenario.call.playout;
    assert!(report.max_queued <= playout.max, "seed {seed}: {:?} queued", report.max_queued);
    // A link that held audio back delivers it on top of what the call sends meanwhile, and the
    // end of a call sends all that is left.
    let link = &scenario.links.down;
    let stall: Duration = link.stalls.iter().map(|stall| stall.length).sum();
    let most = playout.ahead + playout.max + link.jitter + stall + ms(20);
    let depth = ms(report.carrier.max_depth_ms);
    assert!(depth <= most, "seed {seed}: {depth:?} at the carrier");
}

fn run(seeds: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for seed in seeds {
        let scenario = scenario(seed);
        let outcome = World::run_one(seed, scenario.clone());
        check(&outcome, &scenario);
        if seed % TWICE == 0 {
            let again = World::run_one(seed, scenario);
            assert_eq!((outcome.trace, outcome.steps), (again.trace, again.steps), "seed {seed}");
        }
        let reason = outcome.reports[0].reason().expect("it ended");
        *reasons.entry(format!("{reason:?}")).or_default() += 1;
    }
    reasons
}

#[test]
fn seeds_that_found_a_fault_find_none() {
    println!("seeds {FOUND:?}");
    run(FOUND.into_iter());
}

#[test]
fn whatever_goes_wrong_a_call_keeps_its_rules_1() {
    println!("seeds 0 to 99: {:?}", run(0..100));
}

#[test]
fn whatever_goes_wrong_a_call_keeps_its_rules_2() {
    println!("seeds 100 to 199: {:?}", run(100..200));
}
