//! One direction of a connection: delays messages by the seed, in order as TCP keeps it.

use std::time::{Duration, Instant};

use crate::message::Message;
use crate::rng::Rng;

/// How a link treats what it carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkConfig {
    /// What every message takes.
    pub base: Duration,
    /// What a message takes besides: evenly distributed from none to this.
    pub jitter: Duration,
    /// Of 1000 messages with a caller's audio, how many are lost.
    pub lost_per_mille: u64,
    /// Whether a message may overtake another, which TCP rules out.
    pub reorders: bool,
    /// When nothing gets through.
    pub stalls: Vec<Stall>,
    /// From when on, counted from the link's beginning, every message takes how much longer.
    pub detour: Option<(Duration, Duration)>,
}

impl LinkConfig {
    /// A link with that delay and jitter, and nothing else wrong with it.
    #[must_use]
    pub fn new(base: Duration, jitter: Duration) -> Self {
        Self { base, jitter, ..Self::default() }
    }
}

/// A time in which a link holds everything back, to deliver it in one burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When it begins, counted from the link's beginning.
    pub at: Duration,
    /// How long it takes.
    pub length: Duration,
}

/// A link and what it has carried.
#[derive(Debug, Clone)]
pub struct Link {
    config: LinkConfig,
    start: Instant,
    rng: Rng,
    last: Instant,
}

impl Link {
    /// A link that stands from `start` on.
    #[must_use]
    pub const fn new(config: LinkConfig, rng: Rng, start: Instant) -> Self {
        Self { config, start, rng, last: start }
    }

    /// When a message that is sent `now` arrives; `None` if it is lost.
    pub fn arrival(&mut self, message: &Message, now: Instant) -> Option<Instant> {
        // Drawn for every message, so that a loss does not move what comes after it.
        let jitter = self.rng.between(Duration::ZERO, self.config.jitter);
        let lost = self.rng.below(1000) < self.config.lost_per_mille;
        if lost && message.is_lossy() {
            return None;
        }
        let mut leaves = now;
        for stall in &self.config.stalls {
            let from = self.start + stall.at;
            if (from..from + stall.length).contains(&leaves) {
                leaves = from + stall.length;
            }
        }
        let mut arrives = leaves + self.config.base + jitter;
        let taken = |(from, _): &(Duration, Duration)| leaves >= self.start + *from;
        arrives += self.config.detour.filter(taken).map_or(Duration::ZERO, |(_, longer)| longer);
        if !self.config.reorders || message.is_end() {
            arrives = arrives.max(self.last);
        }
        self.last = self.last.max(arrives);
        Some(arrives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(config: LinkConfig, count: u64) -> Vec<u64> {
        let start = crate::world::epoch();
        let mut link = Link::new(config, Rng::new(3), start);
        let media = Message::Media(String::new());
        (0..count)
            .filter_map(|n| link.arrival(&media, start + Duration::from_millis(20 * n)))
            .map(|at| (at - start).as_millis() as u64)
            .collect()
    }

    #[test]
    fn a_quiet_link_delays_by_its_base() {
        let config = LinkConfig::new(Duration::from_millis(15), Duration::ZERO);
        assert_eq!(arrivals(config, 3), [15, 35, 55]);
    }

    #[test]
    fn jitter_keeps_the_order_unless_told_otherwise() {
        let jitter = LinkConfig::new(Duration::ZERO, Duration::from_millis(100));
        let kept = arrivals(jitter.clone(), 500);
        assert!(kept.is_sorted());
        assert!(kept.windows(2).any(|pair| pair[0] == pair[1]), "some come in a burst");
        assert!(kept.iter().zip(0..).all(|(at, n)| (20 * n..=20 * n + 100).contains(at)));
        assert!(!arrivals(LinkConfig { reorders: true, ..jitter }, 500).is_sorted());
    }

    #[test]
    fn a_stall_ends_in_a_burst() {
        let ms = Duration::from_millis;
        let stalls = vec![Stall { at: ms(30), length: ms(60) }];
        let config = LinkConfig { base: ms(5), stalls, ..LinkConfig::default() };
        assert_eq!(arrivals(config, 7), [5, 25, 95, 95, 95, 105, 125]);
    }

    #[test]
    fn a_detour_is_taken_for_good() {
        let ms = Duration::from_millis;
        let detour = Some((ms(50), ms(100)));
        let config = LinkConfig { base: ms(5), detour, ..LinkConfig::default() };
        assert_eq!(arrivals(config, 5), [5, 25, 45, 165, 185]);
    }

    #[test]
    fn only_audio_is_lost() {
        let config = LinkConfig { lost_per_mille: 100, ..LinkConfig::default() };
        let came = arrivals(config.clone(), 1000).len();
        assert!((860..940).contains(&came), "{came}");
        let start = crate::world::epoch();
        let mut link = Link::new(LinkConfig { lost_per_mille: 1000, ..config }, Rng::new(1), start);
        assert!(link.arrival(&Message::Text("stop".into()), start).is_some());
    }
}
