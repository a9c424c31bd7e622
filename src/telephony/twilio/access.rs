//! Who may call: signed webhooks, signed sockets with a ticket, and how often from and to a number.

use std::sync::Mutex;
use std::time::Instant;

use axum::http::HeaderMap;
use tracing::{debug, warn};
use voice_bot_core::rate::RateLimit;

use super::signature::{Body, Claim, HEADER, Mismatch, SETTINGS_HEADER, Signatures};
use super::tickets::{Admission, Tickets};
use crate::config::{TwilioConfig, UpgradeSignature};

/// Refusals in a minute that are logged as warnings; whoever sends more shall not fill the disk.
const WARNINGS: u32 = 30;

/// The rules for requests that come in, and what they have to remember.
#[derive(Debug)]
pub(super) struct Access {
    signatures: Option<Signatures>,
    webhooks: bool,
    upgrade: UpgradeSignature,
    tickets: Tickets,
    needs_ticket: bool,
    from: Option<Mutex<RateLimit>>,
    to: Option<Mutex<RateLimit>>,
    warnings: Mutex<RateLimit>,
}

impl Access {
    pub(super) fn new(config: &TwilioConfig) -> Self {
        let signatures = config.auth_token.as_ref().map(Signatures::new);
        let signatures = match (signatures, &config.shared_key) {
            (Some(signatures), Some(key)) => Some(signatures.with_shared_key(key)),
            (signatures, _) => signatures,
        };
        let limit = |per_minute: Option<u32>| per_minute.map(RateLimit::new).map(Mutex::new);
        Self {
            signatures,
            webhooks: config.webhook_signature,
            upgrade: config.upgrade_signature,
            tickets: Tickets::default(),
            needs_ticket: config.stream_token,
            from: limit(config.calls_per_minute_from),
            to: limit(config.calls_per_minute_to),
            warnings: Mutex::new(RateLimit::new(WARNINGS)),
        }
    }

    /// Whether a webhook to `url` may be answered.
    pub(super) fn webhook(
        &self,
        headers: &HeaderMap,
        url: &str,
        body: Body<'_>,
    ) -> Result<(), Mismatch> {
        if !self.webhooks {
            return Ok(());
        }
        self.signed(headers, url, body).inspect_err(|why| self.warn(why, "webhook refused"))
    }

    /// Whether a socket at `url` may be opened.
    pub(super) fn upgrade(&self, headers: &HeaderMap, url: &str) -> Result<(), Mismatch> {
        let refused = match self.upgrade {
            UpgradeSignature::Off => return Ok(()),
            UpgradeSignature::Warn | UpgradeSignature::Require => {
                self.signed(headers, url, Body::None)
            }
        };
        match refused {
            Err(why) if self.upgrade == UpgradeSignature::Warn => {
                self.warn(&why, "an audio socket is taken although it is not signed");
                Ok(())
            }
            Err(why) => {
                self.warn(&why, "audio socket refused");
                Err(why)
            }
            Ok(()) => Ok(()),
        }
    }

    /// What is to be said of a request's signature; none where nobody looks at it.
    pub(super) fn verdict(
        &self,
        headers: &HeaderMap,
        url: &str,
        body: Body<'_>,
    ) -> Option<Result<(), Mismatch>> {
        self.webhooks.then(|| self.signed(headers, url, body))
    }

    /// Whether this signature of `text` was made with the auth token. Anything will do where
    /// webhooks need no signature.
    pub(super) fn holds_token(&self, text: &str, signature: &str) -> bool {
        let claim = Claim { signature: Some(signature), settings: None };
        let holds = |own: &Signatures| own.check(claim, text, Body::None).is_ok();
        !self.webhooks || self.signatures.as_ref().is_some_and(holds)
    }

    /// The last part of the address of a call's audio; none if it needs none, or if there is no
    /// randomness to make one of. Who comes back to a call always needs one.
    pub(super) fn issue(&self, admission: Admission) -> Option<String> {
        if !self.needs_ticket && !admission.comes_back {
            return None;
        }
        self.tickets.issue(admission, Instant::now())
    }

    /// Whose audio this is; the inner value is none where sockets need no ticket.
    pub(super) fn redeem(&self, ticket: Option<&str>) -> Result<Option<Admission>, NoTicket> {
        let admission = ticket.and_then(|ticket| self.tickets.redeem(ticket, Instant::now()));
        if admission.is_none() && self.needs_ticket {
            self.warn(&NoTicket, "audio socket refused");
            return Err(NoTicket);
        }
        Ok(admission)
    }

    /// Counts a call; false if there were too many of that caller, or to that number.
    pub(super) fn may_call(&self, from: &str, to: &str) -> bool {
        let now = Instant::now();
        let allows = |limit: &Option<Mutex<RateLimit>>, number: &str| match limit {
            Some(limit) => limit.lock().is_ok_and(|mut limit| limit.allow(number, now)),
            None => true,
        };
        allows(&self.from, from) && allows(&self.to, to)
    }

    fn signed(&self, headers: &HeaderMap, url: &str, body: Body<'_>) -> Result<(), Mismatch> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let claim = Claim { signature: header(HEADER), settings: header(SETTINGS_HEADER) };
        match &self.signatures {
            Some(signatures) => signatures.check(claim, url, body),
            // Without a key nothing can be right.
            None => Err(Mismatch::UnknownKey),
        }
    }

    fn warn(&self, why: &dyn std::fmt::Display, what: &'static str) {
        let allowed = self.warnings.lock().is_ok_and(|mut limit| limit.allow("", Instant::now()));
        if allowed {
            warn!(%why, "{what}");
        } else {
            debug!(%why, "{what}");
        }
    }
}

/// A socket without a ticket that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its address was not given out by the webhook, has been used, or is too old")]
pub(super) struct NoTicket;
