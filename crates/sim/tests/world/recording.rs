//! A recording says when what was said and heard, by the carrier's own clock.

use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::pool;
use voice_bot_core::record::EndReason;
use voice_bot_sim::{LinkConfig, Links, Report, Scenario, Stall, World, percentile};

const SEED: u64 = 31;
/// How far the two sides may be from the truth.
const CLOSE: Duration = Duration::from_millis(20);
/// Until marks have told how long the way takes, the bot's side is early.
const LEARNS: Duration = Duration::from_secs(3);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A recorded call in which beeps are echoed, on links with this delay and jitter.
fn recorded(length: Duration, drift_ppm: i32, delay: u64, jitter: u64, stalls: &[Stall]) -> Report {
    let mut scenario = Scenario::new("CA1", length);
    scenario.persona.record = true;
    scenario.drift_ppm = drift_ppm;
    scenario.call = call::Config { max_duration: length + ms(60_000), ..scenario.call };
    scenario.links = Links {
        up: LinkConfig { stalls: stalls.to_vec(), ..LinkConfig::new(ms(delay), ms(jitter)) },
        down: LinkConfig::new(ms(delay), ms(jitter)),
        to_engine: LinkConfig::new(ms(1), ms(2)),
        from_engine: LinkConfig::new(ms(1), ms(2)),
    };
    let mut world = World::new(SEED, 1, pool::Config::default());
    world.add(scenario);
    let outcome = world.run();
    assert_eq!(outcome.complaint(), None);
    let report = outcome.reports.into_iter().next().expect("one call");
    assert_eq!(report.reason(), Some(EndReason::CallerHungUp));
    report
}

/// How far each of the beeps that were there is from the next one in the recording, those left out
/// that are not within half a period of one.
fn errors(truth: &[Duration], recorded: &[Duration]) -> Vec<Duration> {
    let nearest = |at: &Duration| recorded.iter().map(|other| at.abs_diff(*other)).min();
    truth.iter().filter_map(nearest).filter(|error| *error < ms(500)).collect()
}

/// Of the beeps from `from` on so many in 1000 may be farther from the truth than is close, and as
/// many be missing; all are within `worst` of it.
fn check(report: &Report, from: Duration, per_mille: usize, worst: Duration) {
    for (side, truth, recorded) in
        [("caller", &report.said, &report.recorded[0]), ("bot", &report.heard, &report.recorded[1])]
    {
        let truth: Vec<Duration> = truth.iter().copied().filter(|at| *at >= from).collect();
        let errors = errors(&truth, recorded);
        let far = errors.iter().filter(|error| **error > CLOSE).count();
        let [half, most] = [50, 100].map(|percent| percentile(&errors, percent));
        let (there, found) = (truth.len(), errors.len());
        let figures = format!(
            "seed {SEED}, {side}: {found} of {there} found, {far} far, half {half:?} and all at \
             most {most:?} off"
        );
        assert!(found > 0 && (there - found + far) * 1000 <= there * per_mille, "{figures}");
        assert!(most.is_some_and(|most| most <= worst), "{figures}");
    }
}

/// Of a jitter of 120 ms the carrier runs dry in the middle of what is said, and where exactly no
/// mark tells.
#[test]
fn both_sides_are_where_they_were_heard() {
    for (delay, jitter, worst) in [(0, 0, 20), (20, 10, 20), (80, 40, 25), (30, 120, 50)] {
        let per_mille = if jitter > 40 { 250 } else { 20 };
        let report = recorded(ms(60_000), 0, delay, jitter, &[]);
        check(&report, LEARNS, per_mille, ms(worst));
    }
}

#[test]
fn clocks_that_drift_apart_take_nothing_away() {
    for drift_ppm in [-300, 300] {
        check(&recorded(ms(600_000), drift_ppm, 30, 30, &[]), LEARNS, 0, CLOSE);
    }
}

/// Nothing comes from the caller for up to 2.4 s once a minute, and meanwhile nobody can know when
/// the bot is heard. Of a jitter of 40 ms, in place of 20, one beep in 50 is up to 27 ms off.
#[test]
fn an_hour_ends_as_it_began() {
    let stalls: Vec<Stall> =
        (1..60).map(|minute| Stall { at: ms(minute * 60_000), length: ms(40 * minute) }).collect();
    let report = recorded(ms(3_600_000), 120, 40, 20, &stalls);
    let record = report.record.as_ref().expect("it ended");
    assert_eq!(record.recording.map(|lacks| lacks.late_ms), Some(0));
    check(&report, LEARNS, 20, ms(500));
    check(&report, ms(3_600_000 - 50_000), 0, CLOSE);
}
