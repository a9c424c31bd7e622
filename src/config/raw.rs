//! The configuration file and the persona file as written: every key optional, no value checked.
//! Unknown keys are refused by name; what the TOML parser says becomes one numbered line.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Origin};
use super::nearest::nearest;

/// `voice-bot.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) server: RawServer,
    pub(super) engine: RawEngine,
    pub(super) call: RawCall,
    pub(super) latency: RawLatency,
    pub(super) admission: RawAdmission,
    pub(super) say: RawSay,
    pub(super) personas: RawPersonas,
    pub(super) log: RawLog,
    pub(super) tape: RawTape,
    pub(super) recording: RawRecording,
    pub(super) twilio: RawTwilio,
    pub(super) outbound: RawOutbound,
    pub(super) webhooks: RawWebhooks,
    pub(super) lookup: RawLookup,
    pub(super) metrics: RawMetrics,
    pub(super) telemetry: RawTelemetry,
    pub(super) store: RawStore,
    pub(super) transcription: RawTranscription,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAdmission {
    pub(super) ring_s: Option<i64>,
    pub(super) then: Option<String>,
    pub(super) overflow: Option<String>,
    pub(super) queue_callers: Option<i64>,
    pub(super) longest_wait_s: Option<i64>,
    pub(super) hold_music: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLookup {
    pub(super) url: Option<String>,
    pub(super) deadline_ms: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTelemetry {
    pub(super) otlp_url: Option<String>,
    pub(super) sample_percent: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawServer {
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) public_url: Option<String>,
    pub(super) max_calls: Option<i64>,
    pub(super) threads: Option<i64>,
    pub(super) shutdown_grace_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawEngine {
    pub(super) urls: Option<Vec<String>>,
    pub(super) ca_file: Option<String>,
    pub(super) pin_sha256: Option<String>,
    pub(super) insecure: Option<bool>,
    pub(super) connect_timeout_s: Option<i64>,
    pub(super) handshake_timeout_s: Option<i64>,
    pub(super) extra_voices: Option<Vec<String>>,
    pub(super) sessions: Option<i64>,
    pub(super) warm: Option<i64>,
    pub(super) probe_s: Option<i64>,
    pub(super) resolve_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCall {
    pub(super) max_duration_s: Option<i64>,
    pub(super) caller_silence_s: Option<i64>,
    pub(super) engine_silence_s: Option<i64>,
    pub(super) start_timeout_s: Option<i64>,
    pub(super) drain_ms: Option<i64>,
    pub(super) recover_s: Option<i64>,
    pub(super) horizon_s: Option<i64>,
    pub(super) at_horizon: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLatency {
    pub(super) bound_ms: Option<i64>,
    pub(super) stale_ms: Option<i64>,
    pub(super) late_per_minute: Option<i64>,
    pub(super) slow_percent: Option<i64>,
    pub(super) slow_engine_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSay {
    pub(super) language: Option<String>,
    pub(super) voice: Option<String>,
    pub(super) busy: Option<String>,
    pub(super) queued: Option<String>,
    pub(super) engine_failed: Option<String>,
    pub(super) goodbye: Option<String>,
    pub(super) nobody_there: Option<String>,
    pub(super) overflow: Option<String>,
    pub(super) recorded: Option<String>,
    pub(super) transcribed: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPersonas {
    pub(super) dir: Option<String>,
    pub(super) default: Option<String>,
    pub(super) numbers: Option<BTreeMap<String, String>>,
    pub(super) edit: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
    pub(super) show_personal_data: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTape {
    pub(super) dir: Option<String>,
    pub(super) words: Option<bool>,
    pub(super) audio: Option<bool>,
    pub(super) max_mb: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTwilio {
    pub(super) api_url: Option<String>,
    pub(super) webhook_signature: Option<String>,
    pub(super) upgrade_signature: Option<String>,
    pub(super) stream_token: Option<String>,
    pub(super) calls_per_minute_from: Option<i64>,
    pub(super) calls_per_minute_to: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawOutbound {
    pub(super) from: Option<String>,
    pub(super) allow: Option<Vec<String>>,
    pub(super) max_calls: Option<i64>,
    pub(super) max_calls_a_day: Option<i64>,
    pub(super) ring_s: Option<i64>,
    pub(super) machine: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWebhooks {
    pub(super) url: Option<String>,
    pub(super) events: Option<Vec<String>>,
    pub(super) spool_dir: Option<String>,
    pub(super) spool_mb: Option<i64>,
    pub(super) timeout_s: Option<i64>,
    pub(super) give_up_after_h: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) url: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) keep_days: Option<i64>,
    pub(super) max_mb: Option<i64>,
}

/// `personas/NAME.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPersona {
    pub(super) name: Option<String>,
    pub(super) voice: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) overflow: Option<String>,
    pub(super) record: Option<bool>,
    pub(super) transcribe: Option<bool>,
    pub(super) start: RawStart,
    pub(super) rules: Vec<RawRule>,
    pub(super) variables: BTreeMap<String, String>,
}

/// One of `[[rules]]` of `personas/NAME.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) name: Option<String>,
    pub(super) bot_says: Option<String>,
    pub(super) bot_says_regex: Option<String>,
    pub(super) caller_presses: Option<String>,
    pub(super) silence_s: Option<i64>,
    pub(super) caller_silence_s: Option<i64>,
    pub(super) call_lasts_s: Option<i64>,
    pub(super) again: Option<bool>,
    pub(super) webhook: Option<String>,
    pub(super) play: Option<String>,
    pub(super) send_digits: Option<String>,
    pub(super) transfer: Option<String>,
    pub(super) say: Option<String>,
    pub(super) hang_up: Option<bool>,
}

/// `[start]` of `personas/NAME.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStart {
    pub(super) sound: Option<String>,
    pub(super) country: Option<String>,
    pub(super) clip: Option<String>,
    pub(super) say: Option<String>,
}

/// Reads the configuration file; an absent one is an empty one, unless it is `required`.
pub(super) fn read(file: &Path, required: bool) -> Result<RawConfig, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(file, &text),
        Err(error) if error.kind() == ErrorKind::NotFound && !required => Ok(RawConfig::default()),
        Err(error) => Err(ConfigError::Unreadable {
            origin: Origin::Flag("--config"),
            path: file.to_owned(),
            problem: error.to_string(),
            fix: "name a readable file, or leave --config out to use the defaults".to_owned(),
        }),
    }
}

/// Reads `text`, the content of `file`.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(file, text, error))
}

fn explain(file: &Path, text: &str, mut error: toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let message = one_line(error.message());
    error.set_input(None);
    // Without its input the error prints the path of the key that it is about, in backticks.
    let printed = error.to_string();
    let path =
        printed.rsplit_once("\nin `").map_or("", |(_, path)| path.trim_end_matches(['`', '\n']));
    if let Some((key, known)) = unknown_field(&message) {
        return explain_unknown(file, line, path, key, &known);
    }
    let problem = match message.strip_prefix("invalid type: ") {
        Some(rest) => format!("{path} has the wrong type: {}", in_words(rest)),
        None if message.starts_with("duplicate key") => {
            "this key or section is there twice; keep one".to_owned()
        }
        None => format!(
            "not TOML ({message}); write key = value, texts in \"quotes\", lists in [brackets]"
        ),
    };
    ConfigError::Syntax { file: file.to_owned(), line, problem }
}

/// The key and the known ones, if this is what serde says about a key that it does not know.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let (key, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((key, rest.split('`').skip(1).step_by(2).collect()))
}

fn explain_unknown(
    file: &Path,
    line: usize,
    section: &str,
    key: &str,
    known: &[&str],
) -> ConfigError {
    let file = file.to_owned();
    let lower = key.to_lowercase();
    let is_key = section == "transcription" && lower.contains("key");
    let secrets = ["twilio", "token", "secret", "password", "account_sid"];
    if is_key || secrets.iter().any(|secret| lower.contains(secret)) {
        let variables = match section {
            "webhooks" => "VOICE_BOT_WEBHOOK_SECRET",
            "store" => "VOICE_BOT_STORE_PASSWORD",
            "transcription" => "VOICE_BOT_TRANSCRIPTION_KEY",
            "recording" => "VOICE_BOT_S3_ACCESS_KEY_ID and VOICE_BOT_S3_SECRET_ACCESS_KEY",
            _ if lower.contains("ngrok") => "NGROK_AUTHTOKEN",
            _ => "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
        };
        return ConfigError::SecretInFile { file, line, key: key.to_owned(), variables };
    }
    let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
    let fix = match nearest(key, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("use one of: {}", known.join(", ")),
    };
    ConfigError::UnknownKey { file, line, key: one_line(key), place, fix }
}

/// serde's `FOUND, expected TYPE`, as a person would say it.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let fix = match expected {
        "i64" => "use a whole number",
        "a string" => "use a text in \"quotes\"",
        "a boolean" => "use true or false",
        "a sequence" => "use a list such as [\"a\", \"b\"]",
        "a map" | "table" => "use a section in [brackets]",
        other if other.starts_with("struct ") => "use a section in [brackets]",
        other => return format!("{found}; use {other}"),
    };
    format!("{found}; {fix}")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `[transcription]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTranscription {
    pub(super) url: Option<String>,
    pub(super) model: Option<String>,
    pub(super) language: Option<String>,
    pub(super) when: Option<String>,
    pub(super) requests: Option<i64>,
    pub(super) timeout_s: Option<i64>,
}

/// `[recording]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRecording {
    pub(super) dir: Option<String>,
    pub(super) format: Option<String>,
    pub(super) s3: Option<String>,
    pub(super) s3_endpoint: Option<String>,
    pub(super) s3_region: Option<String>,
    pub(super) s3_allow_http: Option<bool>,
}
