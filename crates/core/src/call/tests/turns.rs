//! What a call tells of who speaks when, against what its caller says and hears.

use super::line::{Line, voice};
use super::*;
use crate::audio::frame::FRAME;
use crate::persona::StartSound;
use crate::turns::{Duplex, Quantiles, Side, Sides, TurnEvent};

const CALLER: Side = Side::Caller;
const ENGINE: Side = Side::Engine;

/// When the caller speaks, in milliseconds of the call: asks, talks over the answer, and asks on.
const SAID: [(u64, u64); 2] = [(1400, 2400), (3960, 4760)];

/// When the engine makes its answers: one after a while that the second question cuts short, and
/// one that comes sooner.
const ANSWERS: [(u64, u64); 2] = [(2840, 4280), (5000, 5960)];

/// The call has so much behind it when the engine begins to listen.
const PRIMED: u64 = 1000;

fn within(spans: &[(u64, u64)], at: u64) -> bool {
    spans.iter().any(|(from, to)| (*from..*to).contains(&at))
}

/// A call in which that is said until the caller hangs up.
fn talk(end: u64) -> Line {
    let mut line = Line::primes(StartSound::Silence);
    line.wait(PRIMED as usize);
    line.engine(engine::Event::Ready);
    let voice = voice(80);
    for at in (PRIMED..end).step_by(80) {
        for step in 0..4 {
            let speaks = within(&SAID, at + step * 20);
            line.frame(if speaks { &voice[..160] } else { &[0; 160] });
        }
        line.says(if within(&ANSWERS, at + 80) { voice.clone() } else { vec![0; 640] });
    }
    line.bench.caller(caller::Event::Left(Left::HungUp));
    line
}

/// A detector takes nothing for speech before it has lasted for two frames, the caller's and the
/// engine's alike.
fn told((from, to): (u64, u64)) -> (Duration, Duration) {
    (Duration::from_millis(from + 20), Duration::from_millis(to))
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn stretch(side: Side, (began, ended): (Duration, Duration)) -> [TurnEvent; 2] {
    [TurnEvent::Began { side, at: began }, TurnEvent::Ended { side, began, ended }]
}

#[test]
fn a_call_tells_who_spoke_when_with_the_gap_of_one_exchange_and_the_overlap_of_another() {
    let line = talk(7000);
    let [first, second] = line.stretches()[..] else { panic!("{:?}", line.stretches()) };
    let (asked, talked_over) = (told(SAID[0]), told(SAID[1]));
    let (answered, answered_again) = (told(first), told(second));
    // By what was heard, not by what was meant: each answer waits for a while at the carrier.
    let gap = ms(answered.0 - asked.1) as i64;
    let both = ms(answered.1 - talked_over.0);
    let gap_again = ms(answered_again.0 - talked_over.1) as i64;
    assert!((440..=600).contains(&gap) && (240..=400).contains(&gap_again), "{gap} {gap_again}");
    assert!((300..=460).contains(&both), "{both}");

    let turn = |event: &Event| if let Event::Turn(turn) = event { Some(*turn) } else { None };
    let events: Vec<_> = line.bench.events().filter_map(turn).collect();
    let [caller_began, caller_ended] = stretch(CALLER, asked);
    let [engine_began, engine_ended] = stretch(ENGINE, answered);
    let [over_began, over_ended] = stretch(CALLER, talked_over);
    let [again_began, again_ended] = stretch(ENGINE, answered_again);
    let expected = [
        caller_began,
        caller_ended,
        engine_began,
        TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: gap, at: answered.0 },
        over_began,
        engine_ended,
        TurnEvent::TalkOver { by: CALLER, at: talked_over.0, ms: both },
        TurnEvent::Exchange { from: ENGINE, to: CALLER, gap_ms: -(both as i64), at: talked_over.0 },
        over_ended,
        again_began,
        TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: gap_again, at: answered_again.0 },
        again_ended,
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_record_has_the_figures_of_the_talk_as_it_was_heard() {
    let line = talk(7000);
    let [first, second] = line.stretches()[..] else { panic!("{:?}", line.stretches()) };
    let [asked, talked_over, answered, answered_again] =
        [SAID[0], SAID[1], first, second].map(told);
    let length = |(from, to): (Duration, Duration)| ms(to - from);
    let gap = ms(answered.0 - asked.1) as i64;
    let gap_again = ms(answered_again.0 - talked_over.1) as i64;
    let expected = Duplex {
        caller_ms: 980 + 780,
        engine_ms: length(answered) + length(answered_again),
        overlap_ms: ms(answered.1 - talked_over.0),
        exchanges: 3,
        // Of two the shorter is the middle one.
        gap_ms: Some(Quantiles { p50: gap_again.min(gap), p95: gap, max: gap }),
        talk_overs: Sides { caller: 1, engine: 0 },
        longest_turn_ms: Sides { caller: 980, engine: length(answered) },
        ..Duplex::default()
    };
    assert_eq!(line.bench.records()[0].duplex, expected);
}

/// When each stretch of the caller's began, as the call tells it.
fn caller_began(line: &Line) -> Vec<Duration> {
    let began = |event: &Event| {
        if let Event::Turn(TurnEvent::Began { side: CALLER, at }) = event {
            Some(*at)
        } else {
            None
        }
    };
    line.bench.events().filter_map(began).collect()
}

/// The caller says nothing for so many times 80 ms, then something as often; the engine nothing.
/// A frame of the caller's takes `each`.
fn says_after(line: &mut Line, nothing: usize, something: usize, each: Duration) {
    let voice = voice(20);
    for n in 0..nothing + something {
        for _ in 0..4 {
            line.bench.now = line.bench.now + each - FRAME;
            line.frame(if n < nothing { &[0; 160] } else { &voice });
        }
        line.says(vec![0; 640]);
    }
}

#[test]
fn what_a_caller_says_is_when_it_was_said_though_the_line_is_late_at_first() {
    let mut line = Line::primes(StartSound::Silence);
    let start = line.bench.now;
    line.engine(engine::Event::Ready);
    line.bench.pass(Duration::from_millis(1500));
    says_after(&mut line, 20, 0, FRAME);
    let said = ms(line.bench.now - start);
    says_after(&mut line, 0, 10, FRAME);
    says_after(&mut line, 20, 0, FRAME);
    assert_eq!(caller_began(&line), [told((said, said)).0]);
}

#[test]
fn what_a_caller_says_is_when_it_was_said_though_the_clocks_drift_apart() {
    for micros in [19_980, 20_020] {
        let mut line = Line::primes(StartSound::Silence);
        let start = line.bench.now;
        line.engine(engine::Event::Ready);
        let mut said = Vec::new();
        // For ten minutes: 0.6 s in the end.
        for _ in 0..60 {
            says_after(&mut line, 115, 0, Duration::from_micros(micros));
            said.push(line.bench.now - start);
            says_after(&mut line, 0, 10, Duration::from_micros(micros));
        }
        let told = caller_began(&line);
        assert!(told.len() >= said.len() - 1, "{told:?}");
        for (told, said) in told.into_iter().zip(said) {
            let off = told.abs_diff(said + FRAME);
            assert!(off <= Duration::from_millis(25), "{micros}: {told:?}, but said at {said:?}");
        }
    }
}

#[test]
fn a_caller_who_hangs_up_in_mid_sentence_is_heard_to_the_end() {
    let line = talk(2040);
    let said = (Duration::from_millis(1420), Duration::from_millis(2040));
    let turn = |event: &Event| if let Event::Turn(turn) = event { Some(*turn) } else { None };
    let events: Vec<_> = line.bench.events().filter_map(turn).collect();
    assert_eq!(events, stretch(CALLER, said));
    assert_eq!(line.bench.records()[0].duplex.caller_ms, 620);
    let last = line.bench.events().last();
    assert!(matches!(last, Some(Event::Ended(_))), "the record comes behind all of it: {last:?}");
}
