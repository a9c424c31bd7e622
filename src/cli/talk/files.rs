//! Files in place of a microphone and a speaker, at the pace of the clock.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use hound::{SampleFormat, WavSpec, WavWriter};
use voice_bot::core::audio::resample::Resampler;
use voice_bot::dial::wav::read_pcm;

use super::ends::{Ear, Player, Report};
use super::mouth::{FRAME, RATE_HZ};

/// How long a file may be that is said.
const LONGEST_S: u32 = 3600;

const TICK: Duration = Duration::from_millis(20);

/// After so many ticks what is heard is in the file, and can be read there: a second.
const FLUSH: u32 = 50;

/// What is said, and where what is heard is to be written.
pub(super) struct Files {
    said: Vec<i16>,
    tail: Duration,
    speaker: Option<PathBuf>,
}

/// Files that are open.
pub(super) struct Open {
    said: Vec<i16>,
    tail: Duration,
    speaker: Option<(PathBuf, WavWriter<BufWriter<File>>)>,
}

impl Files {
    /// Reads the one, and looks whether the other can be written; what is in it stays.
    ///
    /// # Errors
    /// When a file cannot be read or written, in words for who named it.
    pub(super) fn new(
        microphone: &Path,
        speaker: Option<PathBuf>,
        tail: Duration,
    ) -> anyhow::Result<Self> {
        let pcm = read_pcm(microphone, LONGEST_S).context("--microphone")?;
        let mut resampler = Resampler::new(pcm.hz, RATE_HZ)
            .with_context(|| format!("--microphone {}", microphone.display()))?;
        let mut said = resampler.process(&pcm.samples);
        said.extend(resampler.flush());
        if let Some(path) = &speaker {
            let same = path.canonicalize().is_ok_and(|speaker| {
                microphone.canonicalize().is_ok_and(|microphone| microphone == speaker)
            });
            if same {
                bail!("--speaker {}: is what --microphone says; name another", path.display());
            }
            try_to_write(path).map_err(|error| not_made(path, &error))?;
        }
        Ok(Self { said, tail, speaker })
    }

    /// Begins what is heard, in place of what was in that file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(self) -> anyhow::Result<Open> {
        let Self { said, tail, speaker } = self;
        let spec = WavSpec {
            channels: 1,
            sample_rate: RATE_HZ,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let speaker = speaker.map(|path| match WavWriter::create(&path, spec) {
            Ok(writer) => Ok((path, writer)),
            Err(error) => Err(not_made(&path, &error)),
        });
        Ok(Open { said, tail, speaker: speaker.transpose()? })
    }
}

impl Open {
    /// Says and hears, until the call is over.
    ///
    /// # Errors
    /// When what is heard cannot be written.
    pub(super) fn run(mut self, mut ear: Ear, mut player: Player) -> anyhow::Result<()> {
        let begun = Instant::now();
        let said = self.said.len().div_ceil(FRAME) as u32;
        let end = said + (self.tail.as_millis() / TICK.as_millis()) as u32;
        let mut out = [0; FRAME];
        for tick in 0_u32.. {
            sleep((begun + TICK * tick).saturating_duration_since(Instant::now()));
            player.fill(&mut out);
            if player.is_over() {
                break;
            }
            if let Some((path, writer)) = &mut self.speaker {
                let mut written = out.iter().map(|sample| writer.write_sample(*sample));
                written.try_for_each(|done| done).with_context(|| cannot_write(path))?;
                if tick % FLUSH == FLUSH - 1 {
                    writer.flush().with_context(|| cannot_write(path))?;
                }
            }
            let from = self.said.len().min(tick as usize * FRAME);
            let mut frame = self.said[from..self.said.len().min(from + FRAME)].to_vec();
            frame.resize(FRAME, 0);
            ear.hear(&frame);
            if tick == end {
                player.tell(Report::Done);
            }
        }
        match self.speaker {
            Some((path, writer)) => writer.finalize().with_context(|| cannot_write(&path)),
            None => Ok(()),
        }
    }
}

/// Whether a file can be written, or made where there is none.
fn try_to_write(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(about) if about.is_file() || about.is_dir() => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        // A pipe would wait for its reader.
        Ok(_) => Ok(()),
        Err(_) => match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(_) => remove_file(path),
            // A link that leads to nothing yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        },
    }
}

fn not_made(path: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!(
        "--speaker {}: cannot be written ({error}); name a file in a folder that exists",
        path.display()
    )
}

fn cannot_write(path: &Path) -> String {
    format!("--speaker {}: cannot be written", path.display())
}
