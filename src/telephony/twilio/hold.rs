//! What callers in the queue hear, in pieces: after each it is looked whether it is their turn.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use voice_bot_core::audio::tune;

use super::line::Line;
use crate::config::HoldMusic;

/// Samples of a piece: four seconds at 8 kHz.
const PIECE: usize = 4 * 8000;

/// The pieces, each a WAV file; never none.
#[derive(Debug)]
pub(super) struct Music(Vec<Bytes>);

impl Music {
    /// The operator's recording, or the program's own tune.
    pub(super) fn new(own: Option<&HoldMusic>) -> Self {
        let pieces = match own {
            Some(music) => music.samples.chunks(PIECE).map(wav).collect(),
            None => tune::samples().chunks(PIECE).map(wav).collect(),
        };
        Self(pieces)
    }

    /// The name of the piece that is heard after so many others.
    pub(super) fn name(&self, before: usize) -> String {
        format!("{}.wav", before % self.0.len().max(1))
    }

    fn piece(&self, name: &str) -> Option<Bytes> {
        self.0.get(name.strip_suffix(".wav")?.parse::<usize>().ok()?).cloned()
    }
}

/// `/twiml/hold/PIECE`: anybody may hear it.
pub(super) async fn piece(State(line): State<Line>, Path(name): Path<String>) -> Response {
    let headers = [(header::CONTENT_TYPE, "audio/wav"), (header::CACHE_CONTROL, "max-age=3600")];
    match line.music().piece(&name) {
        Some(piece) => (headers, piece).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Samples at 8 kHz as a WAV file: 16 bit PCM, mono.
fn wav(samples: &[i16]) -> Bytes {
    let length = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend(b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend(8000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    // Bytes and bits of a sample.
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    samples.iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_cut_into_wav_files_of_four_seconds() {
        let samples: Vec<i16> = (0..70_000).map(|n| (n % 1000) as i16).collect();
        let own = HoldMusic { file: "music.wav".into(), samples: samples.clone().into() };
        let music = Music::new(Some(&own));
        assert_eq!([0, 2, 3].map(|n| music.name(n)), ["0.wav", "2.wav", "0.wav"]);
        let folder = tempfile::tempdir().unwrap();
        let mut heard = Vec::new();
        for name in ["0.wav", "1.wav", "2.wav"] {
            let path = folder.path().join(name);
            std::fs::write(&path, music.piece(name).unwrap()).unwrap();
            let pcm = crate::wav::read_pcm(&path, 4).unwrap();
            assert_eq!(pcm.hz, 8000);
            heard.extend(pcm.samples);
        }
        assert_eq!(heard, samples);
        for nothing in ["3.wav", "0", "x.wav", "../0.wav", "-1.wav"] {
            assert_eq!(music.piece(nothing), None, "{nothing}");
        }
    }
}
