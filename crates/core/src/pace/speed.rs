//! Watches whether an engine in lockstep keeps up with the caller, by what it was fed and what it
//! answered.

mod pace;
mod steps;
mod trial;
mod usual;
mod way;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::clock::Gate;
use crate::audio::frame::FRAME;
use pace::Pace;
use steps::Steps;
use trial::{Found, Trial};
use usual::Usual;
use way::Way;

/// One step of the engine takes this much audio.
const STEP: Duration = Duration::from_millis(80);
/// A fast engine may have this much on top of the usual, since it catches up soon.
const MOST_ALLOWED: Duration = Duration::from_secs(1);
/// Within this a backlog has to be caught up with to be allowed.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often the figures are looked at while a backlog stands.
const LOOK: Duration = Duration::from_millis(250);
/// Most feeds that are remembered as unanswered; further ones are counted with the newest.
const MOST_FEEDS: usize = 1024;
/// Steps that the way there and back may take at most.
const MOST_STEPS_AWAY: u32 = 12;
/// What is shorter than this is no long way.
const LONG_WAY: Duration = Duration::from_millis(40);
/// An engine that answers nothing for so long while it is to answer everything never will: some
/// never answer the first that they are fed.
const REST: Duration = Duration::from_millis(500);

/// What is not answered for so long behind a shut gate never will be.
const LOST: Duration = Duration::from_secs(4);
/// So long after the gate was shut, what is unanswered is still the less for it.
const SHUT: Duration = Duration::from_secs(1);
/// A gate that is shut again so soon counts as shut all the time.
const SHUT_AGAIN: Duration = Duration::from_millis(400);

/// When an engine counts as too slow, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The figures are those of this long, at most 60 s.
    pub window: Duration,
    /// An engine is slow below this factor of real time.
    pub slow_below: f32,
    /// It has recovered at this factor of real time.
    pub recovered_above: f32,
    /// Below this factor of real time, leaving out quiet frames cannot make good what it misses.
    pub held_above: f32,
    /// How much audio it may have unanswered beyond the usual before it gets no more.
    pub max_backlog: Duration,
    /// How long it may stay too slow to be held before the call ends; none: it never does.
    pub give_up_after: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(5),
            slow_below: 0.98,
            recovered_above: 0.995,
            held_above: 0.9,
            max_backlog: Duration::from_millis(150),
            give_up_after: Some(Duration::from_secs(20)),
        }
    }
}

/// How fast an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Audio answered in the window for the time that passed while there was something to answer;
    /// time in which it kept up counts as answered. 1.0, the most, is real time or faster.
    pub real_time_factor: f32,
    /// Time per 80 ms of audio, the median over the window: from feed to answer, or from answer to
    /// answer while audio waits. None before the first answer.
    pub step: Option<Duration>,
    /// Audio fed and not answered.
    pub backlog: Duration,
    /// The smallest backlog that recurs: what the step and the way there and back take.
    pub usual: Duration,
}

/// What has become of an engine; each transition is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Change {
    /// It is slower than real time.
    Slow(Speed),
    /// It keeps up again.
    Recovered(Speed),
    /// It has been too slow to be held for too long: the call should end.
    GiveUp(Speed),
}

/// Watches one engine.
#[derive(Debug, Clone)]
pub(crate) struct SpeedWatch {
    config: Config,
    pace: Pace,
    /// What was fed and not answered, oldest first, and when.
    fed: VecDeque<(Duration, Instant)>,
    backlog: Duration,
    answered: Option<Instant>,
    steps: Steps,
    /// What the last trials have found of an engine that is not far away.
    found: Option<Found>,
    usual: Usual,
    way: Way,
    trial: Trial,
    /// When the gate was last seen shut.
    shut: Option<Instant>,
    /// Whether it is shut for the next frame alone, and when that last cost the caller's time.
    spares: bool,
    spared: Option<Instant>,
    /// Since when it is slow.
    slow: Option<Instant>,
    given_up: bool,
    /// Since when it has been too slow to be held.
    unheld: Option<Instant>,
    /// The latest time that is known.
    now: Option<Instant>,
}

impl SpeedWatch {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            pace: Pace::new(config.window),
            config,
            fed: VecDeque::new(),
            backlog: Duration::ZERO,
            answered: None,
            steps: Steps::default(),
            found: None,
            usual: Usual::default(),
            way: Way::default(),
            trial: Trial::default(),
            shut: None,
            spares: false,
            spared: None,
            slow: None,
            given_up: false,
            unheld: None,
            now: None,
        }
    }

    /// The engine was sent that much audio, in milliseconds.
    pub(crate) fn fed(&mut self, ms: u64, now: Instant) {
        self.advance(now);
        let audio = Duration::from_millis(ms);
        self.trial.fed(self.backlog.is_zero(), now);
        self.backlog += audio;
        let full = self.fed.len() == MOST_FEEDS;
        match self.fed.back_mut().filter(|_| full) {
            Some((newest, _)) => *newest += audio,
            None => self.fed.push_back((audio, now)),
        }
    }

    /// The engine sent that much audio, in milliseconds. What it was not fed for does not count.
    pub(crate) fn answered(&mut self, ms: u64, now: Instant) {
        self.advance(now);
        if self.gate() == Gate::Shut && !self.trial.is_on() {
            self.shut = Some(now);
        }
        let mut left = Duration::from_millis(ms).min(self.backlog);
        if self.counts(now) {
            self.pace.answered(left, now);
        }
        self.backlog -= left;
        let (mut audio, mut oldest) = (Duration::ZERO, None);
        while !left.is_zero()
            && let Some((fed, at)) = self.fed.front_mut()
        {
            oldest.get_or_insert(*at);
            let taken = left.min(*fed);
            *fed -= taken;
            left -= taken;
            audio += taken;
            if fed.is_zero() {
                self.fed.pop_front();
            }
        }
        if let Some(fed) = oldest {
            let began = self.answered.map_or(fed, |answered| answered.max(fed));
            self.steps.answered(audio, began, now, self.config.window);
            self.way.answered(audio, now);
            // A backlog that is small because the gate was shut is not what the way there takes.
            if !self.was_shut(now, SHUT) && !self.trial.is_on() {
                self.usual.note(self.backlog, now);
            }
            if let Some(found) = self.trial.answered(audio, now) {
                self.learn_way(found);
            }
        }
        self.answered = Some(now);
    }

    /// What has changed; call it after everything else and at [`Self::next_deadline`].
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Change> {
        self.advance(now);
        let factor = self.pace.factor(now);
        if factor >= self.config.held_above {
            self.unheld = None;
        } else if self.is_busy(now) {
            self.unheld.get_or_insert(now);
        }
        let lasted = self.pace.stands_for(now) >= self.config.window / 2;
        if self.slow.is_none() && factor < self.config.slow_below && lasted {
            self.slow = Some(now);
            return Some(Change::Slow(self.figures(now)));
        }
        // One answer more or less in the window is no recovery.
        let lasted =
            |since: Instant| now.saturating_duration_since(since) >= self.config.window / 2;
        let is_well = factor >= self.config.recovered_above.max(self.config.slow_below);
        if is_well && self.slow.is_some_and(lasted) {
            self.slow = None;
            return Some(Change::Recovered(self.figures(now)));
        }
        let end = self.unheld.zip(self.config.give_up_after);
        if !self.given_up
            && end.is_some_and(|(since, after)| now.saturating_duration_since(since) >= after)
        {
            self.given_up = true;
            return Some(Change::GiveUp(self.figures(now)));
        }
        None
    }

    /// Whether the engine may be fed.
    pub(crate) fn gate(&self) -> Gate {
        if self.trial.waits() && !self.backlog.is_zero() {
            return Gate::Trial;
        }
        let (backlog, usual) = (self.backlog, self.usual() + self.way.jitter());
        // Mostly the first is enough, and it is asked with every frame.
        let is_allowed =
            backlog <= usual + self.config.max_backlog || backlog <= usual + self.allowed();
        if is_allowed { Gate::Open } else { Gate::Shut }
    }

    /// The same for the next frame, of whose packet so much is there already. An engine slower than
    /// real time is given no frame whose packet would wait for it: the frame waits at the clock,
    /// which leaves out what is quietest. Half as much as the caller's audio is usually `late` may
    /// wait nevertheless, lest the engine run dry.
    pub(crate) fn gate_for(&mut self, pending: Duration, late: Duration, now: Instant) -> Gate {
        let gate = self.gate();
        let most = FRAME + self.way.jitter() + late / 2;
        self.spares = gate == Gate::Open && self.wait(pending, now) > most;
        if self.spares { Gate::Shut } else { gate }
    }

    /// The caller's time passed without the engine, by what [`Self::gate_for`] said last.
    pub(crate) const fn skipped(&mut self, now: Instant) {
        if self.spares {
            (self.shut, self.spared) = (Some(now), Some(now));
        }
    }

    /// How long a packet, of which so much is there before the next frame, will wait for an engine
    /// that a trial has found to be slower than real time; nothing for any other.
    fn wait(&self, pending: Duration, now: Instant) -> Duration {
        let slow = |step: &Duration| step.mul_f32(self.config.recovered_above) > STEP;
        let Some(found) = self.found.filter(|found| slow(&found.step())) else {
            return Duration::ZERO;
        };
        // It may have become faster since.
        let step = self.steps.median().map(|lately| lately.min(found.step())).filter(slow);
        let Some(((_, fed), step)) = self.fed.front().zip(step) else { return Duration::ZERO };
        // An answer tells that the engine was free before it had come back, and a packet will not
        // be there when it is sent: the way, there and back.
        let answered = self.answered.and_then(|answered| answered.checked_sub(found.way));
        let began = answered.map_or(*fed, |answered| answered.max(*fed));
        let free = began + step.mul_f64(self.backlog.as_secs_f64() / STEP.as_secs_f64());
        free.saturating_duration_since(now + STEP.saturating_sub(pending + FRAME))
    }

    /// When [`Self::poll`] may have something to say though nothing was fed or answered.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let look = self.now.filter(|_| self.stands() || self.slow.is_some()).map(|now| now + LOOK);
        let end = self.unheld.zip(self.config.give_up_after).filter(|_| !self.given_up);
        let end = end.and_then(|(since, after)| since.checked_add(after));
        look.into_iter().chain(end).min()
    }

    /// How fast the engine is at this moment.
    pub(crate) fn figures(&self, now: Instant) -> Speed {
        Speed {
            real_time_factor: self.pace.factor(now),
            step: self.steps.median(),
            backlog: self.backlog,
            usual: self.usual(),
        }
    }

    /// Whether the gate was shut in the last `since`.
    fn was_shut(&self, now: Instant, since: Duration) -> bool {
        self.shut.is_some_and(|at| now.saturating_duration_since(at) < since)
    }

    /// Whether more waits for the engine than it needs to be busy.
    fn stands(&self) -> bool {
        self.backlog > self.usual() + self.way.jitter() + STEP.min(self.config.max_backlog / 2)
    }

    /// Whether time counts as such in which the engine has enough to do. A trial takes what waited
    /// for it, and not its slowness.
    fn counts(&self, now: Instant) -> bool {
        self.is_busy(now) || self.trial.was_on(now, self.config.window)
    }

    /// Whether the engine has enough to do, and would have more if it were fed all.
    fn is_busy(&self, now: Instant) -> bool {
        let passed = |since: Instant| now.saturating_duration_since(since);
        self.stands() || self.spared.is_some_and(|spared| passed(spared) < SHUT)
    }

    fn usual(&self) -> Duration {
        self.usual.backlog()
    }

    /// What two trials have found. If the way there and back has become longer, nothing was slow.
    fn learn_way(&mut self, found: Found) {
        let Found { took, way } = found;
        // Of one that is far away it cannot be told when it began.
        self.found = Some(found).filter(|_| way < LONG_WAY);
        let steps = took.as_micros() / STEP.as_micros();
        let usual = STEP * u32::try_from(steps).unwrap_or(u32::MAX).min(MOST_STEPS_AWAY);
        if usual > self.usual() && way >= LONG_WAY {
            self.pace = Pace::new(self.config.window);
            self.unheld = None;
            self.trial = Trial::default();
            self.usual = Usual::of(usual);
        } else if usual < self.usual() {
            self.usual = Usual::of(usual);
        }
    }

    /// How much backlog is allowed beyond the usual: as much as is caught up with soon.
    fn allowed(&self) -> Duration {
        let Some(step) = self.steps.median() else {
            return MOST_ALLOWED.max(self.config.max_backlog);
        };
        let spare = STEP.as_secs_f64() / step.as_secs_f64().max(0.001) - 1.0;
        let soon = CATCH_UP.mul_f64(spare.max(0.0)).min(MOST_ALLOWED);
        soon.max(self.config.max_backlog)
    }

    /// What has stood unanswered behind a shut gate for too long will not be answered: were it
    /// waited for, the engine would never be fed again.
    fn write_off(&mut self, now: Instant) {
        let last =
            self.fed.back().map(|(_, at)| self.answered.map_or(*at, |answered| answered.max(*at)));
        let lasts =
            |time: Duration| last.is_some_and(|last| now.saturating_duration_since(last) >= time);
        match self.gate() {
            Gate::Shut if lasts(LOST) => {
                self.fed.clear();
                self.backlog = Duration::ZERO;
                self.trial.abandon(now);
            }
            Gate::Trial if lasts(REST) => {
                self.trial.abandon(now);
                self.found = None;
            }
            Gate::Open | Gate::Shut | Gate::Trial => {}
        }
    }

    fn advance(&mut self, now: Instant) {
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        self.write_off(now);
        let counts = self.counts(now);
        self.pace.advance(counts, now);
        self.trial.advance(self.was_shut(now, SHUT_AGAIN), now);
    }
}

#[cfg(test)]
mod tests;
