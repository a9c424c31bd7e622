//! Pace, bounds and counters of the playout buffer.

use proptest::prelude::*;

use super::*;
use crate::audio::frame::Rate;

const MS: Duration = Duration::from_millis(1);

/// A frame of speech that can be told from others by its first sample.
fn frame(number: i16) -> Frame {
    let mut samples = vec![5000; 160];
    samples[0] = number;
    Frame::new(Rate::Hz8000, samples).unwrap()
}

fn silent() -> Frame {
    Frame::silence(Rate::Hz8000)
}

fn loud() -> Frame {
    frame(10_000)
}

fn playout(max_ms: u32, ahead_ms: u32) -> Playout {
    Playout::new(Config { max: MS * max_ms, ahead: MS * ahead_ms })
}

fn pop_all(playout: &mut Playout, now: Instant) -> Vec<i16> {
    std::iter::from_fn(|| playout.pop(now)).map(|frame| frame.samples()[0]).collect()
}

/// Any instant: the core's lint against clocks is about decisions, and a test needs a first time.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn fills_the_far_end_then_keeps_pace() {
    let (t0, mut playout) = (start(), playout(1000, 60));
    (0..20).for_each(|n| playout.push(frame(n)));
    assert_eq!(pop_all(&mut playout, t0), [0, 1, 2]);
    assert_eq!(playout.far_depth(t0), MS * 60);
    assert_eq!(playout.depth(), MS * 340);
    assert_eq!(pop_all(&mut playout, t0 + MS), [3]);
    for n in 1..10 {
        assert_eq!(pop_all(&mut playout, t0 + MS * 20 * n as u32), [0_i16; 0]);
        assert_eq!(pop_all(&mut playout, t0 + MS * (20 * n as u32 + 1)), [3 + n]);
    }
}

#[test]
fn a_late_timer_is_made_up_for() {
    let (t0, mut playout) = (start(), playout(1000, 100));
    (0..50).for_each(|n| playout.push(frame(n)));
    assert_eq!(pop_all(&mut playout, t0).len(), 5);
    assert_eq!(pop_all(&mut playout, t0 + MS * 95).len(), 5);
    assert_eq!(pop_all(&mut playout, t0 + MS * 101).len(), 1);
    assert_eq!(playout.counters().underruns, 0);
}

#[test]
fn pop_gives_a_frame_at_the_deadline_and_not_before() {
    let (t0, mut playout) = (start(), playout(1000, 50));
    assert_eq!(playout.next_deadline(), None);
    (0..20).for_each(|n| playout.push(frame(n)));
    pop_all(&mut playout, t0);
    let mut given = 3;
    while let Some(deadline) = playout.next_deadline() {
        assert_eq!(playout.pop(deadline - Duration::from_nanos(1)), None);
        assert_eq!(pop_all(&mut playout, deadline), [given]);
        given += 1;
    }
    assert_eq!(given, 20);
}

#[test]
fn deadline_after_a_clear_is_not_in_the_future() {
    let (t0, mut playout) = (start(), playout(1000, 100));
    playout.push(loud());
    pop_all(&mut playout, t0);
    playout.clear();
    playout.push(loud());
    assert_eq!(playout.next_deadline(), Some(t0));
    assert!(playout.pop(t0 + MS).is_some());
}

#[test]
fn over_the_bound_the_oldest_goes() {
    let (t0, mut playout) = (start(), playout(60, 1000));
    (0..5).for_each(|n| playout.push(frame(n)));
    assert_eq!(playout.depth(), MS * 60);
    assert_eq!(playout.counters().dropped_ms, 40);
    assert_eq!(pop_all(&mut playout, t0), [2, 3, 4]);
}

#[test]
fn bounds_below_a_frame_still_let_one_through() {
    let (t0, mut playout) = (start(), playout(0, 0));
    playout.push(frame(1));
    playout.push(frame(2));
    assert_eq!(pop_all(&mut playout, t0), [2]);
    playout.push(frame(3));
    assert_eq!(pop_all(&mut playout, t0 + MS * 19), [0_i16; 0]);
    assert_eq!(pop_all(&mut playout, t0 + MS * 20), [3]);
    assert_eq!(playout.counters().underruns, 0);
}

/// Plays one frame, leaves the far end dry for a while after it, then plays another.
fn underruns_after(first: Frame, dry: Duration) -> u64 {
    let (t0, mut playout) = (start(), playout(1000, 100));
    playout.push(first);
    pop_all(&mut playout, t0);
    playout.push(frame(0));
    pop_all(&mut playout, t0 + FRAME + dry);
    playout.counters().underruns
}

#[test]
fn running_dry_in_speech_is_an_underrun() {
    assert_eq!(underruns_after(loud(), Duration::ZERO), 0, "just in time");
    assert_eq!(underruns_after(loud(), MS), 1);
    assert_eq!(underruns_after(loud(), MS * 2000), 1, "a long stall in the middle of a word");
    assert_eq!(underruns_after(silent(), MS * 399), 1, "too short for a pause");
    assert_eq!(underruns_after(silent(), MS * 400), 0, "a pause");
}

#[test]
fn a_surplus_is_made_good_in_the_next_pause() {
    let (t0, mut playout) = (start(), playout(2000, 100));
    (0..40).for_each(|n| playout.push(frame(n)));
    (0..40).for_each(|_| playout.push(silent()));
    assert_eq!(playout.counters().skipped_ms, 800, "speech is kept, the pause behind it is not");
    assert_eq!(playout.depth(), MS * 800);
    while playout.depth() > SURPLUS {
        let deadline = playout.next_deadline().unwrap_or(t0);
        pop_all(&mut playout, deadline);
    }
    playout.push(silent());
    assert_eq!(playout.counters().skipped_ms, 800, "without a surplus a pause is a pause");
    assert_eq!(playout.counters().dropped_ms, 0);
}

#[test]
fn clear_empties_both_ends_and_counts_no_underrun() {
    let (t0, mut playout) = (start(), playout(1000, 40));
    (0..10).for_each(|_| playout.push(loud()));
    pop_all(&mut playout, t0);
    playout.clear();
    assert_eq!((playout.depth(), playout.far_depth(t0)), (Duration::ZERO, Duration::ZERO));
    assert_eq!(playout.next_deadline(), None);
    playout.push(loud());
    assert!(playout.pop(t0 + MS * 300).is_some());
    let counters = playout.counters();
    assert_eq!((counters.pushed_ms, counters.popped_ms), (220, 60));
    assert_eq!((counters.cleared_ms, counters.underruns), (160, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Wait(Duration),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..30).prop_map(Step::Push),
        6 => (0u64..200_000).prop_map(|us| Step::Wait(Duration::from_micros(us))),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn keeps_order_bounds_and_balance(
        max_ms in 0u32..1000,
        ahead_ms in 0u32..300,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut playout = playout(max_ms, ahead_ms);
        let (mut now, mut pushed, mut last) = (start(), 0, -1);
        let most = MS * max_ms.max(20);
        for step in steps {
            match step {
                Step::Push(count) => for n in 0..count {
                    playout.push(if n % 3 == 2 { silent() } else { frame(pushed) });
                    pushed += 1;
                },
                Step::Wait(time) => now += time,
                Step::Clear => playout.clear(),
            }
            prop_assert!(playout.depth() <= most);
            for number in pop_all(&mut playout, now) {
                // Silence has no number: it reads as the frame 0.
                if number > 0 {
                    prop_assert!(number > last, "{number} after {last}");
                    last = number;
                }
            }
            prop_assert!(playout.far_depth(now) < MS * ahead_ms.max(1) + FRAME);
            prop_assert!(playout.next_deadline().is_none_or(|deadline| deadline > now));
            prop_assert_eq!(playout.next_deadline().is_none(), playout.depth().is_zero());
            let counters = playout.counters();
            let depth_ms = playout.depth().as_millis() as u64;
            let gone = counters.popped_ms + counters.dropped_ms + counters.cleared_ms
                + counters.skipped_ms;
            prop_assert_eq!(counters.pushed_ms, gone + depth_ms);
            prop_assert_eq!(counters.pushed_ms, pushed as u64 * FRAME_MS);
        }
    }

    /// However late the timers are, the far end gets every frame in the time it takes to hear it.
    #[test]
    fn does_not_drift(lateness_us in prop::collection::vec(0u64..59_000, 100)) {
        let (t0, mut playout) = (start(), playout(60_000, 60));
        let mut popped = 0;
        let mut now = t0;
        (0..3000).for_each(|_| playout.push(frame(0)));
        popped += pop_all(&mut playout, now).len();
        for late in lateness_us.iter().cycle().take(2000) {
            let Some(deadline) = playout.next_deadline() else { break };
            now = deadline + Duration::from_micros(*late);
            popped += pop_all(&mut playout, now).len();
        }
        let heard = FRAME * popped as u32 - playout.far_depth(now);
        prop_assert_eq!(heard, now - t0);
        prop_assert_eq!(playout.counters().underruns, 0);
    }
}
