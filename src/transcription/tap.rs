//! Listens to one caller, beside the call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use voice_bot_core::call::Input;
use voice_bot_core::id::CallId;
use voice_bot_core::leg::caller;
use voice_bot_core::utterance::{Listener, Utterance};

use super::{Job, Transcription};
use crate::config::When;

/// Cuts what one caller says into utterances and hands them over. Never waits. Dropping it ends
/// what runs, and hands over what was kept until the end of the call.
pub struct Tap {
    of: Transcription,
    call: CallId,
    listener: Listener,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// Kept until the call is over.
    kept: VecDeque<Job>,
}

impl Tap {
    pub(super) fn new(of: Transcription, call: CallId, began: Instant) -> Self {
        let (waiting, kept) = (Arc::default(), VecDeque::new());
        Self { of, call, listener: Listener::new(began), waiting, kept }
    }

    /// Takes what the call is told, when it is told so.
    pub fn input(&mut self, input: &Input, now: Instant) {
        let Input::Caller(event) = input else { return };
        match event {
            caller::Event::Started(format) => {
                let utterance = self.listener.started(*format, now);
                self.take(utterance);
            }
            caller::Event::Audio { audio, at } => {
                let utterances = self.listener.hear(audio, *at, now);
                self.take(utterances);
            }
            caller::Event::Digit(_)
            | caller::Event::MarkPlayed(_)
            | caller::Event::Fault(_)
            | caller::Event::Left(_) => {}
        }
    }

    fn take(&mut self, utterances: impl IntoIterator<Item = Utterance>) {
        for utterance in utterances {
            let Some(job) = self.of.job(&self.call, &self.waiting, utterance) else { continue };
            match self.of.0.when {
                When::Live => self.of.send(job),
                When::After => self.kept.push_back(job),
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let last = self.listener.finish();
        self.take(last);
        self.kept.drain(..).for_each(|job| self.of.send(job));
    }
}
