//! What stretching and concealing share: how alike two pieces of sound are, and how one is faded
//! into the other. Integers but for one division, so every machine gives the same samples.

use std::time::Duration;

use super::frame::Rate;

/// The longest period of a voice that is looked for: 67 Hz.
pub(super) const LONGEST_PERIOD: Duration = Duration::from_millis(15);

/// What a weight of 1 is as an integer.
const ONE: i64 = 1 << 15;

/// Whole samples at `rate` in `time`.
pub(super) const fn samples_in(rate: Rate, time: Duration) -> usize {
    (rate.hz() as u128 * time.as_micros() / 1_000_000) as usize
}

/// How alike two pieces of the same length are: 1 for the same, 0 for unrelated, -1 for opposite.
///
/// It is the normalised correlation, with the mean of the two energies for their geometric mean:
/// so it falls when one is louder, too, and is 1 less the share that a cross-fade must bridge.
pub(super) fn similarity(one: &[i16], other: &[i16]) -> f64 {
    // Any product of two samples fits 32 bits, in which processors multiply several at once.
    let times = |one: i16, other: i16| i64::from(i32::from(one) * i32::from(other));
    let (mut product, mut energy) = (0, 0);
    for (one, other) in one.iter().zip(other) {
        product += times(*one, *other);
        energy += times(*one, *one) + times(*other, *other);
    }
    likeness(product, energy)
}

/// The similarity of two pieces, from the sum of their products and the sum of both energies.
pub(super) fn likeness(product: i64, energy: i64) -> f64 {
    if energy == 0 { 1.0 } else { 2.0 * product as f64 / energy as f64 }
}

/// `before` faded into `after`, which have the same length.
pub(super) fn cross_fade(before: &[i16], after: &[i16]) -> Vec<i16> {
    let length = before.len().min(after.len());
    let pairs = before.iter().zip(after).enumerate();
    pairs.map(|(n, (before, after))| blend(*before, *after, rise(n, length))).collect()
}

/// Fades `before` into the beginning of `after`, in place, over the shorter of the two.
pub(super) fn fade_into(before: &[i16], after: &mut [i16]) {
    let length = before.len().min(after.len());
    for (n, (before, after)) in before.iter().zip(after).enumerate() {
        *after = blend(*before, *after, rise(n, length));
    }
}

/// `sample` at a share `part / whole` of its level; `part` is at most `whole`.
pub(super) fn scaled(sample: i64, part: usize, whole: usize) -> i64 {
    let (part, whole) = (part as i64, whole.max(1) as i64);
    sample * part / whole
}

/// The weight of the new sound at sample `n` of a fade over `length`, 0 to [`ONE`].
///
/// The cubic 3t^2 - 2t^3 differs from a raised cosine by at most 0.01 and needs no cosine, which
/// not every machine rounds alike. `t` is taken in the middle of each sample, so the fade is the
/// same forwards and backwards.
fn rise(n: usize, length: usize) -> i64 {
    let (t, whole) = (2 * n as i64 + 1, 2 * length as i64);
    t * t * (3 * whole - 2 * t) * ONE / (whole * whole * whole)
}

fn blend(before: i16, after: i16, weight: i64) -> i16 {
    let sum = i64::from(before) * (ONE - weight) + i64::from(after) * weight;
    // A mean of two samples lies between them.
    ((sum + ONE / 2) >> 15) as i16
}
