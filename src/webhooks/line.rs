//! What waits for one receiver, and whose turn it is. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::spool::Entry;
use crate::config::BackOff;

/// Events on their way at once to a receiver that takes what it is sent, each of another call.
const AT_ONCE: usize = 8;
/// Failures after which an event waits beside the others, which are tried in its place.
const STEP_ASIDE: u32 = 3;
/// Failures after which an event does not hold up the later ones of its call either. By then some
/// twenty minutes have passed.
const LET_PASS: u32 = 12;

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The receiver, which takes nothing at the moment: everything waits.
    Receiver,
    /// This one event, as far as can be told: others are sent meanwhile.
    Event,
}

/// An event in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Its place.
    place: u64,
    failures: u32,
    not_before: Option<Instant>,
}

/// What is to be done next for a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// This is to be sent.
    Send(Box<Item>),
    /// Nothing before then.
    At(Instant),
    /// Nothing before something comes or comes back.
    Nothing,
}

/// The events that wait for one receiver.
#[derive(Debug)]
pub(super) struct Line {
    back_off: BackOff,
    places: u64,
    waiting: BTreeMap<u64, Item>,
    /// The calls whose events are on their way.
    sending: BTreeSet<String>,
    /// Failures of the receiver in a row.
    failures: u32,
    /// Whether the last try succeeded.
    well: bool,
    rests_until: Option<Instant>,
}

impl Line {
    pub(super) const fn new(back_off: BackOff) -> Self {
        Self {
            back_off,
            places: 0,
            waiting: BTreeMap::new(),
            sending: BTreeSet::new(),
            failures: 0,
            well: true,
            rests_until: None,
        }
    }

    /// Whether nothing has to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sending.is_empty() && self.failures == 0
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts an event at the end.
    pub(super) fn push(&mut self, entry: Entry) {
        let place = self.places;
        self.places += 1;
        self.waiting.insert(place, Item { entry, place, failures: 0, not_before: None });
    }

    /// Whose turn it is: the oldest event of a call none of whose events is on its way or waits
    /// before it for its next try.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.sending.len() >= if self.well { AT_ONCE } else { 1 } {
            return Next::Nothing;
        }
        if let Some(rests_until) = self.rests_until.filter(|until| *until > now) {
            return Next::At(rests_until);
        }
        let mut held: BTreeSet<&str> = self.sending.iter().map(String::as_str).collect();
        let (mut turn, mut earliest) = (None, None::<Instant>);
        for item in self.waiting.values() {
            let call = item.entry.call.as_str();
            match item.not_before.filter(|at| *at > now) {
                _ if held.contains(call) => {}
                None => {
                    turn = Some(item.place);
                    break;
                }
                Some(at) => {
                    earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
                    if item.failures < LET_PASS {
                        held.insert(call);
                    }
                }
            }
        }
        match (turn.and_then(|place| self.waiting.remove(&place)), earliest) {
            (Some(item), _) => {
                self.sending.insert(item.entry.call.clone());
                Next::Send(Box::new(item))
            }
            (None, Some(at)) => Next::At(at),
            (None, None) => Next::Nothing,
        }
    }

    /// An event was delivered. True if the last try had failed.
    pub(super) fn delivered(&mut self, item: &Item) -> bool {
        self.given_up(item);
        self.rests_until = None;
        if std::mem::take(&mut self.failures) > 0 {
            // They may have waited for the receiver alone; now they can come in order.
            self.waiting.values_mut().for_each(|item| item.not_before = None);
        }
        !std::mem::replace(&mut self.well, true)
    }

    /// An event on its way is not sent any more.
    pub(super) fn given_up(&mut self, item: &Item) {
        self.sending.remove(&item.entry.call);
    }

    /// An event could not be delivered and is put back. `asked` is how long the receiver wants to
    /// be left alone, `part` a number from 0 to 1 by chance. True if the last try had succeeded.
    pub(super) fn failed(
        &mut self,
        mut item: Item,
        about: About,
        asked: Option<Duration>,
        part: f64,
        now: Instant,
    ) -> bool {
        self.given_up(&item);
        item.failures = item.failures.saturating_add(1);
        match about {
            About::Event => {
                item.not_before = Some(now + self.pause(item.failures, asked, part));
            }
            About::Receiver => {
                self.failures = self.failures.saturating_add(1);
                self.rests_until = Some(now + self.pause(self.failures, asked, part));
                if item.failures >= STEP_ASIDE {
                    // Longer than the receiver rests, so that the next try is another's.
                    let longer = item.failures.saturating_add(1);
                    item.not_before = Some(now + self.pause(longer, asked, part));
                }
            }
        }
        self.waiting.insert(item.place, item);
        std::mem::replace(&mut self.well, false)
    }

    /// Takes out what waits and happened before `at_ms`.
    pub(super) fn take_older(&mut self, at_ms: u64) -> Vec<Entry> {
        let mut old = Vec::new();
        self.waiting.retain(|_, Item { entry, .. }| {
            let stays = entry.at_ms >= at_ms;
            if !stays {
                old.push(entry.clone());
            }
            stays
        });
        old
    }

    /// How long to wait after so many failures.
    fn pause(&self, failures: u32, asked: Option<Duration>, part: f64) -> Duration {
        let BackOff { first, longest } = self.back_off;
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let whole = first.saturating_mul(doubled).min(longest);
        let pause = whole.mul_f64(0.5 + part.clamp(0.0, 1.0) / 2.0);
        pause.max(asked.unwrap_or_default()).min(longest)
    }
}

#[cfg(test)]
mod tests;
