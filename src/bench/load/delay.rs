//! How late a server is: pairs what goes into it with what comes out of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames in an engine's packet.
const PACKET_FRAMES: u64 = 4;
/// Frames whose moment is remembered: 2.5 s.
const REMEMBERED: usize = 128;
/// Packets over which it is learned which frame completes which, and after which of them coming
/// late throughout the pairing is learned anew: 2 s.
const LEARNED: u32 = 25;

/// Caller to engine: from sending the frame that completes a packet to receiving the packet.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// When the latest frames were sent, and the number of the first of them.
    sent: VecDeque<Instant>,
    first: u64,
    packets: u64,
    /// Frames that the server left out (above 0) or made up before this packet.
    shift: i64,
    learned: u32,
    /// Packets in a row that came after the next frame, and by how many frames at least.
    late: u32,
    late_by: i64,
    /// Times that the pairing changed.
    pub(crate) resyncs: u64,
}

impl Inbound {
    /// Frames by which the packets run behind the caller, beyond the one that completes each: a
    /// server that keeps sound back throughout, or left some out, shows here rather than in delays.
    pub(crate) fn behind(&self) -> i64 {
        self.shift
    }

    /// The next frame is sent at this moment.
    pub(crate) fn frame(&mut self, at: Instant) {
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
            self.first += 1;
        }
        self.sent.push_back(at);
    }

    /// The next packet came: how long after its last frame; `None` while that is being learned.
    pub(crate) fn packet(&mut self, at: Instant) -> Option<Duration> {
        let newest = (self.first + self.sent.len() as u64).checked_sub(1)? as i64;
        let due = (PACKET_FRAMES * self.packets + PACKET_FRAMES - 1) as i64;
        self.packets += 1;
        let slack = newest - due;
        if self.learned < LEARNED {
            self.shift = if self.learned == 0 { slack } else { self.shift.min(slack) };
            self.learned += 1;
            return None;
        }
        // A packet cannot come before its frame, so the server must have made one up.
        if slack < self.shift {
            self.shift = slack;
            self.resyncs += 1;
        }
        let behind = slack - self.shift;
        let index = (due + self.shift - self.first as i64).max(0);
        let delay = at.saturating_duration_since(*self.sent.get(usize::try_from(index).ok()?)?);
        self.notice(behind);
        Some(delay)
    }

    /// A server that left a frame out makes every packet a frame late from then on, which says
    /// nothing of its haste.
    fn notice(&mut self, behind: i64) {
        self.late_by = if self.late == 0 { behind } else { self.late_by.min(behind) };
        self.late = if behind > 0 { self.late + 1 } else { 0 };
        if self.late == LEARNED {
            self.shift += self.late_by;
            self.late = 0;
            self.resyncs += 1;
        }
    }
}

/// Engine to caller: from sending an engine's message to receiving the first media after it.
#[derive(Debug, Default)]
pub(crate) struct Outbound(Option<Instant>);

impl Outbound {
    /// The engine speaks now. If nothing came since it last spoke: how long that is ago.
    pub(crate) fn spoke(&mut self, at: Instant) -> Option<Duration> {
        self.0.replace(at).map(|last| at.saturating_duration_since(last))
    }

    /// Media came: how long after the engine spoke; `None` for more of the same.
    pub(crate) fn media(&mut self, at: Instant) -> Option<Duration> {
        self.0.take().map(|spoke| at.saturating_duration_since(spoke))
    }
}

/// How a quantity in milliseconds is spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// How many values there are.
    pub count: usize,
    /// The median, in milliseconds.
    pub p50_ms: f32,
    /// Nine of ten are no greater, in milliseconds.
    pub p90_ms: f32,
    /// 99 of 100 are no greater, in milliseconds.
    pub p99_ms: f32,
    /// The greatest, in milliseconds.
    pub max_ms: f32,
}

impl Spread {
    /// The spread of these values; all zero without any.
    pub(crate) fn of(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let rank = (values.len() as f64 * share).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            count: values.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// Milliseconds as the figures hold them.
pub(crate) fn ms(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    /// Runs packets through, each `delay` after the frame that completes it; the server leaves
    /// `gone(packet)` frames out before it (or makes them up, below 0).
    fn delays(
        packets: u64,
        delay: impl Fn(u64) -> Duration,
        gone: impl Fn(u64) -> i64,
    ) -> (Vec<Duration>, u64) {
        let start = Instant::now();
        let mut inbound = Inbound::default();
        let (mut found, mut frame, mut shift) = (Vec::new(), 0, 0);
        for packet in 0..packets {
            shift += gone(packet);
            let last = (4 * packet + 3).checked_add_signed(shift).unwrap();
            let came = start + FRAME * last as u32 + delay(packet);
            while start + FRAME * frame <= came {
                inbound.frame(start + FRAME * frame);
                frame += 1;
            }
            found.extend(inbound.packet(came));
        }
        (found, inbound.resyncs)
    }

    #[test]
    fn a_packet_is_timed_from_the_frame_that_completes_it() {
        let (found, resyncs) = delays(60, |_| Duration::from_millis(3), |_| 0);
        assert_eq!((found, resyncs), (vec![Duration::from_millis(3); 35], 0));
    }

    #[test]
    fn a_slow_packet_is_not_taken_for_a_quick_one_of_a_later_frame() {
        let delay = |packet| Duration::from_millis(if packet % 9 == 5 { 47 } else { 3 });
        let (found, resyncs) = delays(60, delay, |_| 0);
        assert_eq!(found.iter().filter(|delay| **delay == Duration::from_millis(47)).count(), 4);
        assert_eq!(resyncs, 0);
    }

    #[test]
    fn frames_that_were_made_up_or_left_out_are_learned() {
        let gone = |packet| match packet {
            0 => 2,
            40 => -1,
            60 => 1,
            _ => 0,
        };
        let (found, resyncs) = delays(120, |_| Duration::from_millis(3), gone);
        let slow = found.iter().filter(|delay| **delay > Duration::from_millis(3)).count();
        assert_eq!((slow, resyncs), (25, 2));
    }

    #[test]
    fn an_engine_that_speaks_unheard_is_noticed() {
        let start = Instant::now();
        let mut outbound = Outbound::default();
        assert_eq!(outbound.spoke(start), None);
        assert_eq!(outbound.media(start + FRAME), Some(FRAME));
        assert_eq!(outbound.media(start + FRAME), None);
        assert_eq!(outbound.spoke(start + FRAME), None);
        assert_eq!(outbound.spoke(start + 5 * FRAME), Some(4 * FRAME));
    }

    #[test]
    fn spreads() {
        let spread = Spread::of((1..=200).rev().map(|value| value as f32).collect());
        let expected =
            Spread { count: 200, p50_ms: 100.0, p90_ms: 180.0, p99_ms: 198.0, max_ms: 200.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
