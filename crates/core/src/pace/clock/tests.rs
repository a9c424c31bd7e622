//! The input clock against a carrier in virtual time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::call::epoch;

const RATE: Rate = Rate::Hz8000;
const MS: u64 = 1000;

/// One frame as it came out: when, in microseconds, and which one of the caller's it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Out {
    at: u64,
    number: Option<u64>,
}

/// A clock, the pieces on their way to it, and what came out of it. Times are in microseconds.
struct Line {
    start: Instant,
    clock: InputClock,
    coming: BTreeMap<(u64, u64), (Option<Duration>, Vec<i16>)>,
    sent: u64,
    now: u64,
    out: Vec<Out>,
    heard: Vec<i16>,
    gate: Box<dyn Fn(u64) -> Gate>,
    most_waiting: Duration,
}

/// Speech of 20 ms that can be told from other speech by its level.
fn speech(number: u64) -> Vec<i16> {
    let level = 1000 + (number % 30_000) as i16;
    [level, -level].repeat(80)
}

fn silence(_: u64) -> Vec<i16> {
    vec![0; 160]
}

/// Which of the caller's frames it is. Behind made-up sound only its end is undisturbed; made-up
/// sound falls to its very end.
fn number(frame: &Frame) -> Option<u64> {
    let [.., before, last] = *frame.samples() else { return None };
    (before == -last && before >= 1000).then(|| before as u64 - 1000)
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

impl Line {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self {
            start: epoch(),
            clock: InputClock::new(RATE, config),
            coming: BTreeMap::new(),
            sent: 0,
            now: 0,
            out: Vec::new(),
            heard: Vec::new(),
            gate: Box::new(|_| Gate::Open),
            most_waiting: Duration::ZERO,
        }
    }

    /// A piece that comes at `at`, in microseconds.
    fn send(&mut self, at: u64, stamp: Option<Duration>, samples: Vec<i16>) {
        self.coming.insert((at, self.sent), (stamp, samples));
        self.sent += 1;
    }

    /// Frames of the caller's, stamped, each on time but for `late` microseconds.
    fn frames(&mut self, numbers: std::ops::Range<u64>, late: impl Fn(u64) -> u64) {
        for n in numbers {
            self.send((n + 1) * 20 * MS + late(n), ms(n * 20), speech(n));
        }
    }

    fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    /// Goes on until `until`, in microseconds, in the order in which a driver does things.
    fn run(&mut self, until: u64) {
        loop {
            let deadline = self.clock.next_deadline().map(|at| {
                let micros = at.saturating_duration_since(self.start).as_nanos().div_ceil(1000);
                (micros as u64).max(self.now)
            });
            let coming = self.coming.keys().next().map(|(at, _)| *at);
            let next = deadline.into_iter().chain(coming).min().unwrap_or(u64::MAX);
            if next > until {
                self.now = until;
                return;
            }
            let idle = next == self.now && coming != Some(next);
            self.now = next;
            if coming == Some(next)
                && let Some((_, (stamp, samples))) = self.coming.pop_first()
            {
                self.clock.push(&samples, stamp, self.at(next));
            }
            assert!(self.pop() > 0 || !idle, "a deadline that gives nothing, at {next}");
        }
    }

    fn pop(&mut self) -> usize {
        let before = self.out.len();
        while let Some(frame) = self.clock.pop(self.at(self.now), (self.gate)(self.now)) {
            self.out.push(Out { at: self.now, number: number(&frame) });
            self.heard.extend_from_slice(frame.samples());
        }
        self.most_waiting = self.most_waiting.max(self.clock.waiting());
        let t = self.clock.tally;
        let waiting = self.clock.waiting.samples() as i64 + self.clock.order.waiting();
        let gone = t.late + t.duplicate + t.silence_cut + t.shortened + t.dropped;
        assert_eq!(t.input + t.filled, t.output + gone + waiting, "{t:?}");
        self.out.len() - before
    }

    fn numbers(&self) -> Vec<u64> {
        self.out.iter().filter_map(|out| out.number).collect()
    }

    /// Frames that the engine was given or that were skipped, less those of the caller's time.
    fn ahead(&self, frames: u64) -> i64 {
        let c = self.clock.counters();
        ((c.out_ms + c.skipped_ms) / 20) as i64 - frames as i64
    }
}

#[test]
fn what_comes_on_time_passes_at_once() {
    let mut line = Line::new();
    line.frames(0..500, |_| 0);
    line.run(500 * 20 * MS);
    let expected = |n| Out { at: (n + 1) * 20 * MS, number: Some(n) };
    assert_eq!(line.out, (0..500).map(expected).collect::<Vec<_>>());
    let counters = line.clock.counters();
    assert_eq!(counters, Counters { in_ms: 10_000, out_ms: 10_000, ..Counters::default() });
}

#[test]
fn time_stamps_may_wobble_and_pieces_have_any_length() {
    for (length, start) in [(10, 0), (20, 7), (30, 1_000_000), (60, 3), (100, 50), (7, 0)] {
        let mut line = Line::new();
        let pieces = 6000 / length;
        for n in 0..pieces {
            let stamp = start + n * length + n * 7 % 10;
            line.send((n + 1) * length * MS, ms(stamp), vec![5000; length as usize * 8]);
        }
        line.run(pieces * length * MS);
        let counters = line.clock.counters();
        let out_ms = pieces * length / 20 * 20;
        let expected = Counters { in_ms: pieces * length, out_ms, ..Counters::default() };
        assert_eq!(counters, expected, "{length} ms");
        assert_eq!(line.out.len() as u64, out_ms / 20);
    }
}

#[test]
fn a_piece_that_was_overtaken_is_sorted_in() {
    let mut line = Line::new();
    line.frames(0..100, |n| if n == 50 { 30 * MS } else { 0 });
    line.run(100 * 20 * MS);
    assert_eq!(line.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(line.clock.counters().filled_ms + line.clock.counters().gaps, 0);
    assert_eq!(line.out[52].at, 53 * 20 * MS);
}

#[test]
fn a_hole_is_filled_after_a_short_wait_and_what_comes_then_is_left_out() {
    let mut line = Line::new();
    line.frames(0..100, |n| if n == 50 { 130 * MS } else { 0 });
    line.run(100 * 20 * MS);
    let expected: Vec<_> = (0..100).map(|n| (n != 50).then_some(n)).collect();
    assert_eq!(line.out.iter().map(|out| out.number).collect::<Vec<_>>(), expected);
    assert_eq!((line.out[50].at, line.out[53].at), (54 * 20 * MS, 54 * 20 * MS));
    let counters = line.clock.counters();
    assert_eq!((counters.filled_ms, counters.late_ms, counters.gaps), (20, 20, 1));
    assert_eq!(line.ahead(100), 0);
}

#[test]
fn what_comes_twice_is_heard_once() {
    let mut line = Line::new();
    line.frames(0..100, |_| 0);
    line.frames(30..60, |_| 5 * MS);
    line.frames(40..42, |_| 300 * MS);
    line.run(100 * 20 * MS);
    assert_eq!(line.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(line.clock.counters().duplicate_ms, 640);
}

/// A stall of the carrier's, after which everything comes at once.
fn stall(line: &mut Line, first: u64, frames: u64, all: u64, sound: impl Fn(u64) -> Vec<i16>) {
    for n in 0..all {
        let at = if (first..first + frames).contains(&n) { first + frames } else { n };
        line.send((at + 1) * 20 * MS, ms(n * 20), sound(n));
    }
}

#[test]
fn a_stall_is_filled_in_real_time_and_the_burst_behind_it_worked_off() {
    let mut line = Line::new();
    stall(&mut line, 200, 20, 600, speech);
    line.run(220 * 20 * MS);
    let made_up: Vec<_> = line.out.iter().filter(|out| out.number.is_none()).collect();
    assert!((16..=17).contains(&made_up.len()), "{}", made_up.len());
    assert!(made_up.windows(2).all(|pair| pair[1].at - pair[0].at == 20 * MS));
    line.run((220 + 150) * 20 * MS);
    assert!(line.clock.surplus() < 160, "worked off within 3 s: {}", line.clock.surplus());
    line.run(600 * 20 * MS);
    assert_eq!(line.ahead(600), 0);
    assert!(line.numbers().is_sorted());
    assert_eq!(line.out.last(), Some(&Out { at: 600 * 20 * MS, number: Some(599) }));
    let c = line.clock.counters();
    assert_eq!(c.dropped_ms + c.shortened_ms, c.filled_ms, "{c:?}");
    assert!(line.most_waiting <= Config::default().max_waiting, "{:?}", line.most_waiting);
    let longest = line.out.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(longest.unwrap() <= 100 * MS, "{longest:?}");
}

#[test]
fn silence_goes_first() {
    let mut line = Line::new();
    let sound = |n| if (203..213).contains(&n) { silence(n) } else { speech(n) };
    stall(&mut line, 200, 15, 300, sound);
    line.run(300 * 20 * MS);
    let c = line.clock.counters();
    assert!(c.silence_cut_ms >= 180, "{c:?}");
    assert_eq!(c.silence_cut_ms + c.shortened_ms, c.filled_ms, "{c:?}");
    assert_eq!((c.dropped_ms, line.ahead(300)), (0, 0));
}

#[test]
fn steady_speech_loses_at_most_one_frame_in_ten() {
    let mut line = Line::new();
    stall(&mut line, 200, 14, 500, speech);
    line.run(500 * 20 * MS);
    let (numbers, c) = (line.numbers(), line.clock.counters());
    assert_eq!((c.dropped_ms, c.shortened_ms), (0, c.filled_ms));
    let lost: Vec<_> = (0..500).filter(|n| !numbers.contains(n)).collect();
    assert!(lost.windows(2).all(|pair| pair[1] - pair[0] >= 5), "{lost:?}");
    assert_eq!(line.ahead(500), 0);
}

#[test]
fn after_a_pause_without_audio_speech_comes_at_once() {
    let mut line = Line::new();
    line.frames(0..100, |_| 0);
    line.frames(250..400, |_| 0);
    line.run(400 * 20 * MS);
    assert_eq!((line.ahead(400), line.out.len()), (0, 400));
    assert!(line.out.contains(&Out { at: 251 * 20 * MS, number: Some(250) }));
    let c = line.clock.counters();
    assert_eq!((c.filled_ms, c.gaps, c.stalls), (3000, 1, 1));
    assert_eq!(c.silence_cut_ms + c.shortened_ms + c.dropped_ms, 0);
}

#[test]
fn without_time_stamps_our_clock_tells_a_burst_from_a_pause() {
    let mut burst = Line::new();
    stall(&mut burst, 200, 20, 600, speech);
    let mut pause = Line::new();
    pause.frames(0..200, |_| 0);
    pause.frames(220..600, |_| 0);
    for line in [&mut burst, &mut pause] {
        line.coming.values_mut().for_each(|(stamp, _)| *stamp = None);
        line.run(600 * 20 * MS);
        assert!(line.ahead(600).abs() <= 1, "{}", line.ahead(600));
        assert!(line.most_waiting <= Config::default().max_waiting);
        assert!(line.numbers().is_sorted());
    }
    let (burst, pause) = (burst.clock.counters(), pause.clock.counters());
    assert!(burst.dropped_ms + burst.shortened_ms >= 300, "{burst:?}");
    assert_eq!(pause.dropped_ms + pause.shortened_ms, 0, "{pause:?}");
}

#[test]
fn time_stamps_that_cannot_be_are_not_believed() {
    let hour = |n: u64| n * 20 + if n >= 200 { 3_600_000 } else { 0 };
    let restart = |n: u64| if n >= 200 { (n - 200) * 20 } else { n * 20 + 9_000_000 };
    let outlier = |n: u64| if n == 200 { u64::MAX } else { n * 20 };
    let ahead = |n: u64| n * 20 + if n == 200 { 900 } else { 0 };
    let stuck = |_| 77;
    let stamps: [&dyn Fn(u64) -> u64; 5] = [&hour, &restart, &outlier, &ahead, &stuck];
    for (which, stamp) in stamps.into_iter().enumerate() {
        let mut line = Line::new();
        for n in 0..400 {
            line.send((n + 1) * 20 * MS, ms(stamp(n)), speech(n));
        }
        line.run(400 * 20 * MS);
        assert!(line.ahead(400).abs() <= 5, "{which}: {}", line.ahead(400));
        if which < 4 {
            let lost = u64::from(which == 1);
            let expected: Vec<_> = (0..200).chain(200 + lost..400).collect();
            assert_eq!(line.numbers(), expected, "{which}");
            assert!((1..=2).contains(&line.clock.counters().jumps), "{which}");
        }
    }
}

#[test]
fn a_backlog_from_before_the_first_piece_is_not_heard() {
    let mut line = Line::new();
    line.frames(0..100, |n| (99 - n) * 20 * MS);
    line.frames(100..300, |_| 0);
    line.run(300 * 20 * MS);
    let frames = 300 - 99;
    assert!(line.ahead(frames) <= 10, "{}", line.ahead(frames));
    assert_eq!(line.out.last(), Some(&Out { at: 300 * 20 * MS, number: Some(299) }));
}

#[test]
fn a_shut_gate_holds_back_and_the_time_is_skipped() {
    let mut line = Line::new();
    line.gate =
        Box::new(|at| if (2000 * MS..3000 * MS).contains(&at) { Gate::Shut } else { Gate::Open });
    line.frames(0..500, |_| 0);
    line.run(2999 * MS);
    assert_eq!(line.out.len(), 99);
    assert_eq!(line.clock.waiting(), Config::default().max_waiting);
    line.run(3100 * MS);
    let burst = line.out.iter().filter(|out| out.at == 3000 * MS).count();
    assert!(burst <= 2, "{burst}");
    line.run(500 * 20 * MS);
    let c = line.clock.counters();
    assert!((980..=1020).contains(&c.skipped_ms), "{c:?}");
    assert_eq!(c.skipped_ms, c.dropped_ms + c.shortened_ms + c.silence_cut_ms);
    assert_eq!(line.ahead(500), 0);
    assert_eq!(line.clock.waiting(), Duration::ZERO);
    assert!(line.numbers().is_sorted());
    assert!(line.most_waiting <= Config::default().max_waiting);
}

#[test]
fn a_program_that_was_held_up_itself_makes_nothing_up() {
    let mut line = Line::new();
    line.frames(0..200, |_| 0);
    line.run(100 * 20 * MS);
    line.now = 2500 * MS;
    line.pop();
    let waited: Vec<_> = line.coming.range(..(2500 * MS, u64::MAX)).map(|(key, _)| *key).collect();
    for key in waited {
        let (stamp, samples) = line.coming.remove(&key).unwrap();
        line.clock.push(&samples, stamp, line.at(line.now));
        line.pop();
    }
    line.run(200 * 20 * MS);
    assert_eq!(line.clock.counters().filled_ms, 0);
    assert_eq!(line.numbers(), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_night_without_a_caller_is_not_made_up() {
    let mut line = Line::new();
    line.frames(0..100, |_| 0);
    line.run(100 * 20 * MS);
    line.now = 10 * 3600 * 1000 * MS;
    line.pop();
    line.run(line.now + 1000 * MS);
    assert!(line.out.len() < 250, "{}", line.out.len());
    let n = line.now / (20 * MS);
    line.frames(n..n + 100, |_| 0);
    line.run((n + 100) * 20 * MS);
    assert!(line.ahead(n + 100).abs() <= 1, "{:?}", line.clock.counters());
    assert_eq!(line.out.last(), Some(&Out { at: (n + 100) * 20 * MS, number: number_of(n + 99) }));
}

fn number_of(n: u64) -> Option<u64> {
    Some(n % 30_000)
}

#[test]
fn a_way_that_has_become_longer_is_got_used_to() {
    for longer in [100, 250, 900] {
        let mut line = Line::new();
        line.frames(0..1500, |n| if n < 500 { 0 } else { longer * MS });
        line.run(1500 * 20 * MS + longer * MS);
        let last = Out { at: (1500 * 20 + longer) * MS, number: Some(1499) };
        assert_eq!(line.out.last(), Some(&last), "{longer}");
        assert!(line.clock.surplus() < 160, "{longer}: {}", line.clock.surplus());
        let late = line.out.iter().rev().take(500).filter(|out| out.number.is_none()).count();
        assert_eq!(late, 0, "{longer}");
    }
}

#[test]
fn jitter_is_got_used_to() {
    for jitter in [20, 60, 150] {
        let mut line = Line::new();
        let mut held = 0;
        for n in 0..6000 {
            let late = n * 7919 % 104_729 * jitter * MS / 104_729;
            held = held.max((n + 1) * 20 * MS + late);
            line.send(held, ms(n * 20), speech(n));
        }
        line.run(1000 * 20 * MS);
        let early = line.clock.counters();
        line.run(held + 20 * MS);
        let all = line.clock.counters();
        assert_eq!(all.filled_ms, early.filled_ms, "{jitter}: {all:?}");
        assert_eq!(all.shortened_ms + all.dropped_ms, early.filled_ms, "{jitter}: {all:?}");
        assert!(early.filled_ms <= 200, "{jitter}: {early:?}");
    }
}

#[test]
fn a_stall_in_a_voice_makes_no_click() {
    let phase = |n: u64| n as f32 * std::f32::consts::TAU * 210.0 / 8000.0;
    let voice = |n: u64| {
        let sample = |n: u64| ((phase(n).sin() + (phase(n) * 3.0).sin() * 0.5) * 8000.0) as i16;
        (n * 160..(n + 1) * 160).map(sample).collect::<Vec<_>>()
    };
    let largest_step =
        |s: &[i16]| s.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
    let mut line = Line::new();
    stall(&mut line, 100, 20, 400, voice);
    line.run(400 * 20 * MS);
    let own: Vec<_> = (0..10).flat_map(voice).collect();
    let step = largest_step(&line.heard);
    assert!(step <= largest_step(&own) * 5 / 4, "{step} after {}", largest_step(&own));
}

#[test]
fn eight_hours_of_drift_build_up_nothing() {
    for (ppm, stamped) in [(200_i64, true), (-200, true), (200, false), (-200, false)] {
        let mut line = Line::new();
        line.clock.concealer = Concealer::new(RATE);
        let frames = 8 * 3600 * 10;
        for n in 0..frames {
            let clock = (n + 1) * 100 * MS;
            let at = clock.strict_add_signed(clock as i64 / 1_000_000 * ppm);
            let stamp = ms(n * 100).filter(|_| stamped);
            line.send(at, stamp, vec![0; 800]);
            line.run(at);
            line.out.clear();
            line.heard.clear();
        }
        let c = line.clock.counters();
        // Without time stamps a carrier that is too fast is held to our clock.
        let elapsed = if stamped { frames * 5 } else { (frames * 5).min(line.now / (20 * MS)) };
        let within = if stamped { 0 } else { 8 };
        assert!(line.ahead(elapsed).abs() <= within, "{ppm} {stamped}: {}", line.ahead(elapsed));
        assert!(line.most_waiting <= Duration::from_millis(20), "{:?}", line.most_waiting);
        assert_eq!((c.stalls, c.gaps, c.jumps), (0, 0, 0), "{ppm} {stamped}");
    }
}

#[test]
fn time_stamps_that_begin_again_soon_are_found_out() {
    let mut line = Line::new();
    for n in 0..400 {
        line.send((n + 1) * 20 * MS, ms(n % 200 * 20), speech(n));
    }
    line.run(400 * 20 * MS);
    let numbers: Vec<_> = (0..200).chain(225..400).collect();
    assert_eq!(line.numbers(), numbers);
    let c = line.clock.counters();
    assert!(line.ahead(400).abs() <= 5 && c.jumps == 1, "{c:?}");
}

#[test]
fn a_burst_that_comes_twice_is_left_out_once() {
    for length in [24, 25, 26, 40, 100] {
        let mut line = Line::new();
        let burst = 50..50 + length;
        let end = burst.end * 20 * MS;
        line.frames(0..500, |n| if burst.contains(&n) { end - (n + 1) * 20 * MS } else { 0 });
        for n in burst {
            line.send(end + 3 * MS, ms(n * 20), speech(n));
        }
        line.run(500 * 20 * MS);
        let c = line.clock.counters();
        assert_eq!((c.duplicate_ms, c.late_ms, c.jumps), (length * 20, 0, 0), "{length}: {c:?}");
        assert_eq!(line.ahead(500), 0, "{length}: {c:?}");
    }
}

#[test]
fn what_is_new_is_believed_after_a_burst_and_a_stall() {
    let mut line = Line::new();
    let late = |n| match n {
        50..80 => (80 - n - 1) * 20 * MS,
        80..100 => (100 - n - 1) * 20 * MS,
        _ => 0,
    };
    line.frames(0..500, late);
    for n in 50..80 {
        line.send(80 * 20 * MS - MS, ms(n * 20), speech(n));
        line.send(80 * 20 * MS + MS, ms(n * 20), speech(n));
    }
    line.run(500 * 20 * MS);
    let c = line.clock.counters();
    assert_eq!((c.duplicate_ms, c.late_ms, c.jumps), (2 * 30 * 20, 0, 0), "{c:?}");
    assert_eq!(line.ahead(500), 0, "{c:?}");
}

/// What a bad line does to a frame.
#[derive(Debug, Clone)]
enum Trouble {
    None,
    Late(u64),
    Lost,
    Twice,
    Overtaken,
    Stall(u64),
    Pause(u64),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        60 => Just(Trouble::None),
        20 => (0..150_u64).prop_map(Trouble::Late),
        6 => Just(Trouble::Lost),
        4 => Just(Trouble::Twice),
        4 => Just(Trouble::Overtaken),
        1 => (50..3000_u64).prop_map(Trouble::Stall),
        1 => (50..3000_u64).prop_map(Trouble::Pause),
    ]
}

/// Sends frames over a line that keeps their order but for those overtaken, and that is never more
/// than 3 s late; returns how many
/// frames of the caller's time passed.
fn send_through(line: &mut Line, troubles: &[Trouble], stamped: bool, ppm: i64) -> u64 {
    let (mut held_until, mut n) = (0, 0);
    let stamp = |n: u64| ms(n * 20).filter(|_| stamped);
    let clean = std::iter::repeat_n(&Trouble::None, 600);
    for trouble in clean.clone().take(1).chain(troubles).chain(clean) {
        let clock = (n + 1) * 20 * MS;
        let on_time = clock.strict_add_signed(clock as i64 * ppm / 1_000_000);
        let mut at = on_time.max(held_until);
        match trouble {
            Trouble::None => line.send(at, stamp(n), speech(n)),
            Trouble::Late(late) => {
                at = at.max(on_time + late * MS);
                line.send(at, stamp(n), speech(n));
            }
            Trouble::Lost => {}
            Trouble::Twice => {
                line.send(at, stamp(n), speech(n));
                line.send(at + 3 * MS, stamp(n), speech(n));
            }
            Trouble::Overtaken => line.send(at + 25 * MS, stamp(n), speech(n)),
            Trouble::Stall(length) => {
                at = at.max((on_time + length * MS).min(at + length * MS));
                line.send(at, stamp(n), speech(n));
            }
            Trouble::Pause(length) => n += length / 20,
        }
        held_until = at;
        n += 1;
    }
    n
}

proptest! {
    #[test]
    fn the_engine_hears_as_much_time_as_the_caller_lives(
        troubles in prop::collection::vec(trouble(), 1..800),
        ppm in -200..=200_i64,
    ) {
        let mut line = Line::new();
        let frames = send_through(&mut line, &troubles, true, ppm);
        let last = line.coming.keys().next_back().unwrap().0;
        line.run(last);
        let ahead = line.ahead(frames);
        prop_assert!(ahead.abs() <= 1, "{ahead} {:?}", line.clock.counters());
        prop_assert!(line.most_waiting <= Config::default().max_waiting);
        let numbers = line.numbers();
        let disorder = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
        prop_assert!(disorder.is_none(), "{disorder:?} {:?}", line.clock.counters());
        let newest = line.out.last().unwrap();
        prop_assert!(newest.number.is_some() && last - newest.at <= 20 * MS, "{newest:?} {last}");
    }

    #[test]
    fn no_time_stamp_is_too_odd(
        pieces in prop::collection::vec(
            (0..200_u64, prop_oneof![
                Just(None),
                any::<u64>().prop_map(|s| Some(Duration::from_secs(s))),
                Just(Some(Duration::MAX)),
                any::<u32>().prop_map(|ms| Some(Duration::from_millis(ms.into()))),
                (0..5000_u64).prop_map(|ms| Some(Duration::from_millis(ms))),
            ], 0..3000_usize, any::<bool>()),
            1..200,
        ),
        max_waiting in 0..500_u64,
    ) {
        let max_waiting = Duration::from_millis(max_waiting);
        let config = Config { max_waiting, ..Config::default() };
        let mut line = Line::with(config);
        line.gate = Box::new(|at| if at / (700 * MS) % 3 == 2 { Gate::Shut } else { Gate::Open });
        let mut at = 0;
        for (pause, stamp, length, loud) in pieces {
            at += pause * MS;
            let level = if loud { 5000 } else { 0 };
            line.send(at, stamp, vec![level; length]);
        }
        line.run(at + 2000 * MS);
        prop_assert!(line.most_waiting <= config.max_waiting.max(Duration::from_millis(20)));
        // Never faster than time passes, but for what time stamps are believed: 2 % and a bit.
        let most = (at + 2000 * MS) / (20 * MS) * 52 / 50 + 60;
        prop_assert!((line.out.len() as u64) < most, "{} in {most}", line.out.len());
    }
}
