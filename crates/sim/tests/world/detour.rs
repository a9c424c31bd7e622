//! A way that becomes longer in the middle of a call, and stays so: the lag grows by that, and the
//! call finds back to what it was. It is no engine that is too slow, and no audio that waits.

use std::time::Duration;

use voice_bot_core::demo;
use voice_bot_core::record::EndReason;
use voice_bot_sim::{Leaving, LinkConfig, Links, Report, Scenario, Signal, World};

const SEED: u64 = 51;
const BEGINS: Duration = Duration::from_secs(2);
const CHANGES: Duration = Duration::from_secs(10);
/// By then the call has found its way.
const SETTLED: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(60);
/// What was said this soon before the end may be cut off.
const FADES: Duration = Duration::from_secs(1);

/// What the lag may grow by beyond the way: an engine in lockstep answers in steps of 80 ms, and
/// what came unevenly meanwhile is provided for a little longer.
const BEYOND: Duration = Duration::from_millis(100);
/// How often, and for how long, sound may break off until then.
const BREAKS: (u64, u64) = (18, 700);
/// What of the caller an engine may miss meanwhile, in milliseconds.
const MISSED: u64 = 2000;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    FromCaller,
    ToCaller,
    ToEngine,
    FromEngine,
}

/// One call: which way becomes how much longer, and the engine's time for a frame in percent of
/// real time.
#[derive(Debug, Clone, Copy)]
struct Case {
    way: Way,
    longer: Duration,
    step: u64,
}

impl Case {
    fn run(self, length: Duration) -> Report {
        let link = |way: Way, base: u64, jitter: u64| LinkConfig {
            detour: (way == self.way).then_some((CHANGES, self.longer)),
            ..LinkConfig::new(ms(base), ms(jitter))
        };
        let scenario = Scenario::new("CA1", length);
        let step = Duration::from_micros(self.step * 800 - 1500);
        let outcome = World::run_one(
            SEED,
            Scenario {
                says: Signal::talk(),
                leaves: Some((length, Leaving::HangsUp)),
                links: Links {
                    up: link(Way::FromCaller, 30, 10),
                    down: link(Way::ToCaller, 30, 10),
                    to_engine: link(Way::ToEngine, 1, 0),
                    from_engine: link(Way::FromEngine, 1, 0),
                },
                engine: demo::Config { step, ..scenario.engine },
                ..scenario
            },
        );
        assert_eq!(outcome.complaint(), None, "seed {SEED}, {self:?}");
        outcome.reports.into_iter().next().expect("one scenario, one report")
    }

    /// What is wrong with it, if anything.
    fn fault(self) -> Option<String> {
        let (until, whole) = (self.run(SETTLED), self.run(LENGTH));
        let before = whole.lag_in(BEGINS..CHANGES - FADES, 50)?;
        let after = whole.lag_in(SETTLED..LENGTH - FADES, 50)?;
        let breaks = (whole.carrier.underruns, whole.carrier.underrun_ms);
        let late = whole.carrier.underruns - until.carrier.underruns;
        let missed = whole.record.as_ref()?.clock.skipped_ms;
        let missed_late = missed - until.record.as_ref()?.clock.skipped_ms;
        let reason = whole.reason();
        let well = after <= before + self.longer + BEYOND
            && breaks.0 <= BREAKS.0
            && breaks.1 <= BREAKS.1
            && late <= 1
            && missed <= MISSED
            && missed_late == 0
            && reason == Some(EndReason::CallerHungUp);
        (!well).then(|| {
            format!(
                "seed {SEED}, {self:?}: lag {before:?}, then {after:?}; {breaks:?} breaks and ms, \
                 {late} late; {missed} ms missed, {missed_late} late; {reason:?}"
            )
        })
    }
}

fn check(ways: &[Way]) {
    let faults: Vec<String> = ways
        .iter()
        .flat_map(|way| [(*way, 100, 40), (*way, 100, 90), (*way, 200, 40), (*way, 200, 90)])
        .filter_map(|(way, longer, step)| Case { way, longer: ms(longer), step }.fault())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_longer_way_from_or_to_the_caller_is_no_audio_that_waits() {
    check(&[Way::FromCaller, Way::ToCaller]);
}

#[test]
fn a_longer_way_to_or_from_the_engine_is_no_slowness() {
    check(&[Way::ToEngine, Way::FromEngine]);
}
