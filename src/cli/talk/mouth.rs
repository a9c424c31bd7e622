//! The play queue: what the bot says, through a small jitter buffer that grows when it runs dry.
//! A mark is passed when the sound before it has left the loudspeaker.

use std::collections::VecDeque;

/// Samples per second.
pub(super) const RATE_HZ: u32 = 24_000;

/// Samples of 20 ms.
pub(super) const FRAME: usize = RATE_HZ as usize / 50;

/// Samples of a millisecond.
const MS: usize = RATE_HZ as usize / 1000;

/// What waits before the first sound: at first, at most, and by how much more after each gap.
const LEAST: usize = 40 * MS;
const MOST: usize = 200 * MS;
const STEP: usize = 20 * MS;

/// Without a gap for so long the buffer shrinks by a step.
const CALM: usize = 20 * RATE_HZ as usize;

/// A server that sends more ahead of time than a minute loses the oldest.
const BOUND: usize = 60 * RATE_HZ as usize;

/// Marks that wait; what a server sends beyond is passed at once.
const MARKS: usize = 1024;

/// The server's name for a moment in its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: u64,
    pub(super) number: u64,
}

/// What is to be done with the sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Play(Vec<i16>),
    Mark(Mark),
    Clear,
}

/// What became of the sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// How often nothing was there in the middle of sound.
    pub(super) under_runs: u64,
    /// Samples that were too far ahead of time.
    pub(super) dropped: u64,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Mouth {
    samples: VecDeque<i16>,
    /// Marks, by how many samples lie before them since the beginning.
    marks: VecDeque<(u64, Mark)>,
    /// Samples that came and that left since the beginning, cleared and dropped ones too.
    came: u64,
    left: u64,
    /// How many samples the device holds after they have left.
    latency: u64,
    /// Marks whose sound is in the device, by the moment on `clock` when it is heard.
    held: VecDeque<(u64, Mark)>,
    /// Samples that the device has asked for.
    clock: u64,
    playing: bool,
    waited: usize,
    target: usize,
    calm: usize,
    counts: Counts,
}

impl Mouth {
    /// Silent, and empty.
    pub(super) fn new() -> Self {
        Self {
            samples: VecDeque::new(),
            marks: VecDeque::new(),
            came: 0,
            left: 0,
            latency: 0,
            held: VecDeque::new(),
            clock: 0,
            playing: false,
            waited: 0,
            target: LEAST,
            calm: 0,
            counts: Counts::default(),
        }
    }

    /// So many samples are between this queue and the ear.
    #[cfg(any(test, feature = "audio"))]
    pub(super) fn set_latency(&mut self, samples: u64) {
        self.latency = samples;
    }

    /// How much waits, in milliseconds.
    pub(super) fn queued_ms(&self) -> usize {
        self.samples.len() / MS
    }

    /// What became of the sound so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Does as it is told; gives the marks that are passed at once.
    pub(super) fn take(&mut self, order: Order) -> Vec<Mark> {
        match order {
            Order::Play(samples) => {
                self.came += samples.len() as u64;
                self.samples.extend(samples);
                let surplus = self.samples.len().saturating_sub(BOUND);
                self.samples.drain(..surplus);
                self.left += surplus as u64;
                self.counts.dropped += surplus as u64;
                Vec::new()
            }
            Order::Mark(mark) if self.marks.len() + self.held.len() >= MARKS => vec![mark],
            Order::Mark(mark) => {
                self.marks.push_back((self.came, mark));
                Vec::new()
            }
            Order::Clear => {
                self.left += self.samples.len() as u64;
                self.samples.clear();
                self.playing = false;
                self.waited = 0;
                self.held.drain(..).chain(self.marks.drain(..)).map(|(_, mark)| mark).collect()
            }
        }
    }

    /// Gives the next samples, silence where there are none; and the marks that are passed.
    pub(super) fn fill(&mut self, out: &mut [i16]) -> Vec<Mark> {
        for sample in out.iter_mut() {
            self.reach_marks();
            *sample = self.next();
            self.clock += 1;
        }
        self.reach_marks();
        let mut passed = Vec::new();
        while self.held.front().is_some_and(|(due, _)| *due <= self.clock) {
            passed.extend(self.held.pop_front().map(|(_, mark)| mark));
        }
        passed
    }

    fn reach_marks(&mut self) {
        while self.marks.front().is_some_and(|(at, _)| *at <= self.left) {
            let due = self.clock + self.latency;
            self.held.extend(self.marks.pop_front().map(|(_, mark)| (due, mark)));
        }
    }

    fn next(&mut self) -> i16 {
        if !self.playing {
            // What comes last may be shorter than the buffer; it starts when it has waited as long.
            self.waited = if self.samples.is_empty() { 0 } else { self.waited + 1 };
            self.playing =
                self.waited > self.target || (self.waited > 0 && self.samples.len() >= self.target);
            if !self.playing {
                return 0;
            }
            self.waited = 0;
        }
        let Some(sample) = self.samples.pop_front() else {
            self.playing = false;
            self.counts.under_runs += 1;
            self.target = (self.target + STEP).min(MOST);
            self.calm = 0;
            return 0;
        };
        self.left += 1;
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.target = self.target.saturating_sub(STEP).max(LEAST);
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        Mark { generation: 0, number }
    }

    fn play(mouth: &mut Mouth, samples: usize) {
        assert!(mouth.take(Order::Play(vec![1; samples])).is_empty());
    }

    /// How many of the next samples sound, and the marks.
    fn hear(mouth: &mut Mouth, samples: usize) -> (usize, Vec<u64>) {
        let mut out = vec![9; samples];
        let marks = mouth.fill(&mut out);
        let sounding = out.iter().filter(|sample| **sample == 1).count();
        (sounding, marks.iter().map(|mark| mark.number).collect())
    }

    #[test]
    fn a_mark_is_passed_when_the_sound_before_it_was_played() {
        let mut mouth = Mouth::new();
        assert!(mouth.take(Order::Mark(mark(0))).is_empty());
        play(&mut mouth, 3 * FRAME);
        assert!(mouth.take(Order::Mark(mark(1))).is_empty());
        play(&mut mouth, FRAME);
        assert_eq!(hear(&mut mouth, FRAME), (FRAME, vec![0]));
        assert_eq!(hear(&mut mouth, 2 * FRAME - 1), (2 * FRAME - 1, vec![]));
        assert_eq!(hear(&mut mouth, 1), (1, vec![1]));
        mouth.set_latency(FRAME as u64);
        assert!(mouth.take(Order::Mark(mark(2))).is_empty());
        assert_eq!(hear(&mut mouth, FRAME), (FRAME, vec![]));
        assert_eq!(hear(&mut mouth, FRAME), (0, vec![2]));
    }

    #[test]
    fn a_clear_drops_what_waits_and_passes_its_marks() {
        let mut mouth = Mouth::new();
        play(&mut mouth, 10 * FRAME);
        assert!(mouth.take(Order::Mark(mark(1))).is_empty());
        assert_eq!(hear(&mut mouth, FRAME).0, FRAME);
        assert_eq!(mouth.take(Order::Clear), [mark(1)]);
        assert_eq!(mouth.queued_ms(), 0);
        assert_eq!(hear(&mut mouth, FRAME), (0, vec![]));
        assert!(mouth.take(Order::Mark(mark(2))).is_empty());
        assert_eq!(hear(&mut mouth, 1).1, [2]);
        assert_eq!(mouth.counts(), Counts::default());
    }

    #[test]
    fn sound_waits_for_a_buffer_that_grows_with_each_gap() {
        let mut mouth = Mouth::new();
        play(&mut mouth, FRAME);
        // Nothing follows, so it is played when it has waited as long as the buffer is.
        assert_eq!(hear(&mut mouth, LEAST), (0, vec![]));
        assert_eq!(hear(&mut mouth, 2 * FRAME).0, FRAME);
        assert_eq!(mouth.counts().under_runs, 1);
        play(&mut mouth, LEAST);
        assert_eq!(hear(&mut mouth, FRAME).0, 0, "one step more is waited for");
        play(&mut mouth, STEP);
        assert_eq!(hear(&mut mouth, FRAME).0, FRAME);
        for _ in 0..100 {
            play(&mut mouth, MOST);
            assert_eq!(hear(&mut mouth, MOST + 2 * FRAME).0 % FRAME, 0);
        }
        assert!(mouth.target <= MOST);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut mouth = Mouth::new();
        assert!(mouth.take(Order::Mark(mark(0))).is_empty());
        play(&mut mouth, BOUND + 7);
        assert_eq!((mouth.queued_ms(), mouth.counts().dropped), (60_000, 7));
        for number in 1..MARKS as u64 {
            assert!(mouth.take(Order::Mark(mark(number))).is_empty());
        }
        assert_eq!(mouth.take(Order::Mark(mark(5000))), [mark(5000)]);
    }
}
