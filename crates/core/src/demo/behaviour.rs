//! What stands in for the model: takes a frame of 80 ms and gives one back.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::FRAME_SAMPLES;
use super::parrot::{Parrot, chirp};

/// The engine's own sample rate, in Hz.
pub(super) const HZ: f64 = 24_000.0;

/// How loud tones are: -12 dBFS.
const AMPLITUDE: f64 = 8192.0;

/// The pitch of [`Behaviour::Tone`], in Hz.
const TONE_HZ: u32 = 440;

/// What the engine says.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// A greeting, and then whatever the caller says, as soon as the caller has been silent for
    /// 0.6 s; 20 s of it at most. Text comes with both.
    Parrot {
        /// Mono PCM at 24 kHz, possibly none.
        greeting: Arc<[i16]>,
    },
    /// The caller's audio, 80 ms later.
    Echo,
    /// A sine of 440 Hz without end.
    Tone,
    /// Lines at fixed times, whatever the caller says.
    Script(Arc<[Line]>),
}

impl Default for Behaviour {
    /// A parrot that greets with a chirp.
    fn default() -> Self {
        Self::Parrot { greeting: chirp() }
    }
}

/// What a script says at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// The frame of 80 ms, from 0, at which it begins.
    pub at_frame: u64,
    /// Text, said word by word with each frame.
    pub text: String,
    /// A tone, which ends one that is still sounding.
    pub tone: Option<Tone>,
}

/// A sine at -12 dBFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tone {
    /// Pitch in Hz.
    pub hz: u32,
    /// Duration in frames of 80 ms.
    pub frames: u64,
}

/// One frame of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// [`FRAME_SAMPLES`] samples.
    pub(super) samples: Vec<i16>,
    /// The piece of text that goes with it.
    pub(super) text: Option<String>,
}

/// A [`Behaviour`] in the middle of a conversation.
#[derive(Debug)]
pub(super) enum Mind {
    Parrot(Box<Parrot>),
    Echo { before: Vec<i16> },
    Tone { frame: u64 },
    Script(Actor),
}

impl Mind {
    pub(super) fn new(behaviour: &Behaviour) -> Self {
        match behaviour {
            Behaviour::Parrot { greeting } => Self::Parrot(Box::new(Parrot::new(greeting))),
            Behaviour::Echo => Self::Echo { before: vec![0; FRAME_SAMPLES] },
            Behaviour::Tone => Self::Tone { frame: 0 },
            Behaviour::Script(lines) => Self::Script(Actor::new(lines)),
        }
    }

    /// Hears one frame of [`FRAME_SAMPLES`] samples and says one.
    pub(super) fn step(&mut self, heard: &[i16]) -> Said {
        match self {
            Self::Parrot(parrot) => parrot.step(heard),
            Self::Echo { before } => {
                Said { samples: std::mem::replace(before, heard.to_vec()), text: None }
            }
            Self::Tone { frame } => {
                *frame += 1;
                Said { samples: sine(TONE_HZ, *frame - 1), text: None }
            }
            Self::Script(actor) => actor.step(),
        }
    }
}

/// Cuts text into pieces as the model's tokenizer does with simple words: each with the space
/// before it.
pub(super) fn pieces(text: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    text.split_whitespace().map(|word| format!(" {word}"))
}

/// Frame `frame` of a sine, without a click between frames.
fn sine(hz: u32, frame: u64) -> Vec<i16> {
    // Whole turns fall out, so that hours do not cost precision.
    let start = (u64::from(hz) * (FRAME_SAMPLES as u64) % HZ as u64 * frame) % HZ as u64;
    let sample = |at: usize| {
        let turns = (start as f64 + f64::from(hz) * at as f64) / HZ;
        (AMPLITUDE * (TAU * turns).sin()) as i16
    };
    (0..FRAME_SAMPLES).map(sample).collect()
}

/// Plays a script.
#[derive(Debug)]
pub(super) struct Actor {
    /// What is still to be said; the next line is the last one here.
    lines: Vec<Line>,
    /// What is to be said of the text now, the next piece last.
    pieces: Vec<String>,
    tone: Option<(Tone, u64)>,
    frame: u64,
}

impl Actor {
    fn new(lines: &[Line]) -> Self {
        let mut lines = lines.to_vec();
        lines.sort_by_key(|line| line.at_frame);
        lines.reverse();
        Self { lines, pieces: Vec::new(), tone: None, frame: 0 }
    }

    fn step(&mut self) -> Said {
        let frame = self.frame;
        self.frame += 1;
        while let Some(line) = self.lines.pop_if(|line| line.at_frame <= frame) {
            self.pieces.splice(0..0, pieces(&line.text).rev());
            self.tone = line.tone.map(|tone| (tone, frame)).or(self.tone);
        }
        let samples = match self.tone {
            Some((tone, start)) if frame - start < tone.frames => sine(tone.hz, frame - start),
            Some(_) | None => vec![0; FRAME_SAMPLES],
        };
        Said { samples, text: self.pieces.pop() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_comes_one_frame_later() {
        let mut echo = Mind::new(&Behaviour::Echo);
        let frame = |n: i16| vec![n; FRAME_SAMPLES];
        assert_eq!(echo.step(&frame(1)).samples, frame(0));
        assert_eq!(echo.step(&frame(2)).samples, frame(1));
    }

    #[test]
    fn tone_has_its_pitch_and_no_clicks() {
        let mut mind = Mind::new(&Behaviour::Tone);
        let samples: Vec<i16> = (0..25).flat_map(|_| mind.step(&[]).samples).collect();
        let steps = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.max().unwrap() <= 945, "8192 x 2 pi x 440 / 24000 at the steepest");
        let rising = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((879..=880).contains(&rising), "{rising} in 2 s");
        let mut later = Mind::Tone { frame: 100_000_000_000 };
        assert_eq!(later.step(&[]).samples, samples[..FRAME_SAMPLES]);
    }

    #[test]
    fn script_says_its_lines_at_their_time() {
        let tone = Some(Tone { hz: 1000, frames: 2 });
        let lines = [
            Line { at_frame: 5, text: "bye".to_owned(), tone: None },
            Line { at_frame: 1, text: "Hello  there".to_owned(), tone },
            Line { at_frame: 2, text: "you".to_owned(), tone: None },
        ];
        let mut mind = Mind::new(&Behaviour::Script(lines.into()));
        let said: Vec<Said> = (0..7).map(|_| mind.step(&[])).collect();
        let texts: Vec<&str> =
            said.iter().map(|said| said.text.as_deref().unwrap_or("-")).collect();
        assert_eq!(texts, ["-", " Hello", " there", " you", "-", " bye", "-"]);
        let loud: Vec<bool> =
            said.iter().map(|said| said.samples.iter().any(|&sample| sample > 8000)).collect();
        assert_eq!(loud, [false, true, true, false, false, false, false]);
    }
}
