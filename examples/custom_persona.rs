//! Talks to a persona that is made up in code, and prints what it says.
//!
//! ```sh
//! cargo run --example custom_persona                          # a demo engine answers
//! cargo run --example custom_persona ws://127.0.0.1:8998      # a PersonaPlex server
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use voice_bot::core::audio::frame::Rate;
use voice_bot::core::persona::Persona;
use voice_bot::core::wire::personaplex::{check_voice, request_target};
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use voice_bot::{Heard, VoiceBot};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let persona = Persona::new(
        "astronaut",
        "NATM1.pt",
        "You are Sam, an astronaut on the way to Mars. You are calm and a little bored, \
                 and you love to be asked about the view.",
    );
    // What a configuration file would have been told at its loading.
    check_voice(&persona.voice, &[])?;
    request_target(&persona.voice, &persona.prompt)?;

    let demo = DemoServer::start(TcpListener::bind("127.0.0.1:0").await?, DemoOptions::default())?;
    let url = match std::env::args().nth(1) {
        Some(url) => url.parse()?,
        None => format!("ws://{}", demo.address()).parse()?,
    };
    let bot = VoiceBot::new(vec![Arc::new(PersonaPlex::new(PersonaPlexConfig::new(url))?)]);
    let mut talk = bot.converse(persona, Rate::Hz24000).await?;

    // The model's clock is what it hears, so it is sent silence, 20 ms at a time.
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let silence = vec![0; Rate::Hz24000.frame_samples()];
    let (mut seconds, mut ticks) = (0.0, 0);
    while ticks < 50 * 8 {
        tokio::select! {
            _ = clock.tick() => {
                talk.send(&silence);
                ticks += 1;
            }
            heard = talk.recv() => match heard {
                Some(Heard::Audio(samples)) => seconds += samples.len() as f32 / 24_000.0,
                Some(Heard::Cleared) => {}
                Some(Heard::Word(word)) => println!("{word}"),
                Some(Heard::Ended(record)) => return Err(record.reason.to_string().into()),
                None => break,
            },
        }
    }
    println!("{seconds:.1} s of speech in {} s of call", ticks / 50);
    talk.hang_up().await;
    Ok(())
}
