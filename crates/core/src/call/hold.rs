//! The caller's leg leaves and comes back, as when the carrier sends keys down the line. The engine
//! keeps its session and hears silence meanwhile; what it says is heard by nobody.

use std::time::Instant;

use super::Call;
use super::phase::{Phase, Signal};
use super::timers::Timer;
use crate::audio::frame::FRAME;
use crate::leg::{Format, caller};

impl Call {
    /// The caller's leg does not leave after all. If it has, nothing will bring it back.
    pub(super) fn unhold(&mut self, now: Instant) {
        let is_away = self.phase == Phase::Held && self.away.is_some();
        let signal = if is_away { Signal::Timer(Timer::Hold) } else { Signal::Unhold };
        self.signal(signal, now);
    }

    pub(super) fn held(&mut self, now: Instant) {
        self.record.holds += 1;
        self.timers.set(Timer::Hold, now + self.config.hold);
        self.timers.clear(Timer::CallerSilence);
        self.watch.pause();
    }

    /// The caller's leg is there, again or still.
    pub(super) fn unheld(&mut self, now: Instant) {
        self.timers.clear(Timer::Hold);
        self.timers.set(Timer::CallerSilence, now + self.config.caller_silence);
        self.watch_rules(now);
    }

    pub(super) fn caller_left(&mut self, left: caller::Left, now: Instant) {
        if self.phase == Phase::Held {
            self.away.get_or_insert(now);
        }
        self.signal(Signal::CallerLeft(left), now);
    }

    /// Another leg carries the same caller from now on.
    pub(super) fn caller_back(&mut self, format: Format, now: Instant) {
        self.away = None;
        if self.caller_format != Some(format) {
            return self.signal(Signal::Codec, now);
        }
        if let (Some(inbound), Some(outbound)) = (&mut self.inbound, &mut self.outbound) {
            inbound.begin_anew();
            outbound.governor.clear_others(now);
        }
        if let Some(recording) = &mut self.recording {
            recording.begin_anew();
        }
        self.signal(Signal::CallerStarted, now);
    }

    /// While nobody is there the engine is given silence, since it lives by its input.
    pub(super) fn stand_in(&mut self, now: Instant) {
        while let Some(until) = self.away.filter(|until| *until <= now) {
            if let Some(inbound) = &mut self.inbound {
                inbound.push_silence(until);
            }
            self.away = Some(until + FRAME);
        }
    }
}
