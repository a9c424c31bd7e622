//! The measure itself: the lag that a call's curve shows is the lag that there is.

use std::time::Duration;

use voice_bot_core::audio::mulaw;
use voice_bot_core::carrier::PlayStats;
use voice_bot_sim::{
    Lag, LinkConfig, Links, Listener, Report, Scenario, Signal, Stall, World, curve,
};

const SEED: u64 = 3;
const LENGTH: Duration = Duration::from_secs(20);
/// What is heard before this may have begun while the engine was not ready.
const BEGINS: Duration = Duration::from_secs(2);
const LINK: Duration = Duration::from_millis(30);
const NEAR: Duration = Duration::from_millis(1);
/// Where syllables are looked for: every 5 ms.
const GRID: Duration = Duration::from_millis(5);
const SAMPLES_PER_MS: usize = 8;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Links that only delay, and an engine that echoes.
fn scenario(says: Signal) -> Scenario {
    let far = LinkConfig::new(LINK, ms(0));
    let near = LinkConfig::new(NEAR, ms(0));
    Scenario {
        says,
        links: Links { up: far.clone(), down: far, to_engine: near.clone(), from_engine: near },
        ..Scenario::new("CA1", LENGTH)
    }
}

fn run(scenario: Scenario) -> Report {
    let outcome = World::run_one(SEED, scenario);
    assert_eq!(outcome.complaint(), None);
    outcome.reports.into_iter().next().expect("one scenario, one report")
}

/// The least and the greatest lag of what was said in that time.
fn extremes(points: &[Lag], said: std::ops::Range<Duration>) -> (Duration, Duration) {
    let lags = points.iter().filter(|point| said.contains(&point.said_at)).map(|point| point.lag);
    let lags: Vec<Duration> = lags.collect();
    (*lags.iter().min().expect("some were heard"), *lags.iter().max().expect("and so"))
}

#[test]
fn the_curve_of_a_plain_call_is_flat_and_is_the_sum_of_its_parts() {
    // Four links, 80 ms to fill a packet, 80 ms in the echo, 11.5 ms in the engine, two codecs of
    // 6.5 ms and a filter of 2, 20 ms in hand against jitter; and up to 20 ms until the carrier's
    // next tick.
    let parts =
        2 * LINK + 2 * NEAR + Duration::from_micros(80_000 + 80_000 + 11_500 + 15_000 + 20_000);
    for says in [Signal::talk(), Signal::monologue()] {
        let report = run(scenario(says));
        let said = BEGINS..LENGTH - ms(1000);
        let heard = report.intelligible(said.clone());
        assert!(heard >= 97, "{heard} % of the syllables");
        let (least, most) = extremes(&report.lags, said);
        println!("{least:?} to {most:?}, {parts:?} in parts");
        assert!(most - least <= 2 * GRID, "{least:?} to {most:?}");
        assert!(
            least >= parts - GRID && most <= parts + ms(20) + 2 * GRID,
            "{least:?} to {most:?}"
        );
    }
}

#[test]
fn the_curve_agrees_with_the_beeps() {
    let beeps = run(scenario(Signal::beeps(ms(1010), ms(100))));
    let beeps: Vec<Duration> = beeps.echoes().into_iter().flatten().collect();
    let talk = run(scenario(Signal::talk()));
    let (least, most) = extremes(&talk.lags, BEGINS..LENGTH);
    for beep in beeps {
        assert!(beep >= least - GRID && beep <= most + GRID, "{beep:?}, {least:?} to {most:?}");
    }
}

/// What a signal says in 20 s, and what is heard of it.
fn heard(signal: &Signal, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Lag> {
    let said: Vec<u8> = (0..1000).flat_map(|frame| signal.frame(frame)).collect();
    let mut heard = said.clone();
    change(&mut heard);
    let [said, heard] = [said, heard].map(|codes| {
        let mut listener = Listener::default();
        listener.hear(&codes);
        listener.syllables().to_vec()
    });
    curve(&said, &heard)
}

/// `length` ms of silence at `at` ms.
fn delay(codes: &mut Vec<u8>, at: usize, length: usize) {
    let at = at * SAMPLES_PER_MS;
    codes.splice(at..at, std::iter::repeat_n(mulaw::SILENCE, length * SAMPLES_PER_MS));
}

#[test]
fn a_delay_in_the_middle_of_a_call_shows_in_the_curve() {
    for signal in [Signal::talk(), Signal::monologue()] {
        for length in [60, 437, 3000] {
            let points = heard(&signal, |codes| delay(codes, 8000, length));
            assert_eq!(extremes(&points, ms(0)..ms(7700)), (ms(0), ms(0)));
            let (least, most) = extremes(&points, ms(8200)..ms(20_000));
            let known = ms(length as u64);
            assert!(least >= known - GRID && most <= known + GRID, "{least:?} to {most:?}");
        }
    }
}

#[test]
fn a_delay_that_is_cut_again_is_gone_from_the_curve() {
    let points = heard(&Signal::monologue(), |codes| {
        delay(codes, 5000, 900);
        codes.drain(12_000 * SAMPLES_PER_MS..12_900 * SAMPLES_PER_MS);
    });
    assert!(extremes(&points, ms(5200)..ms(10_800)).0 >= ms(895));
    assert!(extremes(&points, ms(12_500)..ms(20_000)).1 <= GRID);
}

#[test]
fn a_lag_that_shrinks_bit_by_bit_is_a_slope_in_the_curve() {
    // One period of 10 ms out of every 125: as fast as time is ever compressed.
    let points = heard(&Signal::monologue(), |codes| {
        delay(codes, 4000, 800);
        let compress = |chunk: &[u8]| chunk[..chunk.len() - 80].to_vec();
        let rest = codes.split_off(6000 * SAMPLES_PER_MS);
        let (fast, rest) = rest.split_at(10_000 * SAMPLES_PER_MS);
        codes.extend(fast.chunks(1000).flat_map(compress));
        codes.extend(rest);
    });
    let at = |said: u64| extremes(&points, ms(said)..ms(said + 400));
    assert!(at(4500).0 >= ms(780) && at(16_000).1 <= GRID);
    let (least, most) = at(10_000);
    assert!(least >= ms(330) && most <= ms(450), "{least:?} to {most:?} half-way");
    assert!(points.len() >= 110, "{}", points.len());
}

#[test]
fn settling_is_when_the_lag_is_back_for_good() {
    let mut report = run(scenario(Signal::talk()));
    let point = |(said, lag)| Lag { said_at: ms(said), lag: ms(lag) };
    let points = [(1000, 200), (2000, 200), (3000, 1200), (4000, 700), (5000, 290), (6000, 320)];
    report.lags = points.into_iter().map(point).collect();
    let stall = Stall { at: ms(3000), length: ms(1000) };
    assert_eq!(report.lag_before(stall.at), Some(ms(200)));
    assert_eq!(report.settled_after(stall, ms(1000)), Some(ms(200)));
    assert_eq!(report.settled_after(stall, ms(500)), Some(ms(700)));
    assert_eq!(report.settled_after(stall, ms(120)), Some(ms(1290)));
    assert_eq!(report.settled_after(stall, ms(100)), None, "320 ms at the end");
    report.lags.truncate(2);
    assert_eq!(report.settled_after(stall, ms(100)), None, "nothing was heard any more");
}

#[test]
fn a_drifting_carrier_speaks_and_plays_by_its_own_clock() {
    for (ppm, frames) in [(-5000, 995), (0, 1000), (5000, 1005)] {
        let report = run(Scenario { drift_ppm: ppm, ..scenario(Signal::silence()) });
        assert_eq!(report.spoken.as_millis() / 20, frames, "{ppm} ppm");
        let record = report.record.as_ref().unwrap();
        assert_eq!(record.inbound.in_ms, report.spoken.as_millis() as u64);
        assert_ne!(report.carrier, PlayStats::default());
    }
}

#[test]
fn an_engine_stall_holds_back_what_it_lasts() {
    let stall = Stall { at: ms(8000), length: ms(600) };
    let report = run(Scenario { engine_stalls: vec![stall], ..scenario(Signal::monologue()) });
    let heard = |from, to| report.lag_in(ms(from)..ms(to), 100);
    let before = report.lag_before(stall.at).unwrap();
    assert!(heard(8000 + 100, 8000 + 600).is_none_or(|lag| lag < before + ms(200)));
    let after = heard(8600, 9200).unwrap();
    assert!(after > before + ms(150), "{before:?} before and {after:?} after");
}
