//! Where each value of a configuration has come from.

use std::collections::BTreeMap;

use super::error::Origin;
use super::layers::{Given, Layers};

/// Where the values come from that are not the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Where the value of this key comes from: a file, a variable of the environment, a flag, or
    /// `default`.
    #[must_use]
    pub fn of(&self, key: &str) -> &str {
        self.0.get(key).map_or("default", String::as_str)
    }
}

pub(super) fn collect(layers: &Layers<'_>) -> Sources {
    let mut found = BTreeMap::new();
    let file = layers.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sections = toml::Table::try_from(layers.raw).unwrap_or_default();
    for (section, keys) in &sections {
        for key in keys.as_table().into_iter().flat_map(toml::Table::keys) {
            found.insert(format!("{section}.{key}"), file.clone());
        }
    }
    let over = layers.overrides;
    let mut put = |key: &str, given: Option<&Given>| {
        if let Some(Given { origin, .. }) = given {
            let source = match origin {
                Origin::File(file, _) => file.display().to_string(),
                Origin::Variable(name) | Origin::Flag(name) => (*name).to_owned(),
            };
            found.insert(key.to_owned(), source);
        }
    };
    for (key, given) in [
        ("server.host", &over.host),
        ("server.port", &over.port),
        ("server.public_url", &over.public_url),
        ("engine.urls", &over.engine_urls),
        ("personas.default", &over.persona),
        ("log.level", &over.log_level),
        ("log.format", &over.log_format),
        ("TWILIO_ACCOUNT_SID", &over.account_sid),
    ] {
        put(key, given.as_ref());
    }
    for (key, given, by_file) in [
        ("TWILIO_AUTH_TOKEN", &over.auth_token, Some(&over.auth_token_file)),
        ("TWILIO_SHARED_KEY", &over.shared_key, None),
        ("VOICE_BOT_API_TOKEN", &over.api_token, Some(&over.api_token_file)),
        ("VOICE_BOT_WEBHOOK_SECRET", &over.webhook_secret, Some(&over.webhook_secret_file)),
        ("VOICE_BOT_LOOKUP_TOKEN", &over.lookup_token, Some(&over.lookup_token_file)),
        ("VOICE_BOT_STORE_PASSWORD", &over.store_password, Some(&over.store_password_file)),
    ] {
        put(key, given.as_ref().or(by_file.and_then(Option::as_ref)));
    }
    for (key, is_given) in [
        ("tape.dir", over.tape.tape.is_some()),
        ("tape.words", over.tape.tape_words),
        ("tape.audio", over.tape.tape_audio),
    ] {
        if is_given {
            found.insert(
                key.to_owned(),
                format!("--{}", key.replace("tape.dir", "tape").replace('.', "-")),
            );
        }
    }
    // What the list of settings has under one name.
    let trust = ["engine.ca_file", "engine.pin_sha256", "engine.insecure"];
    if let Some(source) = trust.iter().find_map(|key| found.get(*key)).cloned() {
        found.insert("engine (trusted)".to_owned(), source);
    }
    Sources(found)
}
