//! Turn-taking at the line: who speaks since when, gaps and overlaps, talk-over, dead air.

mod duplex;
mod floor;
mod track;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::frame::FRAME;
pub use duplex::{Duplex, Quantiles, Sides};
use floor::Floor;
use track::{Span, Track};

/// How far the caller's frames may lag behind the engine's, which are stamped when the caller
/// will hear them; further behind, the caller is taken to be silent.
const CALLER_LATE: Duration = Duration::from_millis(2500);

/// How far the engine's frames may lag behind the caller's before the engine is taken to be silent.
const ENGINE_LATE: Duration = Duration::from_millis(500);

/// Events that wait to be polled at most; one frame brings fewer.
const MAX_EVENTS: usize = 2048;

/// A side of the talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Whoever phones.
    Caller,
    /// The speech model.
    Engine,
}

impl Side {
    /// The side that it talks with.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Engine,
            Self::Engine => Self::Caller,
        }
    }
}

/// Where speech turns into stretches, and stretches into what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A silence shorter than this inside one side's speech does not end its stretch.
    pub pause: Duration,
    /// A stretch shorter than this that lies inside the other side's is a back-channel.
    pub backchannel: Duration,
    /// Both at once for less than this is no talk-over: most speakers overlap a little as they
    /// change.
    pub talk_over: Duration,
    /// Nobody in a stretch for longer than this is dead air.
    pub dead_air: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(300),
            backchannel: Duration::from_secs(1),
            talk_over: Duration::from_millis(200),
            dead_air: Duration::from_secs(3),
        }
    }
}

/// Something that a listener at the line notices. Moments are offsets since the call's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnEvent {
    /// A stretch began.
    Began {
        /// Whose.
        side: Side,
        /// When.
        at: Duration,
    },
    /// A stretch ended, told once the silence behind it has lasted for [`Config::pause`].
    Ended {
        /// Whose.
        side: Side,
        /// When it had begun.
        began: Duration,
        /// When its last speech was over.
        ended: Duration,
    },
    /// The floor passed to the other side.
    Exchange {
        /// Who had it.
        from: Side,
        /// Who has it.
        to: Side,
        /// The floor transfer offset in milliseconds; negative for overlap.
        gap_ms: i64,
        /// When the new holder's stretch had begun.
        at: Duration,
    },
    /// One side spoke into the other's stretch, told when the first of them stopped.
    TalkOver {
        /// Who began second.
        by: Side,
        /// When the second had begun.
        at: Duration,
        /// How long both went on, in milliseconds.
        ms: u64,
    },
    /// A short stretch inside the other side's, told when it is over.
    Backchannel {
        /// Whose.
        by: Side,
        /// When it had begun.
        at: Duration,
        /// Its length in milliseconds.
        ms: u64,
    },
    /// Nobody spoke for too long, told when somebody does or the call is over.
    DeadAir {
        /// When the silence had begun.
        from: Duration,
        /// Its length in milliseconds.
        ms: u64,
    },
}

/// Follows who speaks. Its memory does not grow with the call.
///
/// # Terms
/// - **Speech** of a side: its frames that carry speech. Where frames overlap, time counts once.
/// - **Stretch** (the literature's inter-pausal unit): speech of one side without a silence as long
///   as [`Config::pause`] in it. It reaches from its first to its last speech.
/// - **Floor**: the right to speak. Whoever begins while nobody speaks takes it, and so does
///   whoever began inside the holder's stretch and speaks beyond its end.
/// - **Exchange**: the floor passes to the other side. Its **gap** (floor transfer offset; Heldner
///   and Edlund 2010, Stivers et al. 2009) is the beginning of the new holder's stretch minus the
///   end of the old holder's last: above 0 silence, below 0 overlap.
/// - **Back-channel**: a stretch shorter than [`Config::backchannel`] that lies wholly inside one
///   of the other side, such as "mhm". The floor stays where it is.
/// - **Talk-over**: a stretch that begins inside one of the other side, is no back-channel, and
///   has both speak at once for at least [`Config::talk_over`]. It is its beginner's, whether the
///   other yields (then it is an exchange, too) or the beginner gives up.
/// - **Dead air**: nobody in a stretch for longer than [`Config::dead_air`]; all of that time.
/// - **Turn**: the stretches of one side from taking the floor to losing it, or to dead air.
///
/// Two stretches that begin at the same moment count as the caller's first; one that begins when
/// the other ends lies behind it, and one that ends with the other lies inside it.
///
/// # Time
/// The talk begins with the first frame of either side. Only what both sides' clocks have passed
/// is decided; a side whose frames stay out is taken to be silent 2.5 s (caller) or 0.5 s (engine)
/// behind the other, and what it still says about that time is dropped and counted.
#[derive(Debug, Clone)]
pub struct Turns {
    tracks: Sides<Track>,
    floor: Floor,
    events: Events,
    /// Up to where both sides are known.
    horizon: Duration,
    overlap: Duration,
    finished: bool,
}

impl Turns {
    /// A talk in which nobody has spoken.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            tracks: Sides { caller: Track::new(config.pause), engine: Track::new(config.pause) },
            floor: Floor::new(config),
            events: Events::default(),
            horizon: Duration::ZERO,
            overlap: Duration::ZERO,
            finished: false,
        }
    }

    /// Takes one frame of 20 ms of that side, heard from the offset `from` on, with speech in it
    /// or not.
    ///
    /// `speech` is about this frame alone: a detector that holds on after speech makes every gap
    /// shorter by as much. A hole between frames is silence; where a frame reaches back into the
    /// one before it, only the rest of it counts. After [`Self::finish`] nothing is taken.
    pub fn heard(&mut self, side: Side, from: Duration, speech: bool) {
        if self.finished {
            return;
        }
        let track = self.tracks.of_mut(side);
        if track.clock().is_none() {
            self.floor.talk_begins(from);
        }
        track.push(Span { from, to: from.saturating_add(FRAME) }, speech, self.horizon);
        let known = self.known();
        if known > self.horizon {
            self.advance(known);
        }
    }

    /// What was noticed, oldest first; drained after each frame.
    ///
    /// Where nobody drains it, the oldest 2048 are kept and the rest is counted.
    pub fn poll(&mut self) -> Option<TurnEvent> {
        self.events.waiting.pop_front()
    }

    /// Ends the talk: what was to be heard later than `at` is not heard; open stretches and a
    /// silence end there.
    pub fn finish(&mut self, at: Duration) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.advance(at.max(self.horizon));
        self.tracks.caller.close();
        self.tracks.engine.close();
        self.decide(Duration::MAX);
        self.floor.talk_ends(self.horizon, &mut self.events);
    }

    /// The measures of what is decided so far.
    #[must_use]
    pub fn duplex(&self) -> Duplex {
        let Sides { caller, engine } = &self.tracks;
        Duplex {
            caller_ms: millis(caller.speech()),
            engine_ms: millis(engine.speech()),
            overlap_ms: millis(self.overlap),
            late_ms: millis(caller.late() + engine.late()),
            dropped_events: self.events.dropped,
            ..self.floor.measures()
        }
    }

    /// Since when the caller and the engine speak, as of where both are known; `None` for a side
    /// that is silent. A pause shorter than [`Config::pause`] is not silence.
    #[must_use]
    pub fn speaking(&self) -> (Option<Duration>, Option<Duration>) {
        (self.tracks.caller.speaking(), self.tracks.engine.speaking())
    }

    /// Up to where no frame will change anything any more.
    fn known(&self) -> Duration {
        let caller = self.tracks.caller.clock().unwrap_or_default();
        let engine = self.tracks.engine.clock().unwrap_or_default();
        let overdue = engine.saturating_sub(CALLER_LATE).max(caller.saturating_sub(ENGINE_LATE));
        caller.min(engine).max(overdue)
    }

    fn advance(&mut self, horizon: Duration) {
        let Sides { caller, engine } = &mut self.tracks;
        self.overlap += caller.shared_with(engine, horizon);
        caller.settle(horizon);
        engine.settle(horizon);
        self.horizon = horizon;
        let decided = caller.decided(horizon).min(engine.decided(horizon));
        self.decide(decided);
    }

    /// Hands what lies before `until` to the floor, in the order of time.
    fn decide(&mut self, until: Duration) {
        let Sides { caller, engine } = &mut self.tracks;
        loop {
            let callers_first = match (caller.next_edge(until), engine.next_edge(until)) {
                (Some(callers), Some(engines)) => callers.comes_first(engines),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return,
            };
            let (side, track) = match callers_first {
                true => (Side::Caller, &mut *caller),
                false => (Side::Engine, &mut *engine),
            };
            if let Some(edge) = track.pop_edge() {
                self.floor.pass(side, edge, &mut self.events);
            }
        }
    }
}

/// What was noticed and not polled yet.
#[derive(Debug, Clone, Default)]
struct Events {
    waiting: VecDeque<TurnEvent>,
    dropped: u64,
}

impl Events {
    fn note(&mut self, event: TurnEvent) {
        if self.waiting.len() < MAX_EVENTS {
            self.waiting.push_back(event);
        } else {
            self.dropped += 1;
        }
    }
}

/// Whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
