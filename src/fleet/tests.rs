//! Names whose addresses come and go.

use std::io;
use std::sync::Mutex as Lock;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use voice_bot_core::{call, pool};

use super::lookup::Found;
use super::*;
use crate::config::{Flags, Trust};
use crate::switchboard::{Notes, Settings};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the name has now; an error if it is none.
type Records = Arc<Lock<Option<Vec<SocketAddr>>>>;

fn fleet(config: &Config, records: &Records) -> Fleet {
    let switchboard = Switchboard::start(Settings {
        engines: configured(&config.engine).unwrap().into_iter().map(|(_, it)| it).collect(),
        call: call::Config::default(),
        pool: pool::Config::default(),
        probe: None,
        standbys: Vec::new(),
        max_calls: 10,
        recordings: None,
        tapes: None,
        acts: None,
        webhooks: None,
        notes: Notes::default(),
        keeper: None,
        transcription: None,
    });
    let records = Arc::clone(records);
    let lookup: Lookup = Arc::new(move |question| {
        assert_eq!((question.host.as_str(), question.port), ("gpus.internal", 8998));
        let found = records.lock().unwrap().clone();
        let named = |address| Found { address, host: "gpus.internal".to_owned() };
        let found = found.map(|all| all.into_iter().map(named).collect());
        Box::pin(async move { found.ok_or_else(|| io::Error::other("SERVFAIL")) })
    });
    let named = configured(&config.engine).unwrap().into_iter();
    let named = named.map(|(url, engine)| (engine.name().to_owned(), url)).collect();
    let personas = Live::new(config.personas.clone());
    Fleet::with_lookup(config, Engines::Configured(named), switchboard, personas, lookup)
}

fn config(urls: &[&str]) -> Config {
    let flags = Flags {
        engine_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..Flags::default()
    };
    let mut config = Config::load(&flags, &|_| None).unwrap();
    config.engine.resolve = Duration::from_millis(20);
    config
}

fn addresses(all: &[&str]) -> Option<Vec<SocketAddr>> {
    Some(all.iter().map(|address| address.parse().unwrap()).collect())
}

impl Fleet {
    async fn names(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.list().await;
        let mut all: Vec<_> = all.iter().map(|it| (text(&it["name"]), text(&it["from"]))).collect();
        all.sort();
        all
    }

    async fn has(&self, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> =
            wanted.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect();
        let come = async {
            while self.names().await != wanted {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, come).await.is_err() {
            panic!("{:?} is never {wanted:?}", self.names().await);
        }
    }
}

#[tokio::test]
async fn engines_come_and_go_with_the_addresses_of_their_name() {
    let records = Arc::new(Lock::new(addresses(&["10.0.0.1:8998", "[fd00::2]:8998"])));
    let config = config(&["ws://127.0.0.1:9", "dns+ws://gpus.internal:8998"]);
    let fleet = fleet(&config, &records);
    let (fixed, first) = (("127.0.0.1:9", "configuration"), ("10.0.0.1:8998", "dns"));
    let second = ("[fd00::2]:8998", "dns");
    fleet.has(&[first, fixed, second]).await;
    *records.lock().unwrap() = addresses(&["10.0.0.1:8998", "10.0.0.3:8998"]);
    fleet.has(&[first, ("10.0.0.3:8998", "dns"), fixed]).await;
    *records.lock().unwrap() = None;
    sleep(Duration::from_millis(100)).await;
    fleet.has(&[first, ("10.0.0.3:8998", "dns"), fixed]).await;
    *records.lock().unwrap() = addresses(&["10.0.0.3:8998"]);
    fleet.has(&[("10.0.0.3:8998", "dns"), fixed]).await;
}

#[tokio::test]
async fn what_is_named_twice_is_one_engine() {
    let records = Arc::new(Lock::new(addresses(&["127.0.0.1:9", "10.0.0.1:8998"])));
    let config = config(&["ws://127.0.0.1:9", "dns+ws://gpus.internal:8998"]);
    let fleet = fleet(&config, &records);
    fleet.has(&[("10.0.0.1:8998", "dns"), ("127.0.0.1:9", "configuration")]).await;
    assert!(matches!(fleet.add("ws://10.0.0.1:8998").await, Err(FleetError::Known(_))));
    assert!(matches!(fleet.add("dns+ws://more.internal").await, Err(FleetError::Many)));
    assert!(matches!(fleet.add("ftp://10.0.0.1").await, Err(FleetError::Url(_))));
    assert_eq!(fleet.add("ws://10.0.0.9:1").await.unwrap(), "10.0.0.9:1");
    assert!(matches!(fleet.remove("10.0.0.8:1").await, Err(FleetError::Unknown)));
    fleet.remove("10.0.0.9:1").await.unwrap();
    fleet.has(&[("10.0.0.1:8998", "dns"), ("127.0.0.1:9", "configuration")]).await;
}

#[tokio::test]
async fn a_configuration_that_is_read_again_changes_engines_and_names_what_it_cannot_change() {
    let records = Arc::new(Lock::new(addresses(&["10.0.0.1:8998"])));
    let first = config(&["ws://127.0.0.1:9", "ws://127.0.0.1:10"]);
    let fleet = fleet(&first, &records);
    assert!(matches!(fleet.reload().await, Err(ReloadError::Unknown)));
    let next = Arc::new(Lock::new(Ok::<_, Box<ConfigError>>(first.clone())));
    let told = Arc::clone(&next);
    fleet.reload_with(move || told.lock().unwrap().clone());
    assert!(fleet.reload().await.unwrap().is_empty());
    fleet.add("ws://127.0.0.1:11").await.unwrap();

    let mut second = config(&["ws://127.0.0.1:10", "dns+ws://gpus.internal:8998"]);
    second.server.port = 1;
    second.twilio.auth_token = Some(crate::config::Secret::new("x".to_owned()));
    *next.lock().unwrap() = Ok(second.clone());
    let fixed = fleet.reload().await.unwrap();
    assert_eq!(fixed, ["TWILIO_AUTH_TOKEN", "server.port"]);
    let kept = [("127.0.0.1:10", "configuration"), ("127.0.0.1:11", "api")];
    fleet.has(&[("10.0.0.1:8998", "dns"), kept[0], kept[1]]).await;
    assert_eq!(fleet.reload().await.unwrap(), fixed, "it is so until the restart");

    // A broken one changes nothing, not even what it could.
    let mut broken = config(&["ws://127.0.0.1:12"]);
    broken.engine.trust = Trust::CaFile("/nowhere.pem".into());
    broken.engine.urls.push("wss://127.0.0.1:13".parse().unwrap());
    *next.lock().unwrap() = Ok(broken);
    assert!(matches!(fleet.reload().await, Err(ReloadError::Engine(_))));
    let wrong = Flags { persona: Some("nobody".to_owned()), ..Flags::default() };
    let error = Config::load(&wrong, &|_| None).unwrap_err();
    *next.lock().unwrap() = Err(Box::new(error.clone()));
    assert_eq!(fleet.reload().await.unwrap_err().to_string(), error.to_string());
    fleet.has(&[("10.0.0.1:8998", "dns"), kept[0], kept[1]]).await;

    // Other settings replace every engine, under the name that it had.
    second.engine.handshake_timeout = Duration::from_secs(59);
    *next.lock().unwrap() = Ok(second);
    let numbers = |engines: Vec<EngineStatus>| {
        engines.into_iter().map(|engine| engine.view.engine).collect::<Vec<_>>()
    };
    let before = numbers(fleet.0.switchboard.engines().await);
    fleet.reload().await.unwrap();
    fleet.has(&[("10.0.0.1:8998", "dns"), kept[0], kept[1]]).await;
    let after = numbers(fleet.0.switchboard.engines().await);
    assert!(after.iter().all(|engine| !before.contains(engine)), "{before:?} {after:?}");
}
