//! Reads recordings from WAV files and writes down what was heard.

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use voice_bot_core::audio::resample::Resampler;

/// Samples per second of what [`read`] gives and [`write()`] takes.
const RATE_HZ: u32 = 8000;

/// A caller's sentence: 8 kHz, mono, 16 bit.
const BUNDLED_SPEECH: &[u8] = include_bytes!("../assets/caller.wav");

/// Longest recording that [`read`] takes, in seconds.
const MAX_SECONDS: u32 = 3600;

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// There is no such file, or it may not be read.
    #[error("{}: cannot be opened ({source}); name a WAV file that exists", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What opening it gave.
        source: std::io::Error,
    },
    /// The file is not a WAV file, or a broken one.
    #[error(
        "{}: is not a WAV file of PCM samples ({reason}); convert it with \
         `ffmpeg -i IN -ar 8000 -ac 1 OUT.wav`", path.display()
    )]
    NotWav {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The recording is too long.
    #[error(
        "{}: is longer than {seconds} seconds; cut it with `ffmpeg -i IN -t {seconds} OUT.wav`",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be.
        seconds: u32,
    },
    /// The recording cannot be written.
    #[error(
        "{}: cannot be written ({reason}); name a file in a folder that exists", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What writing it gave.
        reason: String,
    },
}

/// A recording in mono, at its own rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcm {
    /// Samples per second, as the file says; any number.
    pub hz: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

/// The recording in `path` as 8 kHz mono PCM.
///
/// Reads what [`read_pcm`] does, at 8 to 48 kHz and up to an hour.
///
/// # Errors
/// [`WavError`] when there is no such file or it holds anything else.
pub fn read(path: &Path) -> Result<Vec<i16>, WavError> {
    let pcm = read_pcm(path, MAX_SECONDS)?;
    let mut resampler = Resampler::new(pcm.hz, RATE_HZ)
        .map_err(|error| WavError::NotWav { path: path.to_owned(), reason: error.to_string() })?;
    let mut resampled = resampler.process(&pcm.samples);
    resampled.extend(resampler.flush());
    Ok(resampled)
}

/// The recording in `path` as mono PCM.
///
/// Reads PCM of 8, 16, 24 or 32 bits and 32 bit floating point, mono or stereo (mixed down), of up
/// to `max_seconds`.
///
/// # Errors
/// [`WavError`] when there is no such file or it holds anything else.
pub fn read_pcm(path: &Path, max_seconds: u32) -> Result<Pcm, WavError> {
    let file = std::fs::File::open(path)
        .map_err(|source| WavError::Open { path: path.to_owned(), source })?;
    let not_wav = |reason: String| WavError::NotWav { path: path.to_owned(), reason };
    let reader = WavReader::new(std::io::BufReader::new(file))
        .map_err(|error| not_wav(error.to_string()))?;
    let spec = reader.spec();
    if !(1..=2).contains(&spec.channels) {
        return Err(not_wav(format!("it has {} channels, not 1 or 2", spec.channels)));
    }
    if reader.duration() > spec.sample_rate.saturating_mul(max_seconds) {
        return Err(WavError::TooLong { path: path.to_owned(), seconds: max_seconds });
    }
    let samples = samples(reader, spec).map_err(|error| not_wav(error.to_string()))?;
    Ok(Pcm { hz: spec.sample_rate, samples: mix_down(&samples, spec.channels) })
}

/// Writes the caller (left) and the bot (right) as 16 bit stereo at 8 kHz; the shorter side is
/// filled up with silence.
///
/// # Errors
/// [`WavError::Write`] when the file cannot be written.
pub fn write(path: &Path, caller: &[i16], bot: &[i16]) -> Result<(), WavError> {
    let spec = WavSpec {
        channels: 2,
        sample_rate: RATE_HZ,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let write = || -> Result<(), hound::Error> {
        let mut writer = WavWriter::create(path, spec)?;
        for n in 0..caller.len().max(bot.len()) {
            writer.write_sample(caller.get(n).copied().unwrap_or(0))?;
            writer.write_sample(bot.get(n).copied().unwrap_or(0))?;
        }
        writer.finalize()
    };
    write().map_err(|error| WavError::Write { path: path.to_owned(), reason: error.to_string() })
}

/// All samples, channels interleaved, as 16 bit PCM.
fn samples<R: std::io::Read>(
    reader: WavReader<R>,
    spec: WavSpec,
) -> Result<Vec<i16>, hound::Error> {
    let bits = u32::from(spec.bits_per_sample);
    match spec.sample_format {
        SampleFormat::Float => {
            let scale = |sample: f32| (sample * 32_768.0).round() as i16;
            reader.into_samples::<f32>().map(|sample| sample.map(scale)).collect()
        }
        SampleFormat::Int if bits <= 16 => {
            let scale = |sample: i32| (sample << (16 - bits)) as i16;
            reader.into_samples::<i32>().map(|sample| sample.map(scale)).collect()
        }
        SampleFormat::Int => {
            let scale = |sample: i32| (sample >> (bits - 16)) as i16;
            reader.into_samples::<i32>().map(|sample| sample.map(scale)).collect()
        }
    }
}

fn mix_down(samples: &[i16], channels: u16) -> Vec<i16> {
    let mean = |frame: &[i16]| {
        let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
        (sum / i32::from(channels)) as i16
    };
    samples.chunks_exact(usize::from(channels)).map(mean).collect()
}

/// A caller's sentence that comes with the program, as 8 kHz PCM.
#[must_use]
pub fn bundled_speech() -> Vec<i16> {
    WavReader::new(BUNDLED_SPEECH)
        .and_then(|wav| wav.into_samples().collect::<Result<_, _>>())
        .expect("the bundled sentence is a WAV file of 16 bit samples, see the tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(channels: u16, sample_rate: u32, bits: u16, sample_format: SampleFormat) -> WavSpec {
        WavSpec { channels, sample_rate, bits_per_sample: bits, sample_format }
    }

    /// A second of a 440 Hz tone at half of full scale, written with `spec`.
    fn tone(path: &Path, spec: WavSpec) {
        let mut writer = WavWriter::create(path, spec).unwrap();
        for n in 0..spec.sample_rate {
            let phase = f64::from(n) * 440.0 / f64::from(spec.sample_rate);
            let value = (phase * std::f64::consts::TAU).sin() * 0.5;
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                    SampleFormat::Int => {
                        let full = 2f64.powi(i32::from(spec.bits_per_sample) - 1);
                        writer.write_sample((value * full) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
    }

    #[test]
    fn every_usual_form_gives_the_same_tone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        for (channels, rate, bits, format) in [
            (1, 8000, 8, SampleFormat::Int),
            (1, 8000, 16, SampleFormat::Int),
            (2, 48_000, 24, SampleFormat::Int),
            (1, 44_100, 32, SampleFormat::Int),
            (2, 24_000, 32, SampleFormat::Float),
        ] {
            tone(&path, spec(channels, rate, bits, format));
            let pcm = read_pcm(&path, 1).unwrap();
            assert_eq!((pcm.hz, pcm.samples.len()), (rate, rate as usize));
            let samples = read(&path).unwrap();
            assert!(samples.len().abs_diff(8000) <= 2, "{rate}: {}", samples.len());
            // Half of full scale as a sine: -6 - 3 dB.
            let level = crate::dial::dbfs(&samples[1000..7000]);
            assert!((level + 9.03).abs() < 0.2, "{rate} {bits}: {level}");
        }
    }

    #[test]
    fn a_recording_comes_back_in_stereo() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        write(&path, &[1, 2, 3], &[4]).unwrap();
        let mut reader = WavReader::open(&path).unwrap();
        assert_eq!(reader.spec(), spec(2, 8000, 16, SampleFormat::Int));
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples, [1, 4, 2, 0, 3, 0]);
    }

    #[test]
    fn errors_name_the_file_and_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.mp3");
        let missing = read(&path).unwrap_err().to_string();
        assert!(missing.contains("notes.mp3") && missing.contains("that exists"), "{missing}");
        for content in [&b""[..], b"ID3 not a wav at all", b"RIFF\x04\0\0\0WAVE"] {
            std::fs::write(&path, content).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("notes.mp3: is not a WAV"), "{message}");
            assert!(message.contains("ffmpeg"), "{message}");
        }
        tone(&path, spec(3, 8000, 16, SampleFormat::Int));
        assert!(read(&path).unwrap_err().to_string().contains("3 channels"));
        assert!(read_pcm(&path, 0).unwrap_err().to_string().contains("3 channels"));
        tone(&path, spec(1, 8000, 16, SampleFormat::Int));
        assert!(read_pcm(&path, 0).unwrap_err().to_string().contains("longer than 0 seconds"));
        let nowhere = folder.path().join("no/such.wav");
        assert!(write(&nowhere, &[], &[]).unwrap_err().to_string().contains("such.wav"));
    }
}
