//! Dialogues made by hand, whose measures are known, and random ones that must add up.

use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const CALLER: Side = Side::Caller;
const ENGINE: Side = Side::Engine;

/// A talk of `end` milliseconds, from who speaks from when to when.
struct Talk {
    caller: Vec<(u64, u64)>,
    engine: Vec<(u64, u64)>,
    end: u64,
}

impl Talk {
    /// Feeds it frame by frame, the engine's `ahead` milliseconds before the caller's.
    fn play(&self, ahead: u64) -> (Vec<TurnEvent>, Duplex) {
        let mut turns = Turns::new(Config::default());
        let mut events = Vec::new();
        let says = |spans: &[(u64, u64)], at| spans.iter().any(|(a, b)| (*a..*b).contains(&at));
        for step in (0..self.end + ahead).step_by(20) {
            if step < self.end {
                turns.heard(ENGINE, ms(step), says(&self.engine, step));
            }
            if let Some(at) = step.checked_sub(ahead) {
                turns.heard(CALLER, ms(at), says(&self.caller, at));
            }
            events.extend(std::iter::from_fn(|| turns.poll()));
        }
        turns.finish(ms(self.end));
        events.extend(std::iter::from_fn(|| turns.poll()));
        (events, turns.duplex())
    }
}

/// What happens in a talk, however far the engine's frames come ahead; stretches left out.
fn events(caller: &[(u64, u64)], engine: &[(u64, u64)], end: u64) -> (Vec<TurnEvent>, Duplex) {
    let talk = Talk { caller: caller.to_vec(), engine: engine.to_vec(), end };
    let (mut events, duplex) = talk.play(0);
    for ahead in [20, 240, 2000] {
        assert_eq!(talk.play(ahead), (events.clone(), duplex), "{ahead} ms ahead");
    }
    events.retain(|event| !matches!(event, TurnEvent::Began { .. } | TurnEvent::Ended { .. }));
    (events, duplex)
}

#[test]
fn a_plain_exchange_has_a_gap() {
    let talk = Talk { caller: vec![(1000, 2000)], engine: vec![(2340, 3000)], end: 4000 };
    let (events, duplex) = talk.play(0);
    assert_eq!(
        events,
        [
            TurnEvent::Began { side: CALLER, at: ms(1000) },
            TurnEvent::Ended { side: CALLER, began: ms(1000), ended: ms(2000) },
            TurnEvent::Began { side: ENGINE, at: ms(2340) },
            TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: 340, at: ms(2340) },
            TurnEvent::Ended { side: ENGINE, began: ms(2340), ended: ms(3000) },
        ]
    );
    let expected = Duplex {
        caller_ms: 1000,
        engine_ms: 660,
        exchanges: 1,
        gap_ms: Some(Quantiles { p50: 340, p95: 340, max: 340 }),
        longest_turn_ms: Sides { caller: 1000, engine: 660 },
        ..Duplex::default()
    };
    assert_eq!(duplex, expected);
}

#[test]
fn an_answer_at_once_has_a_gap_of_zero() {
    let (events, duplex) = events(&[(0, 500)], &[(500, 900)], 1000);
    assert_eq!(events, [TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: 0, at: ms(500) }]);
    assert_eq!(duplex.overlap_ms, 0);
}

#[test]
fn a_short_overlap_at_a_change_is_a_negative_gap_and_no_talk_over() {
    let (events, duplex) = events(&[(0, 1000)], &[(900, 2000)], 3000);
    assert_eq!(
        events,
        [TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: -100, at: ms(900) }]
    );
    assert_eq!((duplex.overlap_ms, duplex.talk_overs), (100, Sides::default()));
    assert_eq!(duplex.gap_ms, Some(Quantiles { p50: -100, p95: -100, max: -100 }));
}

#[test]
fn a_barge_in_is_a_talk_over_and_an_exchange() {
    let (events, duplex) = events(&[(1000, 3000)], &[(0, 1400)], 4000);
    assert_eq!(
        events,
        [
            TurnEvent::TalkOver { by: CALLER, at: ms(1000), ms: 400 },
            TurnEvent::Exchange { from: ENGINE, to: CALLER, gap_ms: -400, at: ms(1000) },
        ]
    );
    assert_eq!(duplex.talk_overs, Sides { caller: 1, engine: 0 });
    assert_eq!(duplex.overlap_ms, 400);
    assert_eq!(duplex.gap_ms, None, "the caller's response time is not the engine's");
    assert_eq!(duplex.longest_turn_ms, Sides { caller: 2000, engine: 1400 });
}

#[test]
fn a_barge_in_that_gives_up_leaves_the_floor() {
    let (events, duplex) = events(&[(1000, 2200)], &[(0, 4000)], 5000);
    assert_eq!(events, [TurnEvent::TalkOver { by: CALLER, at: ms(1000), ms: 1200 }]);
    assert_eq!((duplex.exchanges, duplex.overlap_ms), (0, 1200));
    assert_eq!(duplex.longest_turn_ms, Sides { caller: 0, engine: 4000 });
}

#[test]
fn a_back_channel_leaves_the_floor() {
    let (events, duplex) = events(&[(0, 5000)], &[(1000, 1300), (2000, 2980), (3500, 4500)], 5400);
    assert_eq!(
        events,
        [
            TurnEvent::Backchannel { by: ENGINE, at: ms(1000), ms: 300 },
            TurnEvent::Backchannel { by: ENGINE, at: ms(2000), ms: 980 },
            TurnEvent::TalkOver { by: ENGINE, at: ms(3500), ms: 1000 },
        ]
    );
    assert_eq!(duplex.backchannels, Sides { caller: 0, engine: 2 });
    assert_eq!(duplex.talk_overs, Sides { caller: 0, engine: 1 });
    assert_eq!((duplex.exchanges, duplex.longest_turn_ms.caller), (0, 5000));
}

#[test]
fn a_back_channel_in_a_pause_of_the_other_lies_inside_its_stretch() {
    let (events, duplex) = events(&[(0, 1000), (1280, 2000)], &[(1060, 1220)], 3000);
    assert_eq!(events, [TurnEvent::Backchannel { by: ENGINE, at: ms(1060), ms: 160 }]);
    assert_eq!((duplex.overlap_ms, duplex.caller_ms), (0, 1720));
}

#[test]
fn pauses_inside_a_turn_are_no_exchange() {
    let (heard, duplex) = events(&[(0, 400), (680, 1000), (1300, 2000)], &[], 3000);
    assert_eq!(heard, []);
    assert_eq!(duplex.longest_turn_ms.caller, 2000);
    let talk =
        Talk { caller: vec![(0, 400), (680, 1000), (1300, 2000)], engine: vec![], end: 3000 };
    let stretches: Vec<_> = talk
        .play(0)
        .0
        .into_iter()
        .filter(|event| matches!(event, TurnEvent::Ended { .. }))
        .collect();
    assert_eq!(
        stretches,
        [
            TurnEvent::Ended { side: CALLER, began: ms(0), ended: ms(1000) },
            TurnEvent::Ended { side: CALLER, began: ms(1300), ended: ms(2000) },
        ]
    );
}

#[test]
fn dead_air_is_told_at_the_start_between_and_at_the_end() {
    let (heard, duplex) = events(&[(4000, 5000), (8020, 9000)], &[(12_000, 13_000)], 17_000);
    assert_eq!(
        heard,
        [
            TurnEvent::DeadAir { from: ms(0), ms: 4000 },
            TurnEvent::DeadAir { from: ms(5000), ms: 3020 },
            TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: 3000, at: ms(12_000) },
            TurnEvent::DeadAir { from: ms(13_000), ms: 4000 },
        ]
    );
    assert_eq!((duplex.dead_airs, duplex.dead_air_ms), (3, 11_020));
    assert_eq!(duplex.longest_turn_ms.caller, 1000, "dead air ends a turn");
}

#[test]
fn a_talk_begins_with_its_first_frame() {
    let mut turns = Turns::new(Config::default());
    for at in (60_000..62_000).step_by(20) {
        turns.heard(CALLER, ms(at), false);
        turns.heard(ENGINE, ms(at), false);
    }
    turns.finish(ms(62_000));
    assert_eq!(turns.poll(), None);
    assert_eq!(turns.duplex(), Duplex::default());
}

#[test]
fn simultaneous_talk_is_the_callers_first() {
    let (heard, duplex) = events(&[(0, 1000)], &[(0, 1000)], 2000);
    assert_eq!(heard, [TurnEvent::TalkOver { by: ENGINE, at: ms(0), ms: 1000 }]);
    assert_eq!((duplex.overlap_ms, duplex.exchanges), (1000, 0));
    let (heard, _) = events(&[(0, 1000)], &[(500, 1000)], 2000);
    assert_eq!(heard, [TurnEvent::Backchannel { by: ENGINE, at: ms(500), ms: 500 }]);
}

#[test]
fn an_interrupter_can_be_interrupted() {
    let (heard, _) = events(&[(0, 1000), (1800, 3000)], &[(700, 2100)], 4000);
    assert_eq!(
        heard,
        [
            TurnEvent::TalkOver { by: ENGINE, at: ms(700), ms: 300 },
            TurnEvent::Exchange { from: CALLER, to: ENGINE, gap_ms: -300, at: ms(700) },
            TurnEvent::TalkOver { by: CALLER, at: ms(1800), ms: 300 },
            TurnEvent::Exchange { from: ENGINE, to: CALLER, gap_ms: -300, at: ms(1800) },
        ]
    );
}

#[test]
fn holes_are_silence() {
    let mut turns = Turns::new(Config::default());
    // Frames with speech alone; neither side says a word about its silence.
    for (side, spans) in [(ENGINE, [(0, 500), (700, 900)]), (CALLER, [(1300, 1500), (6000, 6200)])]
    {
        for (from, to) in spans {
            (from..to).step_by(20).for_each(|at| turns.heard(side, ms(at), true));
        }
    }
    turns.finish(ms(6200));
    let told: Vec<_> = std::iter::from_fn(|| turns.poll()).collect();
    assert!(told.contains(&TurnEvent::Ended { side: ENGINE, began: ms(0), ended: ms(900) }));
    let exchange = TurnEvent::Exchange { from: ENGINE, to: CALLER, gap_ms: 400, at: ms(1300) };
    assert!(told.contains(&exchange), "{told:?}");
    assert!(told.contains(&TurnEvent::DeadAir { from: ms(1500), ms: 4500 }), "{told:?}");
    let duplex = turns.duplex();
    assert_eq!((duplex.caller_ms, duplex.engine_ms, duplex.late_ms), (400, 700, 0));
}

#[test]
fn a_side_that_is_silent_for_ever_holds_nothing_up() {
    for (side, late) in [(CALLER, ENGINE_LATE), (ENGINE, CALLER_LATE)] {
        let mut turns = Turns::new(Config::default());
        let mut told = None;
        for at in (0..10_000).step_by(20) {
            turns.heard(side, ms(at), at >= 1000);
            if let (Some(event), None) = (turns.poll(), told) {
                assert_eq!(event, TurnEvent::Began { side, at: ms(1000) });
                told = Some(ms(at + 20));
            }
        }
        assert_eq!(told, Some(ms(1020) + late));
        let (caller, engine) = turns.speaking();
        let (speaker, other) = if side == CALLER { (caller, engine) } else { (engine, caller) };
        assert_eq!((speaker, other), (Some(ms(1000)), None));
    }
}

#[test]
fn what_comes_when_its_time_is_decided_is_dropped_and_counted() {
    let mut turns = Turns::new(Config::default());
    for at in (0..5000).step_by(20) {
        turns.heard(ENGINE, ms(at), true);
    }
    // Everything before 2500 ms is decided.
    for at in (2000..3000).step_by(20) {
        turns.heard(CALLER, ms(at), true);
    }
    turns.finish(ms(5000));
    let duplex = turns.duplex();
    assert_eq!((duplex.caller_ms, duplex.late_ms, duplex.overlap_ms), (500, 500, 500));
    assert_eq!(duplex.engine_ms, 5000);
}

#[test]
fn frames_that_overlap_count_once() {
    let mut turns = Turns::new(Config::default());
    for at in [0, 15, 30, 10, 50] {
        turns.heard(CALLER, ms(at), true);
    }
    turns.finish(ms(1000));
    assert_eq!(turns.duplex().caller_ms, 70);
}

#[test]
fn what_the_end_cuts_off_is_not_heard() {
    let mut turns = Turns::new(Config::default());
    for at in (0..3000).step_by(20) {
        turns.heard(ENGINE, ms(at), true);
    }
    turns.finish(ms(1010));
    turns.finish(ms(2000));
    turns.heard(CALLER, ms(1500), true);
    let ended = TurnEvent::Ended { side: ENGINE, began: ms(0), ended: ms(1010) };
    assert!(std::iter::from_fn(|| turns.poll()).any(|event| event == ended));
    assert_eq!((turns.duplex().engine_ms, turns.duplex().caller_ms), (1010, 0));
    assert_eq!(turns.speaking(), (None, None));
}

#[test]
fn speaking_bridges_pauses() {
    let mut turns = Turns::new(Config::default());
    let mut hear = |at: u64, speech| {
        turns.heard(CALLER, ms(at), speech);
        turns.heard(ENGINE, ms(at), false);
        turns.speaking().0
    };
    assert_eq!(hear(0, false), None);
    assert_eq!(hear(20, true), Some(ms(20)));
    for at in (40..320).step_by(20) {
        assert_eq!(hear(at, false), Some(ms(20)), "{at}");
    }
    assert_eq!(hear(320, false), None, "300 ms of silence");
}

#[test]
fn moments_at_the_end_of_time_do_no_harm() {
    let mut turns = Turns::new(Config::default());
    for at in [Duration::MAX, Duration::ZERO, Duration::MAX - ms(10), ms(20)] {
        turns.heard(CALLER, at, true);
        turns.heard(ENGINE, at, true);
    }
    turns.finish(Duration::MAX);
    assert_eq!(turns.duplex().caller_ms, 0, "at the end of time there is no room for speech");
}

/// Speech and silence by turns, 40 minutes of them a step; nothing piles up.
#[test]
fn eight_hours_are_no_more_than_a_minute() {
    let mut turns = Turns::new(Config::default());
    let (mut events, mut exchanges) = (0, 0);
    let frames: u64 = 8 * 3600 * 50;
    for frame in 0..frames {
        let (caller, engine) = (frame % 300 < 130, (150..290).contains(&(frame % 300)));
        turns.heard(ENGINE, ms(frame * 20 + 700), engine);
        turns.heard(CALLER, ms(frame * 20), caller);
        while let Some(event) = turns.poll() {
            events += 1;
            exchanges += u64::from(matches!(event, TurnEvent::Exchange { .. }));
        }
        let Sides { caller, engine } = &turns.tracks;
        assert!(caller.held() + engine.held() < 10, "{frame}");
    }
    assert_eq!(turns.events.dropped, 0);
    let duplex = turns.duplex();
    assert_eq!(duplex.exchanges, exchanges);
    assert!(events > 3 * 4800 && exchanges >= 2 * 4799, "{events} {exchanges}");
    // The caller stops at 2600 and the engine begins 400 ms and, as stamped, 700 ms later.
    assert_eq!(duplex.gap_ms.unwrap().p50, 1100);
    assert_eq!(duplex.caller_ms, frames / 300 * 2600);
}

#[test]
fn nobody_polls_and_memory_stays_bounded() {
    let mut turns = Turns::new(Config::default());
    for at in (0..40_000_000).step_by(1000) {
        turns.heard(CALLER, ms(at), true);
        turns.heard(ENGINE, ms(at), false);
    }
    assert_eq!(turns.events.waiting.len(), MAX_EVENTS);
    assert!(turns.duplex().dropped_events > 0);
}

/// One frame: whose, how far behind the end of the side's last one in milliseconds, with speech?
fn frames() -> impl Strategy<Value = Vec<(bool, u64, bool)>> {
    let hole = prop_oneof![20 => Just(0_u64), 2 => 0..50_u64, 1 => 0..4000_u64];
    // Runs, so that stretches arise.
    let run = (any::<bool>(), hole, any::<bool>(), 1..60_usize);
    let runs = proptest::collection::vec(run, 0..60);
    runs.prop_map(|runs| {
        let frames = |(side, hole, speech, length)| {
            (0..length).map(move |n| (side, if n == 0 { hole } else { 0 }, speech))
        };
        runs.into_iter().flat_map(frames).collect()
    })
}

proptest! {
    /// However frames and sides are mixed, every millisecond of speech is in the sums, every
    /// stretch begins and ends, and the events add up to the measures.
    #[test]
    fn everything_adds_up(frames in frames()) {
        let mut turns = Turns::new(Config::default());
        let mut clocks = [0_u64; 2];
        let mut speech = 0;
        let mut events = Vec::new();
        let mut waiting = 0;
        for (engine, hole, says) in frames {
            let clock = &mut clocks[usize::from(engine)];
            let from = *clock + hole;
            *clock = from + 20;
            speech += if says { 20 } else { 0 };
            turns.heard(if engine { ENGINE } else { CALLER }, ms(from), says);
            events.extend(std::iter::from_fn(|| turns.poll()));
            waiting = turns.tracks.caller.held().max(turns.tracks.engine.held()).max(waiting);
        }
        turns.finish(ms(clocks[0].max(clocks[1])));
        events.extend(std::iter::from_fn(|| turns.poll()));
        prop_assert!(waiting <= 135, "{waiting}");

        let duplex = turns.duplex();
        prop_assert_eq!(duplex.caller_ms + duplex.engine_ms + duplex.late_ms, speech);
        prop_assert!(duplex.overlap_ms <= duplex.caller_ms.min(duplex.engine_ms));
        prop_assert_eq!(duplex.dropped_events, 0);

        let mut open: Sides<Option<Duration>> = Sides::default();
        let mut sums = Duplex::default();
        let mut stretches = 0;
        let mut last = None;
        for event in events {
            match event {
                TurnEvent::Began { side, at } => {
                    prop_assert_eq!(open.of_mut(side).replace(at), None);
                }
                TurnEvent::Ended { side, began, ended } => {
                    prop_assert_eq!(open.of_mut(side).take(), Some(began));
                    prop_assert!(began < ended);
                    stretches += millis(ended - began);
                }
                TurnEvent::Exchange { from, to, .. } => {
                    prop_assert_eq!(from, to.other());
                    prop_assert!(last.is_none_or(|last| last == from), "the floor goes to and fro");
                    last = Some(to);
                    sums.exchanges += 1;
                }
                TurnEvent::TalkOver { by, .. } => *sums.talk_overs.of_mut(by) += 1,
                TurnEvent::Backchannel { by, .. } => *sums.backchannels.of_mut(by) += 1,
                TurnEvent::DeadAir { ms, .. } => {
                    sums.dead_airs += 1;
                    sums.dead_air_ms += ms;
                }
            }
        }
        prop_assert_eq!(open, Sides::default());
        prop_assert!(stretches >= duplex.caller_ms + duplex.engine_ms);
        let expected = Duplex {
            exchanges: sums.exchanges,
            talk_overs: sums.talk_overs,
            backchannels: sums.backchannels,
            dead_airs: sums.dead_airs,
            dead_air_ms: sums.dead_air_ms,
            ..duplex
        };
        prop_assert_eq!(duplex, expected);
    }
}
