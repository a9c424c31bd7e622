//! Playout: a bounded queue of frames that hands them over at the pace at which they are heard.
//!
//! The far end plays on its own clock. So the pace is kept against absolute times, and a late call
//! of [`Playout::pop`] is made up for by the next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frame::{FRAME, FRAME_MS, Frame};

/// A far end that was dry for longer than this, after nothing audible, saw a pause in the speech.
const PAUSE: Duration = Duration::from_millis(400);

/// Samples of at least this size are audible: -40 dBFS.
const AUDIBLE: u16 = 328;

/// While more than this waits, silence is left out: what a stall has piled up is made good in the
/// next pause, instead of making every later answer late.
const SURPLUS: Duration = Duration::from_millis(200);

/// How much a [`Playout`] may hold, here and at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// The most audio that may wait here, in whole frames; at least one.
    pub max: Duration,
    /// Another frame is handed over while the far end has less than this in hand. It is what a
    /// late timer may cost before the far end runs dry. Zero is taken for the least above it.
    pub ahead: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max: Duration::from_millis(2000), ahead: Duration::from_millis(240) }
    }
}

/// What went through a [`Playout`]. `pushed = popped + dropped + skipped + cleared + depth` at all
/// times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Audio that came in, in milliseconds.
    pub pushed_ms: u64,
    /// Audio that was handed over, in milliseconds.
    pub popped_ms: u64,
    /// Audio that was dropped because too much was waiting, in milliseconds.
    pub dropped_ms: u64,
    /// Silence that was left out because more than enough was waiting, in milliseconds.
    pub skipped_ms: u64,
    /// Audio that [`Playout::clear`] dropped, in milliseconds.
    pub cleared_ms: u64,
    /// How often the far end ran dry in the middle of speech.
    pub underruns: u64,
}

/// A queue of frames in front of a far end that plays them one after the other.
#[derive(Debug, Clone)]
pub struct Playout {
    max_frames: usize,
    ahead: Duration,
    waiting: VecDeque<Frame>,
    /// When the far end will have played all that it was handed; none before the first frame.
    far_end: Option<Instant>,
    /// Whether what was handed over last could be heard.
    audible: bool,
    /// The latest time that is known.
    clock: Option<Instant>,
    counters: Counters,
}

impl Playout {
    /// An empty queue, in front of a far end that has nothing in hand.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let max_frames = config.max.as_nanos() / FRAME.as_nanos();
        Self {
            max_frames: usize::try_from(max_frames).unwrap_or(usize::MAX).max(1),
            ahead: config.ahead.max(Duration::from_nanos(1)),
            waiting: VecDeque::new(),
            far_end: None,
            audible: false,
            clock: None,
            counters: Counters::default(),
        }
    }

    /// Appends a frame. Silence on top of a surplus is left out; over the bound the oldest frame is
    /// dropped, which keeps the delay in bounds too.
    pub fn push(&mut self, frame: Frame) {
        self.counters.pushed_ms += FRAME_MS;
        if self.depth() > SURPLUS && !is_audible(&frame) {
            self.counters.skipped_ms += FRAME_MS;
            return;
        }
        if self.waiting.len() == self.max_frames && self.waiting.pop_front().is_some() {
            self.counters.dropped_ms += FRAME_MS;
        }
        self.waiting.push_back(frame);
    }

    /// The oldest frame, if the far end has less than [`Config::ahead`] in hand; call it until it
    /// gives none.
    pub fn pop(&mut self, now: Instant) -> Option<Frame> {
        self.clock = Some(now);
        if self.far_depth(now) >= self.ahead {
            return None;
        }
        let frame = self.waiting.pop_front()?;
        if self.ran_dry_in_speech(now) {
            self.counters.underruns += 1;
        }
        let starts = self.far_end.map_or(now, |end| end.max(now));
        self.far_end = Some(starts + FRAME);
        self.audible = is_audible(&frame);
        self.counters.popped_ms += FRAME_MS;
        Some(frame)
    }

    /// The oldest frame, due or not: for handing over what is left when nothing more will come.
    pub fn take(&mut self) -> Option<Frame> {
        let frame = self.waiting.pop_front()?;
        self.far_end = self.far_end.map(|end| end + FRAME);
        self.counters.popped_ms += FRAME_MS;
        Some(frame)
    }

    /// When [`Self::pop`] will next give a frame; none while nothing waits.
    ///
    /// Before the first `pop` no time is known, and this is none: so pop after pushing, then ask.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        // At `end - ahead` the far end has exactly `ahead` in hand, not less.
        let due = |end: Instant| end.checked_sub(self.ahead).map(|at| at + Duration::from_nanos(1));
        self.far_end.and_then(due).or(self.clock)
    }

    /// How much audio waits here.
    #[must_use]
    pub fn depth(&self) -> Duration {
        FRAME.saturating_mul(u32::try_from(self.waiting.len()).unwrap_or(u32::MAX))
    }

    /// How much audio the far end has in hand: what it was handed, less what it has played since.
    #[must_use]
    pub fn far_depth(&self, now: Instant) -> Duration {
        self.far_end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now))
    }

    /// Drops what waits here, and takes it that the far end was told to drop what it has.
    pub fn clear(&mut self) {
        self.counters.cleared_ms += FRAME_MS * self.waiting.len() as u64;
        self.waiting.clear();
        self.far_end = None;
    }

    /// What has gone through so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the far end fell silent where it should not have, now that there is more for it.
    fn ran_dry_in_speech(&self, now: Instant) -> bool {
        let dry = self.far_end.map_or(Duration::ZERO, |end| now.saturating_duration_since(end));
        !dry.is_zero() && (self.audible || dry < PAUSE)
    }
}

fn is_audible(frame: &Frame) -> bool {
    frame.samples().iter().any(|sample| sample.unsigned_abs() >= AUDIBLE)
}

#[cfg(test)]
mod tests;
