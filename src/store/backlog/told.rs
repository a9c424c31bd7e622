//! What a keeper is told.

use std::sync::Arc;

use tokio::sync::Notify;
use voice_bot_core::record::EndReason;

use super::super::batch::{Recording, RowOf, Said, Sample};
use super::super::keeper::About;

/// What a keeper is told.
#[derive(Debug, Clone)]
pub(in crate::store) enum Told {
    /// A call was let in.
    Admitted(About),
    /// Its audio is connected.
    Began(About),
    /// It has a session of that engine.
    Engine(Arc<str>, Arc<str>),
    /// A word is heard at that millisecond.
    Word(Arc<str>, i64, String),
    /// The caller has said something.
    Heard(Box<RowOf<Said>>),
    /// Something happened at that millisecond.
    Note(Arc<str>, i64, &'static str, String),
    /// How it stood at that second.
    Sample(Arc<str>, i64, Sample),
    /// How long it has held sessions of engines, in milliseconds.
    Used(Arc<str>, i64),
    /// It is over.
    Ended(Box<Ended>),
    /// The record of one that is over is this, as JSON.
    Amended(Arc<str>, String),
    /// Its recording is there; who is to be told once that is written.
    Recorded(Arc<str>, Recording, Arc<Notify>),
}

impl Told {
    /// Whether it may be lost where there is no room.
    pub(in crate::store) const fn is_item(&self) -> bool {
        match self {
            Self::Word(..)
            | Self::Heard(_)
            | Self::Note(..)
            | Self::Sample(..)
            | Self::Used(..) => true,
            Self::Admitted(_)
            | Self::Began(_)
            | Self::Engine(..)
            | Self::Ended(_)
            | Self::Amended(..)
            | Self::Recorded(..) => false,
        }
    }
}

/// The end of a call.
#[derive(Debug, Clone)]
pub(in crate::store) struct Ended {
    pub(in crate::store) about: About,
    pub(in crate::store) reason: EndReason,
    pub(in crate::store) duration_ms: i64,
    pub(in crate::store) words: i64,
    pub(in crate::store) first_audio_ms: Option<i64>,
    pub(in crate::store) record: String,
}
