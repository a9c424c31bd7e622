//! Sines and ramps from whole numbers and from what IEEE 754 rounds alike everywhere, so that every
//! machine makes the same samples.

use std::f64::consts::FRAC_PI_2;

/// The gain `n` samples into a rise over `ramp` samples: from 0 to 1, flat at both ends.
pub(crate) fn ease(n: u64, ramp: u64) -> f64 {
    let way = n.min(ramp) as f64 / ramp as f64;
    way * way * (3.0 - 2.0 * way)
}

/// The sine of `phase` parts of a circle of `parts`, within 1e-7.
pub(crate) fn sine(phase: u64, parts: u64) -> f64 {
    let (quarter, rest) = (4 * phase / parts, 4 * phase % parts);
    let rising = quarter.is_multiple_of(2);
    let angle = (if rising { rest } else { parts - rest }) as f64 / parts as f64 * FRAC_PI_2;
    let square = angle * angle;
    // The series' terms from the 11th power down, by Horner's rule.
    let divisors = [110.0, 72.0, 42.0, 20.0, 6.0];
    let series = divisors.iter().fold(1.0, |sum, divisor| 1.0 - sum * square / divisor);
    if quarter < 2 { angle * series } else { -angle * series }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_are_exact_to_seven_digits() {
        for phase in 0..8000 {
            let expected = (std::f64::consts::TAU * phase as f64 / 8000.0).sin();
            assert!((sine(phase, 8000) - expected).abs() < 1e-7, "{phase}");
        }
    }
}
