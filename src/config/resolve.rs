//! Turns what was said into a [`Config`]: each value from its topmost layer, checked once.

use std::path::Path;
use std::time::Duration;

use voice_bot_core::call::AtHorizon;
use voice_bot_core::persona::{Persona, Reading};
use voice_bot_core::wire::personaplex::check_voice;

use super::address::{engine_url, listen_host, public_url};
use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::rules::May;
use super::{
    CallConfig, Config, EngineConfig, EngineKind, EngineUrl, LatencyConfig, LogConfig, LogFilter,
    LogFilterError, LogFormat, Personas, SayConfig, ServerConfig, Trust, admission, lookup,
    metrics, outbound, personas, recording, sources, store, tape, telemetry, transcription, tunnel,
    twilio, webhooks,
};

/// Characters that Twilio speaks in one `<Say>` at most.
const SAY_LIMIT: usize = 4096;

pub(super) fn resolve(layers: &Layers<'_>) -> Result<Config, ConfigError> {
    let engine = engine(layers)?;
    let server = server(layers)?;
    let tunnel = tunnel::resolve(layers)?;
    let outbound = outbound::resolve(layers)?;
    let webhooks = webhooks::resolve(layers)?;
    let may = May { dial: &outbound.toll.allow, tell: webhooks.secret.is_some() };
    let personas = personas::resolve(layers, &engine.extra_voices, may)?;
    check_reading(layers, &engine, &personas)?;
    let api_token = outbound::api_token(layers)?;
    Ok(Config {
        admission: admission::resolve(layers, may)?,
        twilio: twilio::resolve(layers, &server)?,
        metrics: metrics::resolve(layers, api_token.is_some())?,
        telemetry: telemetry::resolve(layers)?,
        api_token,
        tunnel,
        webhooks,
        lookup: lookup::resolve(layers)?,
        store: store::resolve(layers)?,
        transcription: transcription::resolve(layers)?,
        server,
        personas,
        outbound,
        engine,
        call: call(layers)?,
        latency: latency(layers)?,
        say: say(layers)?,
        log: log(layers)?,
        tape: tape::resolve(layers)?,
        recording: recording::resolve(layers)?,
        sources: sources::collect(layers),
    })
}

/// Refuses a prompt that no engine would ever have read in time.
fn check_reading(
    layers: &Layers<'_>,
    engine: &EngineConfig,
    personas: &Personas,
) -> Result<(), ConfigError> {
    let patience = engine.handshake_timeout;
    let reads = engine.urls.iter().any(|url| url.kind == EngineKind::PersonaPlex);
    let takes = |persona: &Persona| Reading::of(&persona.prompt).takes(Reading::FAST_STEP);
    let mut hopeless = personas.iter().filter(|persona| takes(persona) > patience);
    let hopeless = hopeless.find(|persona| !personas.is_spare(persona));
    let Some(persona) = hopeless.filter(|_| reads) else { return Ok(()) };
    let seconds = takes(persona).as_secs() + 1;
    let problem = format!(
        "is too short for the prompt of persona \"{}\", which takes a fast GPU about {seconds} s \
         to read",
        persona.name
    );
    let fix = format!("shorten the prompt, or raise this to {}", 2 * seconds);
    let key = layers.key("engine.handshake_timeout_s");
    Err(key.refuse(patience.as_secs(), &problem, fix))
}

fn server(layers: &Layers<'_>) -> Result<ServerConfig, ConfigError> {
    let (raw, over, default) = (&layers.raw.server, layers.overrides, ServerConfig::default());
    let host = layers.text(over.host.as_ref(), "server.host", raw.host.as_ref());
    let url = layers.text(over.public_url.as_ref(), "server.public_url", raw.public_url.as_ref());
    let max_calls =
        layers.number("server.max_calls", raw.max_calls, default.max_calls as u64, 1..=10_000)?;
    let threads =
        raw.threads.map(|given| layers.number("server.threads", Some(given), 0, 1..=1024));
    Ok(ServerConfig {
        host: host.map_or(Ok(default.host), |host| listen_host(&host))?,
        port: port(layers)?.unwrap_or(default.port),
        public_url: url.map(|url| public_url(&url)).transpose()?,
        max_calls: usize::try_from(max_calls).unwrap_or(default.max_calls),
        threads: threads.transpose()?.and_then(|threads| usize::try_from(threads).ok()),
        shutdown_grace: layers.seconds(
            "server.shutdown_grace_s",
            raw.shutdown_grace_s,
            default.shutdown_grace,
            0..=3600,
        )?,
    })
}

fn port(layers: &Layers<'_>) -> Result<Option<u16>, ConfigError> {
    let (problem, fix) = ("is not a port", "use a number from 0 to 65535");
    if let Some(given) = &layers.overrides.port {
        return given.text.parse().map(Some).map_err(|_| given.refuse(problem, fix));
    }
    let checked = layers.raw.server.port.map(|port| {
        u16::try_from(port).map_err(|_| layers.key("server.port").refuse(port, problem, fix))
    });
    checked.transpose()
}

fn engine(layers: &Layers<'_>) -> Result<EngineConfig, ConfigError> {
    let (raw, default) = (&layers.raw.engine, EngineConfig::default());
    let probe = default.probe.unwrap_or_default();
    let probe = layers.seconds("engine.probe_s", raw.probe_s, probe, 0..=3600)?;
    let extra_voices = raw.extra_voices.clone().unwrap_or_default();
    for voice in &extra_voices {
        check_voice_file(layers, voice)?;
    }
    Ok(EngineConfig {
        urls: engine_urls(layers)?.unwrap_or(default.urls),
        trust: trust(layers)?,
        connect_timeout: layers.seconds(
            "engine.connect_timeout_s",
            raw.connect_timeout_s,
            default.connect_timeout,
            1..=60,
        )?,
        handshake_timeout: layers.seconds(
            "engine.handshake_timeout_s",
            raw.handshake_timeout_s,
            default.handshake_timeout,
            1..=600,
        )?,
        extra_voices,
        sessions: usize::try_from(layers.number("engine.sessions", raw.sessions, 1, 1..=256)?)
            .unwrap_or(default.sessions),
        warm: usize::try_from(layers.number("engine.warm", raw.warm, 0, 0..=10_000)?)
            .unwrap_or(default.warm),
        resolve: layers.seconds("engine.resolve_s", raw.resolve_s, default.resolve, 1..=86_400)?,
        probe: (!probe.is_zero()).then_some(probe),
    })
}

fn engine_urls(layers: &Layers<'_>) -> Result<Option<Vec<EngineUrl>>, ConfigError> {
    let (origin, texts): (_, Vec<&str>) =
        match (&layers.overrides.engine_urls, &layers.raw.engine.urls) {
            (Some(list), _) => (list.origin.clone(), list.text.split(',').collect()),
            (None, Some(list)) => {
                (layers.key("engine.urls"), list.iter().map(String::as_str).collect())
            }
            (None, None) => return Ok(None),
        };
    let mut urls: Vec<EngineUrl> = Vec::new();
    for text in texts.into_iter().map(str::trim).filter(|text| !text.is_empty()) {
        let given = Given { text: text.to_owned(), origin: origin.clone() };
        let url = engine_url(&given)?;
        if urls.iter().any(|known| known.is_same_server(&url)) {
            // A second connection to a server that is reading its prompts spoils the first.
            return Err(given.refuse("is named twice", "name each server once"));
        }
        urls.push(url);
    }
    if urls.is_empty() {
        let fix = "name at least one server, such as ws://127.0.0.1:8998";
        return Err(origin.refuse("[]", "names no server", fix));
    }
    Ok(Some(urls))
}

/// Refuses a voice name that would make the engine's server open another file than a voice.
fn check_voice_file(layers: &Layers<'_>, voice: &String) -> Result<(), ConfigError> {
    check_voice(voice, std::slice::from_ref(voice)).map_err(|_| {
        let fix = "use the plain name of a .pt file in the server's voice folder";
        layers.key("engine.extra_voices").refuse_text(voice, "is not a voice file", fix)
    })
}

fn trust(layers: &Layers<'_>) -> Result<Trust, ConfigError> {
    let raw = &layers.raw.engine;
    let insecure = raw.insecure.unwrap_or(false);
    let chosen = [raw.ca_file.is_some(), raw.pin_sha256.is_some(), insecure]
        .iter()
        .filter(|it| **it)
        .count();
    if chosen > 1 {
        let fix = "keep one of ca_file, pin_sha256 and insecure";
        let origin = layers.key("engine");
        return Err(origin.refuse("{…}", "says more than one way to trust the server", fix));
    }
    if let Some(file) = &raw.ca_file {
        let path = layers.file.parent().unwrap_or(Path::new("")).join(file);
        if !path.is_file() {
            let fix = "name a PEM file; a relative path starts at this file's folder";
            return Err(layers.key("engine.ca_file").refuse_text(file, "is not there", fix));
        }
        return Ok(Trust::CaFile(path));
    }
    if let Some(pin) = &raw.pin_sha256 {
        return parse_pin(pin).map(Trust::Pin).ok_or_else(|| {
            let fix = "use 64 hexadecimal digits, with or without colons";
            layers.key("engine.pin_sha256").refuse_text(pin, "is not a SHA-256 digest", fix)
        });
    }
    Ok(if insecure { Trust::Insecure } else { Trust::WebRoots })
}

fn parse_pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut pin = [0; 32];
    for (index, byte) in pin.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(pin)
}

fn call(layers: &Layers<'_>) -> Result<CallConfig, ConfigError> {
    let (raw, default) = (&layers.raw.call, CallConfig::default());
    let seconds = |key, value, default, limit| layers.seconds(key, value, default, 1..=limit);
    Ok(CallConfig {
        max_duration: seconds(
            "call.max_duration_s",
            raw.max_duration_s,
            default.max_duration,
            86_400,
        )?,
        caller_silence: seconds(
            "call.caller_silence_s",
            raw.caller_silence_s,
            default.caller_silence,
            600,
        )?,
        engine_silence: seconds(
            "call.engine_silence_s",
            raw.engine_silence_s,
            default.engine_silence,
            600,
        )?,
        start_timeout: seconds(
            "call.start_timeout_s",
            raw.start_timeout_s,
            default.start_timeout,
            120,
        )?,
        drain: layers.millis("call.drain_ms", raw.drain_ms, default.drain, 0..=30_000)?,
        recover: layers.seconds("call.recover_s", raw.recover_s, default.recover, 0..=120)?,
        horizon: horizon(layers, default.horizon)?,
        at_horizon: at_horizon(layers)?,
    })
}

fn horizon(
    layers: &Layers<'_>,
    default: Option<Duration>,
) -> Result<Option<Duration>, ConfigError> {
    let (key, raw) = ("call.horizon_s", layers.raw.call.horizon_s);
    let horizon = layers.seconds(key, raw, default.unwrap_or_default(), 0..=86_400)?;
    Ok((!horizon.is_zero()).then_some(horizon))
}

fn at_horizon(layers: &Layers<'_>) -> Result<AtHorizon, ConfigError> {
    let given = layers.text(None, "call.at_horizon", layers.raw.call.at_horizon.as_ref());
    let Some(given) = given else { return Ok(AtHorizon::default()) };
    match given.text.as_str() {
        "continue" => Ok(AtHorizon::Continue),
        "wrap-up" => Ok(AtHorizon::WrapUp),
        "end" => Ok(AtHorizon::End),
        _ => Err(given.refuse("is nothing that a call can do", "use continue, wrap-up or end")),
    }
}

fn latency(layers: &Layers<'_>) -> Result<LatencyConfig, ConfigError> {
    let (raw, default) = (&layers.raw.latency, LatencyConfig::default());
    let millis = |key, value, default| layers.millis(key, value, default, 100..=5000);
    let number = |key, value, default: u32, range| {
        layers.number(key, value, default.into(), range).map(|number| number as u32)
    };
    let slow_engine = layers.seconds(
        "latency.slow_engine_s",
        raw.slow_engine_s,
        default.slow_engine.unwrap_or_default(),
        0..=3600,
    )?;
    Ok(LatencyConfig {
        bound: millis("latency.bound_ms", raw.bound_ms, default.bound)?,
        stale: millis("latency.stale_ms", raw.stale_ms, default.stale)?,
        late_per_minute: number(
            "latency.late_per_minute",
            raw.late_per_minute,
            default.late_per_minute,
            0..=600,
        )?,
        slow_percent: number(
            "latency.slow_percent",
            raw.slow_percent,
            default.slow_percent,
            50..=99,
        )?,
        slow_engine: (!slow_engine.is_zero()).then_some(slow_engine),
    })
}

fn say(layers: &Layers<'_>) -> Result<SayConfig, ConfigError> {
    let (raw, default) = (&layers.raw.say, SayConfig::default());
    let word = |key: &str, value: &Option<String>, extra: char, fix: &str| {
        let Some(given) = layers.text(None, key, value.as_ref()) else { return Ok(None) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == extra;
        if given.text.is_empty() || !given.text.chars().all(allowed) {
            return Err(given.refuse("is not a name that Twilio has", fix));
        }
        Ok(Some(given.text))
    };
    let sentence = |key: &str, value: &Option<String>, default: String| {
        let Some(given) = layers.text(None, key, value.as_ref()) else { return Ok(default) };
        if given.text.chars().count() > SAY_LIMIT {
            return Err(given.refuse("is too long", "use 4096 characters or fewer"));
        }
        Ok(given.text)
    };
    let language = word("say.language", &raw.language, '-', "use a language such as en-US")?;
    Ok(SayConfig {
        language: language.unwrap_or(default.language),
        voice: word("say.voice", &raw.voice, '.', "use a voice such as Polly.Joanna")?,
        busy: sentence("say.busy", &raw.busy, default.busy)?,
        queued: sentence("say.queued", &raw.queued, default.queued)?,
        engine_failed: sentence("say.engine_failed", &raw.engine_failed, default.engine_failed)?,
        goodbye: sentence("say.goodbye", &raw.goodbye, default.goodbye)?,
        nobody_there: sentence("say.nobody_there", &raw.nobody_there, default.nobody_there)?,
        overflow: sentence("say.overflow", &raw.overflow, default.overflow)?,
        recorded: sentence("say.recorded", &raw.recorded, default.recorded)?,
        transcribed: sentence("say.transcribed", &raw.transcribed, default.transcribed)?,
    })
}

fn log(layers: &Layers<'_>) -> Result<LogConfig, ConfigError> {
    let (raw, over) = (&layers.raw.log, layers.overrides);
    let level = layers.text(over.log_level.as_ref(), "log.level", raw.level.as_ref());
    let format = layers.text(over.log_format.as_ref(), "log.format", raw.format.as_ref());
    let level = level.map(|given| {
        let parsed = given.text.parse::<LogFilter>();
        parsed.map_err(|error| given.refuse(LogFilterError::PROBLEM, error.fix()))
    });
    let format = format.map(|given| {
        let named = LogFormat::NAMES.into_iter().find(|(name, _)| *name == given.text);
        let fix = "use auto, pretty or json";
        named.map(|(_, format)| format).ok_or_else(|| given.refuse("is not a log format", fix))
    });
    Ok(LogConfig {
        level: level.transpose()?.unwrap_or_default(),
        format: format.transpose()?.unwrap_or_default(),
        show_personal_data: raw.show_personal_data.unwrap_or(false),
    })
}
