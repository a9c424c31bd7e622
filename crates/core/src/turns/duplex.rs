//! The measures of a talk, for its record: sums, counts and quantiles of the gaps.

use serde::Serialize;

use super::Side;

/// Width of a class of gaps, in milliseconds: a quantile is off by half of it at most.
const CLASS_MS: i64 = 20;

/// Middle of the first class, in milliseconds; every shorter gap falls into it.
const FIRST_MS: i64 = -2000;

/// Classes: the last one is at 8 s, and every longer gap falls into it.
const CLASSES: usize = 501;

/// One of something for each side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sides<T> {
    /// The caller's.
    pub caller: T,
    /// The engine's.
    pub engine: T,
}

impl<T> Sides<T> {
    /// The one of that side.
    pub const fn of(&self, side: Side) -> &T {
        match side {
            Side::Caller => &self.caller,
            Side::Engine => &self.engine,
        }
    }

    pub(super) const fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Caller => &mut self.caller,
            Side::Engine => &mut self.engine,
        }
    }
}

/// The measures of one talk; [`super::Turns`] says what each word means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Duplex {
    /// Speech of the caller, in milliseconds.
    pub caller_ms: u64,
    /// Speech of the engine, in milliseconds.
    pub engine_ms: u64,
    /// Speech of both at once, in milliseconds; it is part of either sum.
    pub overlap_ms: u64,
    /// Exchanges, either way.
    pub exchanges: u64,
    /// The engine's response time as heard at the line: gaps of the exchanges from the caller to
    /// the engine, in milliseconds, negative for overlap; `None` where there were none.
    pub gap_ms: Option<Quantiles>,
    /// Talk-overs, by who began second.
    pub talk_overs: Sides<u64>,
    /// Back-channels, by whose they are.
    pub backchannels: Sides<u64>,
    /// Times that there was dead air.
    pub dead_airs: u64,
    /// All dead air together, in milliseconds.
    pub dead_air_ms: u64,
    /// The longest turn, in milliseconds, pauses within it included.
    pub longest_turn_ms: Sides<u64>,
    /// Speech that came when its time was decided already, in milliseconds; it is in no other sum.
    pub late_ms: u64,
    /// Events that nobody polled in time.
    pub dropped_events: u64,
}

/// How gaps are spread, in milliseconds: by nearest rank, within 10 ms from -2 to 8 s. A quantile
/// beyond those is the shortest or the longest gap there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half of the gaps are no longer.
    pub p50: i64,
    /// 95 of 100 gaps are no longer.
    pub p95: i64,
    /// The longest, exactly.
    pub max: i64,
}

/// Gaps, counted in classes of 20 ms.
#[derive(Debug, Clone)]
pub(super) struct Gaps {
    classes: Vec<u32>,
    count: u64,
    min: i64,
    max: i64,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { classes: vec![0; CLASSES], count: 0, min: i64::MAX, max: i64::MIN }
    }
}

impl Gaps {
    pub(super) fn push(&mut self, gap_ms: i64) {
        let from_first = gap_ms.saturating_sub(FIRST_MS).saturating_add(CLASS_MS / 2);
        let class = usize::try_from(from_first.div_euclid(CLASS_MS)).unwrap_or(0);
        self.classes[class.min(CLASSES - 1)] += 1;
        self.count += 1;
        self.min = self.min.min(gap_ms);
        self.max = self.max.max(gap_ms);
    }

    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let some = |percent| self.quantile(percent);
        (self.count > 0).then(|| Quantiles { p50: some(50), p95: some(95), max: self.max })
    }

    /// The gap that `percent` of all do not exceed.
    fn quantile(&self, percent: u64) -> i64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += u64::from(*count);
            seen >= rank
        };
        match self.classes.iter().position(reached) {
            Some(0) => self.min,
            Some(class) if class < CLASSES - 1 => {
                (FIRST_MS + CLASS_MS * class as i64).clamp(self.min, self.max)
            }
            Some(_) | None => self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(gaps: impl IntoIterator<Item = i64>) -> Option<(i64, i64, i64)> {
        let mut all = Gaps::default();
        gaps.into_iter().for_each(|gap| all.push(gap));
        all.quantiles().map(|it| (it.p50, it.p95, it.max))
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        assert_eq!(quantiles([]), None);
        assert_eq!(quantiles([-340]), Some((-340, -340, -340)));
        assert_eq!(quantiles([500, 20, 40]), Some((40, 500, 500)));
        assert_eq!(quantiles((1..=100).map(|n| n * 20)), Some((1000, 1900, 2000)));
    }

    #[test]
    fn a_quantile_is_off_by_half_a_class_at_most() {
        for gap in -1990..1990 {
            let (p50, _, max) = quantiles([gap, gap, gap, 3000]).unwrap();
            assert!((p50 - gap).abs() <= 10, "{gap} {p50}");
            assert_eq!(max, 3000);
        }
    }

    #[test]
    fn extremes_fit_in() {
        assert_eq!(quantiles([i64::MIN, i64::MAX]), Some((i64::MIN, i64::MAX, i64::MAX)));
        assert_eq!(quantiles([-2500, 8500, 9000]), Some((9000, 9000, 9000)));
    }
}
