//! The latency governor: hands the engine's audio on to the caller so that little of it ever waits,
//! whatever the engine and the lines do to its pace.

mod counters;
mod queue;
mod relaxed;
mod rest;
mod trim;

use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use super::depth::CarrierDepth;
use super::micros;
use crate::audio::conceal::Concealer;
use crate::audio::frame::{FRAME, Frame, Rate};
use crate::audio::level::is_silent;
use crate::leg::Mark;
pub use counters::Counters;
use counters::Totals;
use queue::Queue;

/// The carrier is given this much beyond the target; the rest waits here, where it can be trimmed.
const AHEAD: Duration = Duration::from_millis(120);

/// The carrier is given more once this much less is in its hands: messages of up to 80 ms.
const REFILL: Duration = Duration::from_millis(60);

/// Sound is made up when the carrier has no more than this.
const LAST: Duration = Duration::from_millis(10);

/// What may wait of an engine that speaks as fast as it likes.
const MOST_RELAXED: Duration = Duration::from_secs(60);

/// The model has gone quiet when its last frames have been silent for this long.
const GONE_QUIET: u32 = 8;

/// After silence of so many frames more of it can be left out, to see how long the carrier's way
/// is.
const LONG_QUIET: u32 = 20;

/// How far the audio that waits may stray, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// How often in a minute the engine's audio may come too late, by its jitter so far. Fewer take
    /// more audio in hand, and so more delay.
    pub late_per_minute: u32,
    /// What may wait beyond the target and what has just come; the quietest of more is cut.
    pub bound: Duration,
    /// If the model has gone quiet while the caller speaks, and more than this of what it said
    /// before waits beyond the target, none of it is played any more.
    pub stale: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            late_per_minute: 1,
            bound: Duration::from_millis(240),
            stale: Duration::from_millis(160),
        }
    }
}

/// What the caller's side must be told besides: nothing, or to drop what it has not played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Play,
    Clear,
}

/// The audio between the engine and the caller's ear.
///
/// What waits is measured whenever the engine speaks: what is kept here, and what the carrier has
/// not played. The target is as little as evens out the measured jitter. Above it the model's
/// silence is left out, then speech is hurried with its pitch kept, then, over a bound, the
/// quietest place is cut. Below it silence is drawn out, then speech; when nothing is left, sound
/// is made up. Every seam is a cross-fade.
#[derive(Debug, Clone)]
pub(crate) struct Governor {
    config: Config,
    rate: Rate,
    pub(crate) depth: CarrierDepth,
    arrivals: Arrivals,
    concealer: Concealer,
    queue: Queue,
    /// What was in hand when the engine spoke last, and what should have been.
    target: Duration,
    relaxed: bool,
    /// Until the target is reached for the first time: at a call's beginning silence costs nothing.
    opens: bool,
    low: u32,
    hurries: bool,
    draws_out: bool,
    /// Samples by which speech may be stretched now; below zero what was stretched in advance.
    allowance: i64,
    /// Silent frames that the model made last.
    quiet: u32,
    /// Whether what was handed over last could be heard.
    sounds: bool,
    conceals: bool,
    refills: bool,
    /// Whether silence is left out until the carrier has run dry; never while something is played
    /// in its place.
    runs_dry: bool,
    replaced: bool,
    /// The latest time that is known.
    clock: Option<Instant>,
    totals: Totals,
}

impl Governor {
    pub(crate) fn new(rate: Rate, config: Config) -> Self {
        let arrivals = Arrivals::new();
        Self {
            config,
            rate,
            depth: CarrierDepth::default(),
            target: arrivals.cushion(0.0),
            arrivals,
            concealer: Concealer::new(rate),
            queue: Queue::new(rate),
            relaxed: false,
            opens: true,
            low: 0,
            hurries: false,
            draws_out: false,
            allowance: 0,
            quiet: 0,
            sounds: false,
            conceals: false,
            refills: false,
            runs_dry: false,
            replaced: false,
            clock: None,
            totals: Totals::default(),
        }
    }

    /// Takes what the engine said, at the governor's rate, of any length.
    pub(crate) fn push(&mut self, samples: &[i16], caller_speaks: bool, now: Instant) -> Verdict {
        if samples.is_empty() {
            return Verdict::Play;
        }
        let length = self.length(samples.len());
        self.totals.came += samples.len() as u64;
        let late = self.arrivals.arrived(length, now);
        let late_per_mille = per_mille(self.config.late_per_minute, length);
        self.target = self.arrivals.cushion(late_per_mille) + self.depth.jitter();
        let held = self.held(now);
        self.listen(samples);
        if self.is_stale(held, caller_speaks) {
            return self.clear(samples.len(), now);
        }
        self.sound_the_depth(now);
        let silent = is_silent(samples);
        // Had it come on time, so much more would have been in hand.
        let mut surplus = self.samples(held + late) - self.samples(self.target);
        if self.relaxed {
            surplus = surplus.min(0);
        }
        self.note_level(held, surplus);
        let piece = if silent { None } else { self.stretched(samples, &mut surplus) };
        for frame in self.queue.frames(piece.as_deref().unwrap_or(samples)) {
            self.enqueue(frame, &mut surplus);
        }
        let bound = if self.relaxed { MOST_RELAXED } else { self.config.bound };
        let most = self.target + bound + length;
        let over = self.held(now).saturating_sub(most).as_micros().div_ceil(FRAME.as_micros());
        self.totals.dropped += self.queue.cut(over as usize);
        self.totals.deepest = self.totals.deepest.max(self.held(now));
        Verdict::Play
    }

    /// The next frame for the carrier, if it should have it by now; call it until it gives none.
    ///
    /// Whoever calls it hands the frame over.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Frame> {
        let depth = self.depth.depth(now);
        if self.has_room(depth, self.target + AHEAD, now)
            && let Some(frame) = self.queue.pop()
        {
            return Some(self.hand_over(frame, now));
        }
        self.refills = false;
        (depth <= LAST && self.is_speaking()).then(|| self.made_up(now))
    }

    /// When [`Self::pop`] will next give a frame without more from the engine.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let left = if self.queue.is_empty() {
            self.is_speaking().then_some(LAST)?
        } else {
            self.target + AHEAD - REFILL
        };
        self.falls_to(left)
    }

    /// Whether it has nothing to hand over, and makes nothing up.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.is_speaking()
    }

    /// When to look again whether the carrier has no more than `left`; none before it has anything.
    pub(crate) fn falls_to(&self, left: Duration) -> Option<Instant> {
        self.depth.falls_to(left, self.clock?)
    }

    /// A mark to send behind what was handed over, once in a while.
    pub(crate) fn due_mark(&mut self, now: Instant) -> Option<Mark> {
        self.depth.due_mark(now)
    }

    /// A mark to send behind everything.
    pub(crate) fn mark(&mut self, now: Instant) -> Mark {
        self.depth.mark(now)
    }

    /// The carrier has passed a mark; true if what was before it has been heard.
    pub(crate) fn echoed(&mut self, mark: Mark, now: Instant) -> bool {
        self.depth.echoed(mark, now)
    }

    /// The carrier was told to drop what others sent it on the same way.
    pub(crate) fn clear_others(&mut self, now: Instant) {
        self.depth.cleared(now);
    }

    /// Notes audio of others that the carrier is sent on the same way.
    pub(crate) fn sent(&mut self, length: Duration, now: Instant) {
        self.clock = Some(now);
        self.depth.sent(length, now);
    }

    /// The caller's side stalls: how late the engine is tells nothing of the engine.
    pub(crate) const fn upset(&mut self, now: Instant) {
        self.arrivals.upset(now);
    }

    /// Notes audio that the engine will never make, and what it was fed before and still makes.
    pub(crate) fn skipped(&mut self, length: Duration, before: Duration) {
        self.arrivals.skipped(length, before);
    }

    /// Whether something else is played in place of what the engine says.
    pub(crate) const fn set_replaced(&mut self, replaced: bool) {
        self.replaced = replaced;
    }

    /// Audio that the carrier has not played, by the estimate.
    pub(crate) fn carrier_depth(&self, now: Instant) -> Duration {
        self.depth.depth(now)
    }

    /// When the carrier will have played all that it was sent.
    pub(crate) fn plays_until(&self, now: Instant) -> Option<Instant> {
        self.depth.plays_until(now)
    }

    /// Audio that waits here.
    pub(crate) fn queued(&self) -> Duration {
        self.length(self.queue.samples())
    }

    /// Audio between the engine and the caller's ear: what waits here and at the carrier.
    pub(crate) fn held(&self, now: Instant) -> Duration {
        self.queued() + self.depth.depth(now)
    }

    /// What should be in hand whenever the engine speaks.
    pub(crate) const fn target(&self) -> Duration {
        self.target
    }

    pub(crate) fn counters(&self) -> Counters {
        self.totals.counters(self.rate)
    }

    /// Notes how long the model has been quiet.
    fn listen(&mut self, samples: &[i16]) {
        for frame in samples.chunks(self.rate.frame_samples()) {
            self.quiet = if is_silent(frame) { self.quiet.saturating_add(1) } else { 0 };
        }
    }

    /// Where echoes may have been misread, has the carrier run dry in the model's silence: of what
    /// is sent then it is known when it plays, so the next echoes tell how long the way is.
    fn sound_the_depth(&mut self, now: Instant) {
        let may = self.quiet >= LONG_QUIET && !self.relaxed && !self.replaced;
        self.runs_dry = may && self.depth.is_doubtful(now);
        if self.runs_dry && self.queue.is_empty() && self.depth.learn_anew(now) {
            (self.runs_dry, self.opens) = (false, true);
        }
    }

    fn is_stale(&self, held: Duration, caller_speaks: bool) -> bool {
        let speech = self.sounds || self.queue.sounds();
        caller_speaks
            && !self.relaxed
            && speech
            && self.quiet >= GONE_QUIET
            && held > self.target + self.config.stale
    }

    /// Drops everything: it is an answer to what the caller has long talked over.
    fn clear(&mut self, arrived: usize, now: Instant) -> Verdict {
        self.totals.cleared += (arrived + self.queue.clear()) as u64;
        self.totals.flushed += self.depth.depth(now);
        self.depth.cleared(now);
        self.concealer.quiet();
        (self.sounds, self.conceals) = (false, false);
        Verdict::Clear
    }

    fn hand_over(&mut self, mut frame: Frame, now: Instant) -> Frame {
        self.concealer.heard(&mut frame);
        self.sounds = !is_silent(frame.samples());
        self.conceals = false;
        self.count_out(now);
        frame
    }

    /// Whether the carrier, which has `depth`, is to be given more until it has `full`.
    fn has_room(&mut self, depth: Duration, full: Duration, now: Instant) -> bool {
        self.clock = Some(now);
        self.refills = depth < full && (self.refills || depth + REFILL <= full);
        self.refills
    }

    /// Whether a word would break off if nothing followed.
    fn is_speaking(&self) -> bool {
        (self.sounds || self.conceals) && !self.concealer.is_silent()
    }

    fn made_up(&mut self, now: Instant) -> Frame {
        self.totals.underruns += u64::from(!self.conceals);
        self.rung_out(now)
    }

    /// How what was said goes on where nothing follows.
    fn rung_out(&mut self, now: Instant) -> Frame {
        let frame = self.concealer.conceal();
        self.totals.concealed += frame.samples().len() as u64;
        self.conceals = true;
        self.count_out(now);
        frame
    }

    fn count_out(&mut self, now: Instant) {
        self.totals.went += self.rate.frame_samples() as u64;
        self.depth.sent(FRAME, now);
    }

    fn length(&self, samples: usize) -> Duration {
        Duration::from_micros(samples as u64 * 1_000_000 / u64::from(self.rate.hz()))
    }

    fn samples(&self, length: Duration) -> i64 {
        micros(length) * i64::from(self.rate.hz()) / 1_000_000
    }
}

/// How many of 1000 pieces of that length are so many a minute.
fn per_mille(per_minute: u32, length: Duration) -> f32 {
    per_minute as f32 * length.as_millis() as f32 / 60.0
}

#[cfg(test)]
mod tests;
