//! Has the keeper told what happens in one call, without ever waiting for it.

use std::sync::Arc;
use std::time::Duration;

use voice_bot_core::call::{Event, Snapshot};

use crate::store::{Keeper, Note};

/// What is kept of one call; nothing where nobody keeps anything.
#[derive(Debug)]
pub(super) struct Scribe {
    keeper: Option<Keeper>,
    call: Arc<str>,
    engine: Option<Arc<str>>,
    /// The last second that was sampled.
    second: Option<u64>,
}

impl Scribe {
    pub(super) fn new(call: &str, keeper: Option<Keeper>) -> Self {
        Self { keeper, call: call.into(), engine: None, second: None }
    }

    /// Something happened, or is heard, so long after the call's beginning. `used` is how long it
    /// has held sessions of engines.
    pub(super) fn event(&self, event: &Event, at: Duration, used: Duration) {
        let Some(keeper) = &self.keeper else { return };
        match event {
            Event::Word(word) => keeper.word(&self.call, at, word),
            Event::Ended(_) => keeper.used(&self.call, used),
            Event::Phase(_)
            | Event::Digit(_)
            | Event::Turn(_)
            | Event::Speed(_)
            | Event::Cleared
            | Event::RuleMet(_)
            | Event::Action { .. }
            | Event::Succeeded(_) => {
                if let Some(note) = Note::of(event) {
                    keeper.note(&self.call, at, note);
                }
            }
        }
    }

    /// The call has a session of that engine.
    pub(super) fn engine(&mut self, engine: Option<&Arc<str>>) {
        let (Some(keeper), Some(engine)) = (&self.keeper, engine) else { return };
        if self.engine.as_ref() != Some(engine) {
            keeper.engine(&self.call, engine);
            self.engine = Some(Arc::clone(engine));
        }
    }

    /// How the call stands; kept once a second.
    pub(super) fn stands(&mut self, snapshot: &Snapshot, used: Duration) {
        let Some(keeper) = &self.keeper else { return };
        let second = Some(snapshot.elapsed.as_secs());
        if self.second != second {
            self.second = second;
            keeper.sample(&self.call, snapshot, used);
        }
    }
}
