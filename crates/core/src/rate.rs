//! How often something may happen for each of many names: so many times a minute, as evenly as
//! they come (the generic cell rate algorithm, ITU-T I.371).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names that are remembered; beyond, the one that was quiet for longest is forgotten.
const NAMES: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Allows each name so many events in a minute, which may come all at once.
#[derive(Debug, Clone)]
pub struct RateLimit {
    interval: Duration,
    /// When each name's events would be over if they came evenly.
    evenly: BTreeMap<String, Instant>,
}

impl RateLimit {
    /// Allows `per_minute` events of each name, at least one.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { interval: MINUTE / per_minute.max(1), evenly: BTreeMap::new() }
    }

    /// Counts an event, if it is allowed.
    pub fn allow(&mut self, name: &str, now: Instant) -> bool {
        let evenly = self.evenly.get(name).map_or(now, |evenly| (*evenly).max(now));
        let next = evenly + self.interval;
        if next.saturating_duration_since(now) > MINUTE {
            return false;
        }
        if self.evenly.len() >= NAMES && !self.evenly.contains_key(name) {
            self.make_room(now);
        }
        self.evenly.insert(name.to_owned(), next);
        true
    }

    fn make_room(&mut self, now: Instant) {
        self.evenly.retain(|_, evenly| *evenly > now);
        let quietest = self.evenly.iter().min_by_key(|(_, evenly)| **evenly);
        let quietest = quietest.map(|(name, _)| name.clone());
        if self.evenly.len() >= NAMES
            && let Some(name) = quietest
        {
            self.evenly.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_share_of_each_minute() {
        let start = crate::call::epoch();
        let mut limit = RateLimit::new(6);
        let allowed = |limit: &mut RateLimit, after: u64, name: &str| {
            (0..20).filter(|_| limit.allow(name, start + Duration::from_secs(after))).count()
        };
        assert_eq!(allowed(&mut limit, 0, "a"), 6, "all at once");
        assert_eq!(allowed(&mut limit, 0, "b"), 6, "each has its own");
        assert_eq!(allowed(&mut limit, 9, "a"), 0);
        assert_eq!(allowed(&mut limit, 20, "a"), 2);
        assert_eq!(allowed(&mut limit, 300, "a"), 6);
    }

    #[test]
    fn time_that_goes_back_allows_nothing_more() {
        let start = crate::call::epoch() + MINUTE;
        let mut limit = RateLimit::new(1);
        assert!(limit.allow("a", start));
        assert!(!limit.allow("a", start - Duration::from_secs(30)));
    }

    #[test]
    fn no_more_names_are_kept_than_fit() {
        let start = crate::call::epoch();
        let mut limit = RateLimit::new(1);
        for n in 0..NAMES as u64 + 500 {
            assert!(limit.allow(&n.to_string(), start + Duration::from_micros(n)));
        }
        assert_eq!(limit.evenly.len(), NAMES);
        assert!(!limit.allow("10499", start + Duration::from_secs(1)), "the latest are kept");
    }
}
