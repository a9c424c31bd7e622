//! The input clock: turns what the carrier delivers, whenever and however it does, into exactly
//! 50 frames for every second of the caller's time. An engine in lockstep has no other clock.

mod counters;
mod order;
mod stamps;
mod surplus;
mod transit;
mod waiting;

use std::time::{Duration, Instant};

use crate::audio::conceal::Concealer;
use crate::audio::frame::{Frame, Rate};
use counters::Tally;
pub use counters::{Config, Counters};
use order::Order;
use surplus::ONE_IN;
use transit::Transit;
use waiting::{Place, Waiting};

/// What may become due at once, after this program itself was held up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Whether the engine can take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It can.
    Open,
    /// It is behind: frames wait, and what it misses meanwhile is not made up for later.
    Shut,
    /// It is to answer everything first; of what comes meanwhile only the latest waits.
    Trial,
}

/// The clock of one engine's input. All positions are samples: on the timeline of the caller,
/// counted from the first piece, or on our own clock, counted from when that came.
///
/// Three numbers describe how it stands: the `tail` of the timeline is the caller's time up to
/// which audio has come or been given up; `given` is the engine's time; and `given` plus what waits
/// less `tail` is the surplus, which is to be zero: it is made up sound whose original came after
/// all, or the caller's time that a shut gate let pass.
#[derive(Debug, Clone)]
pub(crate) struct InputClock {
    rate: Rate,
    frame: i64,
    patience: i64,
    max_waiting: i64,
    /// When the first piece came.
    epoch: Option<Instant>,
    /// The latest time that is known, on our clock.
    clock: i64,
    transit: Transit,
    order: Order,
    waiting: Waiting,
    concealer: Concealer,
    /// Pieces that came late or twice since one did not.
    old_in_a_row: u32,
    /// When the first of them came, on our clock.
    old_since: i64,
    given: i64,
    /// Frames given since one was last left out of speech.
    since_shortened: u32,
    /// Nothing is made up before this, on our clock: this program was held up, and what came
    /// meanwhile is about to be pushed.
    hold: Option<i64>,
    /// The next time stamp is of another stream.
    anew: bool,
    stalled: bool,
    tally: Tally,
}

impl InputClock {
    /// A clock for audio at `rate`, to be made when the engine begins to listen. It runs from the
    /// first [`Self::push`] on.
    pub(crate) fn new(rate: Rate, config: Config) -> Self {
        let frame = rate.frame_samples() as i64;
        Self {
            rate,
            frame,
            patience: samples(config.patience, rate),
            max_waiting: samples(config.max_waiting, rate).max(frame),
            epoch: None,
            clock: 0,
            transit: Transit::new(rate),
            order: Order::new(rate, samples(config.reorder, rate)),
            waiting: Waiting::new(rate),
            concealer: Concealer::new(rate),
            old_in_a_row: 0,
            old_since: 0,
            given: 0,
            since_shortened: ONE_IN,
            hold: None,
            anew: false,
            stalled: false,
            tally: Tally::default(),
        }
    }

    /// Takes what the caller said, any number of samples. `at` is the carrier's time stamp of the
    /// first of them, counted from wherever it likes; without one they follow what came before.
    /// Any time stamp is safe: one that our own clock contradicts is not believed.
    pub(crate) fn push(&mut self, samples: &[i16], at: Option<Duration>, now: Instant) {
        let length = samples.len() as i64;
        if length == 0 {
            return;
        }
        let first = self.epoch.is_none();
        self.epoch.get_or_insert(now);
        let clock = self.tick(now);
        self.tally.input += length;
        if first && let Some(at) = at {
            self.order.anchor(at, 0);
        }
        let place = at.and_then(|at| self.order.place(at)).filter(|_| !self.anew);
        match place.filter(|start| first || self.is_plausible(*start, length)) {
            Some(start) => {
                if start + length > self.order.tail() {
                    self.transit.arrived(clock, start, start + length);
                }
                self.insert(start, samples);
            }
            None => self.push_by_our_clock(samples, at, place),
        }
        self.settle();
        self.forgive();
        self.work_off();
        let due = self.order.tail().max(self.heard()) - self.given;
        self.shed(self.max_waiting + due.clamp(0, self.catch_up()));
    }

    /// The next frame for the engine; call it until it gives none. With the gate shut it gives
    /// none, and the time of what would have been due is skipped.
    pub(crate) fn pop(&mut self, now: Instant, gate: Gate) -> Option<Frame> {
        self.epoch?;
        self.tick(now);
        self.settle();
        self.work_off();
        let frame = match gate {
            Gate::Open => self.next_frame(),
            Gate::Shut | Gate::Trial => {
                self.skip_due();
                None
            }
        };
        if frame.is_none() {
            let trial = gate == Gate::Trial;
            self.shed(if trial { self.max_waiting / 2 } else { self.max_waiting });
        }
        frame
    }

    /// When [`Self::pop`] may give a frame without another [`Self::push`]; none before the first.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let epoch = self.epoch?;
        let next = if self.waiting.len() == 0 {
            self.overdue_at().max(self.hold.unwrap_or(0))
        } else if self.given < self.order.tail() {
            self.clock
        } else {
            self.given + self.frame + self.fastest()
        };
        let next = self.order.due().map_or(next, |due| due.min(next)).max(self.clock);
        let nanos = (next.unsigned_abs() as u128 * 1_000_000_000).div_ceil(self.rate.hz().into());
        epoch.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }

    /// What has gone through so far.
    pub(crate) fn counters(&self) -> Counters {
        self.tally.counters(self.rate)
    }

    /// How much later than the fastest of it the caller's audio usually comes.
    pub(crate) fn usual_lateness(&self) -> Duration {
        let samples = self.transit.usual().unsigned_abs();
        Duration::from_micros(samples * 1_000_000 / u64::from(self.rate.hz()))
    }

    /// How much audio waits here.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Duration {
        let samples = self.waiting.samples() as u64 + self.order.waiting().unsigned_abs();
        Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.rate.hz()))
    }

    fn tick(&mut self, now: Instant) -> i64 {
        let elapsed =
            self.epoch.map_or(Duration::ZERO, |epoch| now.saturating_duration_since(epoch));
        self.clock = self.clock.max(samples(elapsed, self.rate));
        self.clock
    }

    /// The caller's time that can have been heard by now, if it came the fastest way.
    fn heard(&self) -> i64 {
        self.clock - self.fastest()
    }

    fn fastest(&self) -> i64 {
        self.transit.fastest().unwrap_or(0)
    }

    /// When something has to be made up for the next frame, on our clock.
    fn overdue_at(&self) -> i64 {
        self.given + self.frame + self.fastest() + self.transit.usual() + self.patience
    }

    /// How much more the engine was given, or is about to be, than the caller's time says.
    fn surplus(&self) -> i64 {
        self.given + self.waiting.samples() as i64 - self.order.tail()
    }

    /// Audio without a time stamp, or with one that cannot be: our clock tells the caller's time.
    fn push_by_our_clock(&mut self, samples: &[i16], at: Option<Duration>, place: Option<i64>) {
        let (length, tail, wobble) = (samples.len() as i64, self.order.tail(), self.order.wobble());
        let heard = self.transit.fastest().map_or(tail + length, |fastest| self.clock - fastest);
        // If something was made up while nothing came, that was a pause: it lasted until now.
        let stalled = self.surplus() >= self.frame;
        let paused = if stalled { (heard - length - tail).max(0) } else { 0 };
        // What cannot have been said yet came in a burst: it is more than its time holds.
        let burst = tail + paused + length - heard;
        let burst = if burst < wobble { 0 } else { burst };
        let start = tail + paused - burst;
        if let (Some(at), true) = (at, self.anew) {
            self.anew = false;
            self.order.anchor(at, start);
        } else if let Some(at) = at {
            let old = place.is_some_and(|place| place < tail);
            let contiguous = place.is_some_and(|place| (place - tail).abs() < wobble);
            let goes_on = contiguous || self.order.goes_on(at, length);
            self.tally.jumps += u64::from(!goes_on);
            if goes_on || (old && self.is_only_old()) {
                self.order.anchor(at, start);
            } else if old {
                // It may be a new beginning, or very old; if it is new, the next will say so too.
                self.count_old();
                self.tally.late += length;
                return;
            }
        }
        self.order.advance(tail - burst);
        if paused > 0 {
            self.give_up(start);
        }
        let end = (start + length).min(heard);
        self.transit.arrived(self.clock, end - length, end);
        self.insert(start, samples);
    }

    fn insert(&mut self, start: i64, samples: &[i16]) {
        if start - self.order.tail() < self.order.wobble() {
            self.append(start, samples);
        } else {
            self.order.hold(start, samples.to_vec(), self.clock);
        }
    }

    /// Appends to the tail what did not come before.
    fn append(&mut self, start: i64, samples: &[i16]) {
        let old = self.order.tail() - start;
        let old = if old < self.order.wobble() { 0 } else { old.min(samples.len() as i64) };
        if self.order.was_given_up(start) {
            self.tally.late += old;
        } else {
            self.tally.duplicate += old;
        }
        let new = &samples[old as usize..];
        self.waiting.append(new);
        self.order.advance(self.order.tail() + new.len() as i64);
        if new.is_empty() {
            self.count_old();
        } else {
            self.old_in_a_row = 0;
        }
    }

    /// Appends the pieces whose turn has come, and what is missing before them.
    fn settle(&mut self) {
        loop {
            let room = self.max_waiting - self.waiting.samples() as i64;
            let Some(piece) = self.order.next(self.clock, room) else { return };
            if piece.start - self.order.tail() >= self.order.wobble() {
                self.give_up(piece.start);
            }
            self.append(piece.start, &piece.samples);
        }
    }

    /// Gives up what is missing before `place`. What was made up while nothing came stands for it.
    fn give_up(&mut self, place: i64) {
        self.tally.gaps += 1;
        self.order.give_up(place);
        if self.surplus() <= -self.order.wobble() {
            self.tally.filled += self.waiting.complete() as i64;
            // Rounded, so that the error stays within half a frame and never adds up.
            let missing = (self.order.wobble() - self.surplus()).max(0) / self.frame;
            let skipped = missing - missing.min(self.catch_up() / self.frame);
            self.skip(skipped * self.frame);
            let missing = missing - skipped;
            self.waiting.append_missing(missing as usize);
            self.tally.filled += missing * self.frame;
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        let overdue = self.is_overdue();
        let mut frame = match self.is_due().then(|| self.waiting.take()).flatten() {
            Some(Place::Heard(samples)) => Frame::new(self.rate, samples)?,
            Some(Place::Missing) => return Some(self.made_up()),
            None if overdue => return Some(self.overdue()),
            None => return None,
        };
        self.stalled = false;
        self.concealer.heard(&mut frame);
        self.count_given();
        Some(frame)
    }

    /// A frame of which nothing came, or too little.
    fn overdue(&mut self) -> Frame {
        self.tally.stalls += u64::from(!self.stalled);
        self.stalled = true;
        let completed = self.waiting.complete() as i64;
        if let Some(Place::Heard(samples)) = self.waiting.take()
            && let Some(mut frame) = Frame::new(self.rate, samples)
        {
            self.tally.filled += completed;
            self.concealer.heard(&mut frame);
            self.count_given();
            return frame;
        }
        self.tally.filled += self.frame;
        self.made_up()
    }

    fn made_up(&mut self) -> Frame {
        self.count_given();
        self.concealer.conceal()
    }

    fn count_given(&mut self) {
        self.given += self.frame;
        self.tally.output += self.frame;
        self.since_shortened = self.since_shortened.saturating_add(1);
    }

    /// Lets the caller's time pass without the engine.
    fn skip(&mut self, samples: i64) {
        self.given += samples;
        self.tally.skipped += samples;
    }

    fn catch_up(&self) -> i64 {
        samples(CATCH_UP, self.rate)
    }

    /// Whether a frame waits whose time has come.
    fn is_due(&self) -> bool {
        let come = self.given < self.order.tail() || self.given + self.frame <= self.heard();
        self.waiting.len() > 0 && come
    }

    /// Whether nothing came for the next frame although it should have.
    fn is_overdue(&mut self) -> bool {
        let overdue = self.clock - self.overdue_at();
        if self.waiting.len() > 0 || overdue < 0 {
            self.hold = None;
            return false;
        }
        if overdue >= self.frame && !self.stalled {
            // Nobody asked when it was due: what came in the meantime may not be pushed yet.
            if self.clock < *self.hold.get_or_insert(self.clock + self.frame) {
                return false;
            }
        }
        let excess = (overdue - self.catch_up()).max(0);
        self.skip(excess / self.frame * self.frame);
        true
    }
}

fn samples(duration: Duration, rate: Rate) -> i64 {
    let samples = duration.as_nanos() * u128::from(rate.hz()) / 1_000_000_000;
    i64::try_from(samples).unwrap_or(i64::MAX).min(i64::MAX / 8)
}

#[cfg(test)]
mod tests;
