//! Who is let in when: how long a caller hears ringing, and what becomes of one for whom no engine
//! is free after that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::rules::May;
use crate::wav::{self, WavError};

/// Longest music for those who wait, in seconds: all of it is kept in memory.
const MUSIC_SECONDS: u32 = 300;
const POLICIES: [(&str, NoSlot); 4] = [
    ("busy", NoSlot::Busy),
    ("reject", NoSlot::Reject),
    ("queue", NoSlot::Queue),
    ("overflow", NoSlot::Overflow),
];

/// Who is let in when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// How long a caller hears ringing at most, until an engine is free and primed; none: what is
    /// free is connected as it stands.
    pub ring: Duration,
    /// What becomes of a caller for whom none is free after that.
    pub then: NoSlot,
    /// Where callers go who can be served nowhere else: a number, `sip:` address or `https` address
    /// of TwiML.
    pub overflow: Option<String>,
    /// How many callers may wait in the queue.
    pub queue_callers: usize,
    /// How long a caller may wait, ringing included.
    pub longest_wait: Duration,
    /// What those in the queue hear; none: a tune of the program's own.
    pub hold_music: Option<HoldMusic>,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            ring: Duration::from_secs(8),
            then: NoSlot::Busy,
            overflow: None,
            queue_callers: 10,
            longest_wait: Duration::from_secs(120),
            hold_music: None,
        }
    }
}

/// What becomes of a caller for whom no engine is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// The call is answered, the busy sentence said.
    Busy,
    /// The call is not answered; the caller hears the busy tone.
    Reject,
    /// The call is answered, and the caller waits.
    Queue,
    /// The caller is connected elsewhere.
    Overflow,
}

impl NoSlot {
    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        POLICIES.into_iter().find(|(_, policy)| *policy == self).map_or("", |(name, _)| name)
    }
}

/// A recording for those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldMusic {
    /// The file.
    pub file: PathBuf,
    /// What is in it, as PCM in mono at 8 kHz.
    pub samples: Arc<[i16]>,
}

pub(super) fn resolve(layers: &Layers<'_>, may: May<'_>) -> Result<AdmissionConfig, ConfigError> {
    let (raw, default) = (&layers.raw.admission, AdmissionConfig::default());
    let given = |name: &str, text: &Option<String>| {
        layers.text(None, &format!("admission.{name}"), text.as_ref())
    };
    let then = given("then", &raw.then).map_or(Ok(default.then), |then| policy(&then))?;
    let overflow = given("overflow", &raw.overflow);
    let overflow = overflow.map(|to| may.dial_target(&to)).transpose()?;
    let ring = layers.seconds("admission.ring_s", raw.ring_s, default.ring, 0..=12)?;
    let longest_wait = layers.seconds(
        "admission.longest_wait_s",
        raw.longest_wait_s,
        default.longest_wait,
        20..=3600,
    )?;
    let queue_callers = layers.number(
        "admission.queue_callers",
        raw.queue_callers,
        default.queue_callers as u64,
        1..=100,
    )?;
    let hold_music = match given("hold_music", &raw.hold_music) {
        Some(file) if then != NoSlot::Queue => {
            let fix = "set admission.then = \"queue\", or remove it";
            return Err(file.refuse("is heard by nobody", fix));
        }
        file => file.map(|file| music(layers.file, &file)).transpose()?,
    };
    if then == NoSlot::Overflow && overflow.is_none() {
        let fix = "set admission.overflow to a number, sip: address or https:// address of TwiML";
        return Err(layers.key("admission.then").refuse_text("overflow", "has nowhere to go", fix));
    }
    Ok(AdmissionConfig {
        ring,
        then,
        overflow,
        queue_callers: usize::try_from(queue_callers).unwrap_or(default.queue_callers),
        longest_wait,
        hold_music,
    })
}

fn policy(then: &Given) -> Result<NoSlot, ConfigError> {
    let named = POLICIES.into_iter().find(|(name, _)| *name == then.text);
    let fix = "use \"busy\", \"reject\", \"queue\" or \"overflow\"";
    named.map(|(_, policy)| policy).ok_or_else(|| then.refuse("is no policy", fix))
}

/// The recording, whose path starts at the folder of the configuration file.
fn music(config: &Path, given: &Given) -> Result<HoldMusic, ConfigError> {
    let file = config.parent().unwrap_or(Path::new("")).join(&given.text);
    let samples = wav::read(&file).map_err(|error| match error {
        WavError::Open { source, .. } => given.refuse(
            &format!("cannot be opened ({source})"),
            "name a WAV file; a relative path starts at this file's folder",
        ),
        WavError::NotWav { .. } | WavError::TooLong { .. } | WavError::Write { .. } => given
            .refuse(
                "is not a WAV file of PCM samples",
                "convert it with `ffmpeg -i IN -ar 8000 -ac 1 OUT.wav`",
            ),
    })?;
    if samples.is_empty() || samples.len() > (MUSIC_SECONDS * 8000) as usize {
        let fix = format!("use 1 to {MUSIC_SECONDS} s: `ffmpeg -i IN -t {MUSIC_SECONDS} OUT.wav`");
        return Err(given.refuse("has the wrong length", fix));
    }
    Ok(HoldMusic { file, samples: samples.into() })
}
