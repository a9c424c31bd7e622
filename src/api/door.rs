//! Who may use the API and talk: whoever presents the token, a browser that has signed in with it,
//! or, where only programs of this machine can come and there is no token, each of them.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::StreamExt as _;
use ring::hmac;
use url::Url;

use super::Problem;
use super::session::Sessions;
use crate::config::Secret;

/// What a token is compared by: the time that takes tells nothing of it.
const COMPARED: &[u8] = b"voice-bot";

/// What a browser sends with requests that change something. No page of another origin can, as
/// nobody allows it to by CORS.
const MARK: &str = "x-voice-bot";

/// The type of what is sent as it happens.
pub(super) const EVENTS: &str = "text/event-stream";

/// What tells that a request has come from farther than it seems.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
];

/// Who may come in. Cheap to clone; clones have the same sessions.
#[derive(Clone)]
pub(crate) struct Door {
    key: Option<hmac::Key>,
    sessions: Arc<Sessions>,
    /// Programs of this machine need no token.
    is_open: bool,
    /// Browsers reach this server by https.
    is_secure: bool,
    /// The host and port of the public URL.
    public: Option<String>,
}

impl Door {
    /// For whoever has this token; without one it is closed.
    pub(crate) fn new(token: Option<&Secret<String>>, public_url: Option<&Url>) -> Self {
        let key = token.map(|token| key(token.expose()));
        let is_secure = public_url.is_some_and(|url| url.scheme() == "https");
        let public = public_url.map(|url| url.authority().to_owned());
        Self { key, sessions: Arc::default(), is_open: false, is_secure, public }
    }

    /// The same for a server that only programs of this machine can reach: if there is no token,
    /// they need none.
    pub(crate) fn on_loopback(&self) -> Self {
        Self { is_open: self.key.is_none() && self.public.is_none(), ..self.clone() }
    }

    /// These routes, for whoever may come in.
    pub(crate) fn guard(&self, routes: Router) -> Router {
        // A layer would also answer for paths that nobody has.
        routes.route_layer(from_fn_with_state(self.clone(), enter))
    }

    /// Whether somebody may come in at all.
    pub(crate) const fn is_closed(&self) -> bool {
        self.key.is_none() && !self.is_open
    }

    /// Whether anybody can sign in.
    pub(super) const fn has_token(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether this request needs no token.
    pub(super) fn is_open_for(&self, headers: &HeaderMap) -> bool {
        self.is_open && is_of_this_machine(headers)
    }

    /// Whether this request has a session.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        super::session::cookie(headers).is_some_and(|it| self.sessions.has(it, Instant::now()))
    }

    /// Whether that is the token.
    pub(super) fn is_token(&self, given: &str) -> bool {
        let Some(own) = &self.key else { return false };
        let given = hmac::sign(&key(given), COMPARED);
        hmac::verify(own, COMPARED, given.as_ref()).is_ok()
    }

    /// Refuses what a page of somebody else has its visitor's browser ask: a browser brings its
    /// cookie, and the address of this machine, wherever a page comes from.
    pub(super) fn is_own(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let refused = |code, why: &str| Err(Problem(StatusCode::FORBIDDEN, code, why.to_owned()));
        if let Some(origin) = text("origin") {
            let origin = origin.split_once("://").map(|(_, authority)| authority);
            // A proxy may have put its own name for this server into `Host`.
            let own = [text("host"), self.public.as_deref()];
            if origin.is_none() || !own.contains(&origin) {
                return refused("cross_origin", "pages of another origin may not ask this server");
            }
        }
        if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return refused("cross_origin", "pages of another site may not ask this server");
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        if changes && text(MARK) != Some("1") {
            let why = "requests that change something need the header X-Voice-Bot: 1";
            return refused("no_mark", why);
        }
        Ok(())
    }

    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        if let Some(token) = bearer(headers)
            && self.key.is_some()
        {
            return if self.is_token(token) { Ok(()) } else { Err(unauthorized()) };
        }
        if self.is_open_for(headers) || self.knows(headers) {
            return self.is_own(method, headers);
        }
        if self.key.is_none() {
            let why = "the API is closed: set VOICE_BOT_API_TOKEN, and present it".to_owned();
            return Err(Problem(StatusCode::FORBIDDEN, "closed", why));
        }
        Err(unauthorized())
    }
}

fn key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

async fn enter(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    door.admit(request.method(), request.headers())?;
    let session = super::session::cookie(request.headers());
    let end = session.and_then(|session| door.sessions.end_of(session));
    let response = next.run(request).await;
    let is_live = response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == EVENTS);
    // What goes on for ever is to end with the session of who watches it.
    Ok(match end {
        Some(end) if is_live => {
            response.map(|body| Body::from_stream(body.into_data_stream().take_until(end)))
        }
        _ => response,
    })
}

fn unauthorized() -> Problem {
    let fix = "sign in, or present the token: Authorization: Bearer …".to_owned();
    Problem(StatusCode::UNAUTHORIZED, "unauthorized", fix)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether it came straight to this machine's own name: nothing has handed it on, and no name of
/// somebody else's was made to lead here.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| format!("http://{host}").parse::<Url>().ok());
    let is_ours = match host.as_ref().and_then(Url::host) {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    is_ours && FORWARDED.iter().all(|name| !headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TOKEN: &str = "let-me-in-let-me-in";

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        given.iter().map(pair).collect()
    }

    fn said(door: &Door, method: &Method, given: &[(&'static str, &'static str)]) -> &'static str {
        door.admit(method, &headers(given)).map_or_else(|Problem(_, code, _)| code, |()| "in")
    }

    #[test]
    fn without_a_token_only_this_machine_comes_in_and_only_straight() {
        let closed = Door::new(None, None);
        assert_eq!(said(&closed, &Method::GET, &[("host", "localhost:8080")]), "closed");
        let open = closed.on_loopback();
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:80"] {
            assert_eq!(said(&open, &Method::GET, &[("host", host)]), "in", "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8080", "localhost.evil"] {
            assert_eq!(said(&open, &Method::GET, &[("host", host)]), "closed", "{host}");
        }
        assert_eq!(said(&open, &Method::GET, &[]), "closed");
        for name in FORWARDED {
            let given = [("host", "localhost:8080"), (name, "203.0.113.9")];
            assert_eq!(said(&open, &Method::GET, &given), "closed", "{name}");
        }
    }

    #[test]
    fn a_token_or_an_address_of_https_closes_the_loopback_too() {
        let secret = Secret::new(TOKEN.to_owned());
        let given = [("host", "localhost:8080")];
        let door = Door::new(Some(&secret), None).on_loopback();
        assert_eq!(said(&door, &Method::GET, &given), "unauthorized");
        let url: Url = "https://bot.example.com".parse().unwrap();
        let door = Door::new(None, Some(&url)).on_loopback();
        assert_eq!(said(&door, &Method::GET, &given), "closed");
    }

    #[test]
    fn a_token_needs_no_mark_and_a_wrong_one_is_told() {
        let door = Door::new(Some(&Secret::new(TOKEN.to_owned())), None);
        let right = [("authorization", "Bearer let-me-in-let-me-in")];
        assert_eq!(said(&door, &Method::POST, &right), "in");
        let wrong = [("authorization", "Bearer let-me-in-let-me-im")];
        assert_eq!(said(&door, &Method::GET, &wrong), "unauthorized");
        assert_eq!(said(&door, &Method::GET, &[]), "unauthorized");
    }

    #[test]
    fn pages_of_others_can_ask_for_nothing() {
        let door = Door::new(None, None).on_loopback();
        let (post, get) = (Method::POST, Method::GET);
        let host = ("host", "localhost:8080");
        let own = ("origin", "http://localhost:8080");
        let mark = ("x-voice-bot", "1");
        assert_eq!(said(&door, &post, &[host]), "no_mark");
        assert_eq!(said(&door, &post, &[host, own, mark]), "in");
        assert_eq!(said(&door, &Method::DELETE, &[host, own]), "no_mark");
        for origin in ["http://evil.example", "null", "http://localhost:9090"] {
            assert_eq!(said(&door, &get, &[host, ("origin", origin)]), "cross_origin", "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(said(&door, &get, &[host, ("sec-fetch-site", site)]), "cross_origin");
        }
        assert_eq!(said(&door, &get, &[host, ("sec-fetch-site", "none")]), "in");
    }
}
