//! What is left of a world: one report per call, and the totals.

use std::ops::Range;
use std::time::Duration;

use voice_bot_core::carrier::PlayStats;
use voice_bot_core::id::CallId;
use voice_bot_core::pool::Occupancy;
use voice_bot_core::record::{CallRecord, EndReason};

use crate::lag::Lag;
use crate::link::Stall;
use crate::talk::Syllable;

/// Beeps this soon after the handshake may have begun before it.
const SETTLES: Duration = Duration::from_millis(500);
/// Beeps this soon before the end may be cut off.
const FADES: Duration = Duration::from_secs(2);

/// What a lag before a stall is taken from: what was heard in this time before it.
const BEFORE: Duration = Duration::from_secs(3);

/// Audio that came from the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, counted from the call's beginning.
    pub at: Duration,
    /// What was still to be played then, here and at the carrier.
    pub in_hand: Duration,
    /// What should be, by the jitter so far.
    pub target: Duration,
}

/// What one conversation came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which call.
    pub id: CallId,
    /// Whether it was turned away when it rang, as every engine was in use.
    pub turned_away: bool,
    /// The call's own record; `None` without a stream, or when it did not end.
    pub record: Option<CallRecord>,
    /// How often it said that it ended: once, if all is well.
    pub ended: u64,
    /// Everything that it told whoever watches.
    pub events: u64,
    /// The words that the engine said.
    pub words: Vec<String>,
    /// How long the caller's audio lasts that was sent.
    pub spoken: Duration,
    /// When beeps began that the caller said, counted from the stream's beginning.
    pub said: Vec<Duration>,
    /// When beeps began that the caller heard.
    pub heard: Vec<Duration>,
    /// When beeps begin in the recording: the caller's, and those that the caller heard.
    pub recorded: [Vec<Duration>; 2],
    /// The syllables that the caller said, if it talked.
    pub syllables: Vec<Syllable>,
    /// How far what the caller heard lagged behind what it said, for each syllable that came back
    /// whole.
    pub lags: Vec<Lag>,
    /// The carrier's play-out buffer.
    pub carrier: PlayStats,
    /// The most that waited in the call to be sent.
    pub max_queued: Duration,
    /// The engine's audio as it came, but for what came after some 10 minutes.
    pub arrivals: Vec<Arrival>,
    /// How often the call opened a session.
    pub opened: u64,
    /// How often the call closed a session.
    pub closed: u64,
    /// Whether no session is left over.
    pub engine_gone: bool,
    /// Whether the engine ended the session of its own accord.
    pub engine_left: bool,
    /// Messages that came to the engine before its handshake; each one spoils a real session.
    pub early_messages: u64,
    /// Packets that the call wanted to send too early, and that the wire kept back.
    pub dropped_before_ready: u64,
    /// Packets of 80 ms sent to the engine.
    pub packets_sent: u64,
    /// Packets of 80 ms received from the engine.
    pub packets_received: u64,
    /// Messages that reached the engine.
    pub engine_received: u64,
    /// Frames of 80 ms that the engine spoke.
    pub engine_frames: u64,
    /// Whatever must not happen and did.
    pub violations: Vec<String>,
}

/// What a world came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed that makes it again.
    pub seed: u64,
    /// One report per scenario, in order.
    pub reports: Vec<Report>,
    /// Fingerprint of every message at its time.
    pub trace: u64,
    /// When the last thing happened, counted from the world's beginning.
    pub lasted: Duration,
    /// Messages delivered and wake-ups.
    pub steps: u64,
    /// The slots, after all reservations have lapsed.
    pub slots: Occupancy,
    /// The most sessions at one time.
    pub most_sessions: usize,
    /// What must not happen in the world as a whole and did.
    pub violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(id: CallId) -> Self {
        Self {
            id,
            turned_away: false,
            record: None,
            ended: 0,
            events: 0,
            words: Vec::new(),
            spoken: Duration::ZERO,
            said: Vec::new(),
            heard: Vec::new(),
            recorded: Default::default(),
            syllables: Vec::new(),
            lags: Vec::new(),
            carrier: PlayStats::default(),
            max_queued: Duration::ZERO,
            arrivals: Vec::new(),
            opened: 0,
            closed: 0,
            engine_gone: true,
            engine_left: false,
            early_messages: 0,
            dropped_before_ready: 0,
            packets_sent: 0,
            packets_received: 0,
            engine_received: 0,
            engine_frames: 0,
            violations: Vec::new(),
        }
    }

    /// Why the call ended, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        self.record.as_ref().map(|record| record.reason)
    }

    /// Frames that the engine was sent and has not answered, or whose answer was still on its way.
    #[must_use]
    pub fn unanswered_ms(&self) -> u64 {
        let record = self.record.as_ref();
        record.map_or(0, |record| record.inbound.out_ms.saturating_sub(record.outbound.in_ms))
    }

    /// For each beep of an echoed call, from mouth to ear: how long until it was heard again;
    /// `None` for one that was not, before the next was said.
    #[must_use]
    pub fn echoes(&self) -> Vec<Option<Duration>> {
        let ready = self.record.as_ref().and_then(|record| record.primed_after);
        let Some(ready) = ready else { return Vec::new() };
        let counts = ready + SETTLES..self.spoken.saturating_sub(FADES);
        let said = self.said.iter().enumerate().filter(|(_, said)| counts.contains(said));
        said.map(|(n, said)| {
            let next = self.said.get(n + 1).copied().unwrap_or(Duration::MAX);
            let echo = self.heard.iter().find(|heard| (*said..next).contains(heard));
            echo.map(|heard| *heard - *said)
        })
        .collect()
    }

    /// The usual lag (the median) of what was heard in the 3 s before `at`; `None` if nothing was.
    #[must_use]
    pub fn lag_before(&self, at: Duration) -> Option<Duration> {
        let window = at.saturating_sub(BEFORE)..at;
        self.lag_in(window, 50)
    }

    /// The lag that `percent` of what was heard in that time did not exceed; `None` if nothing was.
    #[must_use]
    pub fn lag_in(&self, heard: Range<Duration>, percent: usize) -> Option<Duration> {
        let heard = self.lags.iter().filter(|point| heard.contains(&point.heard_at()));
        percentile(&heard.map(|point| point.lag).collect::<Vec<_>>(), percent)
    }

    /// How long after a stall's end the lag had come back to at most `bound` more than before the
    /// stall, to stay there until the call's end; `None` if it never did.
    #[must_use]
    pub fn settled_after(&self, stall: Stall, bound: Duration) -> Option<Duration> {
        self.settled_below(stall.at + stall.length, self.lag_before(stall.at)? + bound)
    }

    /// How long after `from` the lag had come down to `limit`, to stay there until the call's end;
    /// `None` if it never did.
    #[must_use]
    pub fn settled_below(&self, from: Duration, limit: Duration) -> Option<Duration> {
        let heard = self.lags.iter().filter(|point| point.heard_at() >= from);
        let heard: Vec<Duration> =
            heard.rev().take_while(|point| point.lag <= limit).map(Lag::heard_at).collect();
        heard.last().map(|first| *first - from)
    }

    /// What part of the syllables was heard again whole, of those that were said in that time, in
    /// percent; 0 of none.
    #[must_use]
    pub fn intelligible(&self, said: Range<Duration>) -> usize {
        let count = self.syllables.iter().filter(|syllable| said.contains(&syllable.from)).count();
        let heard = self.lags.iter().filter(|point| said.contains(&point.said_at)).count();
        heard * 100 / count.max(1)
    }

    /// Adds what each call must keep to, whatever happens.
    pub(crate) fn judge(&mut self) {
        let rules = [
            (self.ended != 1, "it did not end exactly once"),
            (self.opened > 1, "it opened more than one session"),
            (self.closed > self.opened, "it closed what it had not opened"),
            (self.opened > self.closed && !self.engine_left, "it left a session open"),
            (!self.engine_gone, "its session was still there at the end"),
            (self.early_messages > 0, "the engine got messages before its handshake"),
            (self.dropped_before_ready > 0, "it wanted to send audio before the handshake"),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        self.violations.extend(broken.map(|(_, what)| what.to_owned()));
    }
}

impl Outcome {
    /// All that must not happen and did, with the seed that makes it happen again; `None` if all
    /// is well.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let calls = self.reports.iter().flat_map(|report| {
            report.violations.iter().map(move |what| format!("{}: {what}", report.id))
        });
        let all: Vec<String> = self.violations.iter().cloned().chain(calls).collect();
        (!all.is_empty()).then(|| format!("seed {}: {}", self.seed, all.join("; ")))
    }
}

/// The value that `percent` of the values do not exceed; `None` of none.
#[must_use]
pub fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<Duration> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Some(Duration::from_millis(10)));
        assert_eq!(percentile(&values, 95), Some(Duration::from_millis(19)));
        assert_eq!(percentile(&values, 100), Some(Duration::from_millis(20)));
        assert_eq!(percentile(&[], 50), None);
    }
}
