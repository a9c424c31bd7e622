//! Time-scale modification: takes one period of the voice out of a piece of speech, or puts one
//! in, so that it lasts less or more time at the same pitch (WSOLA; NetEQ's accelerate and
//! pre-emptive expand).

use std::ops::Range;
use std::time::Duration;

use super::frame::Rate;
use super::overlap::{LONGEST_PERIOD, cross_fade, fade_into, likeness, samples_in, similarity};

/// This much at either end of a piece stays as it is, so that pieces join without a seam.
pub const EDGE: Duration = Duration::from_millis(5);

/// The least that is taken out or put in: the period of a 400 Hz voice.
pub const SHORTEST: Duration = Duration::from_micros(2500);

/// The most that is taken out or put in.
pub const LONGEST: Duration = LONGEST_PERIOD;

/// How alike a period and the next must be, from 0 to 1, for one of them to be spared.
pub const SIMILAR: f64 = 0.9;

/// How many periods of the coarse search are looked at closely, if need be.
const TRIED: usize = 6;

/// A shorter period is taken for the true one where it is this close to the best.
const MARGIN: f64 = 0.03;

/// The shortest fade inside a voice. It holds a pulse of nearly every voice, so that no single
/// swing of a formant passes for a period.
const VOICE_FADE: Duration = Duration::from_micros(7500);

/// The fade inside what has no period.
const FREE_FADE: Duration = Duration::from_millis(5);

/// The unit in which a piece is looked over.
const BLOCK: Duration = Duration::from_millis(5);

/// Root mean square below which nobody hears what is done to it: -50 dBFS.
const QUIET: i64 = 104;

/// What its steps have for energy against itself, at 8 kHz, makes a hiss: a tone of 1.3 kHz has 1.
const HISS: i64 = 1;

/// Hiss goes on evenly while a block has at most this many times the energy of the one beside it.
const EVEN: i64 = 4;

/// Samples per second of the coarse search.
const COARSE_HZ: u32 = 4000;

/// How far apart the places of the coarse search lie, in its samples: 1 ms.
const COARSE_STEP: usize = 4;

/// `samples` at `rate` less one period, 2.5 to 15 ms of it.
///
/// The period goes where the sound repeats itself best, by a cross-fade; out of what is inaudible
/// or hisses, any piece may go. The first and last [`EDGE`] stay bit-identical, and no step between
/// two samples is larger than those around it. `None` where nothing can be spared: too short a
/// piece, or no two periods that are [`SIMILAR`]. Meant for pieces of 40 to 120 ms.
#[must_use]
pub fn shorten(samples: &[i16], rate: Rate) -> Option<Vec<i16>> {
    Piece::new(samples, rate).spliced(|place| (place.at, place.at + place.period))
}

/// `samples` at `rate` and one period more, 2.5 to 15 ms of it; else as [`shorten`].
#[must_use]
pub fn lengthen(samples: &[i16], rate: Rate) -> Option<Vec<i16>> {
    Piece::new(samples, rate).spliced(|place| (place.at + place.period, place.at))
}

/// Makes good that what stood between two pieces was left out: fades `gone`, what would have
/// followed the first, into the beginning of `next`, in place. 5 ms at `rate` are used, fewer if
/// either is shorter.
pub fn join(gone: &[i16], next: &mut [i16], rate: Rate) {
    let length = samples_in(rate, FREE_FADE).min(gone.len());
    fade_into(&gone[..length], next);
}

/// Where the sound repeats itself: the `fade` samples from `at` on are much like those `period`
/// later. All of it lies between the edges.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    period: usize,
    fade: usize,
}

/// The best place for one lag of the coarse search.
#[derive(Debug, Clone, Copy)]
struct Match {
    at: usize,
    lag: usize,
    similarity: f64,
}

/// What is known of 5 ms of a piece.
#[derive(Debug, Clone, Copy)]
struct Block {
    energy: i64,
    step_energy: i64,
    /// The largest step from one of its samples to the next.
    step: u32,
}

/// A piece of sound that is looked over.
struct Piece<'a> {
    samples: &'a [i16],
    rate: Rate,
    blocks: Vec<Block>,
}

impl<'a> Piece<'a> {
    fn new(samples: &'a [i16], rate: Rate) -> Self {
        let size = samples_in(rate, BLOCK);
        let starts = (0..samples.len()).step_by(size);
        // One sample more, for the step that leads out of the block.
        let block = |from: usize| &samples[from..(from + size + 1).min(samples.len())];
        let blocks = starts.map(|from| Block::new(block(from))).collect();
        Self { samples, rate, blocks }
    }

    fn length(&self, time: Duration) -> usize {
        samples_in(self.rate, time)
    }

    /// The piece with a splice at the best place where it makes no click: where nobody hears it,
    /// else in a voice, else in a hiss. `cut` says up to where the beginning of the piece is used,
    /// and from where on the end.
    fn spliced(&self, cut: impl Fn(&Place) -> (usize, usize)) -> Option<Vec<i16>> {
        let quiet = |_: &Block, block: &Block| block.is_quiet(self.length(BLOCK));
        let hiss = |last: &Block, block: &Block| block.is_hiss(self.rate) && block.is_even(last);
        let splice = |place: Place| self.splice(&place, cut(&place));
        let spliced = self.free_place(quiet).and_then(splice);
        let spliced = spliced.or_else(|| self.voiced_places().find_map(splice));
        spliced.or_else(|| self.free_place(hiss).and_then(splice))
    }

    /// The fade of what ends at `from` into what begins at `to`; none if it would click.
    fn splice(&self, place: &Place, (from, to): (usize, usize)) -> Option<Vec<i16>> {
        let (before, after) = (&self.samples[..from], &self.samples[to + place.fade..]);
        let fade = cross_fade(&self.samples[from..][..place.fade], &self.samples[to..]);
        let output = [before, &fade, after].concat();
        let seam = &output[from - 1..=from + place.fade];
        self.is_smooth(seam, place).then_some(output)
    }

    /// Whether no step in a seam is larger than those of the original around both its sources.
    fn is_smooth(&self, seam: &[i16], place: &Place) -> bool {
        let size = self.length(BLOCK);
        let bound = |at: usize| {
            let block = at / size;
            let around = &self.blocks[block.saturating_sub(1)..(block + 2).min(self.blocks.len())];
            around.iter().map(|block| block.step).max().unwrap_or(0)
        };
        seam.windows(2).enumerate().all(|(n, pair)| {
            let at = place.at - 1 + n;
            u32::from(pair[0].abs_diff(pair[1])) <= bound(at).max(bound(at + place.period))
        })
    }

    /// The longest run of blocks that need no care, if something can be spared of it.
    fn free_place(&self, is_free: impl Fn(&Block, &Block) -> bool) -> Option<Place> {
        let (size, fade) = (self.length(BLOCK), self.length(FREE_FADE));
        let inside = self.inside();
        let (first, last) = (inside.start.div_ceil(size), inside.end / size);
        let (mut run, mut best) = (0, (0, 0));
        for at in first..last {
            let block = &self.blocks[at];
            let last = if run == 0 { block } else { &self.blocks[at - 1] };
            run = if is_free(last, block) { run + 1 } else { 0 };
            best = best.max((run, at + 1 - run));
        }
        let (run, first) = best;
        let period = (run * size).saturating_sub(fade).min(self.length(LONGEST));
        (period >= self.length(BLOCK)).then_some(Place { at: first * size, period, fade })
    }

    /// Where the voice repeats itself, the best first.
    fn voiced_places(&self) -> impl Iterator<Item = Place> {
        let coarse = Coarse::new(self.samples, self.rate);
        let factor = coarse.factor;
        let found = periods(&coarse.matches(self.inside())).into_iter().take(TRIED);
        found.flat_map(move |found| self.refined(&found, factor))
    }

    /// The places with every period near a coarse match that is [`SIMILAR`], the best first.
    ///
    /// A period a little short makes a steady tone slower within the fade, one a little long makes
    /// it faster, with larger steps: so where the best one clicks, its neighbour may not.
    fn refined(&self, found: &Match, factor: usize) -> Vec<Place> {
        let (at, near) = (found.at * factor, found.lag * factor);
        let fade = near.max(self.length(VOICE_FADE));
        let room = self.inside().end.saturating_sub(at + fade);
        let least = self.length(SHORTEST).max(near - factor);
        let most = self.length(LONGEST).min(near + factor).min(room);
        let alike = |period: usize| {
            let later = &self.samples[at + period..][..fade];
            (similarity(&self.samples[at..][..fade], later), Place { at, period, fade })
        };
        let mut places: Vec<_> = (least..=most).map(alike).collect();
        places.retain(|(similarity, _)| *similarity >= SIMILAR);
        places.sort_by(|one, other| other.0.total_cmp(&one.0));
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// What lies between the edges; empty where they leave nothing.
    fn inside(&self) -> Range<usize> {
        let edge = self.length(EDGE);
        edge..self.samples.len().saturating_sub(edge)
    }
}

impl Block {
    fn new(samples: &[i16]) -> Self {
        let energy = samples.iter().map(|sample| i64::from(*sample).pow(2)).sum();
        let steps = samples.windows(2).map(|pair| u32::from(pair[0].abs_diff(pair[1])));
        let step_energy = steps.clone().map(|step| i64::from(step).pow(2)).sum();
        Self { energy, step_energy, step: steps.max().unwrap_or(0) }
    }

    fn is_quiet(&self, samples: usize) -> bool {
        self.energy <= QUIET * QUIET * samples as i64
    }

    fn is_hiss(&self, rate: Rate) -> bool {
        let octaves = i64::from(rate.hz() / Rate::Hz8000.hz());
        self.step_energy * octaves * octaves >= self.energy * HISS
    }

    fn is_even(&self, last: &Self) -> bool {
        self.energy <= last.energy * EVEN && last.energy <= self.energy * EVEN
    }
}

/// A piece at [`COARSE_HZ`].
struct Coarse {
    samples: Vec<i64>,
    /// Samples of the piece for one of these.
    factor: usize,
}

impl Coarse {
    fn new(samples: &[i16], rate: Rate) -> Self {
        let factor = (rate.hz() / COARSE_HZ) as usize;
        let sum = |piece: &[i16]| piece.iter().map(|sample| i64::from(*sample)).sum::<i64>();
        let mean = |piece: &[i16]| sum(piece) / factor as i64;
        Self { samples: samples.chunks_exact(factor).map(mean).collect(), factor }
    }

    fn length(time: Duration) -> usize {
        (u128::from(COARSE_HZ) * time.as_micros() / 1_000_000) as usize
    }

    /// The best place inside `inside`, in samples of the piece, for each lag that has room there.
    fn matches(&self, inside: Range<usize>) -> Vec<Match> {
        let inside = inside.start.div_ceil(self.factor)..inside.end / self.factor;
        let squares = running_sums(self.samples.iter().map(|sample| sample * sample));
        let lags = Self::length(SHORTEST)..=Self::length(LONGEST);
        lags.filter_map(|lag| self.best_match(lag, &inside, &squares)).collect()
    }

    fn best_match(&self, lag: usize, inside: &Range<usize>, squares: &[i64]) -> Option<Match> {
        let fade = lag.max(Self::length(VOICE_FADE));
        let last = inside.end.checked_sub(lag + fade)?;
        let later = self.samples.get(lag..)?;
        let products = running_sums(self.samples.iter().zip(later).map(|(one, two)| one * two));
        let over = |sums: &[i64], at: usize| sums[at + fade] - sums[at];
        let places = (inside.start..=last).step_by(COARSE_STEP).map(|at| {
            let energy = over(squares, at) + over(squares, at + lag);
            Match { at, lag, similarity: likeness(over(&products, at), energy) }
        });
        places.max_by(|one, other| one.similarity.total_cmp(&other.similarity))
    }
}

/// The sums of the first 0, 1, 2 and so on values.
fn running_sums(values: impl ExactSizeIterator<Item = i64>) -> Vec<i64> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut sum = 0;
    sums.push(sum);
    for value in values {
        sum += value;
        sums.push(sum);
    }
    sums
}

/// The lags that stand out of their neighbours, and the best: first the shortest that is as good as
/// the best but for [`MARGIN`], then the others, the best first.
fn periods(matches: &[Match]) -> Vec<Match> {
    let falling = |one: &Match, other: &Match| other.similarity.total_cmp(&one.similarity);
    let Some(best) = matches.iter().copied().min_by(falling) else { return Vec::new() };
    let stands_out = |three: &&[Match]| {
        let top = three[1].similarity;
        top >= three[0].similarity && top >= three[2].similarity
    };
    let mut periods = vec![best];
    periods.extend(matches.windows(3).filter(stands_out).map(|three| three[1]));
    periods[1..].sort_by(falling);
    let near_best = |period: &&Match| period.similarity >= best.similarity - MARGIN;
    if let Some(shortest) = periods[1..].iter().filter(near_best).min_by_key(|period| period.lag) {
        periods.insert(0, *shortest);
    }
    periods
}

#[cfg(test)]
mod tests;
