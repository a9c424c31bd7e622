//! The `[start]` table of a persona file: what the caller hears until the engine speaks.

use std::path::Path;
use std::sync::Arc;

use voice_bot_core::persona::{CLIP_LIMIT_S, Clip, ClipError, Ringback, StartSound};

use super::error::{ConfigError, Origin};
use super::layers::Given;
use super::nearest::nearest;
use super::raw::RawStart;
use crate::wav::{self, WavError};

/// Characters of the sentence. Twilio speaks some 14 a second, and the slot of a call is kept for
/// 20 s from the webhook until the stream opens, which is after the sentence.
const SAY_LIMIT: usize = 160;

const SOUNDS: [&str; 3] = ["silence", "ringback", "clip"];

/// How to make a file that is taken.
const CONVERT: &str = "convert it with `ffmpeg -i IN -ar 8000 -ac 1 OUT.wav`";

/// What a call starts with.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) sound: StartSound,
    /// What the carrier's own voice says before the stream opens; never empty.
    pub(super) say: Option<Given>,
}

/// Checks the table of the persona in `file`.
pub(super) fn resolve(file: &Path, raw: &RawStart) -> Result<Start, ConfigError> {
    let key = |name: &str| Origin::File(file.to_owned(), format!("start.{name}"));
    let given = |name: &str, text: &Option<String>| {
        text.as_ref().map(|text| Given { text: text.trim().to_owned(), origin: key(name) })
    };
    let (country, clip) = (given("country", &raw.country), given("clip", &raw.clip));
    let silence = || Given { text: "silence".to_owned(), origin: key("sound") };
    let wanted = given("sound", &raw.sound).unwrap_or_else(silence);
    if !SOUNDS.contains(&&*wanted.text) {
        return Err(one_of(&wanted, "is not a start sound", &SOUNDS));
    }
    for (other, of) in [(&country, "ringback"), (&clip, "clip")] {
        if let Some(other) = other
            && of != wanted.text
        {
            let fix = format!("set start.sound = \"{of}\", or remove it");
            return Err(other.refuse("is not used", fix));
        }
    }
    let sound = match (&*wanted.text, clip) {
        ("ringback", _) => StartSound::Ringback(ringback(country)?),
        ("clip", Some(clip)) => StartSound::Clip(Arc::new(read_clip(file, &clip)?)),
        ("clip", None) => {
            let fix = "add clip = \"hello.wav\", or choose another start.sound".to_owned();
            return Err(ConfigError::MissingKey { origin: key("clip"), fix });
        }
        _ => StartSound::Silence,
    };
    Ok(Start { sound, say: sentence(given("say", &raw.say))? })
}

fn ringback(country: Option<Given>) -> Result<Ringback, ConfigError> {
    let Some(country) = country else { return Ok(Ringback::Us) };
    let found = Ringback::ALL.into_iter().find(|tone| tone.name() == country.text);
    let names = Ringback::ALL.map(Ringback::name);
    found.ok_or_else(|| one_of(&country, "is no country whose ringback is known", &names))
}

fn one_of(given: &Given, problem: &str, names: &[&str]) -> ConfigError {
    let fix = match nearest(&given.text, names.iter().copied()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("use one of: {}", names.join(", ")),
    };
    given.refuse(problem, fix)
}

/// The clip, whose path starts at the folder of the persona's file.
pub(super) fn read_clip(file: &Path, clip: &Given) -> Result<Clip, ConfigError> {
    let path = file.parent().unwrap_or(Path::new("")).join(&clip.text);
    let too_long = |seconds| {
        clip.refuse(
            &format!("is longer than {seconds} s"),
            format!("cut it with `ffmpeg -i IN -t {CLIP_LIMIT_S} OUT.wav`"),
        )
    };
    let pcm = wav::read_pcm(&path, CLIP_LIMIT_S).map_err(|error| match error {
        WavError::Open { source, .. } => clip.refuse(
            &format!("cannot be opened ({source})"),
            "name a WAV file; a relative path starts at this file's folder",
        ),
        WavError::NotWav { reason, .. } => {
            clip.refuse(&format!("is not a WAV file of PCM samples ({reason})"), CONVERT)
        }
        WavError::TooLong { seconds, .. } => too_long(seconds),
        WavError::Write { reason, .. } => clip.refuse(&reason, CONVERT),
    })?;
    Clip::new(pcm.hz, pcm.samples).map_err(|error| match error {
        ClipError::Empty => clip.refuse("has no samples", "record at least a moment"),
        ClipError::TooLong => too_long(CLIP_LIMIT_S),
        ClipError::Rate(error) => clip.refuse(&format!("cannot be resampled ({error})"), CONVERT),
    })
}

fn sentence(say: Option<Given>) -> Result<Option<Given>, ConfigError> {
    let Some(say) = say.filter(|say| !say.text.is_empty()) else { return Ok(None) };
    let length = say.text.chars().count();
    if length > SAY_LIMIT {
        let problem = format!("has {length} characters and takes too long to say");
        return Err(say.refuse(&problem, format!("shorten it to {SAY_LIMIT} at most")));
    }
    Ok(Some(say))
}
