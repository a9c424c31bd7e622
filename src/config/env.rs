//! The environment: the process's own variables over those of a `.env` file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use super::error::{ConfigError, Origin};

/// Twilio account SID.
pub(super) const TWILIO_ACCOUNT_SID: &str = "TWILIO_ACCOUNT_SID";
/// Twilio auth token: a secret.
pub(super) const TWILIO_AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";
/// A file that holds the auth token.
pub(super) const TWILIO_AUTH_TOKEN_FILE: &str = "TWILIO_AUTH_TOKEN_FILE";
/// Name of a key that signs Twilio's requests as well.
pub(super) const TWILIO_SHARED_KEY_ID: &str = "TWILIO_SHARED_KEY_ID";
/// That key: a secret.
pub(super) const TWILIO_SHARED_KEY: &str = "TWILIO_SHARED_KEY";
/// What whoever controls calls over HTTP must present: a secret.
pub(super) const VOICE_BOT_API_TOKEN: &str = "VOICE_BOT_API_TOKEN";
/// A file that holds it.
pub(super) const VOICE_BOT_API_TOKEN_FILE: &str = "VOICE_BOT_API_TOKEN_FILE";
/// What signs webhooks: a secret.
pub(super) const VOICE_BOT_WEBHOOK_SECRET: &str = "VOICE_BOT_WEBHOOK_SECRET";
/// A file that holds it.
pub(super) const VOICE_BOT_WEBHOOK_SECRET_FILE: &str = "VOICE_BOT_WEBHOOK_SECRET_FILE";
/// What the address that callers are looked up at is shown: a secret.
pub(super) const VOICE_BOT_LOOKUP_TOKEN: &str = "VOICE_BOT_LOOKUP_TOKEN";
/// A file that holds it.
pub(super) const VOICE_BOT_LOOKUP_TOKEN_FILE: &str = "VOICE_BOT_LOOKUP_TOKEN_FILE";
/// Password of the database that keeps calls: a secret.
pub(super) const VOICE_BOT_STORE_PASSWORD: &str = "VOICE_BOT_STORE_PASSWORD";
/// A file that holds it.
pub(super) const VOICE_BOT_STORE_PASSWORD_FILE: &str = "VOICE_BOT_STORE_PASSWORD_FILE";
/// Key of whoever writes down what callers say: a secret.
pub(super) const VOICE_BOT_TRANSCRIPTION_KEY: &str = "VOICE_BOT_TRANSCRIPTION_KEY";
/// A file that holds it.
pub(super) const VOICE_BOT_TRANSCRIPTION_KEY_FILE: &str = "VOICE_BOT_TRANSCRIPTION_KEY_FILE";
/// Name of the key that opens the bucket of recordings.
pub(super) const VOICE_BOT_S3_ACCESS_KEY_ID: &str = "VOICE_BOT_S3_ACCESS_KEY_ID";
/// That key: a secret.
pub(super) const VOICE_BOT_S3_SECRET_ACCESS_KEY: &str = "VOICE_BOT_S3_SECRET_ACCESS_KEY";
/// A file that holds it.
pub(super) const VOICE_BOT_S3_SECRET_ACCESS_KEY_FILE: &str = "VOICE_BOT_S3_SECRET_ACCESS_KEY_FILE";
/// What recordings are encrypted with: a secret.
pub(super) const VOICE_BOT_RECORDING_KEY: &str = "VOICE_BOT_RECORDING_KEY";
/// A file that holds it.
pub(super) const VOICE_BOT_RECORDING_KEY_FILE: &str = "VOICE_BOT_RECORDING_KEY_FILE";
/// Token of the ngrok account: a secret.
pub(super) const NGROK_AUTHTOKEN: &str = "NGROK_AUTHTOKEN";
/// A file that holds it.
pub(super) const NGROK_AUTHTOKEN_FILE: &str = "NGROK_AUTHTOKEN_FILE";
/// `server.public_url`.
pub(super) const PUBLIC_URL: &str = "PUBLIC_URL";
/// `server.host`.
pub(super) const SERVER_HOST: &str = "SERVER_HOST";
/// `server.port`.
pub(super) const SERVER_PORT: &str = "SERVER_PORT";
/// `log.level`.
pub(super) const LOG_LEVEL: &str = "LOG_LEVEL";
/// `engine.urls`, separated by commas.
pub(super) const PERSONAPLEX_URL: &str = "PERSONAPLEX_URL";
/// Voice of the default persona.
pub(super) const PERSONAPLEX_VOICE_PROMPT: &str = "PERSONAPLEX_VOICE_PROMPT";
/// Prompt of the default persona.
pub(super) const PERSONAPLEX_TEXT_PROMPT: &str = "PERSONAPLEX_TEXT_PROMPT";

/// Every environment variable that is read.
pub const NAMES: [&str; 29] = [
    PERSONAPLEX_URL,
    PERSONAPLEX_VOICE_PROMPT,
    PERSONAPLEX_TEXT_PROMPT,
    TWILIO_ACCOUNT_SID,
    TWILIO_AUTH_TOKEN,
    TWILIO_AUTH_TOKEN_FILE,
    TWILIO_SHARED_KEY_ID,
    TWILIO_SHARED_KEY,
    VOICE_BOT_API_TOKEN,
    VOICE_BOT_API_TOKEN_FILE,
    VOICE_BOT_WEBHOOK_SECRET,
    VOICE_BOT_WEBHOOK_SECRET_FILE,
    VOICE_BOT_LOOKUP_TOKEN,
    VOICE_BOT_LOOKUP_TOKEN_FILE,
    VOICE_BOT_STORE_PASSWORD,
    VOICE_BOT_STORE_PASSWORD_FILE,
    VOICE_BOT_TRANSCRIPTION_KEY,
    VOICE_BOT_TRANSCRIPTION_KEY_FILE,
    VOICE_BOT_S3_ACCESS_KEY_ID,
    VOICE_BOT_S3_SECRET_ACCESS_KEY,
    VOICE_BOT_S3_SECRET_ACCESS_KEY_FILE,
    VOICE_BOT_RECORDING_KEY,
    VOICE_BOT_RECORDING_KEY_FILE,
    NGROK_AUTHTOKEN,
    NGROK_AUTHTOKEN_FILE,
    PUBLIC_URL,
    SERVER_HOST,
    SERVER_PORT,
    LOG_LEVEL,
];

/// Looks variables up as [`Config::load`](super::Config::load) wants it: the process's own, or else
/// those of `.env` in the working directory, if there is one. The process's are not changed. Only
/// variables that voice-bot reads are found.
///
/// # Errors
/// [`ConfigError`] if `.env` is there and cannot be read, or a variable that voice-bot reads is
/// not UTF-8.
pub fn environment() -> Result<impl Fn(&str) -> Option<String>, ConfigError> {
    let found = gather(Path::new(".env"), |name| std::env::var_os(name))?;
    Ok(move |name: &str| found.get(name).cloned())
}

/// The variables of [`NAMES`] that have a value; an empty one counts as unset.
pub(super) fn gather(
    dot_env: &Path,
    process: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let in_file = read_dot_env(dot_env)?;
    let mut found = BTreeMap::new();
    for name in NAMES {
        let own = process(name).filter(|value| !value.is_empty()).map(OsString::into_string);
        let value = match own {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) => {
                return Err(Origin::Variable(name).refuse("***", "is not UTF-8", "set it again"));
            }
            None => in_file.get(name).cloned(),
        };
        found.extend(value.filter(|value| !value.trim().is_empty()).map(|value| (name, value)));
    }
    Ok(found)
}

fn read_dot_env(file: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => {
            return Err(ConfigError::Unreadable {
                origin: Origin::Variable(".env"),
                path: file.to_owned(),
                problem: error.to_string(),
                fix: "make it a readable UTF-8 text file, or remove it".to_owned(),
            });
        }
    };
    let text = text.trim_start_matches('\u{feff}');
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| {
        ConfigError::DotEnvLine { file: file.to_owned(), line: line_of(&error, text) }
    })
}

/// The line of `.env` that an error is about, from 1; the error itself holds text, not a number.
fn line_of(error: &dotenvy::Error, text: &str) -> usize {
    let dotenvy::Error::LineParse(reported, _) = error else { return 1 };
    let first = reported.lines().next().unwrap_or_default().trim_end();
    let found = text
        .lines()
        .position(|line| !line.trim_start().starts_with('#') && line.trim_end().ends_with(first));
    found.map_or(1, |index| index + 1)
}
