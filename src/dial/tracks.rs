//! Both sides of a call on one clock, as 8 kHz PCM.

use std::time::{Duration, Instant};

/// Samples per second of both sides.
pub const RATE_HZ: u32 = 8000;

/// Level of digital silence in [`dbfs`].
pub const FLOOR_DBFS: f32 = -96.0;

const SAMPLES_PER_MS: usize = RATE_HZ as usize / 1000;

/// Two tracks that begin at the same moment.
#[derive(Debug)]
pub(super) struct Tracks {
    origin: Instant,
    pub(super) caller: Vec<i16>,
    pub(super) bot: Vec<i16>,
}

impl Tracks {
    /// Empty tracks that begin at `origin`.
    pub(super) const fn new(origin: Instant) -> Self {
        Self { origin, caller: Vec::new(), bot: Vec::new() }
    }

    /// Brings both tracks to `until` with silence; what reaches beyond it is cut.
    ///
    /// The moment is rounded down to a millisecond.
    pub(super) fn settle(&mut self, until: Instant) {
        let elapsed = until.saturating_duration_since(self.origin);
        let samples = usize::try_from(elapsed.as_millis()).unwrap_or(usize::MAX);
        let samples = samples.saturating_mul(SAMPLES_PER_MS);
        self.caller.resize(samples, 0);
        self.bot.resize(samples, 0);
    }

    /// Time since the tracks began.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

/// Root mean square level in decibels relative to full scale, from [`FLOOR_DBFS`] to 0.
#[must_use]
pub fn dbfs(samples: &[i16]) -> f32 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let mean = sum / samples.len().max(1) as f64;
    let level = 10.0 * (mean / f64::from(i16::MAX).powi(2)).max(1e-12).log10();
    (level as f32).clamp(FLOOR_DBFS, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_brought_to_one_moment() {
        let origin = Instant::now();
        let mut tracks = Tracks::new(origin);
        tracks.caller.extend([1; 160]);
        tracks.bot.extend([2; 320]);
        tracks.settle(origin + Duration::from_millis(30));
        assert_eq!((tracks.caller.len(), tracks.bot.len()), (240, 240));
        assert_eq!((tracks.caller[159], tracks.caller[160], tracks.bot[239]), (1, 0, 2));
    }

    #[test]
    fn levels_span_silence_to_full_scale() {
        assert_eq!(dbfs(&[]), FLOOR_DBFS);
        assert_eq!(dbfs(&[0; 160]), FLOOR_DBFS);
        assert!(dbfs(&[i16::MAX; 160]).abs() < 0.01);
        assert!((dbfs(&[i16::MAX / 10; 160]) + 20.0).abs() < 0.01);
    }
}
