//! A quiet tune for callers who wait: broken chords of soft, plucked notes, 16 s that can be
//! repeated without a seam, the same samples on every machine.

use super::tone::{ease, sine};

/// Samples per second.
const RATE: u64 = 8000;
/// How far apart notes begin, in samples: half a second.
const STEP: u64 = RATE / 2;
/// How long a note sounds, in samples; it dies away all the while.
const LENGTH: u64 = 3 * RATE / 2;
/// How long it takes to rise, in samples: 10 ms, so that nothing clicks.
const RISE: u64 = RATE / 100;
/// Peak of a note as it begins; three of them and their overtones reach a tenth of full scale.
const PEAK: f64 = 1000.0;

/// The notes in tenths of a hertz, four to a chord, each chord twice: C, A minor, F, G.
const CHORDS: [[u64; 4]; 4] = [
    [2616, 3296, 3920, 5233],
    [2200, 3296, 4400, 5233],
    [1746, 3492, 4400, 5233],
    [1960, 3920, 4939, 5873],
];

/// The tune, at 8 kHz.
#[must_use]
pub fn samples() -> Vec<i16> {
    let notes: Vec<u64> =
        CHORDS.iter().flat_map(|chord| chord.iter().chain(chord)).copied().collect();
    let total = notes.len() as u64 * STEP;
    let mut tune = vec![0.0; notes.len() * STEP as usize];
    for (begin, tenths) in (0..).step_by(STEP as usize).zip(notes) {
        for n in 0..LENGTH {
            // What sounds beyond the end is heard at the beginning.
            tune[((begin + n) % total) as usize] += note(tenths, n);
        }
    }
    tune.into_iter().map(|sample: f64| sample.round() as i16).collect()
}

/// Sample number `n` of a note of so many tenths of a hertz, with an overtone that dies sooner.
fn note(tenths: u64, n: u64) -> f64 {
    let parts = RATE * 10;
    let left = (LENGTH - n) as f64 / LENGTH as f64;
    let fall = left * left;
    let overtone = 0.3 * fall * sine(n * tenths * 2 % parts, parts);
    PEAK * ease(n, RISE) * fall * (sine(n * tenths % parts, parts) + overtone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tune_is_soft_smooth_and_never_silent() {
        let tune = samples();
        assert_eq!(tune.len(), 16 * 8000);
        let peak = tune.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((1000..3300).contains(&peak), "{peak}");
        // It has no seam, and nothing jumps: 600 Hz at that peak rises by a fourth of it a sample.
        let next = tune.iter().skip(1).chain(tune.first());
        let jump = tune.iter().zip(next).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(jump < 1500, "{jump}");
        for part in tune.chunks(2000) {
            assert!(part.iter().any(|sample| sample.unsigned_abs() > 200));
        }
    }
}
