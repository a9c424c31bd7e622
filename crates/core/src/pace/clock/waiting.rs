//! Frames that wait for the engine, and what is left out of them without a click.

use std::collections::VecDeque;

use crate::audio::frame::Rate;
use crate::audio::level::is_silent;
use crate::audio::stretch;

/// A place on the timeline whose turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// What the caller said.
    Heard(Vec<i16>),
    /// Nothing came for it: it is to be made up.
    Missing,
}

/// A queue of places of 20 ms, and the samples that do not fill one yet.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    rate: Rate,
    places: VecDeque<Place>,
    partial: Vec<i16>,
    /// What would have followed the newest place had it not been left out; usually empty.
    gone: Vec<i16>,
}

impl Waiting {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, places: VecDeque::new(), partial: Vec::new(), gone: Vec::new() }
    }

    /// Appends what was said.
    pub(super) fn append(&mut self, mut samples: &[i16]) {
        let size = self.rate.frame_samples();
        while self.partial.len() + samples.len() >= size {
            let (head, rest) = samples.split_at(size - self.partial.len());
            let mut place = std::mem::take(&mut self.partial);
            place.extend_from_slice(head);
            stretch::join(&std::mem::take(&mut self.gone), &mut place, self.rate);
            self.places.push_back(Place::Heard(place));
            samples = rest;
        }
        self.partial.extend_from_slice(samples);
    }

    /// Fills up the place that is begun, if there is one; returns the samples that it took.
    pub(super) fn complete(&mut self) -> usize {
        if self.partial.is_empty() {
            return 0;
        }
        let begun = self.partial.len();
        let size = self.rate.frame_samples();
        // It ends in a fade of 5 ms, so that what is made up does not begin with a step.
        let fade = begun.min(size / 4);
        let fading = self.partial[begun - fade..].iter_mut().zip((0..fade).rev());
        for (sample, left) in fading {
            *sample = (i64::from(*sample) * left as i64 / fade as i64) as i16;
        }
        self.append(&vec![0; size - begun]);
        size - begun
    }

    /// Appends that many places for which nothing came.
    pub(super) fn append_missing(&mut self, places: usize) {
        if places > 0 {
            self.gone.clear();
            self.places.extend(std::iter::repeat_n(Place::Missing, places));
        }
    }

    /// The oldest place.
    pub(super) fn take(&mut self) -> Option<Place> {
        self.places.pop_front()
    }

    /// Whole places that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Samples that wait, those that do not fill a place included.
    pub(super) fn samples(&self) -> usize {
        self.places.len() * self.rate.frame_samples() + self.partial.len()
    }

    /// The oldest place in which nothing can be heard.
    pub(super) fn silent(&self) -> Option<usize> {
        self.places.iter().position(|place| match place {
            Place::Heard(samples) => is_silent(samples),
            Place::Missing => true,
        })
    }

    /// The place with the least energy.
    pub(super) fn quietest(&self) -> Option<usize> {
        let energy = |place: &Place| match place {
            Place::Heard(samples) => samples.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>(),
            Place::Missing => 0,
        };
        (0..self.places.len()).min_by_key(|place| energy(&self.places[*place]))
    }

    /// Leaves out a place; what follows it is faded into.
    pub(super) fn leave_out(&mut self, place: usize) {
        let Some(Place::Heard(gone)) = self.places.remove(place) else { return };
        match self.places.get_mut(place) {
            Some(Place::Heard(next)) => stretch::join(&gone, next, self.rate),
            Some(Place::Missing) => {}
            None if self.gone.is_empty() => self.gone = gone,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(waiting: &mut Waiting) -> Vec<i16> {
        match waiting.take() {
            Some(Place::Heard(samples)) => samples,
            other => panic!("{other:?}"),
        }
    }

    /// The largest step from one sample to the next.
    fn step(samples: &[i16]) -> u16 {
        samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap()
    }

    /// A tone of 200 Hz and a quarter, so that frames do not fit one another.
    fn tone(samples: usize) -> Vec<i16> {
        let phase = |n: usize| n as f32 * std::f32::consts::TAU * 212.5 / 8000.0;
        (0..samples).map(|n| (phase(n).sin() * 8000.0) as i16).collect()
    }

    #[test]
    fn pieces_of_any_length_become_frames_in_order() {
        let said: Vec<i16> = (0..1000).collect();
        let mut waiting = Waiting::new(Rate::Hz8000);
        said.chunks(37).for_each(|piece| waiting.append(piece));
        assert_eq!((waiting.len(), waiting.samples()), (6, 1000));
        let out: Vec<i16> = (0..6).flat_map(|_| heard(&mut waiting)).collect();
        assert_eq!(out, said[..960]);
        assert_eq!((waiting.take(), waiting.samples()), (None, 40));
    }

    #[test]
    fn leaving_out_a_frame_makes_no_step() {
        for left_out in [0, 2, 4] {
            let mut waiting = Waiting::new(Rate::Hz8000);
            let said = tone(6 * 160);
            waiting.append(&said[..5 * 160]);
            waiting.leave_out(left_out);
            waiting.append(&said[5 * 160..]);
            let rest: Vec<i16> = (0..5).flat_map(|_| heard(&mut waiting)).collect();
            let before = if left_out == 0 { 0 } else { left_out * 160 - 1 };
            assert!(step(&rest[before..]) <= step(&said) * 3 / 2, "{left_out}: {}", step(&rest));
        }
    }

    #[test]
    fn the_silent_and_the_quietest_are_found() {
        let mut waiting = Waiting::new(Rate::Hz8000);
        for level in [5000, 400, 3000, 300] {
            waiting.append(&[level; 160]);
        }
        assert_eq!((waiting.silent(), waiting.quietest()), (Some(3), Some(3)));
        waiting.leave_out(3);
        assert_eq!((waiting.silent(), waiting.quietest()), (None, Some(1)));
    }

    #[test]
    fn a_begun_frame_is_completed_without_a_step() {
        let mut waiting = Waiting::new(Rate::Hz8000);
        waiting.append(&tone(60));
        assert_eq!((waiting.complete(), waiting.complete()), (100, 0));
        let frame = heard(&mut waiting);
        assert!(step(&frame) <= step(&tone(160)) * 3 / 2);
        assert_eq!(frame[60..], [0; 100]);
    }
}
