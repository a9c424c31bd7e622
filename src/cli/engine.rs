//! `voice-bot engine`: a stand-in for a PersonaPlex server, without a model and without a GPU.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use hound::SampleFormat;
use tokio::net::TcpListener;
use voice_bot::engine::demo::{DemoOptions, DemoServer, greeting};
use voice_bot_core::audio::resample::Resampler;
use voice_bot_core::demo::{Behaviour, Config, Faults, Line, Tone};

use super::shutdown;

/// The sample rate of the engine's own audio, in Hz.
const RATE: u32 = 24_000;

/// Run a stand-in for a PersonaPlex server: no model, no GPU, the same wire
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8998)]
    port: u16,
    /// What it says
    #[arg(long, value_enum, default_value_t = Says::Parrot)]
    behaviour: Says,
    /// With `--behaviour script`: a file of lines `FRAME say WORDS` and `FRAME tone HZ FRAMES`,
    /// where a frame is 80 ms
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// With `--behaviour parrot`: a WAV file to say first, mono, 16 bit
    #[arg(long, value_name = "WAV")]
    greeting: Option<PathBuf>,
    /// Time that each 80 ms of speech takes to compute, in ms
    #[arg(long, default_value_t = 10, value_name = "MS")]
    step_ms: u64,
    /// Compute slower from that frame on, in ms per frame
    #[arg(long, value_name = "FRAME:MS")]
    slow_from: Option<SlowFrom>,
    /// Say nothing more from that frame on, but stay connected
    #[arg(long, value_name = "FRAME")]
    stall_at: Option<u64>,
    /// Cut the connection instead of becoming ready
    #[arg(long)]
    drop_before_handshake: bool,
    /// Cut the connection after that many frames
    #[arg(long, value_name = "FRAMES")]
    drop_after: Option<u64>,
    /// Close in order after that many frames
    #[arg(long, value_name = "FRAMES")]
    close_after: Option<u64>,
}

/// What the demo engine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Says {
    /// A greeting, then whatever the caller said
    Parrot,
    /// The caller's audio, 80 ms later
    Echo,
    /// A tone of 440 Hz
    Tone,
    /// Lines from a file
    Script,
}

/// `FRAME:MS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SlowFrom {
    frame: u64,
    step: Duration,
}

impl FromStr for SlowFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(frame, step)| {
                Some(Self {
                    frame: frame.parse().ok()?,
                    step: Duration::from_millis(step.parse().ok()?),
                })
            })
            .ok_or_else(|| "write FRAME:MS, such as 250:120".to_owned())
    }
}

/// Serves the demo engine until Ctrl-C or SIGTERM.
///
/// # Errors
/// When a file cannot be used or the address cannot be listened on; the message names which.
#[expect(clippy::print_stdout, reason = "whoever starts it waits for this line")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let options = DemoOptions { config: config(&args)? };
    let address = (args.host, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {}:{}: choose another with --host or --port",
            args.host, args.port
        )
    })?;
    let server = DemoServer::start(listener, options).context("cannot start the demo engine")?;
    let asked = shutdown::watch()?;
    println!("demo engine listening on ws://{}/api/chat", server.address());
    asked.await;
    server.shutdown().await;
    Ok(())
}

fn config(args: &Args) -> anyhow::Result<Config> {
    Ok(Config {
        step: Duration::from_millis(args.step_ms),
        behaviour: behaviour(args)?,
        faults: Faults {
            slow_step: args.slow_from.map(|slow| (slow.frame, slow.step)),
            stall_at_frame: args.stall_at,
            drop_before_handshake: args.drop_before_handshake,
            drop_after_frames: args.drop_after,
            close_after_frames: args.close_after,
        },
        ..DemoOptions::default().config
    })
}

fn behaviour(args: &Args) -> anyhow::Result<Behaviour> {
    if args.greeting.is_some() && args.behaviour != Says::Parrot {
        bail!("--greeting needs --behaviour parrot; leave one of them out");
    }
    match (args.behaviour, &args.script) {
        (Says::Script, None) => bail!("--behaviour script needs --script FILE"),
        (Says::Script, Some(path)) => Ok(Behaviour::Script(read_script(path)?)),
        (Says::Parrot | Says::Echo | Says::Tone, Some(_)) => {
            bail!("--script needs --behaviour script; leave one of them out")
        }
        (Says::Parrot, None) => {
            let greeting = args.greeting.as_deref().map_or_else(|| Ok(greeting()), read_wav)?;
            Ok(Behaviour::Parrot { greeting })
        }
        (Says::Echo, None) => Ok(Behaviour::Echo),
        (Says::Tone, None) => Ok(Behaviour::Tone),
    }
}

/// Mono PCM at the engine's rate from a WAV file of any usual rate.
fn read_wav(path: &Path) -> anyhow::Result<Arc<[i16]>> {
    let named = || format!("--greeting {}: is not a readable WAV file", path.display());
    let reader = hound::WavReader::open(path).with_context(named)?;
    let spec = reader.spec();
    let sixteen_bits = spec.bits_per_sample == 16 && spec.sample_format == SampleFormat::Int;
    if spec.channels != 1 || !sixteen_bits {
        bail!(
            "--greeting {}: has {} channels of {} bit; convert it to mono, 16 bit PCM",
            path.display(),
            spec.channels,
            spec.bits_per_sample
        );
    }
    let samples = reader.into_samples().collect::<Result<Vec<i16>, _>>().with_context(named)?;
    if spec.sample_rate == RATE {
        return Ok(samples.into());
    }
    let mut resampler = Resampler::new(spec.sample_rate, RATE)
        .with_context(|| format!("--greeting {}", path.display()))?;
    let mut resampled = resampler.process(&samples);
    resampled.extend(resampler.flush());
    Ok(resampled.into())
}

fn read_script(path: &Path) -> anyhow::Result<Arc<[Line]>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--script {}: cannot be read", path.display()))?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(line) = script_line(line) else {
            bail!(
                "--script {}, line {number}: '{line}' is not understood; write \
                 'FRAME say WORDS' or 'FRAME tone HZ FRAMES', frames of 80 ms from 0",
                path.display()
            );
        };
        lines.push(line);
    }
    lines.sort_by_key(|line| line.at_frame);
    Ok(lines.into())
}

fn script_line(line: &str) -> Option<Line> {
    let (frame, rest) = line.split_once(char::is_whitespace)?;
    let at_frame = frame.parse().ok()?;
    let (verb, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    match verb {
        "say" => Some(Line { at_frame, text: rest.trim().to_owned(), tone: None }),
        "tone" => {
            let (hz, frames) = rest.trim().split_once(char::is_whitespace)?;
            let tone = Tone { hz: hz.parse().ok()?, frames: frames.trim().parse().ok()? };
            Some(Line { at_frame, text: String::new(), tone: Some(tone) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Config, String> {
        let words = std::iter::once("engine").chain(line.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        config(&command.args).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_arguments_it_is_a_parrot_that_greets() {
        let Ok(Config { behaviour: Behaviour::Parrot { greeting }, step, .. }) = parse("") else {
            panic!("it is no parrot");
        };
        assert!(greeting.len() > 3 * 24_000);
        assert_eq!(step, Duration::from_millis(10));
    }

    #[test]
    fn faults_are_taken_over() {
        let line = "--behaviour tone --slow-from 250:120 --stall-at 9 --drop-before-handshake \
                    --drop-after 7 --close-after 8 --step-ms 30";
        let config = parse(line).unwrap();
        assert!(matches!(config.behaviour, Behaviour::Tone));
        assert_eq!(config.step, Duration::from_millis(30));
        let expected = Faults {
            slow_step: Some((250, Duration::from_millis(120))),
            stall_at_frame: Some(9),
            drop_before_handshake: true,
            drop_after_frames: Some(7),
            close_after_frames: Some(8),
        };
        assert_eq!(config.faults, expected);
    }

    #[test]
    fn a_script_is_read_line_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# two\n\n50 tone 440 25\n0  say Hello there\n").unwrap();
        let lines = read_script(file.path()).unwrap();
        let say = Line { at_frame: 0, text: "Hello there".to_owned(), tone: None };
        let tone = Tone { hz: 440, frames: 25 };
        let tone = Line { at_frame: 50, text: String::new(), tone: Some(tone) };
        assert_eq!(*lines, [say, tone]);
    }

    #[test]
    fn errors_name_the_argument_the_place_and_the_fix() {
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "0 say Hi\n5 sing la\n").unwrap();
        let path = script.path().display();
        for (line, words) in [
            ("--slow-from 3".to_owned(), vec!["--slow-from", "250:120"]),
            ("--behaviour script".to_owned(), vec!["--script FILE"]),
            (format!("--script {path}"), vec!["--behaviour script"]),
            (format!("--behaviour script --script {path}"), vec!["line 2", "sing", "FRAME say"]),
            ("--behaviour script --script /no/file".to_owned(), vec!["/no/file"]),
            ("--greeting /no/file.wav".to_owned(), vec!["/no/file.wav"]),
            (format!("--greeting {path}"), vec!["WAV", "--greeting"]),
            ("--behaviour echo --greeting x.wav".to_owned(), vec!["--behaviour parrot"]),
        ] {
            let error = parse(&line).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        }
    }

    #[test]
    fn a_greeting_of_another_rate_is_resampled() {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(file.path(), spec).unwrap();
        for _ in 0..8000 {
            writer.write_sample(1000_i16).unwrap();
        }
        writer.finalize().unwrap();
        assert_eq!(read_wav(file.path()).unwrap().len(), 24_000);
    }
}
