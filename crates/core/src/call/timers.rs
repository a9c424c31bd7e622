//! The deadlines of a call: every wait has one, and this is the list of them.

use std::time::Instant;

/// What a call can be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The caller's leg has not started.
    Start,
    /// No engine has been found.
    Wait,
    /// The engine has not read its prompts.
    Prime,
    /// Nothing has come from the caller's side.
    CallerSilence,
    /// The engine has not answered audio that it was sent.
    EngineSilence,
    /// The call has reached its greatest length.
    Duration,
    /// What was still to be played has not been reported as played.
    Drain,
    /// The caller's leg has left and has not come back.
    Hold,
    /// No other session has come in place of one that failed.
    Recover,
}

const COUNT: usize = 9;
const ALL: [Timer; COUNT] = [
    Timer::Start,
    Timer::Wait,
    Timer::Prime,
    Timer::CallerSilence,
    Timer::EngineSilence,
    Timer::Duration,
    Timer::Drain,
    Timer::Hold,
    Timer::Recover,
];

/// The deadlines that are running; at most one of each kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; COUNT],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.deadlines = [None; COUNT];
    }

    pub(crate) fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes out one timer whose deadline has passed, the earliest first.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let due = |timer: &Timer| self.deadlines[*timer as usize].filter(|at| *at <= now);
        let timer = ALL.into_iter().filter(|t| due(t).is_some()).min_by_key(due)?;
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_timers_come_earliest_first_and_once() {
        let start = crate::call::epoch();
        let mut timers = Timers::default();
        timers.set(Timer::Duration, start + Duration::from_secs(2));
        timers.set(Timer::Prime, start + Duration::from_secs(1));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop_due(start), None);
        let late = start + Duration::from_secs(3);
        assert_eq!(timers.pop_due(late), Some(Timer::Prime));
        assert_eq!(timers.pop_due(late), Some(Timer::Duration));
        assert_eq!(timers.pop_due(late), None);
        assert_eq!(timers.next(), None);
    }
}
