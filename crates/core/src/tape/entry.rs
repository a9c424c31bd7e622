//! One input of a call, as it stands on a tape: a line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sound::Sound;
use super::{End, line};
use crate::call::{Control, Input};
use crate::leg::engine::{Closed, Link, OpenError};
use crate::leg::{Format, Mark, caller, engine};

/// One input and its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the call was told, counted from its beginning.
    pub at: Duration,
    /// What it was told.
    pub said: Said,
}

/// What a call was told, with as much of it as the tape keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Something from the caller's leg.
    Caller(CallerSaid),
    /// Something from the engine's leg.
    Engine(EngineSaid),
    /// An order.
    Control(Control),
    /// That time has passed.
    Timeout,
}

/// The caller's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CallerSaid {
    /// [`caller::Event::Started`].
    Started(Format),
    /// [`caller::Event::Audio`].
    Audio {
        /// What was said.
        sound: Sound,
        /// The carrier's time stamp, in nanoseconds from the stream's beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
    /// [`caller::Event::Digit`].
    Digit(char),
    /// [`caller::Event::MarkPlayed`].
    MarkPlayed(Mark),
    /// [`caller::Event::MarkPlayed`] on a tape without sound: how many marks had been set since.
    /// Noise may set more or fewer of them than the sound did.
    MarkBack(u64),
    /// [`caller::Event::Fault`].
    Fault(caller::Fault),
    /// [`caller::Event::Left`].
    Left(caller::Left),
}

/// The engine's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EngineSaid {
    /// [`engine::Event::Connected`].
    Connected(Link),
    /// [`engine::Event::Ready`].
    Ready,
    /// [`engine::Event::Audio`].
    Audio(Sound),
    /// [`engine::Event::Text`].
    Text(String),
    /// [`engine::Event::Fault`].
    Fault,
    /// [`engine::Event::OpenFailed`].
    OpenFailed(OpenError),
    /// [`engine::Event::Closed`].
    Closed(Closed),
    /// [`engine::Event::NextReady`].
    NextReady(Link),
    /// [`engine::Event::NextFailed`].
    NextFailed(OpenError),
}

impl Entry {
    /// The line, with its line break.
    #[must_use]
    pub fn to_line(&self) -> String {
        let at = Some(nanos(self.at));
        line(&match self.said.clone() {
            Said::Caller(caller) => Line { at, caller: Some(caller), ..Line::default() },
            Said::Engine(engine) => Line { at, engine: Some(engine), ..Line::default() },
            Said::Control(control) => Line { at, control: Some(control), ..Line::default() },
            Said::Timeout => Line { at, timeout: Some(true), ..Line::default() },
        })
    }

    /// The input again; `seed` picks the noise that stands for sound that was not kept, and
    /// `latest` is the mark that was set last.
    #[must_use]
    pub fn to_input(&self, seed: u64, latest: Option<Mark>) -> Input {
        match &self.said {
            Said::Caller(said) => Input::Caller(said.to_event(seed, latest)),
            Said::Engine(said) => Input::Engine(said.to_event(seed)),
            Said::Control(control) => Input::Control(*control),
            Said::Timeout => Input::Timeout,
        }
    }
}

impl CallerSaid {
    fn to_event(&self, seed: u64, latest: Option<Mark>) -> caller::Event {
        match self {
            Self::Started(format) => caller::Event::Started(*format),
            Self::Audio { sound, at } => caller::Event::Audio {
                audio: sound.to_audio(seed),
                at: at.map(Duration::from_nanos),
            },
            Self::Digit(digit) => caller::Event::Digit(*digit),
            Self::MarkPlayed(mark) => caller::Event::MarkPlayed(*mark),
            Self::MarkBack(back) => {
                let Mark { generation, number } =
                    latest.unwrap_or(Mark { generation: 0, number: 0 });
                let number = number.saturating_sub(*back);
                caller::Event::MarkPlayed(Mark { generation, number })
            }
            Self::Fault(fault) => caller::Event::Fault(*fault),
            Self::Left(left) => caller::Event::Left(*left),
        }
    }
}

impl EngineSaid {
    fn to_event(&self, seed: u64) -> engine::Event {
        match self {
            Self::Connected(link) => engine::Event::Connected(*link),
            Self::Ready => engine::Event::Ready,
            Self::Audio(sound) => engine::Event::Audio(sound.to_audio(seed)),
            Self::Text(text) => engine::Event::Text(text.clone()),
            Self::Fault => engine::Event::Fault,
            Self::OpenFailed(error) => engine::Event::OpenFailed(*error),
            Self::Closed(closed) => engine::Event::Closed(*closed),
            Self::NextReady(link) => engine::Event::NextReady(*link),
            Self::NextFailed(error) => engine::Event::NextFailed(*error),
        }
    }
}

impl End {
    /// The line, with its line break.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(&Line { end: Some(self.clone()), ..Line::default() })
    }
}

/// A line behind the first: an entry or the end. Which one, its key tells.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<CallerSaid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineSaid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<Control>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

/// What a line holds.
pub(super) enum Held {
    Entry(Entry),
    End(End),
}

impl Line {
    /// What the line holds, if that is exactly one thing.
    pub(super) fn held(self) -> Option<Held> {
        let said = match (self.caller, self.engine, self.control, self.timeout, self.end) {
            (None, None, None, None, Some(end)) if self.at.is_none() => {
                return Some(Held::End(end));
            }
            (Some(caller), None, None, None, None) => Said::Caller(caller),
            (None, Some(engine), None, None, None) => Said::Engine(engine),
            (None, None, Some(control), None, None) => Said::Control(control),
            (None, None, None, Some(true), None) => Said::Timeout,
            _ => return None,
        };
        Some(Held::Entry(Entry { at: Duration::from_nanos(self.at?), said }))
    }
}

/// A duration in nanoseconds; more than 584 years are cut.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
