//! The engines and personas of a running server: read again, added, removed, found by their name.

mod derived;
mod edit;
mod lookup;
mod names;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};
use tracing::{info, warn};

use crate::config::{
    Config, ConfigError, EngineConfig, EngineKind, EngineUrl, Personas, Sources, parse_engine_url,
};
use crate::doctor;
use crate::engine::Engine;
use crate::engine::moshi::{Moshi, MoshiConfig, NO_PERSONAS};
use crate::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use crate::engine::socket::EndpointError;
use crate::engine::tls::TlsOptions;
use crate::engine::vllm_omni::{VllmOmni, VllmOmniConfig};
use crate::live::Live;
use crate::switchboard::{EngineStatus, Switchboard};
use lookup::{Lookup, system_lookup};

pub(crate) use crate::doctor::Setting;
pub use derived::call_config;
pub(crate) use derived::usual_personas;
pub(crate) use edit::EditError;
pub use reload::ReloadError;

/// How the configuration is read again.
type Load = Box<dyn Fn() -> Result<Config, Box<ConfigError>> + Send + Sync>;

/// Why an engine is not added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// This is no address of an engine.
    #[error(transparent)]
    Url(#[from] ConfigError),
    /// It names many, which the API cannot tell apart.
    #[error("url: names of many engines (dns+ws://, srv+ws://) belong into engine.urls")]
    Many,
    /// It cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It is there.
    #[error("{0} is an engine already; remove it first")]
    Known(String),
    /// It is not there.
    #[error("no engine has this name; GET /api/v1/engines shows those that there are")]
    Unknown,
}

/// Where an engine comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// From the program that made the server.
    Given,
    /// From `engine.urls`.
    Configured(EngineUrl),
    /// By the control API.
    Added(EngineUrl),
    /// One of the addresses of a name in `engine.urls`.
    Resolved(EngineUrl),
}

impl Source {
    const fn name(&self) -> &'static str {
        match self {
            Self::Given => "program",
            Self::Configured(_) => "configuration",
            Self::Added(_) => "api",
            Self::Resolved(_) => "dns",
        }
    }
}

/// The engines and personas. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Parts>);

struct Parts {
    switchboard: Switchboard,
    personas: Live<Personas>,
    load: OnceLock<Load>,
    lookup: Lookup,
    /// Has names looked up at once.
    wake: Arc<Notify>,
    state: Mutex<State>,
    /// Held from reading the configuration until it is in force, so that the last one read stays.
    reloading: Mutex<()>,
}

struct State {
    /// What is in force.
    config: Config,
    /// Whether the program has brought its own engines, so that those of the configuration do not
    /// count.
    is_given: bool,
    /// By the engine's name; those that serve out their last calls are not among them.
    engines: BTreeMap<String, Source>,
}

impl Fleet {
    /// A fleet that begins with these engines, which the program has brought or else were made of
    /// the configuration. Must be called inside a tokio runtime.
    pub(crate) fn new(
        config: &Config,
        engines: Engines,
        switchboard: Switchboard,
        personas: Live<Personas>,
    ) -> Self {
        Self::with_lookup(config, engines, switchboard, personas, system_lookup())
    }

    fn with_lookup(
        config: &Config,
        engines: Engines,
        switchboard: Switchboard,
        personas: Live<Personas>,
        lookup: Lookup,
    ) -> Self {
        let (is_given, engines) = match engines {
            Engines::Given(names) => {
                (true, names.into_iter().map(|name| (name, Source::Given)).collect())
            }
            Engines::Configured(named) => (
                false,
                named.into_iter().map(|(name, url)| (name, Source::Configured(url))).collect(),
            ),
        };
        let state = Mutex::new(State { config: config.clone(), is_given, engines });
        let (load, wake) = (OnceLock::new(), Arc::default());
        let reloading = Mutex::default();
        let parts = Parts { switchboard, personas, load, lookup, wake, state, reloading };
        let fleet = Self(Arc::new(parts));
        fleet.keep_resolved(config.engine.resolve);
        fleet
    }

    /// Has the configuration read again so, from now on.
    pub(crate) fn reload_with(
        &self,
        load: impl Fn() -> Result<Config, Box<ConfigError>> + Send + Sync + 'static,
    ) {
        // The first one stays.
        drop(self.0.load.set(Box::new(load)));
    }

    /// Who answers.
    pub(crate) fn personas(&self) -> Arc<Personas> {
        self.0.personas.get()
    }

    /// The voices that the engines have besides their usual ones.
    pub(crate) async fn extra_voices(&self) -> Vec<String> {
        self.0.state.lock().await.config.engine.extra_voices.clone()
    }

    /// What is in force, and where it comes from.
    pub(crate) async fn settings(&self) -> (Vec<Setting>, Sources) {
        let state = self.0.state.lock().await;
        (doctor::settings(&state.config), state.config.sources.clone())
    }

    /// Every engine as the control API shows it.
    pub(crate) async fn list(&self) -> Vec<Value> {
        let state = self.0.state.lock().await;
        let all = self.0.switchboard.engines().await;
        let shown = |engine: EngineStatus| {
            let mut shown = engine.to_json();
            shown["from"] = json!(state.engines.get(&engine.name).map(Source::name));
            shown
        };
        all.into_iter().map(shown).collect()
    }

    /// Adds the engine at this address; its name.
    ///
    /// # Errors
    /// [`FleetError`] when that is no address, or one of an engine that is there.
    pub(crate) async fn add(&self, url: &str) -> Result<String, FleetError> {
        let url = parse_engine_url(url)?;
        if url.is_many() {
            return Err(FleetError::Many);
        }
        let mut state = self.0.state.lock().await;
        let engine = engine(&state.config.engine, &url, None)?;
        let name = engine.name().to_owned();
        if state.engines.contains_key(&name) {
            return Err(FleetError::Known(name));
        }
        state.engines.insert(name.clone(), Source::Added(url));
        info!(engine = name, "engine added by the API");
        self.0.switchboard.change_engines(Vec::new(), vec![engine]).await;
        Ok(name)
    }

    /// Gives an engine no more calls; it is gone once those that it has are over. One of the
    /// configuration comes back when that is read again.
    ///
    /// # Errors
    /// [`FleetError::Unknown`] when there is none of this name.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), FleetError> {
        let mut state = self.0.state.lock().await;
        state.engines.remove(name).ok_or(FleetError::Unknown)?;
        info!(engine = name, "engine removed by the API: it finishes its calls");
        self.0.switchboard.change_engines(vec![name.to_owned()], Vec::new()).await;
        Ok(())
    }
}

/// The names of the engines that a server begins with.
pub(crate) enum Engines {
    Given(Vec<String>),
    Configured(Vec<(String, EngineUrl)>),
}

/// The server at that address, or at `address` in place of what its name resolves to.
pub(crate) fn engine(
    config: &EngineConfig,
    EngineUrl { kind, url, .. }: &EngineUrl,
    address: Option<SocketAddr>,
) -> Result<Arc<dyn Engine>, EndpointError> {
    let (url, tls) = (url.clone(), TlsOptions::from(&config.trust));
    let (open_deadline, handshake_deadline) = (config.connect_timeout, config.handshake_timeout);
    let sessions = if kind.holds_several() { config.sessions } else { 1 };
    let extra_voices = config.extra_voices.clone();
    let engine: Arc<dyn Engine> = match kind {
        EngineKind::PersonaPlex => Arc::new(PersonaPlex::new(PersonaPlexConfig {
            url,
            address,
            tls,
            open_deadline,
            handshake_deadline,
            extra_voices,
        })?),
        EngineKind::Moshi | EngineKind::MoshiBackend => Arc::new(Moshi::new(MoshiConfig {
            url,
            address,
            tls,
            sessions,
            open_deadline,
            handshake_deadline,
        })?),
        EngineKind::VllmOmni => Arc::new(VllmOmni::new(VllmOmniConfig {
            url,
            address,
            tls,
            sessions,
            open_deadline,
            handshake_deadline,
            extra_voices,
        })?),
    };
    if !kind.has_personas() {
        let kind = kind.name();
        warn!(engine = engine.name(), kind, "{NO_PERSONAS}");
    }
    Ok(engine)
}

/// An engine, and the address that the configuration has it under.
pub(crate) type Configured = (EngineUrl, Arc<dyn Engine>);

/// The engines that a configuration names one by one.
pub(crate) fn configured(config: &EngineConfig) -> Result<Vec<Configured>, EndpointError> {
    let single = config.urls.iter().filter(|url| !url.is_many());
    single.map(|url| Ok((url.clone(), engine(config, url, None)?))).collect()
}
