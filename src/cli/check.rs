//! `voice-bot check`: reads the configuration and asks each engine whether it can be reached.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;
use voice_bot::config::{Config, Flags, environment};
use voice_bot::serve::engines;
use voice_bot::telemetry;
use voice_bot_core::persona::Persona;

/// Read the configuration and ask each engine whether it can be reached
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Flags,
    /// How long an engine may take to be reached, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Prints what the configuration says.
///
/// # Errors
/// When the configuration is wrong or an engine cannot be reached.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config, &environment()?)?;
    // Warnings say why an engine cannot be reached.
    telemetry::init(&config.log)?;
    println!("listens on       {}", config.server.listen());
    match &config.server.public_url {
        Some(url) => println!("Twilio's webhook {}", url.join("twiml")?),
        None => println!("Twilio's webhook unknown: set server.public_url (PUBLIC_URL)"),
    }
    println!("personas         {}", names(&config));
    for persona in config.personas.iter() {
        println!("  {} starts with {}", persona.name, start(&config, persona));
    }
    for (number, persona) in config.personas.numbers() {
        println!("  {number} is answered by {}", persona.name);
    }
    let mut unreachable = Vec::new();
    for engine in engines(&config.engine).context("engine")? {
        let found = timeout(Duration::from_secs(args.timeout), engine.probe()).await;
        let state = match found {
            Ok(Ok(())) => "can be reached".to_owned(),
            Ok(Err(error)) => {
                unreachable.push(engine.name().to_owned());
                format!("FAILED: {error}")
            }
            Err(_) => {
                unreachable.push(engine.name().to_owned());
                format!("FAILED: no answer within {} s", args.timeout)
            }
        };
        println!("engine           {} {state}", engine.name());
    }
    if !unreachable.is_empty() {
        bail!(
            "engine.urls: {} cannot be reached; start PersonaPlex there, or name its address with \
             --engine-url, PERSONAPLEX_URL or engine.urls",
            unreachable.join(", ")
        );
    }
    Ok(())
}

/// What a caller hears before this persona speaks.
fn start(config: &Config, persona: &Persona) -> String {
    match config.personas.opening(&persona.name) {
        Some(sentence) => format!("{sentence:?}, then {}", persona.start),
        None => persona.start.to_string(),
    }
}

fn names(config: &Config) -> String {
    let default = config.personas.default_persona();
    let others = config.personas.iter().filter(|persona| persona.name != default.name);
    let mut text = format!("{} (default)", default.name);
    for persona in others {
        text.push_str(", ");
        text.push_str(&persona.name);
    }
    text
}
