//! Every value of the configuration under its key, without secrets.

use std::time::Duration;

use serde::Serialize;
use voice_bot_core::call::AtHorizon;

use crate::config::{
    AdmissionConfig, Config, EngineConfig, EngineUrl, LatencyConfig, LogFormat, MachinePolicy,
    OutboundConfig, RecordingConfig, SayConfig, StoreConfig, TranscriptionConfig, Trust,
    TwilioConfig, UpgradeSignature, WebhooksConfig,
};

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key, as in voice-bot.toml, or its variable where no file may hold it.
    pub key: &'static str,
    /// Its value; of a secret, `set` or `not set`.
    pub value: String,
}

const NONE: &str = "not set";

/// All of them, in the order of the example file.
pub(super) fn list(config: &Config) -> Vec<Setting> {
    let Config {
        server,
        engine,
        call,
        latency,
        say,
        personas,
        log,
        tape,
        recording,
        twilio,
        outbound,
        admission,
        ..
    } = config;
    let numbers = personas.numbers().map(|(number, persona)| format!("{number} {}", persona.name));
    let mut all = vec![
        ("server.host", server.host.to_string()),
        ("server.port", server.port.to_string()),
        ("server.public_url", or_none(server.public_url.as_ref())),
        ("server.max_calls", server.max_calls.to_string()),
        ("server.threads", server.threads.map_or("one a core".into(), |count| count.to_string())),
        ("server.shutdown_grace_s", seconds(server.shutdown_grace)),
    ];
    all.extend(of_engine(engine));
    all.extend([
        ("call.max_duration_s", seconds(call.max_duration)),
        ("call.caller_silence_s", seconds(call.caller_silence)),
        ("call.engine_silence_s", seconds(call.engine_silence)),
        ("call.start_timeout_s", seconds(call.start_timeout)),
        ("call.drain_ms", millis(call.drain)),
        ("call.recover_s", seconds(call.recover)),
        ("call.horizon_s", call.horizon.map_or("never".to_owned(), seconds)),
        ("call.at_horizon", at_horizon(call.at_horizon).to_owned()),
    ]);
    all.extend(of_admission(admission));
    all.extend(of_latency(latency));
    all.extend(of_say(say));
    all.extend([
        ("personas.default", personas.default_persona().name.clone()),
        ("personas.numbers", listed(numbers)),
        ("personas.edit", personas.can_edit().to_string()),
        ("log.level", log.level.directives()),
        ("log.format", format_name(log.format).to_owned()),
        ("log.show_personal_data", log.show_personal_data.to_string()),
        ("tape.dir", or_none(tape.dir.as_ref().map(|dir| dir.display()))),
        ("tape.words", tape.words.to_string()),
        ("tape.audio", tape.audio.to_string()),
        ("tape.max_mb", (tape.max_bytes / 1_000_000).to_string()),
    ]);
    all.extend(of_recording(recording));
    all.extend(of_twilio(twilio));
    all.extend(of_outbound(outbound));
    all.push(("VOICE_BOT_API_TOKEN", is_set(config.api_token.is_some())));
    all.extend(of_webhooks(&config.webhooks));
    all.extend(of_store(&config.store));
    all.extend(of_transcription(&config.transcription));
    all.extend([
        ("lookup.url", or_none(config.lookup.url.as_ref().map(without_secrets))),
        ("lookup.deadline_ms", millis(config.lookup.deadline)),
        ("VOICE_BOT_LOOKUP_TOKEN", is_set(config.lookup.token.is_some())),
        ("metrics.listen", or_none(config.metrics.listen)),
        ("telemetry.otlp_url", or_none(config.telemetry.otlp_url.as_ref().map(without_secrets))),
        ("telemetry.sample_percent", config.telemetry.sample_percent.to_string()),
    ]);
    all.into_iter().map(|(key, value)| Setting { key, value }).collect()
}

fn of_engine(engine: &EngineConfig) -> [(&'static str, String); 9] {
    let trust = match &engine.trust {
        Trust::WebRoots => "public authorities".to_owned(),
        Trust::CaFile(file) => format!("public authorities and {}", file.display()),
        Trust::Pin(_) => "the pinned certificate alone".to_owned(),
        Trust::Insecure => "any certificate".to_owned(),
    };
    [
        ("engine.urls", listed(engine.urls.iter().map(engine_url))),
        ("engine (trusted)", trust),
        ("engine.connect_timeout_s", seconds(engine.connect_timeout)),
        ("engine.handshake_timeout_s", seconds(engine.handshake_timeout)),
        ("engine.extra_voices", listed(engine.extra_voices.iter().cloned())),
        ("engine.sessions", engine.sessions.to_string()),
        ("engine.warm", engine.warm.to_string()),
        ("engine.resolve_s", seconds(engine.resolve)),
        ("engine.probe_s", engine.probe.map_or("never".to_owned(), seconds)),
    ]
}

const fn at_horizon(what: AtHorizon) -> &'static str {
    match what {
        AtHorizon::Continue => "continue",
        AtHorizon::WrapUp => "wrap-up",
        AtHorizon::End => "end",
    }
}

fn of_latency(latency: &LatencyConfig) -> [(&'static str, String); 5] {
    [
        ("latency.bound_ms", millis(latency.bound)),
        ("latency.stale_ms", millis(latency.stale)),
        ("latency.late_per_minute", latency.late_per_minute.to_string()),
        ("latency.slow_percent", latency.slow_percent.to_string()),
        ("latency.slow_engine_s", latency.slow_engine.map_or("never".to_owned(), seconds)),
    ]
}

fn of_admission(admission: &AdmissionConfig) -> [(&'static str, String); 6] {
    let music = admission.hold_music.as_ref().map(|music| music.file.display());
    [
        ("admission.ring_s", seconds(admission.ring)),
        ("admission.then", admission.then.name().to_owned()),
        ("admission.overflow", or_none(admission.overflow.as_ref())),
        ("admission.queue_callers", admission.queue_callers.to_string()),
        ("admission.longest_wait_s", seconds(admission.longest_wait)),
        ("admission.hold_music", music.map_or("its own".to_owned(), |file| file.to_string())),
    ]
}

fn of_say(say: &SayConfig) -> [(&'static str, String); 10] {
    [
        ("say.language", say.language.clone()),
        ("say.voice", say.voice.clone().unwrap_or_else(|| "Twilio's own".to_owned())),
        ("say.busy", say.busy.clone()),
        ("say.queued", say.queued.clone()),
        ("say.engine_failed", say.engine_failed.clone()),
        ("say.goodbye", say.goodbye.clone()),
        ("say.nobody_there", say.nobody_there.clone()),
        ("say.overflow", say.overflow.clone()),
        ("say.recorded", say.recorded.clone()),
        ("say.transcribed", say.transcribed.clone()),
    ]
}

fn of_twilio(twilio: &TwilioConfig) -> [(&'static str, String); 9] {
    let upgrade = match twilio.upgrade_signature {
        UpgradeSignature::Require => "require",
        UpgradeSignature::Warn => "warn",
        UpgradeSignature::Off => "off",
    };
    let rule = |on: bool| if on { "require" } else { "off" }.to_owned();
    let limit = |limit: Option<u32>| limit.map_or("any".to_owned(), |limit| limit.to_string());
    [
        ("TWILIO_ACCOUNT_SID", or_none(twilio.account_sid.as_ref())),
        ("TWILIO_AUTH_TOKEN", is_set(twilio.auth_token.is_some())),
        ("TWILIO_SHARED_KEY", is_set(twilio.shared_key.is_some())),
        ("twilio.api_url", without_secrets(&twilio.api_url)),
        ("twilio.webhook_signature", rule(twilio.webhook_signature)),
        ("twilio.upgrade_signature", upgrade.to_owned()),
        ("twilio.stream_token", rule(twilio.stream_token)),
        ("twilio.calls_per_minute_from", limit(twilio.calls_per_minute_from)),
        ("twilio.calls_per_minute_to", limit(twilio.calls_per_minute_to)),
    ]
}

fn of_outbound(outbound: &OutboundConfig) -> [(&'static str, String); 7] {
    let (machine, message) = match &outbound.machine {
        MachinePolicy::Talk => ("talk", None),
        MachinePolicy::HangUp => ("hang_up", None),
        MachinePolicy::Message(message) => ("message", Some(message)),
    };
    [
        ("outbound.from", or_none(outbound.from.as_ref())),
        ("outbound.allow", listed(outbound.toll.allow.iter().cloned())),
        ("outbound.max_calls", outbound.toll.at_once.to_string()),
        ("outbound.max_calls_a_day", outbound.toll.in_a_day.to_string()),
        ("outbound.ring_s", seconds(outbound.ring)),
        ("outbound.machine", machine.to_owned()),
        ("outbound.message", or_none(message)),
    ]
}

fn of_webhooks(webhooks: &WebhooksConfig) -> [(&'static str, String); 7] {
    let events = webhooks.events.iter().map(|kind| kind.name().to_owned());
    [
        ("webhooks.url", or_none(webhooks.url.as_ref().map(without_secrets))),
        ("webhooks.events", listed(events)),
        ("webhooks.spool_dir", webhooks.spool_dir.display().to_string()),
        ("webhooks.spool_mb", (webhooks.spool_bytes / 1_000_000).to_string()),
        ("webhooks.timeout_s", seconds(webhooks.timeout)),
        ("webhooks.give_up_after_h", (webhooks.give_up_after.as_secs() / 3600).to_string()),
        ("VOICE_BOT_WEBHOOK_SECRET", is_set(webhooks.secret.is_some())),
    ]
}

fn of_recording(recording: &RecordingConfig) -> [(&'static str, String); 7] {
    let s3 = recording.s3.as_ref();
    let endpoint = s3.and_then(|s3| s3.endpoint.as_ref());
    [
        ("recording.dir", recording.dir.display().to_string()),
        ("recording.format", recording.format.extension().to_owned()),
        ("recording.s3", or_none(s3.map(|s3| s3.place("")))),
        ("recording.s3_endpoint", or_none(endpoint)),
        ("recording.s3_region", or_none(s3.map(|s3| &s3.region))),
        ("VOICE_BOT_S3_ACCESS_KEY_ID", or_none(s3.map(|s3| &s3.access_key_id))),
        ("VOICE_BOT_RECORDING_KEY", is_set(!recording.keys.is_empty())),
    ]
}

fn of_store(store: &StoreConfig) -> [(&'static str, String); 4] {
    let days = |keep: Duration| (keep.as_secs() / 86_400).to_string();
    let megabytes = |bytes: u64| (bytes / 1_000_000).to_string();
    [
        ("store.url", store.place.shown()),
        (
            "store.instance",
            store.instance.clone().unwrap_or_else(|| "host name and port".to_owned()),
        ),
        ("store.keep_days", store.keep.map_or("for ever".to_owned(), days)),
        ("store.max_mb", store.max_bytes.map_or("any".to_owned(), megabytes)),
    ]
}

fn of_transcription(transcription: &TranscriptionConfig) -> [(&'static str, String); 7] {
    let language = transcription.language.clone();
    [
        ("transcription.url", or_none(transcription.url.as_ref().map(without_secrets))),
        ("transcription.model", transcription.model.clone()),
        ("transcription.language", language.unwrap_or_else(|| "found out".to_owned())),
        ("transcription.when", transcription.when.name().to_owned()),
        ("transcription.requests", transcription.requests.to_string()),
        ("transcription.timeout_s", seconds(transcription.timeout)),
        ("VOICE_BOT_TRANSCRIPTION_KEY", is_set(transcription.key.is_some())),
    ]
}

fn engine_url(engine: &EngineUrl) -> String {
    engine.with_url(without_secrets(&engine.url))
}

/// The address without user name, password and query, which a library's user may have put there.
pub(super) fn without_secrets(url: &url::Url) -> String {
    let mut url = url.clone();
    let has_user = !url.username().is_empty() || url.password().is_some();
    // An address that cannot have a user has none to be taken away.
    if has_user && (url.set_password(None).is_err() || url.set_username("***").is_err()) {
        return "***".to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.to_string()
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn is_set(is_set: bool) -> String {
    if is_set { "set" } else { NONE }.to_owned()
}

fn listed(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

fn seconds(duration: Duration) -> String {
    duration.as_secs().to_string()
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

const fn format_name(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Auto => "auto",
        LogFormat::Pretty => "pretty",
        LogFormat::Json => "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn every_key_of_the_example_file_is_listed() {
        let example: toml::Table = include_str!("../../voice-bot.example.toml").parse().unwrap();
        let listed: Vec<&str> =
            list(&Config::default()).into_iter().map(|setting| setting.key).collect();
        for (section, keys) in &example {
            for key in keys.as_table().unwrap().keys() {
                let key = format!("{section}.{key}");
                // These say whom to trust, which is one setting, or where the rest was read.
                let elsewhere = ["engine.insecure", "personas.dir", "recording.s3_allow_http"];
                assert!(listed.contains(&&*key) || elsewhere.contains(&&*key), "{key}");
            }
        }
    }

    #[test]
    fn secrets_are_not_listed() {
        let mut config = Config::default();
        let secret = || Some(Secret::new("hunter2".to_owned()));
        config.twilio.auth_token = secret();
        config.api_token = secret();
        config.engine.urls = vec!["wss://me:hunter2@gpu/?token=hunter2".parse().unwrap()];
        let all = format!("{:?}", list(&config));
        assert!(!all.contains("hunter2"), "{all}");
        assert!(all.contains("wss://***@gpu/?***"), "{all}");
    }
}
