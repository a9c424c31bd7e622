//! Who writes down what callers say, when, and how much is asked of them at once.

use std::time::Duration;

use url::Url;

use super::Secret;
use super::address::transcription_url;
use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::twilio::secret;
use super::webhooks::BackOff;
use crate::http::is_this_machine;

/// Characters of a model's name at most.
const MODEL_LIMIT: usize = 200;
/// What an address without a path gets.
const PATH: &str = "/v1/audio/transcriptions";

/// The transcription of what callers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptionConfig {
    /// Where sound is posted to as the audio API of OpenAI has it; without one nothing is written
    /// down.
    pub url: Option<Url>,
    /// The model that is asked for.
    pub model: String,
    /// What callers speak, such as `en`; found out by the server if not told.
    pub language: Option<String>,
    /// Presented as a bearer token.
    pub key: Option<Secret<String>>,
    /// When it is sent.
    pub when: When,
    /// Requests at once.
    pub requests: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long to wait after failures. The configuration file cannot change it.
    pub back_off: BackOff,
}

impl Default for TranscriptionConfig {
    fn default() -> Self {
        Self {
            url: None,
            model: "whisper-1".to_owned(),
            language: None,
            key: None,
            when: When::Live,
            requests: 2,
            timeout: Duration::from_secs(30),
            back_off: BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
        }
    }
}

impl TranscriptionConfig {
    /// Whether what is sent could be read on its way to another machine.
    #[must_use]
    pub fn is_readable_on_the_way(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.scheme() == "http" && !is_this_machine(url))
    }
}

/// When what a caller says is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// As soon as the caller pauses.
    Live,
    /// When the call is over.
    After,
}

impl When {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::After => "after",
        }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<TranscriptionConfig, ConfigError> {
    let (raw, over) = (&layers.raw.transcription, layers.overrides);
    let default = TranscriptionConfig::default();
    let text = |key, value: &Option<String>| layers.text(None, key, value.as_ref());
    let url = text("transcription.url", &raw.url).map(|given| address(&given)).transpose()?;
    let key = secret(over.transcription_key.as_ref(), over.transcription_key_file.as_ref())?;
    let given = over.transcription_key.as_ref().or(over.transcription_key_file.as_ref());
    if let (Some(given), None) = (given, &url) {
        let fix = "set transcription.url to the address that it is for, or remove it";
        return Err(given.origin.refuse("***", "is not used", fix));
    }
    let model = text("transcription.model", &raw.model).map(|given| model(&given)).transpose()?;
    let language = text("transcription.language", &raw.language);
    let when = text("transcription.when", &raw.when).map(|given| match &*given.text {
        "live" => Ok(When::Live),
        "after" => Ok(When::After),
        _ => Err(given.refuse("is no time to send what callers say", "use live or after")),
    });
    let requests = default.requests as u64;
    let requests = layers.number("transcription.requests", raw.requests, requests, 1..=64)?;
    let timeout = ("transcription.timeout_s", raw.timeout_s, default.timeout);
    Ok(TranscriptionConfig {
        url,
        model: model.unwrap_or(default.model),
        language: language.map(|given| code(&given)).transpose()?,
        key,
        when: when.transpose()?.unwrap_or(default.when),
        requests: usize::try_from(requests).unwrap_or(default.requests),
        timeout: layers.seconds(timeout.0, timeout.1, timeout.2, 1..=300)?,
        back_off: default.back_off,
    })
}

/// The address as it is, and where it names a server alone, or its `/v1`, the rest.
fn address(given: &Given) -> Result<Url, ConfigError> {
    let mut url = transcription_url(given)?;
    if matches!(url.path(), "" | "/" | "/v1" | "/v1/") {
        url.set_path(PATH);
    }
    Ok(url)
}

fn model(given: &Given) -> Result<String, ConfigError> {
    let is_name = !given.text.is_empty()
        && given.text.chars().count() <= MODEL_LIMIT
        && !given.text.chars().any(char::is_control);
    if !is_name {
        return Err(given.refuse("is no name of a model", "use a name that the server has"));
    }
    Ok(given.text.clone())
}

/// An ISO 639 code, which all servers take; some refuse what is longer.
fn code(given: &Given) -> Result<String, ConfigError> {
    let is_code = matches!(given.text.len(), 2 | 3)
        && given.text.bytes().all(|byte| byte.is_ascii_lowercase());
    if !is_code {
        let fix = "use an ISO 639 code such as en, or leave it out";
        return Err(given.refuse("is no code of a language", fix));
    }
    Ok(given.text.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Flags};
    use super::*;

    fn load(toml: &str, key: Option<&str>) -> Result<TranscriptionConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("voice-bot.toml");
        std::fs::write(&file, format!("[transcription]\n{toml}\n")).unwrap();
        let env = |name: &str| {
            (name == "VOICE_BOT_TRANSCRIPTION_KEY").then(|| key.map(str::to_owned)).flatten()
        };
        let flags = Flags { config: Some(file), ..Flags::default() };
        let config = Config::load_from(Path::new(""), &flags, &env);
        config.map(|config| config.transcription).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_written_down_unless_an_address_is_named() {
        assert_eq!(load("", None), Ok(TranscriptionConfig::default()));
        assert_eq!(TranscriptionConfig::default().url, None);
    }

    #[test]
    fn an_address_is_a_server_or_all_of_it() {
        for (given, url) in [
            ("https://api.openai.com", "https://api.openai.com/v1/audio/transcriptions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/audio/transcriptions"),
            ("http://127.0.0.1:8080/inference", "http://127.0.0.1:8080/inference"),
            ("https://me.example/a/transcriptions?v=1", "https://me.example/a/transcriptions?v=1"),
        ] {
            let config = load(&format!("url = {given:?}"), Some("sk-1")).unwrap();
            assert_eq!(config.url.as_ref().map(Url::as_str), Some(url));
            assert!(!config.is_readable_on_the_way());
            assert_eq!(config.key.unwrap().expose(), "sk-1");
        }
        let other = load("url = \"http://gpu-box:8000\"\nwhen = \"after\"", None).unwrap();
        assert!(other.is_readable_on_the_way() && other.when == When::After);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (toml, key, said) in [
            ("url = \"ws://gpu\"", None, "does not start with https:// or http://"),
            ("url = \"https://me:hunter2@gpu\"", None, "*** holds a user name or password"),
            ("model = \"\"", None, "is no name of a model"),
            ("language = \"en-US\"", None, "is no code of a language; use an ISO 639 code"),
            ("when = \"later\"", None, "use live or after"),
            ("requests = 0", None, "transcription.requests"),
            ("timeout_s = 0", None, "transcription.timeout_s"),
            ("key = \"hunter2\"", None, "VOICE_BOT_TRANSCRIPTION_KEY"),
            ("", Some("hunter2"), "VOICE_BOT_TRANSCRIPTION_KEY = *** is not used"),
        ] {
            let error = load(toml, key).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{toml}: {error}");
        }
    }
}
