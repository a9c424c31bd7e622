//! Where the recordings of calls are kept, and how.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use url::Url;

use super::Secret;
use super::address::storage_url;
use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::twilio::secret;

/// Where a bucket is unless told.
const REGION: &str = "us-east-1";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Keys that may be given: one that seals, and older ones that open.
const KEYS: usize = 10;

/// How a recording is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingFormat {
    /// Opus in Ogg: some 400 kB a minute.
    Ogg,
    /// PCM in WAV: some 2 MB a minute of a telephone call.
    #[default]
    Wav,
}

impl RecordingFormat {
    /// What names of such files end in.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Ogg => "ogg",
            Self::Wav => "wav",
        }
    }

    /// The format whose files' names end so.
    #[must_use]
    pub fn of_extension(extension: &str) -> Option<Self> {
        [Self::Ogg, Self::Wav].into_iter().find(|format| format.extension() == extension)
    }
}

/// The recordings of personas that want their calls recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// The folder that they are put into.
    pub dir: PathBuf,
    /// How they are written.
    pub format: RecordingFormat,
    /// Where they are moved to once they are complete; without it they stay.
    pub s3: Option<S3Config>,
    /// What they are encrypted with: the first; the others open those of earlier days.
    pub keys: Vec<RecordingKey>,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        let format = RecordingFormat::default();
        Self { dir: "recordings".into(), format, s3: None, keys: Vec::new() }
    }
}

/// What recordings are encrypted with.
pub type RecordingKey = Secret<[u8; KEY_BYTES]>;

/// A bucket of S3, or of what speaks its language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// What names of objects begin with: nothing, or a path without a slash at either end.
    pub prefix: String,
    /// Where the server is, if it is not Amazon's.
    pub endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: String,
    /// The name of the key that signs them.
    pub access_key_id: String,
    /// That key.
    pub secret_access_key: Secret<String>,
}

impl S3Config {
    /// The place in it of this name.
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        let Self { bucket, prefix, .. } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("s3://{bucket}/{prefix}{slash}{name}")
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<RecordingConfig, ConfigError> {
    let (raw, default) = (&layers.raw.recording, RecordingConfig::default());
    let folder = layers.file.parent().unwrap_or(Path::new(""));
    if raw.dir.as_deref().is_some_and(|dir| dir.trim().is_empty()) {
        let fix = "name the folder that recordings are put into, or leave the key out";
        return Err(layers.key("recording.dir").refuse_text("", "is no folder", fix));
    }
    let dir = raw.dir.as_ref().map_or(default.dir, |dir| folder.join(dir));
    let format = match raw.format.as_deref().map(str::trim) {
        None => default.format,
        Some(given) => RecordingFormat::of_extension(given).ok_or_else(|| {
            let origin = layers.key("recording.format");
            origin.refuse_text(given, "is no format", "use ogg or wav")
        })?,
    };
    Ok(RecordingConfig { dir, format, s3: s3(layers)?, keys: keys(layers)? })
}

fn s3(layers: &Layers<'_>) -> Result<Option<S3Config>, ConfigError> {
    let (raw, over) = (&layers.raw.recording, layers.overrides);
    let (id, key) = (over.s3_access_key_id.as_ref(), over.s3_secret_access_key.as_ref());
    let key_file = over.s3_secret_access_key_file.as_ref();
    let key_secret = secret(key, key_file)?;
    let Some(given) = layers.text(None, "recording.s3", raw.s3.as_ref()) else {
        let unused = [id, key, key_file].into_iter().flatten().next();
        let fix = "set recording.s3 to s3://BUCKET/PREFIX, or remove it";
        if let Some(unused) = unused {
            return Err(unused.origin.refuse("***", "is not used", fix));
        }
        for (name, is_set) in [
            ("recording.s3_endpoint", raw.s3_endpoint.is_some()),
            ("recording.s3_region", raw.s3_region.is_some()),
        ] {
            if is_set {
                return Err(layers.key(name).refuse("a value", "is not used", fix));
            }
        }
        return Ok(None);
    };
    let (Some(id), Some(secret_access_key)) = (id, key_secret) else {
        let fix = "set VOICE_BOT_S3_ACCESS_KEY_ID and VOICE_BOT_S3_SECRET_ACCESS_KEY";
        return Err(given.refuse("cannot be used without a key", fix));
    };
    let (bucket, prefix) = bucket(&given)?;
    let may_be_plain = raw.s3_allow_http.unwrap_or(false);
    let endpoint = layers.text(None, "recording.s3_endpoint", raw.s3_endpoint.as_ref());
    let endpoint = endpoint.map(|given| storage_url(&given, may_be_plain)).transpose()?;
    let region = raw.s3_region.as_deref().map_or(REGION, str::trim);
    let is_region = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if region.is_empty() || region.len() > 64 || !region.chars().all(is_region) {
        let fix = "use the bucket's, such as eu-central-1, or leave it out";
        return Err(layers.key("recording.s3_region").refuse_text(region, "is no region", fix));
    }
    let (region, access_key_id) = (region.to_owned(), id.text.clone());
    Ok(Some(S3Config { bucket, prefix, endpoint, region, access_key_id, secret_access_key }))
}

/// Bucket and prefix of `s3://BUCKET/PREFIX`.
fn bucket(given: &Given) -> Result<(String, String), ConfigError> {
    let fix = "use s3://BUCKET or s3://BUCKET/PREFIX";
    let place = given.text.strip_prefix("s3://");
    let place = place.ok_or_else(|| given.refuse("is no place in S3", fix))?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_name) {
        let fix = "a name has 3 to 63 of a to z, 0 to 9, - and .";
        return Err(given.refuse("names no bucket", fix));
    }
    let prefix = prefix.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_plain);
    if prefix.len() > 500 || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
        let fix = "use letters, digits, -, _, . and = between single slashes";
        return Err(given.refuse("has a prefix that cannot be used", fix));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn keys(layers: &Layers<'_>) -> Result<Vec<RecordingKey>, ConfigError> {
    let over = layers.overrides;
    let (value, file) = (over.recording_key.as_ref(), over.recording_key_file.as_ref());
    let (Some(text), Some(given)) = (secret(value, file)?, value.or(file)) else {
        return Ok(Vec::new());
    };
    let key = |text: &str| {
        let bytes = BASE64_STANDARD.decode(text.trim()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Secret::new).ok_or_else(|| {
            let fix = "use what `openssl rand -base64 32` prints; older ones behind commas";
            given.origin.refuse("***", "is no key of 32 bytes in base64", fix)
        })
    };
    let keys: Vec<RecordingKey> = text.expose().split(',').map(key).collect::<Result<_, _>>()?;
    if keys.len() > KEYS {
        let fix = format!("use {KEYS} at most");
        return Err(given.origin.refuse("***", "holds too many keys", fix));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flags};
    use super::*;

    const ID: (&str, &str) = ("VOICE_BOT_S3_ACCESS_KEY_ID", "me");
    const KEY: (&str, &str) = ("VOICE_BOT_S3_SECRET_ACCESS_KEY", "hunter2");

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<RecordingConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("voice-bot.toml");
        std::fs::write(&file, format!("[recording]\n{toml}\n")).unwrap();
        let env = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let flags = Flags { config: Some(file), ..Flags::default() };
        let config = Config::load_from(Path::new(""), &flags, &env);
        config.map(|config| config.recording).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bucket_is_named_with_its_key() {
        let config = load("s3 = \"s3://calls/of/bots/\"", &[ID, KEY]).unwrap().s3.unwrap();
        assert_eq!((&*config.bucket, &*config.prefix), ("calls", "of/bots"));
        assert_eq!(config.place("CA1.ogg"), "s3://calls/of/bots/CA1.ogg");
        assert_eq!((config.endpoint, &*config.region), (None, "us-east-1"));
        assert_eq!(config.secret_access_key.expose(), "hunter2");
        let config = load("s3 = \"s3://calls\"", &[ID, KEY]).unwrap().s3.unwrap();
        assert_eq!(config.place("CA1.ogg"), "s3://calls/CA1.ogg");
        for endpoint in ["http://127.0.0.1:9000", "http://localhost:9000", "https://minio:9000"] {
            let toml = format!("s3 = \"s3://calls\"\ns3_endpoint = \"{endpoint}\"");
            let config = load(&toml, &[ID, KEY]).unwrap().s3.unwrap();
            assert_eq!(config.endpoint.unwrap().as_str(), format!("{endpoint}/"));
        }
        let plain = "s3 = \"s3://calls\"\ns3_endpoint = \"http://minio:9000\"\n";
        assert!(load(&format!("{plain}s3_allow_http = true"), &[ID, KEY]).is_ok());
        let error = load(plain, &[ID, KEY]).unwrap_err();
        assert!(error.contains("is not encrypted") && error.contains("s3_allow_http"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_bucket_is_said_without_its_key() {
        let both = [ID, KEY];
        for (toml, variables, said) in [
            ("s3 = \"calls\"", &both[..], "\"calls\" is no place in S3"),
            ("s3 = \"s3://Calls\"", &both[..], "names no bucket"),
            ("s3 = \"s3://calls/a//b\"", &both[..], "has a prefix that cannot be used"),
            ("s3 = \"s3://calls/../b\"", &both[..], "has a prefix that cannot be used"),
            ("s3 = \"s3://calls\"", &both[..1], "without a key; set VOICE_BOT_S3_ACCESS_KEY_ID"),
            ("s3 = \"s3://calls\"\ns3_region = \"\"", &both[..], "is no region"),
            ("", &both[1..], "VOICE_BOT_S3_SECRET_ACCESS_KEY = *** is not used"),
            ("s3_region = \"eu\"", &[], "recording.s3_region = a value is not used"),
            ("s3_secret = \"hunter2\"", &[], "VOICE_BOT_S3_SECRET_ACCESS_KEY in the environment"),
        ] {
            let error = load(toml, variables).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn keys_are_of_32_bytes_the_first_for_new_recordings() {
        let text = |byte: u8| BASE64_STANDARD.encode([byte; 32]);
        let given = |text: &str| load("", &[("VOICE_BOT_RECORDING_KEY", text)]);
        let keys = given(&format!("{}, {}", text(1), text(2))).unwrap().keys;
        assert_eq!(keys.iter().map(|key| key.expose()[0]).collect::<Vec<_>>(), [1, 2]);
        for wrong in ["hunter2", &BASE64_STANDARD.encode([1; 16]), &format!("{},", text(1))] {
            let error = given(wrong).unwrap_err();
            assert!(error.contains("VOICE_BOT_RECORDING_KEY = *** is no key of 32"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(format!("{:?}", given(&text(1)).unwrap()).contains("keys: [***]"));
    }
}
