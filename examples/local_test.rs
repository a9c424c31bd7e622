//! Plays a WAV file to an engine, without Twilio, and writes what it answers to another.
//!
//! ```sh
//! cargo run --example local_test -- IN.wav OUT.wav [ws://127.0.0.1:8998]
//! ```
//!
//! Without an address a demo engine answers. The input may have 8 to 48 kHz; the output is stereo,
//! 8 kHz, with the input on the left and the answer on the right, on one clock.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use voice_bot::config::Personas;
use voice_bot::core::audio::frame::Rate;
use voice_bot::dial::wav;
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use voice_bot::{Heard, VoiceBot};

/// How long the line stays open after the file's end, in frames of 20 ms.
const TAIL: usize = 50 * 6;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, url @ ..] = arguments.as_slice() else {
        return Err("usage: local_test IN.wav OUT.wav [ws://HOST:PORT]".into());
    };
    let said = wav::read(Path::new(input))?;
    let demo = DemoServer::start(TcpListener::bind("127.0.0.1:0").await?, DemoOptions::default())?;
    let url = match url {
        [url, ..] => url.parse()?,
        [] => format!("ws://{}", demo.address()).parse()?,
    };
    let bot = VoiceBot::new(vec![Arc::new(PersonaPlex::new(PersonaPlexConfig::new(url))?)]);
    let persona = Personas::default().default_persona().clone();
    let mut talk = bot.converse(persona, Rate::Hz8000).await?;

    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let (mut caller, mut answer) = (Vec::new(), Vec::new());
    let mut frames = said.chunks(160);
    // The file starts when the engine listens, which its first audio tells.
    let (mut listening, mut tail) = (false, TAIL);
    while tail > 0 {
        tokio::select! {
            _ = clock.tick() => {
                let mut frame = [0; 160];
                if listening {
                    match frames.next() {
                        Some(said) => frame[..said.len()].copy_from_slice(said),
                        None => tail -= 1,
                    }
                    caller.extend_from_slice(&frame);
                }
                talk.send(&frame);
            }
            heard = talk.recv() => match heard {
                Some(Heard::Audio(samples)) => {
                    listening = true;
                    // The answer is heard from now on, not from when the last one ended.
                    answer.resize(answer.len().max(caller.len()), 0);
                    answer.extend(samples);
                }
                Some(Heard::Cleared) => {}
                Some(Heard::Word(word)) => println!("{word}"),
                Some(Heard::Ended(record)) => return Err(record.reason.to_string().into()),
                None => break,
            },
        }
    }
    wav::write(Path::new(output), &caller, &answer)?;
    let record = talk.hang_up().await.ok_or("no record")?;
    println!("engine ready after {:?}; wrote {output}", record.primed_after.unwrap_or_default());
    Ok(())
}
