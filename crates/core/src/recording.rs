//! A stereo recording of a call: both sides on one time line, the one of the caller's samples.

mod line;
mod sides;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::frame::{Frame, Rate};
use crate::leg::Mark;
pub(crate) use line::{Line, samples};
use sides::Side;

/// How much is given out at once at least, so that nobody writes every frame by itself.
const BLOCK: Duration = Duration::from_millis(100);
/// What is not older may still change: a piece may come late, the carrier drop what it has, and a
/// mark tell when it was played.
const OPEN: Duration = Duration::from_millis(600);
/// A mark comes back between two pieces of the caller, so it tells the time to within one: half of
/// one after the former's end is never wrong by more. So much less or more is left as it is.
const SOONEST: Duration = Duration::from_millis(8);
const LATEST: Duration = Duration::from_millis(12);
/// Where there is no pause, sound is moved only if it is farther than this from its place.
const LOOSE: Duration = Duration::from_millis(15);
/// Marks that may be under way.
const MARKS: usize = 32;
/// One part in so many of what a mark says is taken for what the next will say too.
const LEARNT: i64 = 4;
/// How long the caller's audio is waited for when it stops coming, before silence takes its place.
const PATIENCE: Duration = Duration::from_secs(5);
/// The bot may be ahead by so much, as when its last words are handed over at once.
const AHEAD: Duration = Duration::from_secs(20);

/// A stretch of a recording. Stretches follow one another without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The rate of either channel.
    pub rate: Rate,
    /// How many samples of either channel came before it.
    pub at: u64,
    /// Samples by turns: left, the caller; right, the bot as it was heard.
    pub samples: Vec<i16>,
}

/// What a recording lacks, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lacks {
    /// Of the caller: it came when its place was given out already.
    pub late_ms: u64,
    /// Of the bot: the carrier dropped it before anybody heard it.
    pub cleared_ms: u64,
    /// Of either: it was farther ahead than a recording follows.
    pub ahead_ms: u64,
}

/// Puts what both sides say where it was heard. All positions are samples, counted from the
/// caller's start by the clock that the caller's leg goes by.
///
/// The caller's pieces carry that clock's time, or follow one another. The fastest of them tell how
/// far that clock is when ours shows a moment. What the bot says is heard at a moment of ours, plus
/// the way there; and as a piece tells its time only after the way back, both together are the
/// time in which a mark comes back. That is an estimate; a mark that comes back tells for sure, as
/// it keeps its place among the caller's pieces.
#[derive(Debug)]
pub(crate) struct Recording {
    rate: Rate,
    line: Line,
    caller: Side,
    bot: Side,
    /// Where the bot's side ended when each mark was set.
    marks: VecDeque<(Mark, i64)>,
    /// By how much the bot is heard later than estimated.
    bias: i64,
    /// Samples that were given out.
    given: i64,
    late: i64,
    cleared: i64,
    ahead: i64,
}

impl Recording {
    /// A recording of a caller whose leg starts at `now`, by a call that works at `rate`.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            line: Line::new(rate, now),
            caller: Side::default(),
            bot: Side::default(),
            marks: VecDeque::new(),
            bias: 0,
            given: 0,
            late: 0,
            cleared: 0,
            ahead: 0,
        }
    }

    /// Takes what the caller said, with the time stamp of its first sample if there is one.
    pub(crate) fn caller(&mut self, samples: &[i16], at: Option<Duration>, now: Instant) {
        let start = self.line.place(samples.len() as i64, at, self.caller.end(), now);
        let most = self.given + self.samples(AHEAD);
        if start + samples.len() as i64 > most {
            self.ahead += samples.len() as i64;
            return;
        }
        self.late += self.caller.put(start, samples, self.given);
    }

    /// Another stream carries the caller from now on: its time stamps begin anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.line.begin_anew();
    }

    /// Takes what the caller begins to hear at `at`, by our clock; marks take `round_trip`.
    pub(crate) fn bot(&mut self, frame: &Frame, at: Instant, round_trip: Duration) {
        let samples = frame.samples();
        let at = self.heard(at, round_trip);
        if at + samples.len() as i64 > self.given + self.samples(AHEAD) {
            self.ahead += samples.len() as i64;
            return;
        }
        self.bot.follow(at, samples, self.given, self.rate);
    }

    /// A mark is set behind what the bot has said so far.
    pub(crate) fn mark(&mut self, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((mark, self.bot.end()));
    }

    /// A mark has come back: what was before it has just been played.
    pub(crate) fn echoed(&mut self, mark: Mark) {
        let Some(at) = self.marks.iter().position(|(other, _)| *other == mark) else { return };
        let Some((_, put)) = self.marks.drain(..=at).next_back() else { return };
        let heard = self.caller.end();
        let (soonest, latest) = (heard + self.samples(SOONEST), heard + self.samples(LATEST));
        let error = put.clamp(soonest, latest) - put;
        self.bias += error / LEARNT;
        let moved = self.bot.shift(put, error, self.samples(LOOSE));
        self.marks.iter_mut().for_each(|(_, put)| *put += moved);
    }

    /// The carrier is told to drop what it has not played.
    pub(crate) fn clear(&mut self, now: Instant, round_trip: Duration) {
        let at = self.heard(now, round_trip);
        self.cleared += self.bot.cut(at.max(self.given));
        self.marks.clear();
    }

    /// What is ready, if it is enough; call it until it gives none.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Stretch> {
        let now = self.line.position(now);
        let sure = (now - self.samples(OPEN)).min(self.caller.end());
        let until = sure.max(now - self.samples(PATIENCE));
        (until - self.given >= self.samples(BLOCK)).then(|| self.give(until))
    }

    /// All the rest, when the call is over at `now`: what the caller has not heard is left out.
    pub(crate) fn finish(&mut self, now: Instant, round_trip: Duration) -> Option<Stretch> {
        let over = self.heard(now, round_trip);
        self.bot.cut(over.max(self.given));
        let until = self.caller.end().max(self.bot.end());
        (until > self.given).then(|| self.give(until))
    }

    /// What it lacks so far.
    pub(crate) fn lacks(&self) -> Lacks {
        let ms = |samples: i64| samples.unsigned_abs() * 1000 / u64::from(self.rate.hz());
        Lacks { late_ms: ms(self.late), cleared_ms: ms(self.cleared), ahead_ms: ms(self.ahead) }
    }

    /// When something is heard that is due at the carrier at this moment, as it were, at once.
    fn heard(&self, at: Instant, round_trip: Duration) -> i64 {
        self.line.position(at) + self.samples(round_trip) + self.bias
    }

    fn give(&mut self, until: i64) -> Stretch {
        let at = self.given.unsigned_abs();
        let (left, right) = (self.caller.take(self.given, until), self.bot.take(self.given, until));
        let samples = left.zip(right).flat_map(|(left, right)| [left, right]).collect();
        self.given = until;
        Stretch { rate: self.rate, at, samples }
    }

    fn samples(&self, length: Duration) -> i64 {
        samples(length, self.rate)
    }
}

#[cfg(test)]
mod tests;
