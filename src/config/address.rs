//! Addresses: where Twilio reaches this server, and where the engines are.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::engine_url::{EngineKind, EngineUrl, Names};
use super::error::{ConfigError, Origin, quoted};
use super::layers::Given;
use crate::http::is_this_machine;

/// Where this server is reached from outside: `https`, or plain `http` on the machine itself, for
/// trials without a phone.
pub(super) fn public_url(given: &Given) -> Result<Url, ConfigError> {
    let url = parse_bare(given, &["https", "http"], "https://bot.example.com")?;
    if url.scheme() == "http" && !is_this_machine(&url) {
        let fix = "Twilio needs TLS: use https:// (plain http:// only for 127.0.0.1)";
        return Err(given.refuse("is not encrypted", fix));
    }
    Ok(url)
}

/// The address to listen on.
pub(super) fn listen_host(given: &Given) -> Result<IpAddr, ConfigError> {
    let text = given.text.trim_start_matches('[').trim_end_matches(']');
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| {
        let fix = "use 127.0.0.1 for this machine alone, 0.0.0.0 or :: for every network";
        given.refuse("is not an IP address", fix)
    })
}

/// An address that events are posted to: `https`, or `http` on the machine itself, with a path and
/// maybe a query.
pub(super) fn hook_url(given: &Given) -> Result<Url, ConfigError> {
    let url = parse(given, &["https", "http"], "https://example.com/voice-bot")?;
    if url.scheme() == "http" && !is_this_machine(&url) {
        let fix = "use https:// (plain http:// only for 127.0.0.1)";
        return Err(given.origin.refuse(quoted(&public(&given.text)), "is not encrypted", fix));
    }
    Ok(url)
}

/// The address of a collector of traces, which are given no number and no word of a call.
pub(super) fn collector_url(given: &Given) -> Result<Url, ConfigError> {
    parse(given, &["https", "http"], "http://127.0.0.1:4318")
}

/// Where the sound of callers is sent to be written down: a server nearby may do without TLS, as
/// engines do.
pub(super) fn transcription_url(given: &Given) -> Result<Url, ConfigError> {
    parse(given, &["https", "http"], "https://api.openai.com/v1/audio/transcriptions")
}

/// The address of a server that speaks S3: `https`, or `http` on the machine itself or where the
/// operator says that it may be.
pub(super) fn storage_url(given: &Given, may_be_plain: bool) -> Result<Url, ConfigError> {
    let url = parse_bare(given, &["https", "http"], "https://minio.example.com:9000")?;
    if url.scheme() == "http" && !may_be_plain && !is_this_machine(&url) {
        let fix = "use https://, or set recording.s3_allow_http = true for a network of your own";
        return Err(given.refuse("is not encrypted", fix));
    }
    Ok(url)
}

/// The address of one engine's server, of the kind that its scheme names; or with `dns+`
/// or `srv+` before it of those that a name stands for.
pub(super) fn engine_url(given: &Given) -> Result<EngineUrl, ConfigError> {
    const EXAMPLE: &str = "wss://127.0.0.1:8998";
    let bare = |text: &str| {
        let given = Given { text: text.to_owned(), origin: given.origin.clone() };
        parse_bare(&given, &["ws", "wss"], EXAMPLE)
    };
    let (names, text) = Names::split(&given.text);
    let (kind, url) = match EngineKind::split(text) {
        Some((kind, address)) => (kind, bare(address)?),
        // What stands before an @ is a password, and what has no scheme no wrong one.
        None if text.contains('@') || !text.contains("://") => {
            (EngineKind::PersonaPlex, bare(text)?)
        }
        None => {
            let problem = format!("does not start with {}", EngineKind::schemes());
            let fix = format!("use an address such as {EXAMPLE}");
            return Err(given.origin.refuse(quoted(&public(text)), &problem, fix));
        }
    };
    if names != Names::Itself && !matches!(url.host(), Some(Host::Domain(_))) {
        let fix =
            "use a name that has an address for each server, such as dns+ws://gpus.internal:8998";
        return Err(given.refuse("has no name", fix));
    }
    Ok(EngineUrl { names, kind, url })
}

/// Reads the address of an engine's server as the configuration would.
///
/// # Errors
/// [`ConfigError`] when it is none.
pub fn parse_engine_url(text: &str) -> Result<EngineUrl, ConfigError> {
    engine_url(&Given { text: text.trim().to_owned(), origin: Origin::Flag("url") })
}

/// Parses a URL of one of the schemes that has a host and, beside a port, nothing else.
fn parse_bare(given: &Given, schemes: &[&str], example: &str) -> Result<Url, ConfigError> {
    let url = parse(given, schemes, example)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let problem = "has something after the host, which voice-bot adds itself";
        let fix = format!("use an address such as {example}");
        return Err(given.origin.refuse(quoted(&public(&given.text)), problem, fix));
    }
    Ok(url)
}

/// `text` without what stands behind a question mark or a hash, which may be a password.
fn public(text: &str) -> String {
    text.find(['?', '#']).map_or(text.to_owned(), |at| format!("{}***", &text[..=at]))
}

/// Parses a URL of one of the schemes that has a host, and no user name or password.
fn parse(given: &Given, schemes: &[&str], example: &str) -> Result<Url, ConfigError> {
    let fix = format!("use an address such as {example}");
    let text = &given.text;
    // What stands before an @ is a password, which no message may show.
    if text.contains('@') {
        return Err(given.origin.refuse("***", "holds a user name or password", fix));
    }
    let public = quoted(&public(text));
    let shown = |problem: &str| Err(given.origin.refuse(&public, problem, fix.as_str()));
    if !text.contains("://") {
        return shown("has no scheme");
    }
    let Ok(url) = Url::parse(text) else {
        return shown("is not a URL");
    };
    if !schemes.contains(&url.scheme()) {
        return shown(&format!("does not start with {}://", schemes.join(":// or ")));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return shown("has no host");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        Given { text: text.to_owned(), origin: Origin::Variable("X") }
    }

    #[test]
    fn a_public_url_is_https_or_this_machine() {
        for (text, url) in [
            ("https://bot.example.com", "https://bot.example.com/"),
            ("https://Bot.Example.com:443/", "https://bot.example.com/"),
            ("https://bot.example.com:8443", "https://bot.example.com:8443/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
        ] {
            assert_eq!(public_url(&given(text)).unwrap().as_str(), url);
        }
    }

    #[test]
    fn a_public_url_is_a_host_and_nothing_else() {
        for (text, problem) in [
            ("bot.example.com", "has no scheme"),
            ("wss://bot.example.com", "does not start with https:// or http://"),
            ("http://bot.example.com", "is not encrypted"),
            ("https://bot.example.com/twilio", "has something after the host"),
            ("https://bot.example.com?a=b", "has something after the host"),
            ("https://bot.example.com/#a", "has something after the host"),
            ("https://", "is not a URL"),
            ("https://a b/", "is not a URL"),
        ] {
            let error = public_url(&given(text)).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            let shown = text.replace("a=b", "***").replace("#a", "#***");
            assert!(error.starts_with(&format!("X = {shown:?} ")), "{error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        let error = engine_url(&given("wss://me:hunter2@gpu.example")).unwrap_err().to_string();
        assert!(error.starts_with("X = *** holds a user name or password; use"), "{error}");
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn hosts_to_listen_on() {
        assert_eq!(listen_host(&given("localhost")).unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(listen_host(&given("[::]")).unwrap().to_string(), "::");
        assert!(listen_host(&given("0.0.0.0:80")).is_err());
        assert!(listen_host(&given("bot.example.com")).is_err());
    }
}
