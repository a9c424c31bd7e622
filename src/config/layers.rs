//! The layers of a configuration, and how one value is taken from the topmost that has it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::env;
use super::error::{ConfigError, Origin};
use super::raw::RawConfig;
use super::{Flags, TapeFlags, TunnelKind};

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Given {
    /// An error about this text.
    pub(super) fn refuse(&self, problem: &str, fix: impl Into<String>) -> ConfigError {
        self.origin.refuse_text(&self.text, problem, fix)
    }
}

/// What the environment and the flags say, the flags having won.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) host: Option<Given>,
    pub(super) port: Option<Given>,
    pub(super) public_url: Option<Given>,
    /// One or several, separated by commas.
    pub(super) engine_urls: Option<Given>,
    pub(super) persona: Option<Given>,
    pub(super) voice: Option<Given>,
    pub(super) prompt: Option<Given>,
    pub(super) log_level: Option<Given>,
    pub(super) log_format: Option<Given>,
    pub(super) account_sid: Option<Given>,
    pub(super) auth_token: Option<Given>,
    pub(super) auth_token_file: Option<Given>,
    pub(super) shared_key_id: Option<Given>,
    pub(super) shared_key: Option<Given>,
    pub(super) api_token: Option<Given>,
    pub(super) api_token_file: Option<Given>,
    pub(super) webhook_secret: Option<Given>,
    pub(super) webhook_secret_file: Option<Given>,
    pub(super) lookup_token: Option<Given>,
    pub(super) lookup_token_file: Option<Given>,
    pub(super) store_password: Option<Given>,
    pub(super) store_password_file: Option<Given>,
    pub(super) transcription_key: Option<Given>,
    pub(super) transcription_key_file: Option<Given>,
    pub(super) s3_access_key_id: Option<Given>,
    pub(super) s3_secret_access_key: Option<Given>,
    pub(super) s3_secret_access_key_file: Option<Given>,
    pub(super) recording_key: Option<Given>,
    pub(super) recording_key_file: Option<Given>,
    pub(super) tunnel: Option<Given>,
    pub(super) tunnel_domain: Option<Given>,
    pub(super) ngrok_authtoken: Option<Given>,
    pub(super) ngrok_authtoken_file: Option<Given>,
    pub(super) tape: TapeFlags,
}

impl Overrides {
    /// Takes each value from its flag, or else from its environment variable.
    pub(super) fn collect(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &'static str| {
            let text = env(name)?.trim().to_owned();
            (!text.is_empty()).then_some(Given { text, origin: Origin::Variable(name) })
        };
        let flag = |name: &'static str, text: Option<String>| {
            text.map(|text| Given { text, origin: Origin::Flag(name) })
        };
        let urls = (!flags.engine_urls.is_empty()).then(|| flags.engine_urls.join(","));
        let port = flags.port.map(|port| port.to_string());
        Self {
            host: flag("--host", flags.host.clone()).or_else(|| variable(env::SERVER_HOST)),
            port: flag("--port", port).or_else(|| variable(env::SERVER_PORT)),
            public_url: flag("--public-url", flags.public_url.clone())
                .or_else(|| variable(env::PUBLIC_URL)),
            engine_urls: flag("--engine-url", urls).or_else(|| variable(env::PERSONAPLEX_URL)),
            persona: flag("--persona", flags.persona.clone()),
            voice: variable(env::PERSONAPLEX_VOICE_PROMPT),
            prompt: variable(env::PERSONAPLEX_TEXT_PROMPT),
            log_level: flag("--log-level", flags.log_level.clone())
                .or_else(|| variable(env::LOG_LEVEL)),
            log_format: flag("--log-format", flags.log_format.clone()),
            account_sid: variable(env::TWILIO_ACCOUNT_SID),
            auth_token: variable(env::TWILIO_AUTH_TOKEN),
            auth_token_file: variable(env::TWILIO_AUTH_TOKEN_FILE),
            shared_key_id: variable(env::TWILIO_SHARED_KEY_ID),
            shared_key: variable(env::TWILIO_SHARED_KEY),
            api_token: variable(env::VOICE_BOT_API_TOKEN),
            api_token_file: variable(env::VOICE_BOT_API_TOKEN_FILE),
            webhook_secret: variable(env::VOICE_BOT_WEBHOOK_SECRET),
            webhook_secret_file: variable(env::VOICE_BOT_WEBHOOK_SECRET_FILE),
            lookup_token: variable(env::VOICE_BOT_LOOKUP_TOKEN),
            lookup_token_file: variable(env::VOICE_BOT_LOOKUP_TOKEN_FILE),
            store_password: variable(env::VOICE_BOT_STORE_PASSWORD),
            store_password_file: variable(env::VOICE_BOT_STORE_PASSWORD_FILE),
            transcription_key: variable(env::VOICE_BOT_TRANSCRIPTION_KEY),
            transcription_key_file: variable(env::VOICE_BOT_TRANSCRIPTION_KEY_FILE),
            s3_access_key_id: variable(env::VOICE_BOT_S3_ACCESS_KEY_ID),
            s3_secret_access_key: variable(env::VOICE_BOT_S3_SECRET_ACCESS_KEY),
            s3_secret_access_key_file: variable(env::VOICE_BOT_S3_SECRET_ACCESS_KEY_FILE),
            recording_key: variable(env::VOICE_BOT_RECORDING_KEY),
            recording_key_file: variable(env::VOICE_BOT_RECORDING_KEY_FILE),
            tunnel: flag(
                "--tunnel",
                flags.tunnel.tunnel.map(|TunnelKind::Ngrok| "ngrok".to_owned()),
            ),
            tunnel_domain: flag("--tunnel-domain", flags.tunnel.tunnel_domain.clone()),
            ngrok_authtoken: variable(env::NGROK_AUTHTOKEN),
            ngrok_authtoken_file: variable(env::NGROK_AUTHTOKEN_FILE),
            tape: flags.tape.clone(),
        }
    }
}

/// Everything that was said, with the file's path for messages and relative paths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) file: &'a Path,
    pub(super) raw: &'a RawConfig,
    pub(super) overrides: &'a Overrides,
}

impl Layers<'_> {
    /// The origin of a key of the file.
    pub(super) fn key(&self, key: &str) -> Origin {
        Origin::File(self.file.to_owned(), key.to_owned())
    }

    /// The override, or else the file's text under `key`.
    pub(super) fn text(
        &self,
        over: Option<&Given>,
        key: &str,
        raw: Option<&String>,
    ) -> Option<Given> {
        over.cloned().or_else(|| {
            raw.map(|text| Given { text: text.trim().to_owned(), origin: self.key(key) })
        })
    }

    /// The file's number under `key`, which has to be in `range`, or else `default`.
    pub(super) fn number(
        &self,
        key: &str,
        raw: Option<i64>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(number) = raw else { return Ok(default) };
        u64::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let unit = match key.rsplit_once('_') {
                Some((_, "s")) => "seconds",
                Some((_, "ms")) => "milliseconds",
                Some(_) | None => "a number",
            };
            let fix = format!("use {unit} from {} to {}", range.start(), range.end());
            self.key(key).refuse(number, "is out of range", fix)
        })
    }

    /// The file's duration under `key` in seconds.
    pub(super) fn seconds(
        &self,
        key: &str,
        raw: Option<i64>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(key, raw, default.as_secs(), range).map(Duration::from_secs)
    }

    /// The file's duration under `key` in milliseconds.
    pub(super) fn millis(
        &self,
        key: &str,
        raw: Option<i64>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        self.number(key, raw, default, range).map(Duration::from_millis)
    }
}
