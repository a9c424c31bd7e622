//! Opens the stream's WebSocket with Twilio's handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, http};
use url::{Host, Url};

use super::webhook::Signer;

/// How long connecting, TLS and the upgrade may take together; Twilio's own limit is unknown.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Longest message that is read: ten minutes of audio in base64.
const MAX_MESSAGE: usize = 8 << 20;

/// A byte stream, with TLS or without.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<Box<dyn Bytes>>;

/// Why a stream's WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("the stream's URL {url:?} is malformed: {reason} (error 31923)")]
    Malformed { url: String, reason: String },
    #[error("{0}: the scheme must be wss, or ws to this machine (error 31922)")]
    Scheme(Url),
    #[error("{url}: no connection: {reason} (error 31902)")]
    Refused { url: Url, reason: String },
    #[error("{url}: TLS failed: {reason} (error 31910)")]
    Tls { url: Url, reason: String },
    #[error("{url}: the upgrade was answered {status}, not 101 (error 31920)")]
    Upgrade { url: Url, status: u16 },
    #[error("{url}: the upgrade failed: {reason} (error 31920)")]
    Handshake { url: Url, reason: String },
    #[error("{url}: no answer within {} s (error 31901)", OPEN_LIMIT.as_secs())]
    Silent { url: Url },
}

/// The URL that Twilio would connect to: `<Stream url>` relative to its document's URL, which is
/// then a `ws` URL if the document came by plain HTTP. Twilio drops the query string; `true` says
/// that there was one.
pub(super) fn stream_url(text: &str, document: &Url) -> Result<(Url, bool), SocketError> {
    let malformed = |reason: String| SocketError::Malformed { url: text.to_owned(), reason };
    let mut url = document.join(text.trim()).map_err(|error| malformed(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(malformed("it is empty".to_owned()));
    }
    let relative = Url::parse(text.trim()).is_err();
    let scheme = match url.scheme() {
        "https" if relative => "wss",
        "http" if relative => "ws",
        other => other,
    };
    let scheme = scheme.to_owned();
    url.set_scheme(&scheme).map_err(|()| SocketError::Scheme(url.clone()))?;
    if !(url.scheme() == "wss" || (url.scheme() == "ws" && is_loopback(&url))) {
        return Err(SocketError::Scheme(url));
    }
    url.set_fragment(None);
    let had_query = url.query().is_some();
    url.set_query(None);
    Ok((url, had_query))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

/// Connects to a URL that [`stream_url`] gave.
pub(super) async fn open(
    url: &Url,
    tls: &Arc<rustls::ClientConfig>,
    signer: Option<&Signer>,
) -> Result<Socket, SocketError> {
    let opening = async {
        let bytes = connect(url, tls).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let request = request(url, signer)?;
        let opened =
            tokio_tungstenite::client_async_with_config(request, bytes, Some(config)).await;
        match opened {
            Ok((socket, _)) => Ok(socket),
            Err(WsError::Http(response)) => {
                Err(SocketError::Upgrade { url: url.clone(), status: response.status().as_u16() })
            }
            Err(error) => {
                Err(SocketError::Handshake { url: url.clone(), reason: error.to_string() })
            }
        }
    };
    match timeout(OPEN_LIMIT, opening).await {
        Ok(result) => result,
        Err(_) => Err(SocketError::Silent { url: url.clone() }),
    }
}

async fn connect(
    url: &Url,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Bytes>, SocketError> {
    let malformed =
        |reason: &str| SocketError::Malformed { url: url.to_string(), reason: reason.to_owned() };
    let host = url.host_str().ok_or_else(|| malformed("it names no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| malformed("it names no port"))?;
    // An IPv6 address stands in brackets in a URL, but nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let refused = |error: std::io::Error| SocketError::Refused {
        url: url.clone(),
        reason: error.to_string(),
    };
    let tcp = TcpStream::connect((host, port)).await.map_err(refused)?;
    tcp.set_nodelay(true).map_err(refused)?;
    if url.scheme() == "ws" {
        return Ok(Box::new(tcp));
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| malformed("its host is not a valid name"))?;
    let connected = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
    let tls = connected
        .map_err(|error| SocketError::Tls { url: url.clone(), reason: error.to_string() })?;
    Ok(Box::new(tls))
}

/// The upgrade request as Twilio sends it: no origin, no subprotocol, no extensions.
fn request(url: &Url, signer: Option<&Signer>) -> Result<Request, SocketError> {
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = http::Request::get(url.as_str())
        .header("Host", authority)
        .header("User-Agent", "Twilio.TmeWs/1.0")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if let Some(sign) = signer {
        request = request.header("x-twilio-signature", sign(url, &[]));
    }
    request
        .body(())
        .map_err(|error| SocketError::Malformed { url: url.to_string(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, document: &str) -> Result<(String, bool), String> {
        let document = Url::parse(document).unwrap();
        stream_url(text, &document)
            .map(|(url, query)| (url.to_string(), query))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_stream_url_is_absolute_or_relative_to_its_document() {
        let (secure, local) = ("https://bot.example.com/a/voice", "http://127.0.0.1:8080/a/voice");
        for (text, document, expected, query) in [
            ("wss://x.example/s", secure, "wss://x.example/s", false),
            ("/s", secure, "wss://bot.example.com/s", false),
            ("s?token=1#f", secure, "wss://bot.example.com/a/s", true),
            ("/s", local, "ws://127.0.0.1:8080/s", false),
            ("ws://localhost:1/s", secure, "ws://localhost:1/s", false),
            ("ws://[::1]:1/s", secure, "ws://[::1]:1/s", false),
        ] {
            assert_eq!(resolved(text, document), Ok((expected.to_owned(), query)), "{text}");
        }
    }

    #[test]
    fn other_stream_urls_are_refused_with_twilios_error() {
        let document = "https://bot.example.com/voice";
        for (text, error) in [
            ("ws://bot.example.com/s", "31922"),
            ("https://bot.example.com/s", "31922"),
            ("mailto:x@y", "31922"),
            ("wss://", "31923"),
            ("", "31923"),
        ] {
            let message = resolved(text, document).unwrap_err();
            assert!(message.contains(error), "{text}: {message}");
        }
    }

    #[test]
    fn the_upgrade_carries_twilios_headers_and_no_others() {
        let url = Url::parse("wss://bot.example.com:8443/s").unwrap();
        let signer: Signer = Arc::new(|url, form| format!("{url} {}", form.len()));
        let request = request(&url, Some(&signer)).unwrap();
        let mut names: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "connection",
                "host",
                "sec-websocket-key",
                "sec-websocket-version",
                "upgrade",
                "user-agent",
                "x-twilio-signature"
            ]
        );
        assert_eq!(request.headers()["host"], "bot.example.com:8443");
        assert_eq!(request.headers()["x-twilio-signature"], "wss://bot.example.com:8443/s 0");
    }
}
