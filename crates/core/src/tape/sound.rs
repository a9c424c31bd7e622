//! The sound on a tape: all of it, or only how loud it was, from which noise is made again.

use serde::{Deserialize, Serialize};

use crate::audio::frame::Rate;
use crate::audio::{mulaw, opus};
use crate::call::working_rate;
use crate::leg::{Audio, Format};

/// The level of a stretch in which every sample is 0.
const SILENT: i8 = i8::MIN;
/// The quietest other level, in dBFS.
const QUIETEST: i8 = -96;

/// A piece of audio as a tape has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sound {
    /// mu-law codes, in base64.
    Mulaw(#[serde(with = "bytes")] Vec<u8>),
    /// An Opus packet, in base64.
    Opus(#[serde(with = "bytes")] Vec<u8>),
    /// PCM, in base64 of its samples, the low byte first.
    Pcm(#[serde(with = "samples")] Vec<i16>),
    /// How loud mu-law was.
    MulawNoise(Noise),
    /// How loud PCM was.
    PcmNoise(Noise),
    /// How loud an Opus packet was.
    OpusNoise(Noise),
    /// Audio that could not be decoded, and was not kept.
    Unreadable,
}

impl Sound {
    /// All of it.
    pub(super) fn kept(audio: &Audio) -> Self {
        match audio {
            Audio::Mulaw(codes) => Self::Mulaw(codes.clone()),
            Audio::Opus(packet) => Self::Opus(packet.clone()),
            Audio::Pcm(samples) => Self::Pcm(samples.clone()),
        }
    }

    /// A clip, all of it or how loud it is.
    pub(super) fn of_clip(samples: &[i16], rate: Rate, kept: bool) -> Self {
        if kept { Self::Pcm(samples.to_vec()) } else { Self::PcmNoise(Noise::of(samples, rate)) }
    }

    /// The audio again, with noise for what was not kept; `seed` picks which.
    pub(super) fn to_audio(&self, seed: u64) -> Audio {
        match self {
            Self::Mulaw(codes) => Audio::Mulaw(codes.clone()),
            Self::Opus(packet) => Audio::Opus(packet.clone()),
            Self::Pcm(samples) => Audio::Pcm(samples.clone()),
            Self::MulawNoise(noise) => Audio::Mulaw(mulaw::encode_all(&noise.make(seed))),
            Self::PcmNoise(noise) => Audio::Pcm(noise.make(seed)),
            Self::OpusNoise(noise) => {
                let packet = opus::encode_alone(&noise.make(seed), noise.rate);
                Audio::Opus(packet.unwrap_or_default())
            }
            // No leg can decode an empty packet.
            Self::Unreadable => Audio::Opus(Vec::new()),
        }
    }
}

/// How loud a stretch of samples was, 20 ms by 20 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Noise {
    samples: usize,
    rate: Rate,
    levels: Vec<i8>,
}

/// [`Noise`] as anybody may have written it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    samples: usize,
    rate: Rate,
    levels: Vec<i8>,
}

impl TryFrom<Unchecked> for Noise {
    type Error = &'static str;

    fn try_from(Unchecked { samples, rate, levels }: Unchecked) -> Result<Self, Self::Error> {
        if samples.div_ceil(rate.frame_samples()) != levels.len() {
            return Err("a noise has one level for every 20 ms");
        }
        if levels.iter().any(|level| *level != SILENT && !(QUIETEST..=0).contains(level)) {
            return Err("a level is -96 to 0, or -128 for silence");
        }
        Ok(Self { samples, rate, levels })
    }
}

impl Noise {
    fn of(samples: &[i16], rate: Rate) -> Self {
        let levels = samples.chunks(rate.frame_samples()).map(level).collect();
        Self { samples: samples.len(), rate, levels }
    }

    /// White noise that is as loud, and silent where it was; the same for the same seed.
    fn make(&self, seed: u64) -> Vec<i16> {
        let mut state = seed;
        let mut samples = Vec::with_capacity(self.samples);
        for level in &self.levels {
            let size = self.rate.frame_samples().min(self.samples - samples.len());
            let amplitude = amplitude(*level);
            let span = u64::from(amplitude) * 2 + 1;
            samples.extend((0..size).map(|_| {
                let above = ((random(&mut state) >> 32) * span) >> 32;
                (above as i32 - i32::from(amplitude)) as i16
            }));
        }
        samples
    }
}

/// The power of some samples in dBFS, rounded.
fn level(samples: &[i16]) -> i8 {
    let square = |sample: &i16| u64::from(sample.unsigned_abs()).pow(2);
    let squares: u64 = samples.iter().map(square).sum();
    if squares == 0 {
        return SILENT;
    }
    let power = squares as f64 / (samples.len() as f64 * f64::from(1 << 30));
    (10.0 * power.log10()).round().max(f64::from(QUIETEST)) as i8
}

/// The largest sample of white noise of that level. Its samples are spread evenly, so that its
/// power is a third of its largest sample's.
fn amplitude(level: i8) -> u16 {
    if level == SILENT {
        return 0;
    }
    let power = 3.0 * 10f64.powf(f64::from(level) / 10.0);
    (power.sqrt() * 32_768.0).clamp(1.0, 32_767.0) as u16
}

/// The next of a row of evenly spread numbers: SplitMix64 (Steele, Lea and Flood, 2014).
const fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Takes the sound off one leg and leaves how loud it was.
#[derive(Debug, Default)]
pub(super) struct Muffler {
    format: Option<Format>,
    decoder: Option<(Rate, opus::Decoder)>,
}

impl Muffler {
    /// The leg carries this format, in a call that works at that rate.
    pub(super) fn open(&mut self, format: Format, working: Rate) {
        self.format = Some(format);
        let decoder = (format == Format::Opus).then(|| opus::Decoder::new(working).ok()).flatten();
        self.decoder = decoder.map(|decoder| (working, decoder));
    }

    /// How loud this was. Audio that is not in the leg's format cannot be read by the call either.
    pub(super) fn muffle(&mut self, audio: &Audio) -> Sound {
        match (self.format, audio) {
            (Some(Format::Mulaw), Audio::Mulaw(codes)) => {
                Sound::MulawNoise(Noise::of(&mulaw::decode_all(codes), Rate::Hz8000))
            }
            (Some(Format::Pcm(rate)), Audio::Pcm(samples)) => {
                Sound::PcmNoise(Noise::of(samples, rate))
            }
            (Some(Format::Opus), Audio::Opus(packet)) => self.decode(packet),
            (Some(_) | None, Audio::Mulaw(_) | Audio::Pcm(_) | Audio::Opus(_)) => Sound::Unreadable,
        }
    }

    fn decode(&mut self, packet: &[u8]) -> Sound {
        let Some((rate, decoder)) = &mut self.decoder else { return Sound::Unreadable };
        match decoder.decode(packet) {
            Ok(samples) => Sound::OpusNoise(Noise::of(&samples, *rate)),
            Err(_) => Sound::Unreadable,
        }
    }
}

/// The rate at which a call works whose caller has this format, if it has one yet.
pub(super) fn rate_of(caller: Option<Format>) -> Rate {
    caller.map_or(Rate::Hz8000, working_rate)
}

/// Bytes in base64.
mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserialize as _, Error};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Samples in base64 of their bytes, the low one first.
mod samples {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(samples: &[i16], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        super::bytes::serialize(&bytes, to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<i16>, D::Error> {
        let bytes = super::bytes::deserialize(from)?;
        match bytes.as_chunks::<2>() {
            (samples, []) => Ok(samples.iter().copied().map(i16::from_le_bytes).collect()),
            (_, _) => Err(D::Error::custom("PCM of half a sample")),
        }
    }
}
