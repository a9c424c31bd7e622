//! Makes a tape of a call that runs: an entry of each input, and at the end what came of them.

use std::time::Instant;

use serde_json::Value;

use super::digest::Digests;
use super::entry::{CallerSaid, EngineSaid, Entry, Said, nanos};
use super::sound::{Muffler, Sound, rate_of};
use super::{End, Keeps};
use crate::call::{Event, Input, Output};
use crate::leg::{Audio, Format, Mark, caller, engine};

/// Makes the entries of one call, and takes out of them what the tape is not to keep.
#[derive(Debug)]
pub struct Recorder {
    keeps: Keeps,
    base: Instant,
    inputs: u64,
    digests: Digests,
    record: Option<Value>,
    caller_format: Option<Format>,
    latest_mark: Option<Mark>,
    caller: Muffler,
    engine: Muffler,
    /// That of the session which waits to come next.
    next_format: Option<Format>,
}

impl Recorder {
    /// A recorder of a call that was made at `base` and has not been told anything yet.
    #[must_use]
    pub fn new(keeps: Keeps, base: Instant) -> Self {
        Self {
            keeps,
            base,
            inputs: 0,
            digests: Digests::new(base, keeps.words),
            record: None,
            caller_format: None,
            latest_mark: None,
            caller: Muffler::default(),
            engine: Muffler::default(),
            next_format: None,
        }
    }

    /// The entry of an input that the call is told now. To be asked for every one, in order.
    pub fn input(&mut self, input: &Input, now: Instant) -> Entry {
        self.inputs += 1;
        let said = match input {
            Input::Caller(event) => Said::Caller(self.hear_caller(event)),
            Input::Engine(event) => Said::Engine(self.hear_engine(event)),
            Input::Control(control) => Said::Control(*control),
            Input::Timeout => Said::Timeout,
        };
        Entry { at: now.saturating_duration_since(self.base), said }
    }

    /// Notes what the call put out; to be told of every output, deadlines included, in order.
    pub fn output(&mut self, output: &Output) {
        self.digests.push(output);
        if let Output::Caller(caller::Command::Mark(mark)) = output {
            self.latest_mark = Some(*mark);
        }
        if let Output::Engine(engine::Command::Switch { .. }) = output
            && let Some(format) = self.next_format.take()
        {
            self.engine.open(format, rate_of(self.caller_format));
        }
        if let Output::Event(Event::Ended(record)) = output {
            // Through its text, as what is read from a tape has come.
            let text = serde_json::to_string(record).ok();
            self.record = text.and_then(|text| serde_json::from_str(&text).ok());
        }
    }

    /// The last line, with the reason why the tape stops before the call's end if it does.
    #[must_use]
    pub fn end(&self, incomplete: Option<String>) -> End {
        let (decisions, everything) = self.digests.values();
        let (inputs, outputs) = (self.inputs, self.digests.outputs());
        End { record: self.record.clone(), inputs, outputs, decisions, everything, incomplete }
    }

    fn hear_caller(&mut self, event: &caller::Event) -> CallerSaid {
        match event {
            caller::Event::Started(format) => {
                // Only the first counts for the call.
                let first = *self.caller_format.get_or_insert(*format);
                self.caller.open(first, rate_of(Some(first)));
                CallerSaid::Started(*format)
            }
            caller::Event::Audio { audio, at } => {
                let sound = sound(self.keeps, &mut self.caller, audio);
                CallerSaid::Audio { sound, at: at.map(nanos) }
            }
            caller::Event::Digit(_) if !self.keeps.words => CallerSaid::Digit('0'),
            caller::Event::Digit(digit) => CallerSaid::Digit(*digit),
            caller::Event::MarkPlayed(mark) if self.keeps.audio => CallerSaid::MarkPlayed(*mark),
            caller::Event::MarkPlayed(mark) => {
                let latest = self.latest_mark.map_or(0, |latest| latest.number);
                CallerSaid::MarkBack(latest.saturating_sub(mark.number))
            }
            caller::Event::Fault(fault) => CallerSaid::Fault(*fault),
            caller::Event::Left(left) => CallerSaid::Left(*left),
        }
    }

    fn hear_engine(&mut self, event: &engine::Event) -> EngineSaid {
        match event {
            engine::Event::Connected(link) => {
                self.engine.open(link.format, rate_of(self.caller_format));
                EngineSaid::Connected(*link)
            }
            engine::Event::Ready => EngineSaid::Ready,
            engine::Event::Audio(audio) => {
                EngineSaid::Audio(sound(self.keeps, &mut self.engine, audio))
            }
            engine::Event::Text(text) if self.keeps.words => EngineSaid::Text(text.clone()),
            engine::Event::Text(text) => EngineSaid::Text(masked(text)),
            engine::Event::Fault => EngineSaid::Fault,
            engine::Event::OpenFailed(error) => EngineSaid::OpenFailed(*error),
            engine::Event::Closed(closed) => EngineSaid::Closed(*closed),
            engine::Event::NextReady(link) => {
                self.next_format = Some(link.format);
                EngineSaid::NextReady(*link)
            }
            engine::Event::NextFailed(error) => EngineSaid::NextFailed(*error),
        }
    }
}

fn sound(keeps: Keeps, muffler: &mut Muffler, audio: &Audio) -> Sound {
    if keeps.audio { Sound::kept(audio) } else { muffler.muffle(audio) }
}

/// The text with a `0` for each digit and an `x`, of as many bytes, for each other character that
/// is no space: a call cuts words by their spaces and bytes.
pub(super) fn masked(text: &str) -> String {
    let mask = |character: char| match character.len_utf8() {
        _ if character.is_whitespace() => character,
        1 if character.is_ascii_digit() => '0',
        1 => 'x',
        2 => '\u{d7}',
        3 => '\u{2715}',
        _ => '\u{1d465}',
    };
    text.chars().map(mask).collect()
}
