//! Finds out whether, and after how long, the bot repeated what the caller said.

use serde::Serialize;

use super::tracks::{RATE_HZ, dbfs};

/// How the bot's side best resembles one stretch of the caller's speech.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lag {
    /// From the caller's speech to its repetition, in milliseconds.
    pub ms: f64,
    /// Normalised correlation there, from 0 (nothing alike) to 1 (the same but for loudness).
    pub correlation: f64,
    /// When the caller said it, in milliseconds since the call was answered.
    pub said_at_ms: f64,
}

const PER_SECOND: usize = RATE_HZ as usize;
const WINDOW: usize = PER_SECOND / 50;
/// Speech is what is louder than this over 20 ms.
const SPEECH_DBFS: f32 = -40.0;
/// A pause of so many windows parts two stretches of speech.
const PAUSE_WINDOWS: usize = 20;
const SHORTEST: usize = PER_SECOND * 3 / 10;
const LONGEST: usize = PER_SECOND * 10;
/// How many stretches are compared.
const STRETCHES: usize = 8;
/// How far the repetition may be away.
const FARTHEST: usize = PER_SECOND * 30;
/// A resemblance of something quieter than this, relative in power, is chance.
const QUIETEST: f64 = 1e-4;

/// The best resemblance among the caller's first stretches of speech; `None` without any speech on
/// either side. Both tracks are 8 kHz PCM that begin at the same moment.
pub(super) fn find(caller: &[i16], bot: &[i16]) -> Option<Lag> {
    let stretches = stretches(caller).into_iter().take(STRETCHES);
    stretches
        .filter_map(|(begin, end)| {
            let heard = bot.get(begin..bot.len().min(end + FARTHEST))?;
            let (lag, correlation) = best(&caller[begin..end], heard)?;
            let ms = |samples: usize| samples as f64 * 1000.0 / f64::from(RATE_HZ);
            Some(Lag { ms: ms(lag), correlation, said_at_ms: ms(begin) })
        })
        .max_by(|a, b| a.correlation.total_cmp(&b.correlation))
}

/// Where the caller speaks: begin and end in samples, pauses left out.
fn stretches(caller: &[i16]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut quiet = PAUSE_WINDOWS;
    for (index, window) in caller.chunks_exact(WINDOW).enumerate() {
        if dbfs(window) < SPEECH_DBFS {
            quiet += 1;
            continue;
        }
        let end = (index + 1) * WINDOW;
        match found.last_mut() {
            Some(last) if quiet < PAUSE_WINDOWS && end - last.0 <= LONGEST => last.1 = end,
            Some(_) | None => found.push((index * WINDOW, end)),
        }
        quiet = 0;
    }
    found.retain(|(begin, end)| end - begin >= SHORTEST);
    found
}

/// The shift in samples at which `said` resembles `heard` best, and how well.
fn best(said: &[i16], heard: &[i16]) -> Option<(usize, f64)> {
    let said_power = power(said);
    if said_power <= 0.0 || power(heard) <= 0.0 {
        return None;
    }
    let products = cross_correlation(said, heard);
    let mut heard_power = power(&heard[..said.len().min(heard.len())]);
    let mut best = (0, f64::MIN);
    for (lag, product) in products.iter().enumerate().take(heard.len()) {
        let scale = (said_power * heard_power.max(said_power * QUIETEST)).sqrt();
        let correlation = product / scale;
        if correlation > best.1 {
            best = (lag, correlation);
        }
        let entering = heard.get(lag + said.len()).map_or(0.0, |sample| square(*sample));
        heard_power += entering - square(heard[lag]);
    }
    Some((best.0, best.1.clamp(0.0, 1.0)))
}

fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| square(*sample)).sum()
}

fn square(sample: i16) -> f64 {
    f64::from(sample).powi(2)
}

/// Sum of `said[t] * heard[t + lag]` for every lag from 0, by way of the Fourier transform.
fn cross_correlation(said: &[i16], heard: &[i16]) -> Vec<f64> {
    // Twice the room, so that no lag wraps around onto another.
    let size = (said.len() + heard.len()).next_power_of_two();
    let spectrum = |samples: &[i16]| {
        let mut real: Vec<f64> = samples.iter().map(|sample| f64::from(*sample)).collect();
        real.resize(size, 0.0);
        let mut imaginary = vec![0.0; size];
        transform(&mut real, &mut imaginary);
        (real, imaginary)
    };
    let (said_re, said_im) = spectrum(said);
    let (mut re, mut im) = spectrum(heard);
    for n in 0..size {
        let (a, b, c, d) = (re[n], im[n], said_re[n], said_im[n]);
        // heard times the conjugate of said; conjugated again, a forward transform inverts it.
        re[n] = (a * c + b * d) / size as f64;
        im[n] = -(b * c - a * d) / size as f64;
    }
    transform(&mut re, &mut im);
    re
}

/// The discrete Fourier transform in place (radix 2, decimation in time); lengths a power of two.
fn transform(re: &mut [f64], im: &mut [f64]) {
    let size = re.len();
    let shift = usize::BITS - size.trailing_zeros();
    for n in 0..size {
        let reversed = if size > 1 { n.reverse_bits() >> shift } else { 0 };
        if n < reversed {
            re.swap(n, reversed);
            im.swap(n, reversed);
        }
    }
    let mut half = 1;
    while half < size {
        let turns: Vec<(f64, f64)> =
            (0..half).map(|k| (-std::f64::consts::PI * k as f64 / half as f64).sin_cos()).collect();
        for start in (0..size).step_by(2 * half) {
            for (k, (sin, cos)) in turns.iter().enumerate() {
                let (low, high) = (start + k, start + k + half);
                let turned_re = re[high] * cos - im[high] * sin;
                let turned_im = re[high] * sin + im[high] * cos;
                re[high] = re[low] - turned_re;
                im[high] = im[low] - turned_im;
                re[low] += turned_re;
                im[low] += turned_im;
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same in every run.
    fn noise(count: usize, mut seed: u32) -> Vec<i16> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) as i16) / 4
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_repetition_is_found_at_its_delay_and_loudness_does_not_matter() {
        let caller = [vec![0; 3200], noise(8000, 1), vec![0; 40_000]].concat();
        let mut bot = [noise(2000, 2), vec![0; 49_200]].concat();
        for (n, sample) in caller[3200..11_200].iter().enumerate() {
            bot[3200 + 12_345 + n] = sample / 3;
        }
        let lag = find(&caller, &bot).unwrap();
        assert!((lag.ms - 12_345.0 / 8.0).abs() < 0.01, "{lag:?}");
        assert!(lag.correlation > 0.99, "{lag:?}");
        assert!((lag.said_at_ms - 400.0).abs() < 0.01, "{lag:?}");
    }

    #[test]
    fn the_stretch_that_was_repeated_wins() {
        let (first, second) = (noise(4000, 1), noise(4000, 2));
        let caller = [&first[..], &vec![0; 8000], &second, &vec![0; 16_000]].concat();
        let bot = [&vec![0; 20_000][..], &second, &vec![0; 8000]].concat();
        let lag = find(&caller, &bot).unwrap();
        assert!((lag.said_at_ms - 1500.0).abs() < 21.0, "{lag:?}");
        assert!((lag.ms - 1000.0).abs() < 0.01 && lag.correlation > 0.99, "{lag:?}");
    }

    #[test]
    fn unlike_sounds_do_not_resemble_each_other() {
        let lag = find(&noise(16_000, 1), &noise(16_000, 3)).unwrap();
        assert!(lag.correlation < 0.2, "{lag:?}");
    }

    #[test]
    fn silence_has_no_lag() {
        assert_eq!(find(&[0; 16_000], &noise(16_000, 1)), None);
        assert_eq!(find(&noise(16_000, 1), &[0; 16_000]), None);
        assert_eq!(find(&[], &[]), None);
    }
}
