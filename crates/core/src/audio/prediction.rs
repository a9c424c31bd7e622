//! Linear prediction: how sound goes on by itself. Only sums, products and quotients, so every
//! machine gives the same samples.

/// Samples from which the next is predicted: the resonances of a vocal tract at 8 kHz.
pub(super) const ORDER: usize = 16;

/// A little noise under the signal keeps the solution steady.
const NOISE: f64 = 1.0001;

/// Each resonance dies out a little faster than in the signal.
const DECAY: f64 = 0.995;

/// The weights of the last [`ORDER`] samples, latest first, with which a sample of `signal` is
/// predicted best: Levinson and Durbin's recursion on the windowed autocorrelation.
pub(super) fn weights(signal: &[i16]) -> [f64; ORDER] {
    let windowed = windowed(signal);
    let mut power = [0.0; ORDER + 1];
    for (lag, power) in power.iter_mut().enumerate() {
        *power = windowed.iter().zip(windowed.iter().skip(lag)).map(|(a, b)| a * b).sum();
    }
    power[0] *= NOISE;
    let mut weights = [0.0; ORDER];
    let mut left = power[0];
    for order in 0..ORDER {
        if left <= 0.0 {
            break;
        }
        let predicted: f64 = (0..order).map(|k| weights[k] * power[order - k]).sum();
        let reflection = (power[order + 1] - predicted) / left;
        let before = weights;
        for k in 0..order {
            weights[k] -= reflection * before[order - 1 - k];
        }
        weights[order] = reflection;
        left *= 1.0 - reflection * reflection;
    }
    let mut decay = 1.0;
    for weight in &mut weights {
        decay *= DECAY;
        *weight *= decay;
    }
    weights
}

/// The next `count` samples of a signal that rings out, by its last [`ORDER`] ones, oldest first.
pub(super) fn ringing(weights: &[f64; ORDER], last: [f64; ORDER], count: usize) -> Vec<f64> {
    let mut signal = last.to_vec();
    for _ in 0..count {
        let next = weights.iter().zip(signal.iter().rev()).map(|(weight, s)| weight * s).sum();
        signal.push(next);
    }
    signal.split_off(ORDER)
}

/// The signal with soft ends (Welch's window).
fn windowed(signal: &[i16]) -> Vec<f64> {
    let middle = signal.len() as f64 / 2.0;
    let weight = |n: usize| {
        let place = (n as f64 + 0.5 - middle) / middle;
        1.0 - place * place
    };
    signal.iter().enumerate().map(|(n, sample)| f64::from(*sample) * weight(n)).collect()
}
