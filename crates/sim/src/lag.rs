//! How far what is heard lags behind what was said, over a call: syllables found again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::talk::Syllable;

/// A syllable whose length changed by more than this lost its beginning or its end, and does not
/// tell when it was heard.
const MANGLED: Duration = Duration::from_millis(50);

/// Nothing is heard before it was said, up to the grid on which syllables are looked for.
const GRID: Duration = Duration::from_millis(10);

/// One point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// When a syllable was said, counted from the stream's beginning.
    pub said_at: Duration,
    /// How much later it was heard, from mouth to ear.
    pub lag: Duration,
}

impl Lag {
    /// When it was heard.
    #[must_use]
    pub fn heard_at(&self) -> Duration {
        self.said_at + self.lag
    }
}

/// The curve of a call: one point for each syllable that was heard whole, and with its neighbours.
///
/// A syllable is known by three codes in a row, its own and two neighbours', as the last place
/// before it was heard at which they were said: three in a row come again after more than 30 s.
#[must_use]
pub fn curve(said: &[Syllable], heard: &[Syllable]) -> Vec<Lag> {
    let mut places: BTreeMap<[u8; 3], Vec<usize>> = BTreeMap::new();
    for (place, three) in said.windows(3).enumerate() {
        places.entry(codes(three)).or_default().push(place);
    }
    let mut found: Vec<Option<usize>> = vec![None; heard.len()];
    let mut least = 0;
    for (n, three) in heard.windows(3).enumerate() {
        let places = places.get(&codes(three)).map_or(&[][..], Vec::as_slice);
        let was_said = |place: &&usize| said[**place].from <= three[0].from + GRID;
        // What comes later was said later.
        let place = places.iter().rev().find(was_said).filter(|place| **place >= least);
        if let Some(place) = place {
            least = *place;
            (0..3).for_each(|offset| found[n + offset] = Some(place + offset));
        }
    }
    let pairs = heard.iter().zip(found).filter_map(|(heard, at)| Some((said.get(at?)?, heard)));
    pairs.filter_map(|(said, heard)| lag(said, heard)).collect()
}

fn codes(three: &[Syllable]) -> [u8; 3] {
    [three[0].code, three[1].code, three[2].code]
}

fn lag(said: &Syllable, heard: &Syllable) -> Option<Lag> {
    let lengths = [said, heard].map(|syllable| syllable.to - syllable.from);
    let whole = lengths[0].abs_diff(lengths[1]) <= MANGLED;
    whole.then(|| Lag { said_at: said.from, lag: heard.from.saturating_sub(said.from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A syllable of 100 ms every 150 ms.
    fn spoken(codes: &[u8]) -> Vec<Syllable> {
        let syllable = |(n, code): (u64, &u8)| Syllable {
            code: *code,
            from: ms(150 * n),
            to: ms(150 * n + 100),
        };
        (0..).zip(codes).map(syllable).collect()
    }

    fn later(syllables: &[Syllable], lag: Duration) -> Vec<Syllable> {
        let later = |s: &Syllable| Syllable { from: s.from + lag, to: s.to + lag, ..*s };
        syllables.iter().map(later).collect()
    }

    #[test]
    fn a_constant_lag_is_a_flat_curve() {
        let said = spoken(&[1, 2, 3, 1, 2, 4, 3, 2]);
        let curve = curve(&said, &later(&said, ms(300)));
        assert_eq!(curve.len(), said.len());
        assert!(curve.iter().all(|point| point.lag == ms(300)), "{curve:?}");
    }

    #[test]
    fn what_is_dropped_is_a_step_in_the_curve() {
        let said = spoken(&[1, 2, 3, 1, 2, 4, 3, 2, 5]);
        let mut heard = later(&said[..3], ms(500));
        heard.extend(later(&said[5..], ms(200)));
        let lags: Vec<Duration> = curve(&said, &heard).iter().map(|point| point.lag).collect();
        assert_eq!(lags, [vec![ms(500); 3], vec![ms(200); 4]].concat());
    }

    #[test]
    fn a_syllable_that_lost_a_part_tells_nothing() {
        let said = spoken(&[1, 2, 3, 4, 5]);
        let mut heard = later(&said, ms(200));
        heard[2].from += ms(60);
        let curve = curve(&said, &heard);
        assert_eq!(curve.len(), 4);
        assert!(curve.iter().all(|point| point.lag == ms(200)));
    }

    #[test]
    fn what_nobody_said_is_not_in_the_curve() {
        let said = spoken(&[1, 2, 3, 4, 5]);
        assert_eq!(curve(&said, &spoken(&[6, 7, 8, 9])), []);
        assert_eq!(curve(&said, &[]), []);
    }
}
