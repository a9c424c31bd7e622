//! Gives a bot an engine of one's own: here one that answers every sentence with a tone.
//!
//! ```sh
//! cargo run --example own_engine
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use voice_bot::core::audio::frame::Rate;
use voice_bot::core::audio::level::Level;
use voice_bot::core::leg::engine::{Command, Event, Link, OpenError};
use voice_bot::core::leg::{Audio, Format};
use voice_bot::core::persona::Persona;
use voice_bot::engine::{BoxFuture, Engine, Session};
use voice_bot::port::{EnginePort, FarEnd};
use voice_bot::{Heard, VoiceBot};

/// The rate at which this engine hears and speaks; the bot converts.
const RATE: Rate = Rate::Hz24000;

/// Beeps for half a second whenever the caller has finished saying something.
struct Beeper;

impl Engine for Beeper {
    fn name(&self) -> &str {
        "beeper"
    }

    fn sessions(&self) -> usize {
        100
    }

    fn open(&self, persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        Box::pin(async move {
            let (port, far) = EnginePort::pair(64, 64);
            tokio::spawn(converse(persona, far));
            // It speaks only now and then, so its silence does not mean that it has died.
            let link = Link { format: Format::Pcm(RATE), lockstep: false };
            Ok(Session::new(link, port))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }
}

/// One session: ends when the bot lets go of its side.
async fn converse(persona: Persona, mut far: FarEnd<Event, Command>) {
    let mut level = Level::new(RATE);
    let mut was_speaking = false;
    if far.events.send(Event::Ready).await.is_err() {
        return;
    }
    while let Some(command) = far.commands.recv().await {
        let Command::Audio(Audio::Pcm(samples)) = command else { continue };
        level.push(&samples);
        let finished = was_speaking && !level.is_active();
        was_speaking = level.is_active();
        if finished {
            let text = format!(" {}:beep", persona.name);
            let tone = Audio::Pcm(tone(Duration::from_millis(500)));
            if far.events.send(Event::Text(text)).await.is_err()
                || far.events.send(Event::Audio(tone)).await.is_err()
            {
                return;
            }
        }
    }
}

fn tone(length: Duration) -> Vec<i16> {
    let hz = RATE.hz() as f32;
    let sample = |n: usize| (8000.0 * (TAU * 880.0 * n as f32 / hz).sin()) as i16;
    (0..(length.as_secs_f32() * hz) as usize).map(sample).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bot = VoiceBot::new(vec![Arc::new(Beeper)]);
    let persona = Persona::new("robot", String::new(), "Beep.");
    let mut talk = bot.converse(persona, Rate::Hz16000).await?;

    // One second of noise, which the engine takes for speech, then silence.
    let mut noise = 1_u32;
    let mut heard_ms = 0;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for frame in 0..150 {
        clock.tick().await;
        let mut loud = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 18) as i16 - 8192
        };
        let samples: Vec<i16> = (0..320).map(|_| if frame < 50 { loud() } else { 0 }).collect();
        talk.send(&samples);
        while let Ok(Some(heard)) = tokio::time::timeout(Duration::ZERO, talk.recv()).await {
            match heard {
                Heard::Audio(samples) => heard_ms += samples.len() / 16,
                Heard::Cleared => {}
                Heard::Word(word) => println!("the engine says: {word}"),
                Heard::Ended(record) => println!("ended early: {}", record.reason),
            }
        }
    }
    let record = talk.hang_up().await.ok_or("no record")?;
    println!("heard {heard_ms} ms of tone; the call ended because {}", record.reason);
    Ok(())
}
