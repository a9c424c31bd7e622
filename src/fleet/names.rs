//! Engines behind one name: each of its addresses is one, and they come and go with its records.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::lookup::{DEADLINE, Found, Question};
use super::{Fleet, Parts, Source, engine};
use crate::config::EngineUrl;

impl Fleet {
    /// Looks the names up every so often, until the fleet is gone.
    pub(super) fn keep_resolved(&self, every: Duration) {
        let (parts, wake) = (Arc::downgrade(&self.0), Arc::clone(&self.0.wake));
        let resolve = async |parts: &Weak<Parts>| {
            let fleet = Self(parts.upgrade()?);
            fleet.resolve().await;
            Some(())
        };
        tokio::spawn(async move {
            while resolve(&parts).await.is_some() {
                tokio::select! {
                    () = sleep(every) => {}
                    () = wake.notified() => {}
                }
            }
        });
    }

    /// Looks every name up, and has the engines at the addresses that it has now.
    pub(super) async fn resolve(&self) {
        let urls = self.0.state.lock().await.config.engine.urls.clone();
        for url in urls.iter().filter(|url| url.is_many()) {
            let host = url.url.host_str().unwrap_or_default().to_owned();
            let port = url.url.port_or_known_default().unwrap_or_default();
            let question = Question { names: url.names, host: host.clone(), port };
            let found = match timeout(DEADLINE, (self.0.lookup)(question)).await {
                Ok(Ok(found)) if !found.is_empty() => found.into_iter().collect(),
                outcome => {
                    let error = match outcome {
                        Ok(Ok(_)) => "it has no address".to_owned(),
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
                    };
                    warn!(host, error, "a name cannot be looked up; its engines stay as they are");
                    continue;
                }
            };
            self.have(url, &found).await;
        }
    }

    async fn have(&self, url: &EngineUrl, found: &BTreeSet<Found>) {
        let mut state = self.0.state.lock().await;
        if state.is_given || !state.config.engine.urls.contains(url) {
            return;
        }
        let source = Source::Resolved(url.clone());
        let names: BTreeSet<String> = found.iter().map(|one| one.address.to_string()).collect();
        let own = state.engines.iter().filter(|(_, from)| **from == source);
        let gone: Vec<String> =
            own.map(|(name, _)| name.clone()).filter(|name| !names.contains(name)).collect();
        let mut come = Vec::new();
        for Found { address, host } in found {
            if state.engines.contains_key(&address.to_string()) {
                continue;
            }
            let Some(one) = url.one(host, address.port()) else {
                warn!(%address, host, "a service names no host; it is left out");
                continue;
            };
            match engine(&state.config.engine, &one, Some(*address)) {
                Ok(engine) => come.push(engine),
                Err(error) => warn!(%address, %error, "an engine cannot be used"),
            }
        }
        if gone.is_empty() && come.is_empty() {
            return;
        }
        for name in &gone {
            info!(engine = name, "its name has this address no more: it finishes its calls");
            state.engines.remove(name);
        }
        for engine in &come {
            info!(engine = engine.name(), "engine found by its name");
            state.engines.insert(engine.name().to_owned(), source.clone());
        }
        self.0.switchboard.change_engines(gone, come).await;
    }
}
