//! What the caller says, 20 ms at a time.

use std::sync::Arc;
use std::time::Duration;

use voice_bot_core::audio::frame::{FRAME_MS, Rate};

const FRAME_SAMPLES: usize = Rate::Hz8000.frame_samples();

/// The caller's words, then silence for a while, then nothing.
#[derive(Debug)]
pub(super) struct Voice {
    samples: Arc<[i16]>,
    position: usize,
    silent_frames: u64,
}

impl Voice {
    pub(super) fn new(samples: Arc<[i16]>, tail: Duration) -> Self {
        let tail_ms = u64::try_from(tail.as_millis()).unwrap_or(u64::MAX);
        Self { samples, position: 0, silent_frames: tail_ms.div_ceil(FRAME_MS) }
    }

    /// The next 20 ms at 8 kHz; `None` once the caller hangs up.
    pub(super) fn next_frame(&mut self) -> Option<Vec<i16>> {
        let rest = &self.samples[self.position..];
        if rest.is_empty() {
            self.silent_frames = self.silent_frames.checked_sub(1)?;
        }
        let mut frame = rest[..rest.len().min(FRAME_SAMPLES)].to_vec();
        self.position += frame.len();
        frame.resize(FRAME_SAMPLES, 0);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_followed_by_the_tail_and_the_end() {
        let mut voice = Voice::new([7; 200].into(), Duration::from_millis(30));
        let frames: Vec<_> = std::iter::from_fn(|| voice.next_frame()).collect();
        assert_eq!(
            frames,
            [
                [7; 160].to_vec(),
                [[7; 40].to_vec(), [0; 120].to_vec()].concat(),
                vec![0; 160],
                vec![0; 160]
            ]
        );
        assert_eq!(voice.next_frame(), None);
    }
}
