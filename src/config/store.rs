//! Where the records of calls are kept, under whose name, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Secret;
use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::twilio::secret;

/// Bytes in a MB, as people count them.
const MB: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The file in which calls are kept unless told otherwise.
const FILE: &str = "voice-bot.db";
/// What stands before a file's name.
const SQLITE: &str = "sqlite:";
/// Characters of an instance's name at most.
const INSTANCE_LIMIT: usize = 200;

/// The records of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where they are.
    pub place: StorePlace,
    /// This server's name among those that share the store; host name and port unless told.
    pub instance: Option<String>,
    /// How long an ended call is kept; none: for ever.
    pub keep: Option<Duration>,
    /// Bytes of records and recordings that are kept; none: any.
    pub max_bytes: Option<u64>,
}

/// Where records of calls are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In this process alone.
    Memory,
    /// In an SQLite file, which is made where it is missing.
    Sqlite(PathBuf),
    /// In a PostgreSQL database; the address may hold a password.
    Postgres(Secret<Url>),
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            place: StorePlace::Sqlite(FILE.into()),
            instance: None,
            keep: Some(90 * DAY),
            max_bytes: None,
        }
    }
}

impl StoreConfig {
    /// Records that are gone with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { place: StorePlace::Memory, ..Self::default() }
    }
}

impl StorePlace {
    /// As `store.url` has it, without a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Memory => "none".to_owned(),
            Self::Sqlite(file) => format!("{SQLITE}{}", file.display()),
            Self::Postgres(url) => {
                let url = url.expose();
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("postgres://{host}{port}{}", url.path())
            }
        }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<StoreConfig, ConfigError> {
    let (raw, over) = (&layers.raw.store, layers.overrides);
    let password = secret(over.store_password.as_ref(), over.store_password_file.as_ref())?;
    let place = match layers.text(None, "store.url", raw.url.as_ref()) {
        Some(given) => place(&given, password.as_ref())?,
        None => StorePlace::Sqlite(FILE.into()),
    };
    let given = over.store_password.as_ref().or(over.store_password_file.as_ref());
    if let (Some(given), false) = (given, matches!(place, StorePlace::Postgres(_))) {
        let fix = "set store.url to the postgres:// address, or remove it";
        return Err(given.origin.refuse("***", "is not used", fix));
    }
    let instance = layers.text(None, "store.instance", raw.instance.as_ref());
    if let Some(given) = &instance
        && (given.text.is_empty() || given.text.chars().count() > INSTANCE_LIMIT)
    {
        return Err(given.refuse("is no name", "use 1 to 200 characters, or leave it out"));
    }
    let days = layers.number("store.keep_days", raw.keep_days, 90, 0..=36_500)?;
    let max_mb = layers.number("store.max_mb", raw.max_mb, 0, 0..=1_000_000_000)?;
    Ok(StoreConfig {
        place,
        instance: instance.map(|given| given.text),
        keep: (days > 0).then(|| Duration::from_secs(days * DAY.as_secs())),
        max_bytes: (max_mb > 0).then_some(max_mb * MB),
    })
}

fn place(given: &Given, password: Option<&Secret<String>>) -> Result<StorePlace, ConfigError> {
    let fix = "use \"sqlite:voice-bot.db\", \"postgres://user@host/database\" or \"none\"";
    if given.text == "none" {
        return Ok(StorePlace::Memory);
    }
    if let Some(file) = given.text.strip_prefix(SQLITE) {
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() || file.starts_with(':') || file.contains('?') {
            return Err(given.refuse("names no file", fix));
        }
        return Ok(StorePlace::Sqlite(file.into()));
    }
    // It may hold a password, so it is not shown.
    let refuse = |problem: &str| given.origin.refuse("***", problem, fix);
    let mut url: Url = given.text.parse().map_err(|_| refuse("is no address of a store"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refuse("is no address of a store"));
    }
    if url.host_str().is_none_or(str::is_empty) || url.path().len() < 2 {
        return Err(refuse("names no host and database"));
    }
    match password {
        Some(_) if url.password().is_some() => Err(refuse("has a password beside the variable's")),
        Some(password) => {
            let set = url.set_password(Some(password.expose()));
            set.map_err(|()| refuse("cannot have a password"))?;
            Ok(StorePlace::Postgres(Secret::new(url)))
        }
        None => Ok(StorePlace::Postgres(Secret::new(url))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Flags};
    use super::*;

    fn load(toml: &str, password: Option<&str>) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("voice-bot.toml");
        std::fs::write(&file, toml).unwrap();
        let env = |name: &str| {
            (name == "VOICE_BOT_STORE_PASSWORD").then(|| password.map(str::to_owned)).flatten()
        };
        let flags = Flags { config: Some(file), ..Flags::default() };
        Config::load_from(Path::new(""), &flags, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn a_store_is_a_file_a_database_or_nothing() {
        let place = |url: &str, password| {
            load(&format!("[store]\nurl = \"{url}\"\n"), password).map(|c| c.store.place)
        };
        assert_eq!(place("none", None), Ok(StorePlace::Memory));
        let file = place("sqlite:calls.db", None).unwrap();
        assert!(
            matches!(&file, StorePlace::Sqlite(file) if file.ends_with("calls.db")),
            "{file:?}"
        );
        let Ok(StorePlace::Postgres(url)) = place("postgres://me@db/calls", Some("p@ss")) else {
            panic!("no database")
        };
        assert_eq!(url.expose().as_str(), "postgres://me:p%40ss@db/calls");
        assert_eq!(StorePlace::Postgres(url).shown(), "postgres://db/calls");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, password, said) in [
            ("sqlite:", None, "\"sqlite:\" names no file"),
            ("sqlite::memory:", None, "names no file"),
            ("mysql://me:hunter2@db/calls", None, "*** is no address of a store"),
            ("postgres://me:hunter2@db", None, "*** names no host and database"),
            ("postgres://me:hunter2@db/calls", Some("x"), "a password beside the variable's"),
            ("sqlite:calls.db", Some("hunter2"), "VOICE_BOT_STORE_PASSWORD = *** is not used"),
        ] {
            let error = load(&format!("[store]\nurl = \"{url}\"\n"), password).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nothing_is_kept_for_ever_unless_asked() {
        let config = load("[store]\nkeep_days = 0\nmax_mb = 5\n", None).unwrap().store;
        assert_eq!((config.keep, config.max_bytes), (None, Some(5_000_000)));
        assert_eq!(StoreConfig::default().keep, Some(90 * DAY));
    }
}
