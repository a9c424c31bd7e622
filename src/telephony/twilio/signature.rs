//! `X-Twilio-Signature`: HMAC-SHA1 with the account's auth token over the address that Twilio calls
//! and each field's name and value in order (its page "Validating Signatures from Twilio").

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use sha2::{Digest as _, Sha256};

use crate::config::{Secret, SharedKey};

/// The header that carries the signature.
pub(crate) const HEADER: &str = "x-twilio-signature";

/// The header that names another key than the auth token (a beta of Twilio's, 2026).
pub(crate) const SETTINGS_HEADER: &str = "x-twilio-webhooks-signature-settings";

/// The query field that holds the digest of a body that is no form.
const BODY_DIGEST: &str = "bodySHA256";

/// What of a request is signed beside its address.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// Nothing: a GET, or the opening of a WebSocket.
    None,
    /// The fields of a form, each decoded once.
    Form(&'a [(String, String)]),
    /// Anything else, as it came; its digest stands in the address.
    Raw(&'a [u8]),
}

/// What a request says of its signature.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim<'a> {
    /// `X-Twilio-Signature`.
    pub signature: Option<&'a str>,
    /// `X-Twilio-Webhooks-Signature-Settings`.
    pub settings: Option<&'a str>,
}

/// Why a request is not taken for Twilio's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It carries no signature.
    #[error("it has no X-Twilio-Signature header")]
    Missing,
    /// It is signed with another key, or something of it was changed.
    #[error(
        "its X-Twilio-Signature does not match: the auth token is another account's, \
         server.public_url is not the address that Twilio was given, or someone else sent it"
    )]
    Wrong,
    /// Its body is not the one that was signed.
    #[error("its body is not the one that was signed (bodySHA256)")]
    Body,
    /// It is signed with a shared key that is not configured.
    #[error("it names a shared key that is not configured")]
    UnknownKey,
}

/// Checks signatures, and makes them.
///
/// Twilio's libraries for Python and Node disagree on four odd requests. Names are sorted here as
/// Python does, by code point; a bare `?` is kept, and the port of an IPv6 address or behind a user
/// name found, as Node does. Unlike both, `wss` is tried with port 443 too, which is its own.
#[derive(Clone)]
pub struct Signatures {
    token: hmac::Key,
    shared: Option<(String, [(&'static str, hmac::Key); 2])>,
}

impl Signatures {
    /// Those of the account with this auth token.
    #[must_use]
    pub fn new(auth_token: &Secret<String>) -> Self {
        let key = auth_token.expose().as_bytes();
        Self { token: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), shared: None }
    }

    /// Accepts this key as well.
    #[must_use]
    pub fn with_shared_key(mut self, key: &SharedKey) -> Self {
        let secret = key.secret.expose().as_bytes();
        let sha1 = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let sha256 = hmac::Key::new(hmac::HMAC_SHA256, secret);
        self.shared = Some((key.id.clone(), [("HMAC_SHA1", sha1), ("HMAC_SHA256", sha256)]));
        self
    }

    /// What Twilio writes into the header of such a request to `url`.
    #[must_use]
    pub fn sign(&self, url: &str, body: Body<'_>) -> String {
        STANDARD.encode(hmac::sign(&self.token, signed_text(url, body).as_bytes()))
    }

    /// Whether Twilio sent this request to `url`, the address as Twilio was given it, with the
    /// query string as it came.
    ///
    /// # Errors
    /// [`Mismatch`] if it did not.
    pub fn check(&self, claim: Claim<'_>, url: &str, body: Body<'_>) -> Result<(), Mismatch> {
        let given = claim.signature.filter(|given| !given.is_empty()).ok_or(Mismatch::Missing)?;
        let key = self.key(claim.settings)?;
        let given = STANDARD.decode(given).map_err(|_| Mismatch::Wrong)?;
        // Each is tried, so that the time taken does not tell which one came near.
        let matching = spellings(url)
            .iter()
            .filter(|url| hmac::verify(key, signed_text(url, body).as_bytes(), &given).is_ok())
            .count();
        match body {
            _ if matching == 0 => Err(Mismatch::Wrong),
            Body::Raw(body) if !is_digest_in(url, body) => Err(Mismatch::Body),
            Body::None | Body::Form(_) | Body::Raw(_) => Ok(()),
        }
    }

    /// The key that a request names. One that names none is signed with the auth token.
    fn key(&self, settings: Option<&str>) -> Result<&hmac::Key, Mismatch> {
        let Some(settings) = settings else { return Ok(&self.token) };
        let setting = |name: &str| {
            let pairs = settings.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        let algorithm = setting("algorithm").unwrap_or("HMAC_SHA1");
        let Some(id) = setting("key") else {
            // The default, spelt out.
            return if algorithm == "HMAC_SHA1" {
                Ok(&self.token)
            } else {
                Err(Mismatch::UnknownKey)
            };
        };
        let (_, keys) =
            self.shared.as_ref().filter(|(own, _)| own == id).ok_or(Mismatch::UnknownKey)?;
        let key = keys.iter().find(|(name, _)| *name == algorithm);
        key.map(|(_, key)| key).ok_or(Mismatch::UnknownKey)
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signatures(***)")
    }
}

fn signed_text(url: &str, body: Body<'_>) -> String {
    let mut text = url.to_owned();
    if let Body::Form(fields) = body {
        let distinct: BTreeSet<_> = fields.iter().collect();
        for (name, value) in distinct {
            text.push_str(name);
            text.push_str(value);
        }
    }
    text
}

/// The addresses that may have been signed: with and without the port, since Twilio has done both;
/// and without a path with and without its slash, since a server cannot tell the two apart.
fn spellings(url: &str) -> Vec<String> {
    let url = url.split('#').next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host_at = authority.rfind('@').map_or(0, |at| at + 1);
    let port_at = match authority[host_at..].rfind([':', ']']) {
        Some(at) if authority.as_bytes()[host_at + at] == b':' => Some(host_at + at),
        _ => None,
    };
    let mut authorities = vec![authority.to_owned()];
    match port_at {
        Some(at) => authorities.push(authority[..at].to_owned()),
        None if scheme == "https" => authorities.push(format!("{authority}:443")),
        // Twilio's libraries take every other scheme for one without TLS.
        None if scheme == "wss" => {
            authorities.extend([format!("{authority}:443"), format!("{authority}:80")]);
        }
        None => authorities.push(format!("{authority}:80")),
    }
    let paths: &[&str] = if path.is_empty() || path == "/" { &["", "/"] } else { &[path] };
    let mut spellings = Vec::new();
    for path in paths {
        spellings
            .extend(authorities.iter().map(|authority| format!("{scheme}://{authority}{path}")));
    }
    spellings
}

fn is_digest_in(url: &str, body: &[u8]) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut digests = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == BODY_DIGEST)
        .map(|(_, value)| value);
    let Some(given) = digests.next() else { return false };
    let own: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    given.eq_ignore_ascii_case(&own)
}

#[cfg(test)]
mod tests;
