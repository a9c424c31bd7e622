//! A tape: the timestamped inputs of one call, from which the call can be had again.
//!
//! JSON, one value a line: a [`Header`], an [`Entry`] for each input, and an [`End`].

mod digest;
mod entry;
mod read;
mod recorder;
mod replay;
mod report;
mod rules;
mod sound;
mod trace;
mod who;

use serde::{Deserialize, Serialize};

use crate::call;
use crate::id::CallId;
use crate::persona::Persona;

pub use entry::{CallerSaid, EngineSaid, Entry, Said};
pub use read::TapeError;
pub use recorder::Recorder;
pub use replay::{Comparison, Difference, Replay, Replayed, Verdict};
pub use report::lines;
pub use rules::{TapedRule, Then, When};
pub use sound::{Noise, Sound};
pub use trace::Trace;
pub use who::{Start, Who};

/// The version of the format; another one is refused.
pub const VERSION: u32 = 1;

/// What a tape keeps of what was said. Neither, unless it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// The engine's text, the keys that the caller pressed, and the persona's voice and prompt.
    /// Without them each letter is an `x` and each digit a `0`.
    pub words: bool,
    /// The sound of both sides. Without it a level for every 20 ms is left, which a replay fills
    /// with noise.
    pub audio: bool,
}

/// The program that makes a tape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// Its name and version, such as `voice-bot 0.1.0`.
    pub program: String,
    /// The processor and system that it runs on, such as `x86_64-linux`.
    pub target: String,
}

/// The first line of a tape: what the call was set up with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub tape: u32,
    /// Who made it.
    pub made_by: Maker,
    /// The call's name.
    pub call: String,
    /// Who answered.
    pub persona: Who,
    /// What the entries keep.
    pub keeps: Keeps,
    /// The call's deadlines and bounds.
    pub config: call::Config,
}

/// The last line of a tape: what came of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The call's [`CallRecord`](crate::record::CallRecord); none if the tape stops before its end.
    pub record: Option<serde_json::Value>,
    /// Entries before this line.
    pub inputs: u64,
    /// Outputs that followed from them.
    pub outputs: u64,
    /// Digest of the outputs without the bytes of audio and text: 16 hexadecimal digits.
    pub decisions: String,
    /// Digest of the outputs with them, after what is not kept was taken out: likewise.
    pub everything: String,
    /// Why the tape stops before the call's end, if it does.
    pub incomplete: Option<String>,
}

/// A whole tape.
#[derive(Debug, Clone)]
pub struct Tape {
    /// Its first line.
    pub header: Header,
    /// The inputs in the order in which the call was told.
    pub entries: Vec<Entry>,
    /// Its last line; a recording that broke off has none.
    pub end: Option<End>,
    /// Whether it stops in the middle of a line, which was left out.
    pub torn: bool,
}

impl Header {
    /// The header of a call that is about to be set up with these.
    #[must_use]
    pub fn new(
        made_by: Maker,
        call: &CallId,
        persona: &Persona,
        config: &call::Config,
        keeps: Keeps,
    ) -> Self {
        let (call, persona) = (call.to_string(), Who::new(persona, keeps));
        let config = config.clone();
        Self { tape: VERSION, made_by, call, persona, keeps, config }
    }

    /// The line, with its line break.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }
}

impl Tape {
    /// Reads a tape.
    ///
    /// # Errors
    /// [`TapeError`] with the number of the first line that is wrong. A last line without a line
    /// break is no error: whoever wrote it was cut short.
    pub fn parse(text: &str) -> Result<Self, TapeError> {
        read::parse(text)
    }

    /// The tape as text, each line with its line break.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.header.to_line();
        text.extend(self.entries.iter().map(Entry::to_line));
        text.extend(self.end.as_ref().map(End::to_line));
        text
    }
}

/// One line of JSON and its line break.
fn line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("no map on a tape has keys but texts");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
