//! The machine's microphone and loudspeaker, in builds with the feature `audio`.

use std::collections::VecDeque;

use anyhow::{Context as _, anyhow, bail};
use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{
    Device, ErrorKind, FromSample, InputCallbackInfo, OutputCallbackInfo, Sample as _,
    SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfig,
    SupportedStreamConfigRange,
};
use voice_bot::core::audio::resample::{MAX_HZ, MIN_HZ, Resampler};

use super::ends::{Ear, Player, Report};
use super::mouth::{FRAME, RATE_HZ};

/// Devices that were found and can be used.
pub(super) struct Devices {
    microphone: (Device, SupportedStreamConfig),
    speaker: (Device, SupportedStreamConfig),
}

/// Devices that run; they stop when this is dropped.
pub(super) struct Running {
    _microphone: Stream,
    _speaker: Stream,
}

impl Devices {
    /// Finds the ones that this machine uses by default.
    ///
    /// # Errors
    /// When there is none, or it can only do what we cannot.
    pub(super) fn open() -> anyhow::Result<Self> {
        let host = cpal::default_host();
        let fix = "plug one in, or use --microphone FILE.wav --speaker FILE.wav";
        let microphone = host
            .default_input_device()
            .with_context(|| format!("this machine has no microphone; {fix}"))?;
        let speaker = host
            .default_output_device()
            .with_context(|| format!("this machine has no loudspeaker; {fix}"))?;
        let wanted = microphone.default_input_config().ok();
        let others = microphone.supported_input_configs().map(Iterator::collect);
        let input = choose(wanted, others.unwrap_or_default()).context("the microphone")?;
        let wanted = speaker.default_output_config().ok();
        let others = speaker.supported_output_configs().map(Iterator::collect);
        let output = choose(wanted, others.unwrap_or_default()).context("the loudspeaker")?;
        Ok(Self { microphone: (microphone, input), speaker: (speaker, output) })
    }

    /// Starts both.
    ///
    /// # Errors
    /// When a device does not let us, such as for want of permission.
    pub(super) fn start(self, ear: Ear, player: Player) -> anyhow::Result<Running> {
        let (device, config) = self.microphone;
        let ear = ear.at(config.sample_rate())?;
        let format = config.sample_format();
        let microphone = if format == SampleFormat::F32 {
            listen::<f32>(&device, config.config(), ear)
        } else if format == SampleFormat::I16 {
            listen::<i16>(&device, config.config(), ear)
        } else {
            listen::<i32>(&device, config.config(), ear)
        };
        let microphone = microphone.context("the microphone cannot be used")?;
        let (device, config) = self.speaker;
        let format = config.sample_format();
        let speaker = if format == SampleFormat::F32 {
            speak::<f32>(&device, config.config(), player)
        } else if format == SampleFormat::I16 {
            speak::<i16>(&device, config.config(), player)
        } else {
            speak::<i32>(&device, config.config(), player)
        };
        let speaker = speaker.context("the loudspeaker cannot be used")?;
        speaker.play().context("the loudspeaker does not start")?;
        microphone.play().context("the microphone does not start")?;
        Ok(Running { _microphone: microphone, _speaker: speaker })
    }
}

/// What the device does by default, if we can do it too, or else what comes nearest to the rate of
/// the call.
fn choose(
    wanted: Option<SupportedStreamConfig>,
    others: Vec<SupportedStreamConfigRange>,
) -> anyhow::Result<SupportedStreamConfig> {
    let able = [SampleFormat::F32, SampleFormat::I16, SampleFormat::I32];
    let fits = |config: &SupportedStreamConfig| {
        (MIN_HZ..=MAX_HZ).contains(&config.sample_rate()) && able.contains(&config.sample_format())
    };
    if let Some(config) = wanted.filter(fits) {
        return Ok(config);
    }
    let near = others.into_iter().filter_map(|range| {
        let hz = RATE_HZ.clamp(range.min_sample_rate(), range.max_sample_rate());
        range.try_with_sample_rate(hz)
    });
    near.filter(fits)
        .min_by_key(|config| config.sample_rate().abs_diff(RATE_HZ))
        .ok_or_else(|| anyhow!("gives no 16 or 32 bit samples at {MIN_HZ} to {MAX_HZ} Hz"))
}

fn listen<T: SizedSample>(
    device: &Device,
    config: StreamConfig,
    mut ear: Ear,
) -> anyhow::Result<Stream>
where
    i16: FromSample<T>,
{
    let channels = usize::from(config.channels).max(1);
    let mut mono = Vec::new();
    let hear = move |samples: &[T], _: &InputCallbackInfo| {
        mono.clear();
        // Where there are several, the first is the microphone.
        mono.extend(samples.chunks(channels).map(|all| i16::from_sample(all[0])));
        ear.hear(&mono);
    };
    // A microphone that is gone is silence, which the level shows; the call goes on.
    Ok(device.build_input_stream(config, hear, |_| {}, None)?)
}

fn speak<T: SizedSample + FromSample<i16>>(
    device: &Device,
    config: StreamConfig,
    mut player: Player,
) -> anyhow::Result<Stream> {
    let hz = config.sample_rate;
    if !(MIN_HZ..=MAX_HZ).contains(&hz) {
        bail!("{hz} Hz cannot be resampled");
    }
    let channels = usize::from(config.channels).max(1);
    let mut resampler = Resampler::new(RATE_HZ, hz)?;
    let mut ready = VecDeque::new();
    let teller = player.teller();
    let speak = move |out: &mut [T], about: &OutputCallbackInfo| {
        let stamp = about.timestamp();
        let ahead = stamp.playback.duration_since(stamp.callback).as_secs_f64();
        player.set_latency((ahead * f64::from(RATE_HZ)) as u64);
        for all in out.chunks_mut(channels) {
            if ready.is_empty() {
                let mut frame = [0; FRAME / 4];
                player.fill(&mut frame);
                ready.extend(resampler.process(&frame));
            }
            let sample = ready.pop_front().unwrap_or(0);
            all.fill(T::from_sample(sample));
        }
    };
    let fault = move |error: cpal::Error| {
        if error.kind() == ErrorKind::DeviceNotAvailable {
            drop(teller.try_send(Report::Broken(error.to_string())));
        }
    };
    Ok(device.build_output_stream(config, speak, fault, None)?)
}
