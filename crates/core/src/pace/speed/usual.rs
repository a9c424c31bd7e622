//! The backlog of an engine that keeps up: what its step and the way there and back take.

use std::time::{Duration, Instant};

/// The backlog is at its smallest in each of these spans; the smallest but one counts as usual.
const SPAN: Duration = Duration::from_millis(240);
const RECURS: usize = 2;

/// The smallest backlogs of a call, one of each span.
#[derive(Debug, Clone, Default)]
pub(super) struct Usual {
    /// At most [`RECURS`], smallest first.
    smallest: Vec<Duration>,
    /// Since when the newest span lasts, and the smallest backlog in it.
    newest: Option<(Instant, Duration)>,
}

impl Usual {
    /// As if that backlog had been seen, and recurred.
    pub(super) fn of(backlog: Duration) -> Self {
        Self { smallest: vec![backlog; RECURS], newest: None }
    }

    /// The smallest backlog that recurs; none yet counts as zero.
    pub(super) fn backlog(&self) -> Duration {
        let newest = self.newest.map(|(_, least)| least);
        self.smallest.last().copied().or(newest).unwrap_or_default()
    }

    /// Notes what is left unanswered when something was answered.
    pub(super) fn note(&mut self, backlog: Duration, now: Instant) {
        match &mut self.newest {
            Some((since, least)) if now.saturating_duration_since(*since) < SPAN => {
                *least = backlog.min(*least);
            }
            Some(_) | None => {
                let done = self.newest.replace((now, backlog));
                self.smallest.extend(done.map(|(_, least)| least));
                self.smallest.sort_unstable();
                self.smallest.truncate(RECURS);
            }
        }
    }
}
