//! The parrot: greets, listens, and repeats what it heard once the caller falls silent.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::FRAME_SAMPLES;
use super::behaviour::{HZ, Said, pieces};

/// The text that goes with a greeting.
pub const GREETING_TEXT: &str = "Hello! I am a parrot. Say something and I will repeat it.";

/// Frames of silence that end what the caller says: the first boundary after 0.6 s.
const PAUSE_FRAMES: usize = 8;

/// Frames that stand out, below which it was a click: 160 ms.
const LEAST_FRAMES: usize = 2;

/// What the parrot remembers at most: 20 s.
const MEMORY: usize = 250 * FRAME_SAMPLES;

/// Mean square of a frame that counts as speech: -42 dBFS.
const SPEECH: i64 = 260 * 260;

#[derive(Debug)]
pub(super) struct Parrot {
    saying: Speech,
    /// The frame before, as the beginning of speech is soft.
    before: Vec<i16>,
    heard: Vec<i16>,
    loud_frames: usize,
    silent_frames: usize,
}

impl Parrot {
    pub(super) fn new(greeting: &[i16]) -> Self {
        let text = if greeting.is_empty() { "" } else { GREETING_TEXT };
        Self {
            saying: Speech::new(greeting.to_vec(), text),
            before: Vec::new(),
            heard: Vec::new(),
            loud_frames: 0,
            silent_frames: 0,
        }
    }

    pub(super) fn step(&mut self, heard: &[i16]) -> Said {
        self.listen(heard);
        if self.silent_frames >= PAUSE_FRAMES && self.saying.is_over() {
            self.repeat();
        }
        self.saying.step()
    }

    fn listen(&mut self, frame: &[i16]) {
        let before = std::mem::replace(&mut self.before, frame.to_vec());
        if is_speech(frame) {
            if self.heard.is_empty() {
                self.heard = before;
            }
            self.loud_frames += 1;
            self.silent_frames = 0;
        } else if self.heard.is_empty() {
            return;
        } else {
            self.silent_frames += 1;
        }
        if self.silent_frames < PAUSE_FRAMES && self.heard.len() + frame.len() <= MEMORY {
            self.heard.extend_from_slice(frame);
        } else if self.silent_frames >= PAUSE_FRAMES && self.loud_frames < LEAST_FRAMES {
            self.forget();
        }
    }

    fn repeat(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let tenths = self.loud_frames * FRAME_SAMPLES * 10 / HZ as usize;
        let text = format!("You said, for {}.{} seconds:", tenths / 10, tenths % 10);
        self.saying = Speech::new(heard, &text);
        self.forget();
    }

    fn forget(&mut self) {
        self.heard.clear();
        self.loud_frames = 0;
        self.silent_frames = 0;
    }
}

fn is_speech(frame: &[i16]) -> bool {
    let energy: i64 = frame.iter().map(|&sample| i64::from(sample) * i64::from(sample)).sum();
    energy > SPEECH * frame.len() as i64
}

/// Something being said, with its text spread over it.
#[derive(Debug)]
struct Speech {
    samples: Vec<i16>,
    pieces: Vec<String>,
    frame: usize,
    piece: usize,
}

impl Speech {
    fn new(samples: Vec<i16>, text: &str) -> Self {
        Self { samples, pieces: pieces(text).collect(), frame: 0, piece: 0 }
    }

    const fn frames(&self) -> usize {
        self.samples.len().div_ceil(FRAME_SAMPLES)
    }

    const fn is_over(&self) -> bool {
        self.frame >= self.frames() && self.piece >= self.pieces.len()
    }

    fn step(&mut self) -> Said {
        let start = (self.frame * FRAME_SAMPLES).min(self.samples.len());
        let end = (start + FRAME_SAMPLES).min(self.samples.len());
        let mut samples = self.samples[start..end].to_vec();
        samples.resize(FRAME_SAMPLES, 0);
        let is_due = self.piece * self.frames() <= self.frame * self.pieces.len();
        let text = self.pieces.get(self.piece).filter(|_| is_due).cloned();
        self.piece += usize::from(text.is_some());
        self.frame += 1;
        Said { samples, text }
    }
}

/// A greeting for want of a recorded one: three rising whistles in 1.2 s.
pub(super) fn chirp() -> Arc<[i16]> {
    const WHISTLES: usize = 3;
    const LENGTH: usize = 9600;
    let sample = |at: usize| {
        let (whistle, at) = (at / LENGTH, (at % LENGTH) as f64);
        let time = at / HZ;
        let pitch = 700.0 + 200.0 * whistle as f64 + 500.0 * time;
        let envelope = (TAU / 2.0 * at / LENGTH as f64).sin();
        (6000.0 * envelope * (TAU * pitch * time).sin()) as i16
    };
    (0..WHISTLES * LENGTH).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: [i16; FRAME_SAMPLES] = [0; FRAME_SAMPLES];

    fn loud(n: i16) -> Vec<i16> {
        vec![n; FRAME_SAMPLES]
    }

    fn first_samples(parrot: &mut Parrot, input: &[Vec<i16>]) -> Vec<i16> {
        input.iter().map(|frame| parrot.step(frame).samples[0]).collect()
    }

    #[test]
    fn repeats_after_a_pause_with_the_frame_before() {
        let mut parrot = Parrot::new(&[]);
        let mut input = vec![vec![7; FRAME_SAMPLES], loud(1000), loud(2000)];
        input.resize(30, SILENCE.to_vec());
        let output = first_samples(&mut parrot, &input);
        assert_eq!(output[..10], [0; 10], "0.6 s of silence first");
        assert_eq!(output[10..14], [7, 1000, 2000, 0]);
        assert_eq!(output[14..], [0; 16], "and once only");
    }

    #[test]
    fn a_short_pause_belongs_to_what_is_said() {
        let mut parrot = Parrot::new(&[]);
        let mut input = vec![loud(1000)];
        input.resize(8, SILENCE.to_vec());
        input.push(loud(2000));
        input.resize(40, SILENCE.to_vec());
        let output = first_samples(&mut parrot, &input);
        let start = output.iter().position(|&sample| sample == 1000).unwrap();
        assert_eq!(start, 16);
        assert_eq!(output[start + 8], 2000);
    }

    #[test]
    fn a_click_is_not_repeated() {
        let mut parrot = Parrot::new(&[]);
        let mut input = vec![loud(5000)];
        input.resize(40, SILENCE.to_vec());
        assert_eq!(first_samples(&mut parrot, &input), [0; 40]);
        assert!(parrot.heard.is_empty());
    }

    #[test]
    fn remembers_20_s_at_most() {
        let mut parrot = Parrot::new(&[]);
        for _ in 0..1000 {
            parrot.step(&loud(3000));
        }
        assert_eq!(parrot.heard.len(), MEMORY);
        let mut said = 0;
        for _ in 0..1000 {
            said += usize::from(parrot.step(&SILENCE).samples[0] != 0);
        }
        assert_eq!(said, 250);
    }

    #[test]
    fn greeting_comes_first_with_its_text_spread_over_it() {
        let mut parrot = Parrot::new(&loud(9).repeat(40));
        let said: Vec<Said> = (0..60).map(|_| parrot.step(&SILENCE)).collect();
        assert_eq!(said.iter().filter(|said| said.samples[0] == 9).count(), 40);
        let text: String = said.iter().filter_map(|said| said.text.clone()).collect();
        assert_eq!(text.trim_start(), GREETING_TEXT);
        let last = said.iter().rposition(|said| said.text.is_some()).unwrap();
        assert!((30..40).contains(&last), "{last}");
    }

    #[test]
    fn what_is_said_into_the_greeting_is_repeated_after_it() {
        let mut parrot = Parrot::new(&loud(9).repeat(30));
        let mut input = vec![loud(1000), loud(1001)];
        input.resize(60, SILENCE.to_vec());
        let output = first_samples(&mut parrot, &input);
        assert_eq!(output.iter().position(|&sample| sample == 1000), Some(30));
    }

    #[test]
    fn more_text_than_audio_is_still_said() {
        let mut speech = Speech::new(loud(1), "a b c");
        let texts: Vec<_> = (0..4).map(|_| speech.step().text.unwrap_or_default()).collect();
        assert_eq!(texts, [" a", " b", " c", ""]);
        assert!(speech.is_over());
    }

    #[test]
    fn chirp_is_audible_and_soft_at_both_ends() {
        let chirp = chirp();
        assert!(chirp.iter().any(|&sample| sample > 5000));
        assert!(chirp[0].abs() < 100 && chirp[chirp.len() - 1].abs() < 100);
    }
}
