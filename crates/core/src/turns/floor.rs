//! Who holds the floor: turns the ends of both sides' stretches into events and measures.

use std::time::Duration;

use super::duplex::{Duplex, Gaps, Sides};
use super::track::{Edge, Span};
use super::{Config, Events, Side, TurnEvent, millis};

/// Who holds the floor, and what came of it so far.
#[derive(Debug, Clone)]
pub(super) struct Floor {
    config: Config,
    /// When the stretch began that a side is in.
    on: Sides<Option<Duration>>,
    /// Who began while the other was in a stretch that still lasts.
    second: Option<Side>,
    /// Who has the floor, and since when it has been a turn.
    holder: Option<(Side, Duration)>,
    /// Since when nobody is in a stretch; the holder's was the last to end.
    silent_since: Option<Duration>,
    measures: Duplex,
    gaps: Gaps,
}

impl Floor {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            on: Sides::default(),
            second: None,
            holder: None,
            silent_since: None,
            measures: Duplex::default(),
            gaps: Gaps::default(),
        }
    }

    /// What can be told of the floor; the sums of speech are not.
    pub(super) fn measures(&self) -> Duplex {
        Duplex { gap_ms: self.gaps.quantiles(), ..self.measures }
    }

    /// A side is heard for the first time, from `at` on.
    pub(super) fn talk_begins(&mut self, at: Duration) {
        if self.holder.is_none() {
            self.silent_since = Some(self.silent_since.map_or(at, |since| since.min(at)));
        }
    }

    /// Both stretches are over, and so is the talk.
    pub(super) fn talk_ends(&mut self, at: Duration, events: &mut Events) {
        self.end_silence(at, events);
    }

    /// Takes the next edge; they come in the order of time.
    pub(super) fn pass(&mut self, side: Side, edge: Edge, events: &mut Events) {
        match edge {
            Edge::Began(at) => {
                events.note(TurnEvent::Began { side, at });
                if self.on.of(side.other()).is_some() {
                    self.second = Some(side);
                } else {
                    self.begin_in_silence(side, at, events);
                }
                *self.on.of_mut(side) = Some(at);
            }
            Edge::Ended(stretch) => {
                events.note(TurnEvent::Ended { side, began: stretch.from, ended: stretch.to });
                *self.on.of_mut(side) = None;
                self.end(side, stretch, events);
            }
        }
    }

    fn begin_in_silence(&mut self, side: Side, at: Duration, events: &mut Events) {
        let since = self.silent_since.unwrap_or(at);
        let dead = self.end_silence(at, events);
        match self.holder {
            Some((holder, _)) if holder == side => {
                if dead {
                    self.holder = Some((side, at));
                }
            }
            Some(_) => self.exchange(side, at, signed_millis(at.saturating_sub(since)), events),
            None => self.holder = Some((side, at)),
        }
    }

    fn end(&mut self, side: Side, stretch: Span, events: &mut Events) {
        if let Some((holder, since)) = self.holder
            && holder == side
        {
            let longest = self.measures.longest_turn_ms.of_mut(side);
            *longest = millis(stretch.to.saturating_sub(since)).max(*longest);
        }
        let second = self.second.take();
        let Some(other_began) = *self.on.of(side.other()) else {
            self.silent_since = Some(stretch.to);
            return;
        };
        if second == Some(side) {
            return self.end_inside(side, stretch, events);
        }
        let both = Span { from: other_began, to: stretch.to };
        self.talk_over(side.other(), both, events);
        self.exchange(side.other(), other_began, -signed_millis(both.length()), events);
    }

    /// A stretch of `by` is over that lies wholly inside one of the other side.
    fn end_inside(&mut self, by: Side, stretch: Span, events: &mut Events) {
        if stretch.length() >= self.config.backchannel {
            return self.talk_over(by, stretch, events);
        }
        *self.measures.backchannels.of_mut(by) += 1;
        let ms = millis(stretch.length());
        events.note(TurnEvent::Backchannel { by, at: stretch.from, ms });
    }

    fn talk_over(&mut self, by: Side, both: Span, events: &mut Events) {
        if both.length() >= self.config.talk_over {
            *self.measures.talk_overs.of_mut(by) += 1;
            let ms = millis(both.length());
            events.note(TurnEvent::TalkOver { by, at: both.from, ms });
        }
    }

    fn exchange(&mut self, to: Side, at: Duration, gap_ms: i64, events: &mut Events) {
        self.holder = Some((to, at));
        self.measures.exchanges += 1;
        if to == Side::Engine {
            self.gaps.push(gap_ms);
        }
        events.note(TurnEvent::Exchange { from: to.other(), to, gap_ms, at });
    }

    /// Ends a silence, if there is one; whether it was dead air.
    fn end_silence(&mut self, at: Duration, events: &mut Events) -> bool {
        let Some(from) = self.silent_since.take() else { return false };
        let length = at.saturating_sub(from);
        let dead = length > self.config.dead_air;
        if dead {
            let ms = millis(length);
            self.measures.dead_airs += 1;
            self.measures.dead_air_ms = self.measures.dead_air_ms.saturating_add(ms);
            events.note(TurnEvent::DeadAir { from, ms });
        }
        dead
    }
}

fn signed_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
