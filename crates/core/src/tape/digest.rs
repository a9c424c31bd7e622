//! Two digests of all that a call put out: of what it decided, and of every byte.
//!
//! Two, since libopus may set a bit of audio otherwise on another processor.

use std::time::Instant;

use super::Trace;
use super::entry::nanos;
use super::recorder::masked;
use crate::audio::opus;
use crate::call::{Event, Output};
use crate::leg::{Audio, caller, engine};
use crate::persona::{Action, Persona};

/// The digests so far.
#[derive(Debug, Clone)]
pub(super) struct Digests {
    base: Instant,
    words: bool,
    decisions: Trace,
    everything: Trace,
    outputs: u64,
}

impl Digests {
    /// Of nothing yet, in a call that began at `base`. Without `words` they are the same for all
    /// texts that look alike once they are masked.
    pub(super) fn new(base: Instant, words: bool) -> Self {
        let (decisions, everything) = (Trace::default(), Trace::default());
        Self { base, words, decisions, everything, outputs: 0 }
    }

    /// How many outputs there were.
    pub(super) const fn outputs(&self) -> u64 {
        self.outputs
    }

    /// What was decided, and everything, each as 16 hexadecimal digits.
    pub(super) fn values(&self) -> (String, String) {
        let show = |trace: Trace| format!("{:016x}", trace.value());
        (show(self.decisions), show(self.everything))
    }

    /// Takes in the next output.
    pub(super) fn push(&mut self, output: &Output) {
        if !self.words && matches!(output, Output::Event(Event::RuleMet(_))) {
            // Without words it is not met again; the order that followed is an input of its own.
            return;
        }
        self.outputs += 1;
        match output {
            Output::Act(act) => self.act(&act.action),
            // It follows from the audio, which either leg's digest has.
            Output::Recording(_) => {}
            Output::Caller(command) => self.caller(command),
            Output::Engine(command) => self.engine(command),
            Output::Event(event) => self.event(event),
            Output::Timeout(None) => self.decided(&[0]),
            Output::Timeout(Some(deadline)) => {
                self.decided(&[1, nanos(deadline.saturating_duration_since(self.base))]);
            }
        }
    }

    fn caller(&mut self, command: &caller::Command) {
        match command {
            caller::Command::Audio(audio) => self.audio(2, audio),
            caller::Command::Mark(mark) => {
                self.decided(&[3, u64::from(mark.generation), mark.number]);
            }
            caller::Command::Clear => self.decided(&[4]),
            caller::Command::HangUp => self.decided(&[5]),
        }
    }

    fn engine(&mut self, command: &engine::Command) {
        match command {
            engine::Command::Open(persona) => {
                self.decided(&[6]);
                self.persona(persona);
            }
            engine::Command::Reopen(reopening) => {
                self.decided(&[13]);
                self.persona(&reopening.persona);
                self.persona(&reopening.usual);
            }
            engine::Command::Prepare(persona) => {
                self.decided(&[14]);
                self.persona(persona);
            }
            engine::Command::Switch { failed } => self.decided(&[15, u64::from(*failed)]),
            engine::Command::Audio(audio) => self.audio(7, audio),
            engine::Command::Close { failed } => self.decided(&[8, u64::from(*failed)]),
        }
    }

    fn persona(&mut self, persona: &Persona) {
        // An engine is not told what the caller hears meanwhile, or what follows from it.
        let Persona { name, voice, prompt, start: _, rules: _, record: _, transcribe: _ } = persona;
        let spoken = if self.words { [voice.as_str(), prompt] } else { ["", ""] };
        let [voice, prompt] = spoken.map(str::as_bytes);
        for text in [name.as_bytes(), voice, prompt] {
            self.everything.bytes(text);
        }
    }

    fn event(&mut self, event: &Event) {
        if let Event::Word(word) = event {
            self.decided(&[9]);
            self.text(word);
        } else if let Event::Digit(digit) = event {
            self.decided(&[10]);
            // A key that is not kept is a 0 on the tape.
            let digit = if self.words { *digit } else { '0' };
            self.everything.number(u64::from(digit));
        } else {
            // What remains holds nothing but decisions.
            self.decided(&[11]);
            let shown = format!("{event:?}");
            self.decisions.bytes(shown.as_bytes());
            self.everything.bytes(shown.as_bytes());
        }
    }

    fn act(&mut self, action: &Action) {
        self.decided(&[12]);
        match action {
            Action::SendDigits(text) => self.text(text),
            Action::Transfer { to, say } => {
                self.text(to);
                self.text(say.as_deref().unwrap_or_default());
            }
            // Of an address a tape keeps but the host.
            Action::Webhook(_) | Action::Play(_) | Action::HangUp => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.words {
            self.everything.bytes(text.as_bytes());
        } else {
            self.everything.bytes(masked(text).as_bytes());
        }
    }

    /// Its length is decided; its bytes are not.
    fn audio(&mut self, kind: u64, audio: &Audio) {
        match audio {
            Audio::Mulaw(codes) => {
                self.decided(&[kind, 0, codes.len() as u64]);
                self.everything.bytes(codes);
            }
            Audio::Opus(packet) => {
                self.decided(&[kind, 1, opus::duration_ms(packet).unwrap_or(0)]);
                self.everything.bytes(packet);
            }
            Audio::Pcm(samples) => {
                self.decided(&[kind, 2, samples.len() as u64]);
                for sample in samples {
                    self.everything.number(u64::from(sample.cast_unsigned()));
                }
            }
        }
    }

    fn decided(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.decisions.number(*number);
            self.everything.number(*number);
        }
    }
}
