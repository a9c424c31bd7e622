//! Reaches an engine's server: TCP, TLS where asked for, and the WebSocket upgrade (RFC 6455).

pub mod pump;
pub(crate) mod session;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{self, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;
use voice_bot_core::leg::engine::OpenError;

use super::answer::answers;
use super::tls::{TlsError, TlsOptions};

/// The longest message accepted from an engine, in bytes; its own stay below 400.
const MAX_MESSAGE: usize = 1 << 20;

/// What may wait to be written, in bytes: 40 s of audio at 48 kbit/s.
const MAX_UNSENT: usize = 256 << 10;

/// A WebSocket connection to an engine.
pub(crate) type Socket = WebSocketStream<Stream>;

/// Where an engine's server listens and how it is reached.
#[derive(Clone)]
pub struct Endpoint {
    name: String,
    /// Host and port as the address has them.
    authority: String,
    address: Option<SocketAddr>,
    host: String,
    port: u16,
    authorization: Option<String>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Why an engine's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The scheme is none that carries a WebSocket.
    #[error("engine url: scheme '{0}' is not known; write ws://, wss://, http:// or https://")]
    Scheme(String),
    /// The address names no host.
    #[error("engine url: there is no host in it; write it like ws://127.0.0.1:8998")]
    NoHost,
    /// The host is no name that TLS can check.
    #[error("engine url: '{0}' is neither a host name nor an IP address")]
    Host(String),
    /// The TLS options cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why no connection came about. Says nothing about the address, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error("no TCP connection: {0}")]
    Tcp(#[source] io::Error),
    /// No TLS session: the certificate is not trusted, or the server speaks no TLS.
    #[error("no TLS session: {0}; for a certificate of your own set ca_file or pin_sha256")]
    Tls(#[source] io::Error),
    /// The server answered the upgrade with an HTTP status of its own.
    #[error("the server answered HTTP {0} in place of 101")]
    Status(StatusCode),
    /// The server broke the connection off instead of answering.
    #[error("the connection broke before the server answered: {0}")]
    Broken(#[source] io::Error),
    /// What answered is no WebSocket server, or the request cannot be written.
    #[error("no WebSocket upgrade: {0}")]
    Upgrade(String),
    /// Nothing came within the deadline.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

impl ConnectError {
    /// What the call is told.
    #[must_use]
    pub fn kind(&self) -> OpenError {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::Deadline(_) | Self::Broken(_) => {
                OpenError::Unreachable
            }
            Self::Upgrade(_) => OpenError::Protocol,
            Self::Status(status) => match status.as_u16() {
                400 | 401 | 403 | 414 | 431 => OpenError::Refused,
                429 | 503 => OpenError::Busy,
                502 | 504 => OpenError::Unreachable,
                _ => OpenError::Protocol,
            },
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The server that `url` names; its path and query are not looked at. User name and password
    /// in it are sent as HTTP basic authentication (RFC 7617).
    ///
    /// # Errors
    /// [`EndpointError`] when the scheme, the host or the TLS options are unusable.
    pub fn new(url: &Url, tls: &TlsOptions) -> Result<Self, EndpointError> {
        let (secure, default_port) = match url.scheme() {
            "ws" | "http" => (false, 80),
            "wss" | "https" => (true, 443),
            other => return Err(EndpointError::Scheme(other.to_owned())),
        };
        let written =
            url.host_str().filter(|host| !host.is_empty()).ok_or(EndpointError::NoHost)?;
        let host = written.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port().unwrap_or(default_port);
        let tls = if secure {
            let server = ServerName::try_from(host.clone())
                .map_err(|_| EndpointError::Host(written.to_owned()))?;
            Some((tls.client_config()?, server))
        } else {
            None
        };
        let name = format!("{written}:{port}");
        let (authority, authorization) = (name.clone(), basic_authorization(url));
        Ok(Self { name, authority, address: None, host, port, authorization, tls })
    }

    /// The same server at this one of its addresses, by which it is called in logs.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { name: address.to_string(), address: Some(address), ..self }
    }

    /// `host:port`, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects TCP, and TLS where the address asks for it, within the deadline; sends nothing.
    ///
    /// # Errors
    /// [`ConnectError`] when that fails or takes longer.
    pub async fn connect(&self, deadline: Duration) -> Result<Stream, ConnectError> {
        match timeout(deadline, self.establish()).await {
            Ok(established) => established,
            Err(_) => Err(ConnectError::Deadline(deadline)),
        }
    }

    /// Connects, and asks the server a plain HTTP question; any answer within the deadline will do.
    ///
    /// # Errors
    /// [`ConnectError`] when there is none.
    pub async fn probe(&self, deadline: Duration) -> Result<(), ConnectError> {
        let answered = timeout(deadline, async {
            let mut stream = self.establish().await?;
            answers(&mut stream, &self.authority).await.map_err(ConnectError::Broken)
        });
        answered.await.unwrap_or(Err(ConnectError::Deadline(deadline)))
    }

    /// Connects and upgrades to a WebSocket at `target` (path and query) within the deadline.
    ///
    /// # Errors
    /// [`ConnectError`] when that fails or takes longer.
    pub(crate) async fn upgrade(
        &self,
        target: &str,
        deadline: Duration,
    ) -> Result<Socket, ConnectError> {
        let request = self.request(target).map_err(|e| ConnectError::Upgrade(e.to_string()))?;
        let upgraded = timeout(deadline, async {
            let stream = self.establish().await?;
            tokio_tungstenite::client_async_with_config(request, stream, Some(limits()))
                .await
                .map_err(upgrade_error)
        });
        match upgraded.await {
            Ok(outcome) => outcome.map(|(socket, _response)| socket),
            Err(_) => Err(ConnectError::Deadline(deadline)),
        }
    }

    async fn establish(&self) -> Result<Stream, ConnectError> {
        let tcp = match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((self.host.as_str(), self.port)).await,
        };
        let tcp = tcp.map_err(ConnectError::Tcp)?;
        notice_a_dead_peer(&tcp).map_err(ConnectError::Tcp)?;
        match &self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some((config, server)) => TlsConnector::from(Arc::clone(config))
                .connect(server.clone(), tcp)
                .await
                .map(|stream| Stream::Tls(Box::new(stream)))
                .map_err(ConnectError::Tls),
        }
    }

    fn request(&self, target: &str) -> Result<Request, http::Error> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let mut request = Request::builder()
            .uri(format!("{scheme}://{}{target}", self.authority))
            .header("Host", &self.authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(())
    }
}

fn basic_authorization(url: &Url) -> Option<String> {
    let decode = |part: &str| {
        let pairs = format!("x={}", part.replace('+', "%2B"));
        url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    let user = decode(url.username())?;
    let password = decode(url.password().unwrap_or_default())?;
    let credentials =
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    (!user.is_empty() || !password.is_empty()).then(|| format!("Basic {credentials}"))
}

/// The library clears what is free of its read buffer, of 128 KiB unless told otherwise, whenever
/// it looks whether something has come.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNSENT)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

fn upgrade_error(error: tungstenite::Error) -> ConnectError {
    if let tungstenite::Error::Http(response) = error {
        return ConnectError::Status(response.status());
    }
    if let tungstenite::Error::Io(error) = error {
        return ConnectError::Broken(error);
    }
    // A forwarded port with nothing behind it accepts and hangs up.
    if matches!(error, tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)) {
        return ConnectError::Broken(io::ErrorKind::UnexpectedEof.into());
    }
    ConnectError::Upgrade(error.to_string())
}

/// A server has one session and no heart-beat of its own, and a silently lost peer would be held on
/// to for ever; so the kernel is asked to look after the connection too.
fn notice_a_dead_peer(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(())
}

/// A connection to an engine's server, with or without TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Makes the kernel reset the connection once this is dropped, instead of trying to deliver
    /// what is unsent to a peer that no longer reads.
    pub fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        if let Err(error) = tcp.set_zero_linger() {
            tracing::debug!(%error, "the connection to the engine cannot be reset");
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(&Url::parse(url).unwrap(), &TlsOptions::default())
    }

    #[test]
    fn the_name_is_host_and_port_and_holds_no_secret() {
        for (url, name) in [
            ("ws://127.0.0.1:8998", "127.0.0.1:8998"),
            ("https://user:secret@gpu.example/api/chat?token=secret", "gpu.example:443"),
            ("http://gpu.example", "gpu.example:80"),
            ("ws://[::1]:8998", "[::1]:8998"),
        ] {
            assert_eq!(endpoint(url).unwrap().name(), name);
        }
        let error = endpoint("ftp://gpu.example").unwrap_err().to_string();
        assert!(error.contains("'ftp'") && error.contains("wss://"), "{error}");
        let error = endpoint("data:text").unwrap_err().to_string();
        assert!(error.contains("'data'"), "{error}");
    }

    #[test]
    fn credentials_become_basic_authentication() {
        let request = endpoint("ws://a%40b:p%20w+@gpu/").unwrap().request("/api/chat").unwrap();
        let expected = base64::engine::general_purpose::STANDARD.encode("a@b:p w+");
        assert_eq!(request.headers()[AUTHORIZATION], format!("Basic {expected}"));
        let request = endpoint("ws://gpu/").unwrap().request("/api/chat").unwrap();
        assert!(request.headers().get(AUTHORIZATION).is_none());
        assert_eq!(request.uri().path(), "/api/chat");
    }

    #[test]
    fn an_http_status_says_what_is_wrong() {
        for (status, kind) in [
            (400, OpenError::Refused),
            (401, OpenError::Refused),
            (200, OpenError::Protocol),
            (404, OpenError::Protocol),
            (503, OpenError::Busy),
            (502, OpenError::Unreachable),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ConnectError::Status(status).kind(), kind);
        }
    }
}
