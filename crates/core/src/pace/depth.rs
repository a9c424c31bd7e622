//! How much audio the carrier still has to play: what it was sent, less what it has played since,
//! by an estimate that the carrier's marks correct.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::micros;
use crate::audio::frame::FRAME;
use crate::leg::Mark;

/// Audio between two marks.
const MARK_EVERY: Duration = Duration::from_millis(320);

/// Marks that may be under way; beyond, none is set until one comes back.
const MAX_PENDING: usize = 16;

/// Echoes that tell of a deeper queue only together: the fastest of them counts, as a late echo
/// may have been late on its way.
const ECHOES: usize = 3;

/// Echoes that tell how uneven the way is.
const WAYS: usize = 16;

/// Marks of a call's beginning that tell how long the way there and back takes.
const LEARNT: u32 = 24;

/// Smaller errors are left alone, in microseconds: the carrier plays in steps of 20 ms. While the
/// way is learnt anew late echoes tell of its unevenness first.
const TOLERANCE: i64 = 5_000;
const TOLERANCE_ANEW: i64 = 40_000;

/// How much later than any of late a mark may be before the carrier is taken to have stopped, in
/// microseconds; and the most that counts of how late they were.
const SLACK: i64 = 40_000;
const MOST_SPREAD: i64 = 200_000;

/// A mark that is later than this will not come, in microseconds.
const LOST: i64 = 4_000_000;

/// Beyond the way's own unevenness the estimate may be moved by so much in all, in microseconds,
/// before the way is learnt anew: a way that is longer for good looks like a deeper queue. It may
/// be moved by clocks that drift apart too, at most by so many millionths.
const DOUBT: i64 = 40_000;
const DRIFT_PPM: i64 = 500;
/// What an uneven way moves, it moves back within this.
const LASTS: Duration = Duration::from_secs(5);

/// The carrier's queue, as seen from here.
///
/// The carrier's clock is not ours, its queue may have been held up on the way, and it says
/// nothing but which marks it has passed. An echo cannot come before its audio was played, so one
/// that comes early means at once that less waits than was thought. Late ones mean that more does,
/// when several agree; and while one is overdue nothing is being played. Whether more waits or the
/// way has become longer no echo tells: only a queue that is known to be empty does.
#[derive(Debug, Clone, Default)]
pub(crate) struct CarrierDepth {
    /// When the carrier will have played all that it was sent, by the estimate.
    ends: Option<Instant>,
    generation: u32,
    marks: u64,
    since_mark: Duration,
    /// When the last mark was set.
    marked: Option<Instant>,
    pending: VecDeque<Pending>,
    /// How much later than estimated the last marks came back, in microseconds.
    errors: VecDeque<i64>,
    /// How long the way there and back takes, in microseconds.
    round_trip: Option<i64>,
    echoed: u32,
    /// By how much the estimate was moved since the way was learnt, but for what drift can have
    /// moved it, in microseconds; and when last.
    moved: i64,
    moved_at: Option<Instant>,
    /// Since when that is more than an uneven way explains.
    doubted: Option<Instant>,
    /// Whether it is learnt anew.
    anew: bool,
    /// How uneven the way was when nothing was in doubt.
    uneven: Duration,
    /// Whether and how it is found out that the carrier has run dry.
    dry: Dry,
}

/// Whether the carrier has nothing left to play.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Dry {
    #[default]
    Unknown,
    /// A mark is to tell.
    Asks,
    /// This mark will tell.
    Asked(Mark),
    /// It is.
    Yes,
}

/// A mark that is under way.
#[derive(Debug, Clone, Copy)]
struct Pending {
    mark: Mark,
    /// When the audio before it will have been played, by the estimate.
    due: Instant,
    /// Set before the queue ran dry: it tells nothing of the queue since.
    stale: bool,
}

impl CarrierDepth {
    /// Audio that is not played yet.
    pub(crate) fn depth(&self, now: Instant) -> Duration {
        self.plays_until(now).map_or(Duration::ZERO, |ends| ends.saturating_duration_since(now))
    }

    /// How long the way there and back takes; zero until marks have told.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip.map_or(0, i64::unsigned_abs))
    }

    /// When the carrier will have played all that it was sent; none before it was sent anything.
    pub(crate) fn plays_until(&self, now: Instant) -> Option<Instant> {
        moved(self.ends?, self.overdue(now).unwrap_or(0))
    }

    /// When to look again whether no more than `left` is not played; none before it was sent
    /// anything.
    pub(crate) fn falls_to(&self, left: Duration, now: Instant) -> Option<Instant> {
        if self.overdue(now).is_some() {
            return Some(now + FRAME);
        }
        let ends = self.ends?;
        Some(ends.checked_sub(left).unwrap_or(ends).max(now))
    }

    /// How unevenly what is sent gets there: half of the unevenness of the way there and back. One
    /// late echo, or one that a stall held up, makes no jitter.
    pub(crate) fn jitter(&self) -> Duration {
        let known = if self.errors.len() < WAYS / 2 { self.uneven } else { Duration::ZERO };
        self.unevenness().max(known)
    }

    fn unevenness(&self) -> Duration {
        let least = self.errors.iter().min().copied().unwrap_or(0);
        let spread = |error: &i64| error - least;
        let mut spreads: Vec<_> = self.errors.iter().map(spread).collect();
        spreads.retain(|spread| *spread < MOST_SPREAD);
        spreads.sort_unstable();
        let second = spreads.len().checked_sub(2).map_or(0, |second| spreads[second]);
        Duration::from_micros(second.unsigned_abs() / 2)
    }

    /// Whether the way should be learnt anew: it is once the carrier was left to run dry.
    pub(crate) fn is_doubtful(&self, now: Instant) -> bool {
        self.doubted.is_some_and(|since| now.saturating_duration_since(since) >= LASTS)
    }

    /// Learns the way anew once the carrier has run dry, which a mark behind everything tells; true
    /// when that is so. Nothing must be sent meanwhile.
    pub(crate) fn learn_anew(&mut self, now: Instant) -> bool {
        if self.dry == Dry::Unknown {
            self.dry = Dry::Asks;
        }
        if self.dry != Dry::Yes {
            return false;
        }
        self.ends = Some(now);
        self.errors.clear();
        self.pending.iter_mut().for_each(|pending| pending.stale = true);
        (self.round_trip, self.echoed, self.anew) = (None, 0, true);
        (self.moved, self.doubted) = (0, None);
        true
    }

    /// Notes that this much audio is sent.
    pub(crate) fn sent(&mut self, length: Duration, now: Instant) {
        if let Some(overdue) = self.overdue(now) {
            self.correct(overdue, now);
        }
        if self.ends.is_none_or(|ends| ends < now) {
            self.ends = Some(now);
            self.errors.clear();
            self.pending.iter_mut().for_each(|pending| pending.stale = true);
        }
        self.ends = self.ends.map(|ends| ends + length);
        self.since_mark += length;
        self.dry = Dry::Unknown;
    }

    /// A mark to send behind what was sent, once in a while; also while one is overdue, since it
    /// may have been lost, and the next one tells.
    pub(crate) fn due_mark(&mut self, now: Instant) -> Option<Mark> {
        let probes = self.overdue(now).is_some()
            && self.marked.is_none_or(|marked| now >= marked + MARK_EVERY);
        let asks = self.dry == Dry::Asks;
        let due = self.since_mark >= MARK_EVERY || probes || asks;
        let mark = (due && self.pending.len() < MAX_PENDING).then(|| self.mark(now))?;
        if asks {
            self.dry = Dry::Asked(mark);
        }
        Some(mark)
    }

    /// A mark to send now.
    pub(crate) fn mark(&mut self, now: Instant) -> Mark {
        self.marks += 1;
        self.since_mark = Duration::ZERO;
        self.marked = Some(now);
        let mark = Mark { generation: self.generation, number: self.marks };
        let due = self.plays_until(now).map_or(now, |ends| ends.max(now));
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { mark, due, stale: false });
        mark
    }

    /// The carrier has passed a mark. True if what was before it has been heard; false if it was
    /// flushed, or is no mark of ours.
    pub(crate) fn echoed(&mut self, mark: Mark, now: Instant) -> bool {
        let Some(at) = self.pending.iter().position(|pending| pending.mark == mark) else {
            return false;
        };
        let Some(pending) = self.pending.drain(..=at).next_back() else { return false };
        if matches!(self.dry, Dry::Asked(asked) if mark.number >= asked.number) {
            self.dry = Dry::Yes;
        }
        if mark.generation != self.generation {
            return false;
        }
        if !pending.stale {
            self.learn(micros_between(pending.due, now), now);
        }
        true
    }

    /// The carrier was told to drop what it has not played.
    pub(crate) fn cleared(&mut self, now: Instant) {
        self.generation += 1;
        self.dry = Dry::Unknown;
        self.ends = self.ends.map(|ends| ends.min(now));
        self.since_mark = Duration::ZERO;
        self.errors.clear();
        self.pending.iter_mut().for_each(|pending| pending.stale = true);
    }

    /// How long the carrier has played nothing, in microseconds, if a mark is overdue.
    fn overdue(&self, now: Instant) -> Option<i64> {
        let round_trip = self.round_trip?;
        let oldest = self.pending.iter().find(|pending| !pending.stale)?;
        let late = micros_between(oldest.due, now) - round_trip;
        let usual = SLACK + self.spread(round_trip).clamp(0, MOST_SPREAD);
        (usual..LOST).contains(&late).then_some(late)
    }

    /// How much later than `than` the latest of the last echoes came, in microseconds.
    fn spread(&self, than: i64) -> i64 {
        self.errors.iter().max().map_or(0, |error| error - than)
    }

    fn learn(&mut self, error: i64, now: Instant) {
        let learns = self.echoed < LEARNT;
        if learns {
            self.echoed += 1;
            let before = self.round_trip.unwrap_or(i64::MAX);
            self.round_trip = Some(before.min(error.max(0)));
        }
        let round_trip = self.round_trip.unwrap_or(0);
        if error - round_trip < -TOLERANCE {
            self.correct(error - round_trip, now);
            self.errors.clear();
            return;
        }
        if self.errors.len() == WAYS {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
        let least = self.errors.iter().rev().take(ECHOES).min().copied().unwrap_or(0);
        let as_ever = self.doubted.is_none() && least - round_trip < TOLERANCE;
        if as_ever && self.errors.len() >= WAYS / 2 {
            self.uneven = self.unevenness();
        }
        let tolerance = if learns && self.anew { TOLERANCE_ANEW } else { TOLERANCE };
        if self.errors.len() >= ECHOES && least - round_trip >= tolerance {
            self.correct(least - round_trip, now);
        }
    }

    /// Moves the estimate, and with it what the marks under way are measured against.
    fn correct(&mut self, by_micros: i64, now: Instant) {
        // An estimate that was moved on suspicion may be wrong: the way is not learnt from it.
        if by_micros > 0 {
            self.echoed = LEARNT;
        }
        self.note_moved(by_micros, now);
        self.ends = self.ends.and_then(|ends| moved(ends, by_micros));
        for pending in self.pending.iter_mut().filter(|pending| !pending.stale) {
            pending.due = moved(pending.due, by_micros).unwrap_or(pending.due);
        }
        self.errors.iter_mut().for_each(|error| *error -= by_micros);
    }

    fn note_moved(&mut self, by_micros: i64, now: Instant) {
        let before = self.moved_at.replace(now).unwrap_or(now);
        let drift = micros(now.saturating_duration_since(before)) * DRIFT_PPM / 1_000_000;
        self.moved = self.moved.signum() * (self.moved.abs() - drift).max(0) + by_micros;
        let much = self.moved.abs() >= DOUBT + 2 * micros(self.uneven);
        self.doubted = if much { self.doubted.or(Some(now)) } else { None };
    }
}

/// Microseconds from one moment to another, negative if it is the earlier one.
fn micros_between(from: Instant, to: Instant) -> i64 {
    let ahead = to.saturating_duration_since(from);
    micros(ahead) - micros(from.saturating_duration_since(to))
}

fn moved(at: Instant, by_micros: i64) -> Option<Instant> {
    let by = Duration::from_micros(by_micros.unsigned_abs());
    if by_micros < 0 { at.checked_sub(by) } else { at.checked_add(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A carrier that plays what it is sent, some way off, at a clock of its own.
    struct Carrier {
        start: Instant,
        now: Instant,
        round_trip: Duration,
        /// How much faster than ours its clock runs, in parts per million.
        ppm: i64,
        /// When it will have played everything, by our clock.
        ends: Instant,
        echoes: VecDeque<(Instant, Mark)>,
    }

    impl Carrier {
        fn new(round_trip: u64, ppm: i64) -> Self {
            let start = crate::call::epoch();
            Self {
                start,
                now: start,
                round_trip: ms(round_trip),
                ppm,
                ends: start,
                echoes: VecDeque::new(),
            }
        }

        fn local(&self, length: Duration) -> Duration {
            let micros = length.as_micros() as i64;
            Duration::from_nanos((micros * 1000 - micros * self.ppm / 1000) as u64)
        }

        /// 80 ms go by: audio is sent, marks come back.
        fn step(&mut self, depth: &mut CarrierDepth, length: Duration) {
            self.now += ms(80);
            while self.echoes.front().is_some_and(|(at, _)| *at <= self.now) {
                let (at, mark) = self.echoes.pop_front().unwrap();
                assert!(depth.echoed(mark, at));
            }
            if !length.is_zero() {
                depth.sent(length, self.now);
                self.ends = self.ends.max(self.now) + self.local(length);
            }
            if let Some(mark) = depth.due_mark(self.now) {
                self.echoes.push_back((self.ends + self.round_trip, mark));
            }
        }

        fn error_ms(&self, depth: &CarrierDepth) -> i64 {
            micros_between(self.ends, depth.plays_until(self.now).unwrap()) / 1000
        }
    }

    #[test]
    fn between_marks_depth_is_what_was_sent_less_the_time_since() {
        let now = crate::call::epoch();
        let mut depth = CarrierDepth::default();
        assert_eq!(depth.depth(now), Duration::ZERO);
        depth.sent(ms(80), now);
        assert_eq!(depth.depth(now + ms(30)), ms(50));
        assert_eq!(depth.depth(now + ms(100)), Duration::ZERO);
        depth.sent(ms(80), now + ms(200));
        assert_eq!(depth.depth(now + ms(200)), ms(80));
    }

    #[test]
    fn marks_are_set_every_so_often_and_bounded() {
        let now = crate::call::epoch();
        let mut depth = CarrierDepth::default();
        let mut marks = 0;
        for _ in 0..1000 {
            depth.sent(ms(80), now);
            marks += u64::from(depth.due_mark(now).is_some());
        }
        assert_eq!(marks, MAX_PENDING as u64);
    }

    #[test]
    fn a_carrier_that_paused_is_seen_to_lag() {
        let mut carrier = Carrier::new(60, 0);
        let mut depth = CarrierDepth::default();
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        assert!(carrier.error_ms(&depth).abs() <= 5, "{}", carrier.error_ms(&depth));
        // It stops for 400 ms, and so do the echoes.
        carrier.ends += ms(400);
        carrier.echoes.iter_mut().for_each(|(at, _)| *at += ms(400));
        assert!(carrier.error_ms(&depth) <= -395);
        (0..40).for_each(|_| carrier.step(&mut depth, ms(80)));
        assert!(carrier.error_ms(&depth).abs() <= 10, "{}", carrier.error_ms(&depth));
    }

    #[test]
    fn the_carriers_clock_may_drift_for_hours() {
        for ppm in [-200, -100, 100, 200] {
            let mut carrier = Carrier::new(60, ppm);
            let mut depth = CarrierDepth::default();
            depth.sent(ms(80), carrier.now);
            carrier.ends = carrier.now + ms(80);
            for _ in 0..360_000 {
                // As the engine does, whose clock the carrier's is.
                let due = micros_between(carrier.now, carrier.ends) < 120_000;
                carrier.step(&mut depth, if due { ms(80) } else { Duration::ZERO });
                let error = carrier.error_ms(&depth);
                assert!(error.abs() <= 15, "{ppm} ppm: {error} ms after {:?}", {
                    carrier.now - carrier.start
                });
            }
        }
    }

    #[test]
    fn what_comes_back_after_a_clear_was_not_heard() {
        let now = crate::call::epoch();
        let mut depth = CarrierDepth::default();
        depth.sent(ms(480), now);
        let before = depth.due_mark(now).unwrap();
        depth.cleared(now + ms(100));
        assert_eq!(depth.depth(now + ms(100)), Duration::ZERO);
        depth.sent(ms(480), now + ms(120));
        let after = depth.due_mark(now + ms(120)).unwrap();
        assert_eq!((before.generation, after.generation), (0, 1));
        assert!(!depth.echoed(before, now + ms(150)));
        assert_eq!(depth.depth(now + ms(200)), ms(400));
        assert!(depth.echoed(after, now + ms(700)));
        assert!(!depth.echoed(after, now + ms(700)), "each comes back once");
    }

    #[test]
    fn a_carrier_that_stops_is_noticed_before_it_says_so() {
        let mut carrier = Carrier::new(60, 0);
        let mut depth = CarrierDepth::default();
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        let before = depth.depth(carrier.now);
        carrier.echoes.iter_mut().for_each(|(at, _)| *at += ms(3000));
        for _ in 0..10 {
            carrier.step(&mut depth, Duration::ZERO);
        }
        let since = depth.depth(carrier.now);
        assert!(since >= before.saturating_sub(ms(100)), "{before:?} then {since:?}");
    }

    #[test]
    fn a_longer_way_is_learnt_when_the_carrier_has_run_dry() {
        let mut carrier = Carrier::new(60, 0);
        let mut depth = CarrierDepth::default();
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        carrier.round_trip += ms(100);
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        assert!(carrier.error_ms(&depth) >= 90, "it is taken for audio that waits");
        assert!(!depth.learn_anew(carrier.now), "nothing has told that it has run dry");
        carrier.step(&mut depth, ms(80));
        (0..10).for_each(|_| carrier.step(&mut depth, Duration::ZERO));
        assert!(!depth.learn_anew(carrier.now), "something was sent since it was asked for");
        (0..10).for_each(|_| carrier.step(&mut depth, Duration::ZERO));
        assert!(depth.learn_anew(carrier.now));
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        assert!(carrier.error_ms(&depth).abs() <= 5, "{}", carrier.error_ms(&depth));
        assert_eq!(depth.round_trip(), ms(160));
    }

    #[test]
    fn echoes_that_were_held_up_on_their_way_are_found_out() {
        let mut carrier = Carrier::new(60, 0);
        let mut depth = CarrierDepth::default();
        (0..100).for_each(|_| carrier.step(&mut depth, ms(80)));
        // For two seconds nothing comes back, though all is played.
        let held = carrier.now + ms(2000);
        for _ in 0..26 {
            carrier.step(&mut depth, ms(80));
            carrier.echoes.iter_mut().for_each(|(at, _)| *at = (*at).max(held));
        }
        (0..20).for_each(|_| carrier.step(&mut depth, ms(80)));
        assert!(carrier.error_ms(&depth).abs() <= 10, "{}", carrier.error_ms(&depth));
    }
}
