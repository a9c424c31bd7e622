//! Where on the timeline a piece of caller audio belongs, and the pieces that came before their
//! turn.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::audio::frame::Rate;

/// Most pieces that wait for an earlier one.
const PIECES: usize = 32;
/// Filled holes that are remembered, to tell what comes late from what comes twice.
const HOLES: usize = 32;

/// A piece of audio with its place on the timeline, in samples.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) start: i64,
    pub(super) samples: Vec<i16>,
    /// When it came, by our clock.
    came: i64,
}

/// The timeline: the carrier's time stamps as samples since the first piece.
#[derive(Debug, Clone)]
pub(super) struct Order {
    rate: Rate,
    reorder: i64,
    /// The carrier's sample number that is place 0 of the timeline.
    base: i128,
    /// Up to here everything has come or has been given up.
    tail: i64,
    /// What came before its turn, by place.
    early: VecDeque<Piece>,
    holes: VecDeque<Range<i64>>,
    /// The carrier's sample number at the end of the last piece whose time stamp was not believed.
    doubted: Option<i128>,
}

impl Order {
    pub(super) const fn new(rate: Rate, reorder: i64) -> Self {
        Self {
            rate,
            reorder,
            base: 0,
            tail: 0,
            early: VecDeque::new(),
            holes: VecDeque::new(),
            doubted: None,
        }
    }

    /// Up to where everything has come or has been given up.
    pub(super) const fn tail(&self) -> i64 {
        self.tail
    }

    /// Goes on to `tail`.
    pub(super) fn advance(&mut self, tail: i64) {
        self.tail = tail;
    }

    /// The place of the carrier's time stamp; none if it is out of this world.
    pub(super) fn place(&self, at: Duration) -> Option<i64> {
        const FAR: i64 = i64::MAX / 4;
        let place = i64::try_from(self.carrier_sample(at) - self.base).ok()?;
        (-FAR..FAR).contains(&place).then_some(place)
    }

    /// From now on the carrier's time stamp `at` means `place`.
    pub(super) fn anchor(&mut self, at: Duration, place: i64) {
        self.base = self.carrier_sample(at) - i128::from(place);
        self.doubted = None;
        self.holes.clear();
    }

    /// Whether the time stamp of a piece that is not believed goes on from the last such one.
    pub(super) fn goes_on(&mut self, at: Duration, length: i64) -> bool {
        let sample = self.carrier_sample(at);
        let before = self.doubted.replace(sample + i128::from(length));
        before.is_some_and(|end| (sample - end).abs() < i128::from(self.wobble()))
    }

    /// The carrier's time stamps lie that many samples further on from now on.
    pub(super) fn skip(&mut self, samples: i64) {
        self.base -= i128::from(samples);
        self.tail += samples;
    }

    /// Takes in a piece that came before its turn.
    pub(super) fn hold(&mut self, start: i64, samples: Vec<i16>, came: i64) {
        let index = self.early.partition_point(|piece| piece.start <= start);
        self.early.insert(index, Piece { start, samples, came });
    }

    /// The next piece whose turn has come when our clock shows `clock`: there is no hole before it,
    /// or it has waited long enough, or the hole is too long for mere disorder, or more than `room`
    /// samples wait.
    pub(super) fn next(&mut self, clock: i64, room: i64) -> Option<Piece> {
        let first = self.early.front()?;
        let hole = first.start - self.tail;
        let full = self.early.len() > PIECES || self.waiting() > room;
        let ready = hole < self.wobble() || hole > 2 * self.reorder || full;
        (ready || clock >= first.came + self.reorder).then(|| self.early.pop_front()).flatten()
    }

    /// When [`Self::next`] gives a piece, by our clock.
    pub(super) fn due(&self) -> Option<i64> {
        self.early.front().map(|first| first.came + self.reorder)
    }

    /// Samples that came before their turn.
    pub(super) fn waiting(&self) -> i64 {
        self.early.iter().map(|piece| piece.samples.len() as i64).sum()
    }

    /// Time stamps may be wrong by less than this, half a frame, and it means nothing.
    pub(super) const fn wobble(&self) -> i64 {
        self.rate.frame_samples() as i64 / 2
    }

    /// Gives up what is missing before `place`.
    pub(super) fn give_up(&mut self, place: i64) {
        if self.holes.len() == HOLES {
            self.holes.pop_front();
        }
        self.holes.push_back(self.tail..place);
        self.tail = place;
    }

    /// Whether a place before the tail was given up or lies before the beginning, and nothing real
    /// stood there.
    pub(super) fn was_given_up(&self, place: i64) -> bool {
        place < 0 || self.holes.iter().any(|hole| hole.contains(&place))
    }

    fn carrier_sample(&self, at: Duration) -> i128 {
        // At most 2^64 s, so below 2^94 ns, times 24000 Hz: well inside 127 bits.
        (at.as_nanos() * u128::from(self.rate.hz()) / 1_000_000_000) as i128
    }
}
