//! The public address from outside in, as Twilio comes: name, TCP, TLS, a signed webhook, a signed
//! audio socket. Where one fails, what runs on this machine helps to say why.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use url::{Position, Url};

use super::reach::{Unreached, Untrusted, Why, reach};
use super::webhook::{Answer, Webhook};
use super::{Finding, Options, State, socket, webhook};
use crate::config::Config;
use crate::http::is_this_machine;
use crate::telephony::twilio::signature::Signatures;
use crate::tls::public_roots;

/// What the steps share.
pub(super) struct Way<'a> {
    /// `server.public_url`.
    pub(super) base: &'a Url,
    pub(super) signatures: Option<Signatures>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) limit: Duration,
    pub(super) local: Local,
    /// Where the server listens, as this machine reaches it.
    pub(super) listens: SocketAddr,
}

/// What listens on this machine where the server should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// The port is not known before the server runs.
    Unknown,
    /// Nothing: the server does not run, or on another machine.
    Nothing,
    /// voice-bot.
    Server,
    /// Something else.
    Other,
}

impl Way<'_> {
    /// What to do when nothing comes from behind the proxy or tunnel.
    pub(super) fn start_or(&self, otherwise: String) -> String {
        match self.local {
            Local::Nothing => format!(
                "start the server first (`voice-bot serve`), for nothing listens on {} either",
                self.listens
            ),
            Local::Unknown | Local::Server | Local::Other => otherwise,
        }
    }
}

/// Dials `server.public_url`.
pub(super) async fn examine(
    config: &Config,
    tls: &Arc<ClientConfig>,
    options: &Options,
) -> Vec<Finding> {
    let Some(base) = &config.server.public_url else {
        return vec![Finding::warning(
            "server.public_url is not set, so only programs on this machine can call",
            "set PUBLIC_URL to the https address at which Twilio reaches this server",
        )];
    };
    let mut listens = config.server.listen();
    if listens.ip().is_unspecified() {
        listens.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut way = Way {
        base,
        signatures: config.twilio.auth_token.as_ref().map(Signatures::new),
        tls: Arc::clone(tls),
        limit: options.patience,
        local: Local::Unknown,
        listens,
    };
    way.local = look_here(&way).await;
    let mut findings: Vec<_> = of_address(base).into_iter().collect();
    findings.extend(of_local(&way));
    match reach(base, tls, way.limit).await {
        Ok(reached) => findings.extend(of_connection(&way, reached.address, options).await),
        Err(why) => {
            let is_plain = matches!(why, Unreached::Tls(_)) && speaks_plain_http(&way).await;
            findings.push(unreached(&way, if is_plain { &Unreached::NoTls } else { &why }));
            return findings;
        }
    }
    let webhook = webhook::examine(&way).await;
    let is_well = webhook.iter().all(|finding| finding.state != State::Failure);
    findings.extend(webhook);
    findings.extend(socket::examine(&way, is_well).await);
    findings
}

/// What listens where the server should, asked without the way around.
async fn look_here(way: &Way<'_>) -> Local {
    if way.listens.port() == 0 {
        return Local::Unknown;
    }
    let Ok(here) = Url::parse(&format!("http://{}/", way.listens)) else { return Local::Unknown };
    if reach(&here, &way.tls, way.limit).await.is_err() {
        return Local::Nothing;
    }
    let Ok(webhook) = Webhook::new(way) else { return Local::Unknown };
    match webhook.health(&here).await {
        true => Local::Server,
        false => Local::Other,
    }
}

/// Whether what does not shake hands by TLS answers without it.
async fn speaks_plain_http(way: &Way<'_>) -> bool {
    let address = &way.base[Position::BeforeHost..Position::AfterPort];
    let port = way.base.port_or_known_default().unwrap_or(443);
    let plain = match way.base.port() {
        Some(_) => format!("http://{address}/"),
        None => format!("http://{address}:{port}/"),
    };
    let (Ok(plain), Ok(webhook)) = (Url::parse(&plain), Webhook::new(way)) else { return false };
    webhook.answers(&plain).await
}

/// What can be said of the address without dialling it.
fn of_address(base: &Url) -> Option<Finding> {
    if is_this_machine(base) {
        return Some(Finding::warning(
            format!("{base} is this machine's own address: Twilio cannot reach it"),
            "for calls by phone set PUBLIC_URL to the https address of a tunnel or proxy",
        ));
    }
    let port = base.port_or_known_default();
    (port != Some(443)).then(|| {
        Finding::warning(
            format!("{base} names a port of its own: Twilio opens audio sockets on port 443 alone"),
            "let the proxy or tunnel listen on 443, and take the port out of server.public_url",
        )
    })
}

fn of_local(way: &Way<'_>) -> Option<Finding> {
    let address = way.listens;
    match way.local {
        Local::Unknown => None,
        Local::Server => Some(Finding::ok(format!("voice-bot runs on this machine, on {address}"))),
        Local::Nothing => Some(Finding::skipped(format!(
            "nothing listens on {address} of this machine; the server does not run, or elsewhere"
        ))),
        Local::Other => Some(Finding::warning(
            format!("another program than voice-bot answers on {address} of this machine"),
            "end it, or give voice-bot another port: --port, SERVER_PORT or server.port",
        )),
    }
}

/// What there is to say of a connection that stands.
async fn of_connection(way: &Way<'_>, address: IpAddr, options: &Options) -> Vec<Finding> {
    let base = way.base;
    if base.scheme() == "http" {
        return vec![Finding::ok(format!("{base} can be reached, at {address}, without TLS"))];
    }
    let mut findings = vec![Finding::ok(format!(
        "{base} can be reached, at {address}, and its certificate is good"
    ))];
    if options.ca_file.is_some()
        && let Err(Unreached::Untrusted(_)) = reach(base, &public_roots(), way.limit).await
    {
        findings = vec![Finding::warning(
            format!(
                "{base} can be reached, at {address}, and only --ca vouches for its certificate: \
                 Twilio trusts the public authorities alone (its error 31910)"
            ),
            "for calls by phone get a certificate of a public authority, such as Let's Encrypt",
        )];
    }
    if is_private(address) && !is_this_machine(base) {
        findings.push(Finding::warning(
            format!("{address} is an address of a private network: Twilio cannot reach it"),
            "unless the name has another address outside, let it lead to your public one",
        ));
    }
    findings
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Why the address cannot even be connected to.
fn unreached(way: &Way<'_>, why: &Unreached) -> Finding {
    let base = way.base;
    let fix = match why {
        Unreached::Name(name) => format!(
            "correct server.public_url, or start the tunnel: a free one has a new name each time; \
             a name of your own needs a DNS record for {name}"
        ),
        Unreached::Refused(_) => way.start_or(
            "start the proxy or tunnel in front of voice-bot; it has to listen there".to_owned(),
        ),
        Unreached::Silent(_) | Unreached::Tcp(_) => {
            "open port 443 in the firewall, and see that the name leads to this server".to_owned()
        }
        Unreached::NoTls if base.port() == Some(way.listens.port()) => format!(
            "that is voice-bot's own port, which speaks no TLS: put a tunnel or proxy with a \
             certificate before {}, and set server.public_url to its address",
            way.listens
        ),
        Unreached::NoTls => "server.public_url says https, and plain http answers: let the proxy \
             speak TLS on that port, or name the port on which it does"
            .to_owned(),
        Unreached::Tls(_) => {
            "see that the proxy or tunnel has a certificate for this name".to_owned()
        }
        Unreached::Untrusted(untrusted) => untrusted_fix(base, untrusted),
    };
    let is_untrusted = matches!(why, Unreached::Untrusted(_));
    let refused = if is_untrusted { ", so Twilio would refuse it (its error 31910)" } else { "" };
    Finding::failure(format!("{base} cannot be reached: {why}{refused}"), fix)
}

fn untrusted_fix(base: &Url, untrusted: &Untrusted) -> String {
    let host = base.host_str().unwrap_or_default();
    match &untrusted.why {
        Why::Alone => "let the proxy serve the whole chain (fullchain.pem, not cert.pem), or, if \
             the authority is your own, get a certificate of a public one"
            .to_owned(),
        Why::Expired => "renew the certificate, and let the proxy load it".to_owned(),
        Why::NotYet => "see that this machine's clock is right".to_owned(),
        Why::Name(_) => format!("get a certificate for {host}, and see that the proxy picks it"),
        Why::SelfSigned | Why::Issuer | Why::NotPinned | Why::Other(_) => {
            "get a certificate of a public authority, such as Let's Encrypt, or let a tunnel do \
             so; to go on checking with one of your own, name it with --ca FILE"
                .to_owned()
        }
    }
}

/// How an answer that is none of voice-bot's is to be understood, whichever way it came.
pub(super) fn not_ours(way: &Way<'_>, answer: &Answer, what: &str) -> Finding {
    let base = way.base;
    let status = answer.status;
    let who = answer.who();
    if (300..400).contains(&status) {
        return redirect(base, answer, what);
    }
    let (why, fix) = match status {
        401 | 403 => (
            format!("{who} wants a login or forbids it (HTTP {status})"),
            "let /twiml and /media through without a login or a bot check; voice-bot tells Twilio \
             from strangers itself"
                .to_owned(),
        ),
        404 => (
            format!("{who} knows no such path (HTTP 404)"),
            way.start_or(format!(
                "let the proxy or tunnel pass every path on to http://{} unchanged",
                way.listens
            )),
        ),
        405 => (
            format!("{who} does not take a POST (HTTP 405)"),
            "let the proxy pass POST on; a static web site may answer in its place".to_owned(),
        ),
        502..=504 | 520..=530 => (
            format!("{who} finds no server behind it (HTTP {status})"),
            way.start_or(format!("point the proxy or tunnel to http://{}", way.listens)),
        ),
        200..=299 if answer.is_page() => (
            format!("a web page comes back in place of voice-bot's answer, from {who}"),
            "let the proxy or tunnel lead to voice-bot, and turn off any page that it puts before"
                .to_owned(),
        ),
        _ => (
            format!("{who} answers HTTP {status}, which is not voice-bot's"),
            way.start_or(format!("point the proxy or tunnel to http://{}", way.listens)),
        ),
    };
    Finding::failure(format!("{what} does not arrive: {why}"), fix)
}

fn redirect(base: &Url, answer: &Answer, what: &str) -> Finding {
    let to = answer.location.as_deref().and_then(|location| base.join(location).ok());
    let Some(to) = to else {
        let what = format!("{what} is redirected (HTTP {}), to nowhere", answer.status);
        return Finding::failure(what, "take the redirect out of the proxy");
    };
    let shown = super::settings::without_secrets(&to);
    let what = format!("{what} is redirected (HTTP {}) to {shown}", answer.status);
    let is_other = to.origin() != base.origin();
    if is_other && to.scheme() == "https" {
        let origin = to.origin().ascii_serialization();
        return Finding::failure(
            what,
            format!(
                "set server.public_url to {origin}, restart the server, and point the number \
                     there: a signature holds for one address alone"
            ),
        );
    }
    let fix = match to.path().ends_with('/') {
        true => "take the rule that adds a slash out of the proxy: a socket is never redirected",
        false => "take the redirect out of the proxy: a socket follows none",
    };
    Finding::failure(what, fix)
}
