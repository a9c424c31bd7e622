//! Where both sides end up on the time line.

use super::*;
use crate::call::epoch;

const RATE: Rate = Rate::Hz8000;
const NONE: Duration = Duration::ZERO;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 20 ms, each sample of this size.
fn tone(size: i16) -> Vec<i16> {
    vec![size; 160]
}

fn frame(size: i16) -> Frame {
    Frame::new(RATE, tone(size)).unwrap()
}

/// All of a recording of which nothing is missing between its stretches.
#[derive(Default)]
struct Heard {
    left: Vec<i16>,
    right: Vec<i16>,
}

impl Heard {
    fn take(&mut self, stretch: Option<Stretch>) {
        let Some(stretch) = stretch else { return };
        assert_eq!((stretch.rate, stretch.at), (RATE, self.left.len() as u64));
        self.left.extend(stretch.samples.iter().step_by(2));
        self.right.extend(stretch.samples.iter().skip(1).step_by(2));
        assert_eq!(self.left.len(), self.right.len());
    }

    /// Where samples of this size begin and end on a channel, in ms.
    fn span(channel: &[i16], size: i16) -> (usize, usize) {
        let first = channel.iter().position(|sample| *sample == size).unwrap();
        let last = channel.iter().rposition(|sample| *sample == size).unwrap();
        (first / 8, (last + 1) / 8)
    }
}

/// A recording of a caller whose piece of each 20 ms arrives 50 ms late, for `frames` of them;
/// `bot` is asked what the bot says at each.
fn record(frames: u64, mut bot: impl FnMut(u64, Instant, &mut Recording)) -> Heard {
    let (start, mut heard) = (epoch(), Heard::default());
    let mut recording = Recording::new(RATE, start);
    for n in 0..frames {
        let now = start + ms(20 * n + 50);
        recording.caller(&tone(1000 + n as i16), Some(ms(20 * n)), now);
        bot(n, now, &mut recording);
        heard.take(recording.poll(now));
    }
    heard.take(recording.finish(start + ms(20 * frames + 50), NONE));
    heard
}

#[test]
fn the_caller_is_where_its_time_stamps_say() {
    let heard = record(100, |_, _, _| {});
    assert_eq!(heard.left.len(), 16_000);
    for n in [0, 1, 50, 99] {
        let from = 20 * n as usize;
        assert_eq!(Heard::span(&heard.left, 1000 + n), (from, from + 20));
    }
    assert!(heard.right.iter().all(|sample| *sample == 0));
}

#[test]
fn the_bot_is_where_it_was_heard() {
    // A mark takes 80 ms there and back. When the caller's frame 50 has come, the caller is at
    // 1020 ms less the way; what the bot says then is heard 80 ms behind that.
    let heard = record(100, |n, now, recording| {
        if n == 50 {
            recording.bot(&frame(7000), now, ms(80));
        }
    });
    assert_eq!(Heard::span(&heard.right, 7000), (1020 + 80, 1020 + 100));
}

#[test]
fn frames_follow_one_another_though_the_estimate_moves_a_little() {
    let heard = record(100, |n, now, recording| {
        if (40..60).contains(&n) {
            let moved = ms(if n % 2 == 0 { 9 } else { 0 });
            recording.bot(&frame(7000), now + moved, NONE);
        }
    });
    let (from, until) = Heard::span(&heard.right, 7000);
    assert_eq!(until - from, 400);
    assert!(heard.right[from * 8..until * 8].iter().all(|sample| *sample == 7000), "no hole");
}

#[test]
fn one_that_is_far_from_its_place_is_put_there() {
    let heard = record(200, |n, now, recording| match n {
        40 => recording.bot(&frame(7000), now, NONE),
        // It is heard 100 ms later than if it followed.
        41 => recording.bot(&frame(8000), now + ms(100), NONE),
        // This one is heard before its predecessor is over: the latter is what was heard.
        100 => recording.bot(&frame(9000), now, NONE),
        101 => recording.bot(&frame(9500), now - ms(16), NONE),
        _ => {}
    });
    assert_eq!(Heard::span(&heard.right, 7000), (820, 840));
    assert_eq!(Heard::span(&heard.right, 8000), (940, 960));
    assert_eq!(Heard::span(&heard.right, 9000), (2020, 2040));
    assert_eq!(Heard::span(&heard.right, 9500), (2040, 2044));
}

#[test]
fn what_the_carrier_drops_is_not_recorded() {
    let mut lacks = Lacks::default();
    let heard = record(100, |n, now, recording| {
        if n == 50 {
            (0..10).for_each(|n| recording.bot(&frame(7000), now + ms(20 * n), NONE));
        }
        if n == 53 {
            recording.clear(now, NONE);
            lacks = recording.lacks();
        }
    });
    assert_eq!(Heard::span(&heard.right, 7000), (1020, 1080));
    assert_eq!(lacks, Lacks { cleared_ms: 140, ..Lacks::default() });
}

#[test]
fn what_was_not_heard_at_the_end_is_left_out() {
    let heard = record(100, |n, now, recording| {
        if n == 99 {
            (0..100).for_each(|n| recording.bot(&frame(7000), now + ms(20 * n), NONE));
        }
    });
    assert_eq!(heard.right.len(), 8 * 2020, "one more frame than the caller has passed");
}

#[test]
fn a_burst_after_a_stall_is_where_it_was_said() {
    let (start, mut heard) = (epoch(), Heard::default());
    let mut recording = Recording::new(RATE, start);
    for n in 0..400_u64 {
        // From 2 to 5 s nothing comes.
        let came = if (100..250).contains(&n) { 5000 } else { 20 * n };
        recording.caller(&tone(1000 + n as i16), Some(ms(20 * n)), start + ms(came));
        heard.take(recording.poll(start + ms(came)));
        // Somebody asks in the meantime too.
        heard.take(recording.poll(start + ms(came + 10)));
    }
    heard.take(recording.finish(start + ms(8000), NONE));
    for n in [99, 100, 200, 249, 250, 399] {
        let from = 20 * n as usize;
        assert_eq!(Heard::span(&heard.left, 1000 + n), (from, from + 20));
    }
    assert_eq!(recording.lacks(), Lacks::default());
}

#[test]
fn who_says_nothing_for_long_is_not_waited_for() {
    let start = epoch();
    let mut recording = Recording::new(RATE, start);
    recording.caller(&tone(1000), Some(NONE), start);
    let mut given = 0;
    for second in 1..60 {
        let now = start + Duration::from_secs(second);
        recording.bot(&frame(7000), now, NONE);
        given += recording.poll(now).map_or(0, |stretch| stretch.samples.len() / 16);
    }
    assert_eq!(given, 54_020, "all but the last 5 s");
    // What comes now is too late for its place, and counted.
    recording.caller(&tone(1000), Some(ms(31_000)), start + Duration::from_secs(60));
    assert_eq!(recording.lacks().late_ms, 20);
}

#[test]
fn a_leg_without_time_stamps_is_counted_by_its_samples() {
    let (start, mut heard) = (epoch(), Heard::default());
    let mut recording = Recording::new(RATE, start);
    for n in 0..200_u64 {
        let jitter = [0, 35, 5, 18][n as usize % 4];
        let now = start + ms(20 * n + jitter);
        recording.caller(&tone(1000 + n as i16), None, now);
        heard.take(recording.poll(now));
    }
    heard.take(recording.finish(start + ms(4000), NONE));
    assert_eq!(Heard::span(&heard.left, 1199), (3980, 4000));
}

#[test]
fn another_stream_goes_on_where_time_has_passed() {
    let (start, mut heard) = (epoch(), Heard::default());
    let mut recording = Recording::new(RATE, start);
    for n in 0..50 {
        recording.caller(&tone(1000), Some(ms(20 * n)), start + ms(20 * n));
    }
    recording.begin_anew();
    for n in 0..50 {
        recording.caller(&tone(2000), Some(ms(20 * n)), start + ms(3000 + 20 * n));
    }
    heard.take(recording.finish(start + ms(4000), NONE));
    assert_eq!(Heard::span(&heard.left, 1000), (0, 1000));
    assert_eq!(Heard::span(&heard.left, 2000), (3000, 4000));
}

#[test]
fn nothing_makes_it_grow_without_bound() {
    let start = epoch();
    let mut recording = Recording::new(RATE, start);
    recording.caller(&tone(1000), Some(NONE), start);
    recording.bot(&frame(7000), start + Duration::from_secs(3600), NONE);
    recording.bot(&frame(7000), start, Duration::from_secs(3600));
    assert_eq!(recording.lacks().ahead_ms, 40);
    recording.caller(&tone(1000), Some(Duration::from_secs(100_000)), start);
    assert!(recording.finish(start, NONE).unwrap().samples.len() <= 4 * 160);
}
