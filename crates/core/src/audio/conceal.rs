//! Concealment: makes up sound for what was lost, out of what was heard before it, and leads back
//! into real sound without a click (the ideas of ITU-T G.711 Appendix I).

use std::time::Duration;

use super::frame::{Frame, Rate};
use super::level::peak;
use super::overlap::{LONGEST_PERIOD, cross_fade, fade_into, samples_in, scaled, similarity};
use super::prediction::{self, ORDER};

/// How much of the latest sound is kept.
const HISTORY: Duration = Duration::from_millis(45);

/// The shortest sound that is repeated; a shorter one would buzz. Of a high voice it holds two or
/// three periods.
const SHORTEST_CYCLE: Duration = Duration::from_millis(5);

/// How much of the latest sound is compared with what was before it, to find its period.
const COMPARED: Duration = Duration::from_millis(15);

/// Sound that is less alike from one period to the next than this has none. The longest cycle is
/// repeated of it, since a short one would give it a pitch.
const VOICED: f64 = 0.5;

/// How long the joints between the repeats and behind the last real sample take.
const JOINT: Duration = Duration::from_millis(5);

/// What is made up has its full level for this long.
const FULL: Duration = Duration::from_millis(10);

/// Then it fades to silence over this long.
const FADE: Duration = Duration::from_millis(80);

/// The fade back into real sound takes this long for each frame that was made up.
const RETURN: Duration = Duration::from_millis(5);

/// But no longer than this.
const LONGEST_RETURN: Duration = Duration::from_millis(10);

/// Sound whose samples all lie below this is not audible: -50 dBFS.
const AUDIBLE: u16 = 104;

/// Makes up what was lost of one track, in frames of 20 ms.
///
/// Every frame of the track goes through it in the order in which it is played: a real one by
/// [`Self::heard`], a lost one by [`Self::conceal`].
#[derive(Debug, Clone)]
pub struct Concealer {
    rate: Rate,
    /// The last [`HISTORY`] that was played, oldest first.
    history: Vec<i16>,
    made_up: Option<MadeUp>,
}

/// Sound that is being made up.
#[derive(Debug, Clone)]
struct MadeUp {
    rate: Rate,
    /// What is repeated; its end leads into its beginning.
    cycle: Vec<i16>,
    /// What is added at first: how the real sound, less what led into the cycle, rings out.
    onset: Vec<i64>,
    /// The largest step in the real sound before; what is made up has no larger one,
    /// but where it could not fade out otherwise.
    largest_step: i64,
    /// The last sample.
    last: i64,
    /// Samples made up so far.
    made: usize,
}

impl Concealer {
    /// A concealer for a track at `rate` of which nothing was heard yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, history: vec![0; samples_in(rate, HISTORY)], made_up: None }
    }

    /// Notes a real frame. If it follows made-up sound, that is faded into it, in place, over 5 ms
    /// after one frame and 10 ms after more; after silence the frame is faded in over 5 ms. Where
    /// the two would meet in a click, the fade takes more of the frame.
    ///
    /// A frame at another rate than the concealer's is not changed, and all before it forgotten.
    pub fn heard(&mut self, frame: &mut Frame) {
        if frame.rate() != self.rate {
            *self = Self::new(frame.rate());
        }
        if let Some(mut made_up) = self.made_up.take() {
            let faded = self.led_back(&mut made_up, frame.samples());
            frame.samples_mut().copy_from_slice(&faded);
        }
        self.remember(frame.samples());
    }

    /// The next 20 ms, made up: the last period of what was heard again and again, at full level
    /// for 10 ms, then fading; after 90 ms, and before anything was heard, digital silence.
    #[must_use]
    pub fn conceal(&mut self) -> Frame {
        let made_up = self.made_up.get_or_insert_with(|| MadeUp::new(self.rate, &self.history));
        let mut frame = Frame::silence(self.rate);
        let samples = made_up.next_samples(self.rate.frame_samples());
        frame.samples_mut().copy_from_slice(&samples);
        self.remember(&samples);
        frame
    }

    /// Whether what it would make up next cannot be heard: it has faded out, or there was nothing
    /// audible before it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match &self.made_up {
            Some(made_up) => made_up.is_silent(),
            None => !is_audible(&self.history),
        }
    }

    /// Forgets what was heard, for when the track is flushed: what it makes up next is silence,
    /// and the next real frame is not changed.
    pub fn quiet(&mut self) {
        *self = Self::new(self.rate);
    }

    /// A real frame into which made-up sound is faded: as shortly as makes no click.
    fn led_back(&self, made_up: &mut MadeUp, real: &[i16]) -> Vec<i16> {
        let made = &self.history[self.history.len() - real.len()..];
        let bound = largest_step(made).max(largest_step(real));
        let last = made.last().copied().unwrap_or(0);
        let shortest = made_up.return_samples();
        let continued = made_up.next_samples(real.len());
        let faded = |length: usize| {
            let mut frame = real.to_vec();
            fade_into(&continued[..length], &mut frame);
            frame
        };
        let is_smooth = |frame: &Vec<i16>| {
            let seam = i64::from(last.abs_diff(frame[0]));
            seam.max(largest_step(frame)) <= bound
        };
        let lengths = (shortest..real.len()).step_by(samples_in(self.rate, RETURN));
        lengths.map(faded).find(is_smooth).unwrap_or_else(|| faded(real.len()))
    }

    fn remember(&mut self, samples: &[i16]) {
        self.history.drain(..samples.len());
        self.history.extend_from_slice(samples);
    }
}

impl MadeUp {
    fn new(rate: Rate, history: &[i16]) -> Self {
        let period = period(rate, history);
        let joint = samples_in(rate, JOINT);
        let start = history.len() - period;
        let turn = history.len() - joint;
        // The end of the cycle becomes what led into its beginning.
        let end = cross_fade(&history[turn..], &history[turn - period..][..joint]);
        let cycle = [&history[start..turn], &end].concat();
        let onset = onset(history, period, joint);
        let last = i64::from(history[history.len() - 1]);
        let latest = &history[history.len() - rate.frame_samples()..];
        Self { rate, cycle, onset, largest_step: largest_step(latest), last, made: 0 }
    }

    /// The next samples, that many.
    fn next_samples(&mut self, count: usize) -> Vec<i16> {
        (0..count).map(|_| self.next_sample()).collect()
    }

    fn next_sample(&mut self) -> i16 {
        let sample = i64::from(self.cycle[self.made % self.cycle.len()]);
        let onset = self.onset.get(self.made).copied().unwrap_or(0);
        let (level, full) = (self.level(), samples_in(self.rate, FADE));
        let target = scaled(sample + onset, level, full);
        // Steps that are always large enough to come down to 0 in time.
        let down = self.last.abs() / level.max(1) as i64 + 1;
        let step = self.largest_step.max(down);
        let near = target.clamp(self.last - step, self.last + step);
        self.last = near.clamp(i16::MIN.into(), i16::MAX.into());
        self.made = self.made.saturating_add(1);
        self.last as i16
    }

    /// The level of the next sample, from the samples in [`FADE`] down to 0.
    fn level(&self) -> usize {
        let fade = samples_in(self.rate, FADE);
        (samples_in(self.rate, FULL) + fade).saturating_sub(self.made).min(fade)
    }

    fn is_silent(&self) -> bool {
        self.level() == 0 || !is_audible(&self.cycle)
    }

    /// How long the fade into real sound takes, in samples.
    fn return_samples(&self) -> usize {
        let frames = self.made / self.rate.frame_samples();
        let longest = if self.is_silent() { RETURN } else { LONGEST_RETURN };
        (frames * samples_in(self.rate, RETURN)).min(samples_in(self.rate, longest))
    }
}

/// How the end of `history`, less what was a period before it, rings out, faded to 0 over `length`.
fn onset(history: &[i16], period: usize, length: usize) -> Vec<i64> {
    let before = &history[..history.len() - period];
    let last = |samples: &[i16], n| f64::from(samples[samples.len() - ORDER + n]);
    let apart = std::array::from_fn(|n| last(history, n) - last(before, n));
    let ringing = prediction::ringing(&prediction::weights(history), apart, length);
    let faded = |(n, sample): (usize, f64)| scaled(sample.round() as i64, length - n, length);
    ringing.into_iter().enumerate().map(faded).collect()
}

fn is_audible(samples: &[i16]) -> bool {
    peak(samples) >= AUDIBLE
}

fn largest_step(samples: &[i16]) -> i64 {
    let steps = samples.windows(2).map(|pair| i64::from(pair[0].abs_diff(pair[1])));
    steps.max().unwrap_or(0)
}

/// The cycle, in samples, in which the end of `history` repeats itself best.
fn period(rate: Rate, history: &[i16]) -> usize {
    let compared = samples_in(rate, COMPARED);
    let longest = samples_in(rate, LONGEST_PERIOD);
    let start = history.len() - compared;
    let alike = |period: usize| {
        let before = &history[start - period..][..compared];
        (period, similarity(&history[start..], before))
    };
    let best = (samples_in(rate, SHORTEST_CYCLE)..=longest)
        .map(alike)
        .max_by(|one, other| one.1.total_cmp(&other.1));
    best.filter(|(_, similarity)| *similarity >= VOICED).map_or(longest, |(period, _)| period)
}

#[cfg(test)]
mod tests;
