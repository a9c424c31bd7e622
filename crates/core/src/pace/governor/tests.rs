//! What the governor makes of an engine that is early, late, slow, or quiet.

use proptest::prelude::*;

use super::*;

const RATE: Rate = Rate::Hz8000;
const STEP: Duration = Duration::from_millis(80);

/// An engine that says 80 ms at a time, and a carrier that plays what it is sent at once.
struct Line {
    governor: Governor,
    now: Instant,
    deadline: Option<Instant>,
    said: usize,
    heard: Vec<i16>,
    clears: u32,
}

impl Line {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self {
            governor: Governor::new(RATE, config),
            now: crate::call::epoch(),
            deadline: None,
            said: 0,
            heard: Vec::new(),
            clears: 0,
        }
    }

    fn drain(&mut self) {
        while let Some(frame) = self.governor.pop(self.now) {
            self.heard.extend(frame.samples());
        }
        self.deadline = self.governor.next_deadline();
        assert!(self.deadline.is_none_or(|at| at >= self.now), "a deadline in the past");
    }

    /// Lets time pass, waking the governor when it wants to be.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.deadline.filter(|at| *at <= end) {
            self.now = at;
            self.drain();
        }
        self.now = end;
    }

    fn says(&mut self, samples: &[i16], caller_speaks: bool) {
        let verdict = self.governor.push(samples, caller_speaks, self.now);
        self.clears += u32::from(verdict == Verdict::Clear);
        self.drain();
    }

    /// The next 80 ms of a voice that never stops.
    fn speaks(&mut self) {
        let samples: Vec<i16> = (self.said..self.said + 640).map(voice).collect();
        self.said += 640;
        self.says(&samples, false);
    }

    fn held(&self) -> Duration {
        self.governor.held(self.now)
    }

    /// What the counters must come to.
    fn balance(&self) {
        let Totals { came, went, silence_cut, compressed, stretched, dropped, .. } =
            self.governor.totals;
        let Totals { concealed, padded, cleared, .. } = self.governor.totals;
        let waits = self.governor.queue.samples() as u64;
        let (gained, lost) = (stretched + concealed + padded, silence_cut + compressed + dropped);
        assert_eq!(came + gained, went + lost + cleared + waits);
    }
}

/// A voice at 125 Hz with two overtones.
fn voice(n: usize) -> i16 {
    let phase = n as f32 * std::f32::consts::TAU * 125.0 / 8000.0;
    (phase.sin() * 5000.0 + (2.0 * phase).sin() * 2500.0 + (5.0 * phase).sin() * 800.0) as i16
}

/// The largest step from one sample to the next.
fn step(samples: &[i16]) -> u16 {
    samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

fn own_step() -> u16 {
    step(&(0..8000).map(voice).collect::<Vec<_>>())
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_first_of_the_engine_goes_out_at_once() {
    let mut line = Line::new();
    line.speaks();
    assert_eq!(line.heard.len(), 640);
    assert_eq!(line.held(), STEP);
}

#[test]
fn a_steady_engine_is_passed_on_as_it_is() {
    let mut line = Line::new();
    for _ in 0..500 {
        line.speaks();
        line.pass(STEP);
    }
    let counters = line.governor.counters();
    assert_eq!((counters.dropped_ms, counters.silence_cut_ms, counters.compressed_ms), (0, 0, 0));
    assert!(counters.stretched_ms + counters.concealed_ms <= 60, "{counters:?}");
    assert!(counters.underruns <= 1, "{counters:?}");
    assert!(counters.max_depth_ms <= 150, "{counters:?}");
    assert!(step(&line.heard) <= own_step() * 3 / 2, "{} {}", step(&line.heard), own_step());
    line.balance();
}

#[test]
fn silence_is_cut_before_speech_is_touched() {
    let mut line = Line::new();
    for _ in 0..20 {
        line.speaks();
        line.pass(STEP);
    }
    let before = line.held();
    // 320 ms come at once, and then the model pauses.
    (0..4).for_each(|_| line.speaks());
    for _ in 0..8 {
        line.pass(STEP);
        line.says(&[0; 640], false);
    }
    line.pass(STEP);
    let counters = line.governor.counters();
    assert!(counters.silence_cut_ms >= 200, "{counters:?}");
    assert_eq!(counters.dropped_ms, 0, "{counters:?}");
    assert!(line.held() <= before + ms(20), "{:?}", line.held());
    line.balance();
}

#[test]
fn speech_without_a_pause_is_hurried_by_no_more_than_8_percent() {
    let mut line = Line::new();
    for _ in 0..20 {
        line.speaks();
        line.pass(STEP);
    }
    let before = line.held();
    (0..4).for_each(|_| line.speaks());
    let mut took = 0;
    loop {
        line.pass(STEP);
        if line.held() <= before + ms(40) {
            break;
        }
        line.speaks();
        took += 1;
        assert!(took < 70, "{:?} still", line.held());
    }
    let counters = line.governor.counters();
    assert!(counters.compressed_ms >= 150, "{counters:?}");
    assert!(
        counters.compressed_ms <= (took + 4) * 80 * 8 / 100 + 20,
        "{counters:?} in {took} steps"
    );
    assert_eq!(counters.dropped_ms, 0);
    assert!(step(&line.heard) <= own_step() * 3 / 2, "no click");
    line.balance();
}

#[test]
fn what_goes_beyond_the_bound_is_dropped_without_a_click() {
    let mut line = Line::new();
    for _ in 0..20 {
        line.speaks();
        line.pass(STEP);
    }
    (0..40).for_each(|_| line.speaks());
    let counters = line.governor.counters();
    assert!(counters.dropped_ms >= 2000, "{counters:?}");
    assert!(line.held() <= line.governor.target() + ms(240 + 80), "{:?}", line.held());
    for _ in 0..70 {
        line.pass(STEP);
        line.speaks();
    }
    assert!(line.held() <= line.governor.target() + ms(80 + 120), "{:?}", line.held());
    assert!(step(&line.heard) <= own_step() * 3 / 2, "{} {}", step(&line.heard), own_step());
    line.balance();
}

#[test]
fn a_gap_in_a_word_is_concealed_and_one_in_silence_is_not() {
    let mut line = Line::new();
    for _ in 0..20 {
        line.speaks();
        line.pass(STEP);
    }
    let heard = line.heard.len();
    let before = line.governor.counters();
    line.pass(ms(300));
    let counters = line.governor.counters();
    assert_eq!(counters.underruns, before.underruns + 1);
    assert!((60..=120).contains(&(counters.concealed_ms - before.concealed_ms)), "{counters:?}");
    assert!(line.heard.len() > heard);
    line.speaks();
    assert!(step(&line.heard) <= own_step() * 3 / 2, "{} {}", step(&line.heard), own_step());
    let mut quiet = Line::new();
    for _ in 0..20 {
        quiet.says(&[0; 640], false);
        quiet.pass(STEP);
    }
    quiet.pass(ms(500));
    let counters = quiet.governor.counters();
    assert_eq!((counters.underruns, counters.concealed_ms), (0, 0));
    line.balance();
    quiet.balance();
}

#[test]
fn an_engine_that_is_a_little_slow_is_drawn_out_rather_than_broken_off() {
    let mut line = Line::new();
    for _ in 0..250 {
        line.speaks();
        line.pass(ms(84));
    }
    let counters = line.governor.counters();
    assert!(counters.stretched_ms >= 700, "{counters:?}");
    assert!(counters.concealed_ms <= 200, "{counters:?}");
    assert!(step(&line.heard) <= own_step() * 3 / 2);
    line.balance();
}

#[test]
fn stale_speech_is_cleared_only_when_the_model_gave_way() {
    let burst = |caller_speaks: bool, model_stops: bool| {
        let mut line = Line::with(Config { bound: ms(2000), ..Config::default() });
        for _ in 0..20 {
            line.speaks();
            line.pass(STEP);
        }
        (0..10).for_each(|_| line.speaks());
        for _ in 0..4 {
            line.pass(STEP);
            if model_stops {
                line.says(&[0; 640], caller_speaks);
            } else {
                let samples: Vec<i16> = (0..640).map(voice).collect();
                line.says(&samples, caller_speaks);
            }
        }
        line.balance();
        line
    };
    let cleared = burst(true, true);
    assert_eq!(cleared.clears, 1);
    assert!(cleared.held() <= ms(160));
    let counters = cleared.governor.counters();
    assert!(counters.cleared_ms > 0 && counters.flushed_ms > 0, "{counters:?}");
    assert_eq!(burst(true, false).clears, 0, "the caller's voice alone clears nothing");
    assert_eq!(burst(false, true).clears, 0, "the end of a sentence is not stale");
}

#[test]
fn what_is_left_is_given_in_whole_frames_and_a_word_that_breaks_off_rings_out() {
    for odd in [0, 1, 159] {
        let mut line = Line::new();
        (0..3).for_each(|_| line.speaks());
        let samples: Vec<i16> = (0..odd).map(voice).collect();
        line.says(&samples, false);
        let left = line.governor.queue.samples() / 160 * 160;
        let before = line.heard.len();
        while let Some(frame) = line.governor.take(line.now) {
            assert_eq!(frame.samples().len(), RATE.frame_samples());
            line.heard.extend(frame.samples());
        }
        let rest = line.heard.len() - before;
        assert!((left + 480..=left + 800).contains(&rest), "{rest} of {left} samples");
        assert!(step(&line.heard) <= own_step(), "a click of {}", step(&line.heard));
        assert!(line.heard.last().is_some_and(|sample| sample.abs() < 100));
        assert_eq!(line.governor.counters().underruns, 0);
        assert_eq!(line.governor.queued(), Duration::ZERO);
        assert_eq!(line.governor.rest_deadline(), None);
        line.balance();
    }
}

#[test]
fn what_is_left_of_an_engine_far_ahead_follows_as_the_carrier_plays() {
    let mut line = Line::new();
    line.governor.set_relaxed(true);
    (0..100).for_each(|_| line.speaks());
    let left = line.governor.queued();
    let mut given = Duration::ZERO;
    loop {
        let frames = std::iter::from_fn(|| line.governor.take(line.now)).count();
        assert!(given.is_zero() || (3..=4).contains(&frames) || line.governor.queued().is_zero());
        given += FRAME * frames as u32;
        assert!(line.governor.carrier_depth(line.now) <= ms(2000));
        let Some(next) = line.governor.rest_deadline() else { break };
        assert!(next > line.now && line.governor.carrier_depth(next) >= ms(1900));
        line.now = next;
    }
    assert!((left + ms(60)..=left + ms(100)).contains(&given), "{given:?} of {left:?}");
    line.balance();
}

proptest! {
    #[test]
    fn whatever_comes_is_bounded_and_accounted_for(
        pieces in prop::collection::vec(
            (0u64..400, 0usize..1500, any::<bool>(), any::<bool>()),
            1..60,
        )
    ) {
        let mut line = Line::new();
        for (wait, length, silent, caller_speaks) in pieces {
            line.pass(ms(wait));
            let sample = |n| if silent { 0 } else { voice(n) };
            let samples: Vec<i16> = (0..length).map(sample).collect();
            line.says(&samples, caller_speaks);
            let most = line.governor.target() + ms(240 + 200 + 20);
            prop_assert!(line.held() <= most, "{:?}", line.held());
            line.balance();
        }
    }
}
