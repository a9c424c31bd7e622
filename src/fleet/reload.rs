//! The configuration is read again: personas and engines change, everything else needs a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{error, info, warn};

use super::derived::{call_config, usual_personas};
use super::{Fleet, Source, State, configured, engine};
use crate::config::{Config, ConfigError, EngineConfig, EngineUrl};
use crate::doctor;
use crate::engine::Engine;
use crate::engine::socket::EndpointError;

/// Settings that are taken over by a server that runs.
const TAKEN_OVER: [&str; 9] = [
    "engine.urls",
    "engine (trusted)",
    "engine.connect_timeout_s",
    "engine.handshake_timeout_s",
    "engine.extra_voices",
    "engine.sessions",
    "personas.default",
    "personas.numbers",
    "personas.edit",
];

/// Why everything stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// An engine's address or certificate file is unusable.
    #[error("engine: {0}")]
    Engine(#[from] EndpointError),
    /// The program that made the server has not said how.
    #[error("this server cannot read its configuration again; restart it")]
    Unknown,
}

/// Engines that go, and engines that come.
#[derive(Default)]
struct Change {
    gone: Vec<String>,
    come: Vec<Arc<dyn Engine>>,
}

impl Fleet {
    /// Reads the configuration again, and takes over personas and engines; what else has changed
    /// and needs a restart. After an error everything is as before. Logs what came of it.
    ///
    /// # Errors
    /// [`ReloadError`] when the new configuration cannot be used.
    pub(crate) async fn reload(&self) -> Result<Vec<&'static str>, ReloadError> {
        let fleet = self.clone();
        // It is gone on with though nobody waits for it any more.
        let reloaded = tokio::spawn(async move {
            let _alone = fleet.0.reloading.lock().await;
            fleet.reload_alone().await
        });
        reloaded.await.unwrap_or(Err(ReloadError::Unknown))
    }

    /// The same for whoever holds `reloading`.
    pub(super) async fn reload_alone(&self) -> Result<Vec<&'static str>, ReloadError> {
        let outcome = self.take_over().await;
        match &outcome {
            Ok(fixed) => {
                info!("the configuration was read again");
                if !fixed.is_empty() {
                    let keys = fixed.join(", ");
                    warn!(
                        keys,
                        "what has changed here needs a restart, and is as before until then"
                    );
                }
            }
            Err(error) => {
                error!("{error}");
                warn!("the configuration was not taken over; everything is as before");
            }
        }
        outcome
    }

    async fn take_over(&self) -> Result<Vec<&'static str>, ReloadError> {
        let fleet = self.clone();
        let read = move || Some(fleet.0.load.get()?());
        // Files are read, maybe from a slow disk.
        let read = tokio::task::spawn_blocking(read).await;
        let new = read.ok().flatten().ok_or(ReloadError::Unknown)??;
        let mut state = self.0.state.lock().await;
        let fixed = fixed(&state.config, &new);
        let change =
            if state.is_given { Change::default() } else { state.change_to(&new.engine)? };
        let old = &state.config;
        let (warm, probe, resolve) = (old.engine.warm, old.engine.probe, old.engine.resolve);
        let engine = EngineConfig { warm, probe, resolve, ..new.engine };
        state.config =
            Config { engine, personas: new.personas, sources: new.sources, ..state.config.clone() };
        let (config, board) = (&state.config, &self.0.switchboard);
        let call = call_config(&config.call, &config.latency, &config.engine);
        board.expect(usual_personas(&config.personas), call).await;
        self.0.personas.set(config.personas.clone());
        board.change_engines(change.gone, change.come).await;
        drop(state);
        self.0.wake.notify_one();
        Ok(fixed)
    }
}

impl State {
    /// What becomes of the engines with this configuration; they are noted so.
    fn change_to(&mut self, new: &EngineConfig) -> Result<Change, EndpointError> {
        let is_same = {
            let old = &self.config.engine;
            let settings = |it: &EngineConfig| {
                let (connect, handshake) = (it.connect_timeout, it.handshake_timeout);
                (it.trust.clone(), connect, handshake, it.extra_voices.clone(), it.sessions)
            };
            settings(old) == settings(new)
        };
        let mut wanted: BTreeMap<String, (EngineUrl, Arc<dyn Engine>)> = configured(new)?
            .into_iter()
            .map(|(url, engine)| (engine.name().to_owned(), (url, engine)))
            .collect();
        let (mut change, mut kept) = (Change::default(), BTreeMap::new());
        let mut again = Vec::new();
        for (name, source) in &self.engines {
            let stays = match source {
                Source::Given => true,
                // What is in the configuration now is the configuration's.
                Source::Configured(url) | Source::Added(url)
                    if is_same && wanted.get(name).is_some_and(|(same, _)| same == url) =>
                {
                    wanted.remove(name);
                    kept.insert(name.clone(), Source::Configured(url.clone()));
                    continue;
                }
                Source::Configured(_) => false,
                Source::Added(_) if wanted.contains_key(name) => false,
                Source::Added(url) if !is_same => {
                    again.push((url.clone(), engine(new, url, None)?));
                    false
                }
                Source::Added(_) => true,
                Source::Resolved(url) => {
                    is_same && new.urls.contains(url) && !wanted.contains_key(name)
                }
            };
            if stays {
                kept.insert(name.clone(), source.clone());
            } else {
                change.gone.push(name.clone());
            }
        }
        for (url, engine) in again {
            kept.insert(engine.name().to_owned(), Source::Added(url));
            change.come.push(engine);
        }
        for (name, (url, engine)) in wanted {
            kept.insert(name, Source::Configured(url));
            change.come.push(engine);
        }
        for name in &change.gone {
            info!(engine = name, "engine removed or replaced: it finishes its calls");
        }
        self.engines = kept;
        Ok(change)
    }
}

/// What has changed that a server which runs does not take over, by its key.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (doctor::settings(old), doctor::settings(new));
    let pairs = before.iter().zip(&after).filter(|(before, after)| before.value != after.value);
    let keys = pairs.map(|(before, _)| before.key).filter(|key| !TAKEN_OVER.contains(key));
    let mut fixed: BTreeSet<&'static str> = keys.collect();
    let secrets = [
        ("TWILIO_AUTH_TOKEN", old.twilio.auth_token != new.twilio.auth_token),
        ("TWILIO_SHARED_KEY", old.twilio.shared_key != new.twilio.shared_key),
        ("VOICE_BOT_API_TOKEN", old.api_token != new.api_token),
        ("VOICE_BOT_WEBHOOK_SECRET", old.webhooks.secret != new.webhooks.secret),
        ("store.url", old.store.place != new.store.place),
        ("VOICE_BOT_LOOKUP_TOKEN", old.lookup.token != new.lookup.token),
    ];
    fixed.extend(secrets.iter().filter(|(_, is_other)| *is_other).map(|(name, _)| *name));
    fixed.into_iter().collect()
}
