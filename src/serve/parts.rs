//! What a server is put together from, as its configuration says.

use std::sync::Arc;

use serde_json::json;
use tracing::{info, warn};
use url::Url;
use voice_bot_core::persona::Reading;
use voice_bot_core::pool;

use crate::config::{Config, EventKind, NoSlot, Personas};
use crate::live::Live;
use crate::recordings::Recordings;
use crate::store::{self, Archive, Keeper, StoreError};
use crate::telephony::browser::BrowserConfig;
use crate::telephony::twilio::LineConfig;
use crate::transcription::{Spoken, Transcription};
use crate::webhooks::{self, Webhooks};

/// Names those whose model forgets them long before `call.horizon_s`, as calls look ahead sooner.
pub(super) fn warn_of_long_prompts(config: &Config) {
    let Some(horizon) = config.call.horizon else { return };
    for persona in config.personas.iter() {
        let early = Reading::of(&persona.prompt).horizon();
        if early < horizon / 2 {
            let (persona, seconds) = (&persona.name, early.as_secs());
            warn!(persona, seconds, "a long prompt: another session has to go on that early");
        }
    }
}

/// Begins to keep calls, and to let the old ones go.
pub(super) fn keep(config: &Config) -> Result<(Keeper, Archive, Recordings), StoreError> {
    let store = store::open(&config.store)?;
    let instance = store::instance(&config.store, config.server.port);
    let keeper = Keeper::start(Arc::clone(&store), &instance);
    let told = keeper.clone();
    let recordings = Recordings::new(&config.recording, move |call, kept| {
        told.recorded(call.as_str(), kept.to_store())
    });
    recordings.tend();
    let archive = Archive::of(store, Arc::new(recordings.clone()), &instance);
    archive.sweep_always(&config.store);
    Ok((keeper, archive, recordings))
}

pub(super) fn browser_config(
    config: &Config,
    personas: Live<Personas>,
    transcription: Option<Transcription>,
) -> BrowserConfig {
    let (recorded, say) = (config.tape.keeps_content(), config.say.clone());
    BrowserConfig { personas, recorded, transcription, say }
}

pub(super) fn line_config(config: &Config, base: Url, personas: Live<Personas>) -> LineConfig {
    LineConfig {
        base,
        personas,
        say: config.say.clone(),
        twilio: config.twilio.clone(),
        outbound: config.outbound.clone(),
        time_limit: config.call.max_duration,
        admission: config.admission.clone(),
        lookup: config.lookup.clone(),
        recorded: config.tape.keeps_content(),
        transcribes: config.transcription.url.is_some(),
        start_timeout: config.call.start_timeout,
    }
}

/// The core's view of who is let in when.
pub(super) fn pool_config(config: &Config) -> pool::Config {
    let admission = &config.admission;
    let has_queue = admission.then == NoSlot::Queue;
    pool::Config {
        warm: config.engine.warm,
        ring: admission.ring,
        queue: if has_queue { admission.queue_callers } else { 0 },
        longest_wait: admission.longest_wait,
        ..pool::Config::default()
    }
}

/// Begins to have what callers say written down, if it is to be: it goes where the bot's words go,
/// each utterance by itself, as it may come after the end of its call.
pub(super) fn transcription(
    config: &Config,
    keeper: &Keeper,
    webhooks: Option<&Webhooks>,
) -> Option<Transcription> {
    let (keeper, webhooks) = (keeper.clone(), webhooks.cloned());
    let wanting = config.personas.iter().filter(|persona| persona.transcribe);
    let personas: Vec<&str> = wanting.map(|persona| persona.name.as_str()).collect();
    let personas = personas.join(", ");
    match config.transcription.url.as_ref().and_then(Url::host_str) {
        Some(host) => info!(host, personas, "what callers of these personas say is written down"),
        None if personas.is_empty() => {}
        None => warn!(personas, "nobody writes down what callers say: set transcription.url"),
    }
    Transcription::start(&config.transcription, move |spoken| {
        let Spoken { call, number, at, until, text } = spoken;
        keeper.heard(call.as_str(), *number, *at, *until, text);
        let Some(webhooks) = &webhooks else { return };
        let line = json!({
            "at_ms": at.as_millis() as u64,
            "until_ms": until.as_millis() as u64,
            "who": "caller",
            "text": text,
        });
        webhooks.send(webhooks::Event {
            kind: EventKind::Transcript,
            call: call.to_string(),
            data: json!({"call": call.as_str(), "lines": [line], "is_cut": false}),
            to: None,
        });
    })
}
