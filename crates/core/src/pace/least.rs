//! The least of a figure of late: over a stretch of time at least, and two at most.

use std::time::{Duration, Instant};

/// Follows a figure that is never too small but may be too great, such as a delay with jitter.
#[derive(Debug, Clone)]
pub(crate) struct Least {
    stretch: Duration,
    /// The least of the stretch before this one, and of this one.
    values: [i64; 2],
    ends: Option<Instant>,
}

impl Least {
    /// Remembers for `stretch` at least.
    pub(crate) const fn over(stretch: Duration) -> Self {
        Self { stretch, values: [i64::MAX; 2], ends: None }
    }

    /// Time passes. When the older stretch is forgotten: by how much the newer one's least is
    /// greater, or less if it is below 0.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<i64> {
        if self.ends.is_some_and(|ends| now < ends) {
            return None;
        }
        self.ends = Some(now + self.stretch);
        let [before, since] = self.values;
        self.values = [since, i64::MAX];
        let both = before < i64::MAX && since < i64::MAX;
        both.then(|| since.saturating_sub(before))
    }

    /// Notes a value, and gives the least of late, this one included.
    pub(crate) fn note(&mut self, value: i64) -> i64 {
        self.values[1] = self.values[1].min(value);
        self.values[0].min(self.values[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_least_is_forgotten_after_one_stretch_or_two() {
        let start = crate::call::epoch();
        let mut least = Least::over(Duration::from_secs(5));
        let mut at = |second: u64, value: i64| {
            let risen = least.advance(start + Duration::from_secs(second));
            (risen, least.note(value))
        };
        assert_eq!(at(0, 7), (None, 7));
        assert_eq!(at(1, 3), (None, 3));
        assert_eq!(at(6, 9), (None, 3));
        assert_eq!(at(10, 8), (None, 3));
        assert_eq!(at(11, 8), (Some(5), 8));
        assert_eq!(at(12, 2), (None, 2));
    }
}
