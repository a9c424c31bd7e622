//! Connects to a server step by step, name, TCP, TLS, to know at which of them it fails; sends
//! nothing beyond the TLS handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::certificate::is_self_signed;
use crate::engine::tls::{for_a_look, pin_of};

/// A byte stream, with TLS or without.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection that stands.
pub(super) struct Reached {
    pub(super) stream: Box<dyn Bytes>,
    pub(super) address: IpAddr,
}

/// At what connecting failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreached {
    #[error("no address is known for the name {0}")]
    Name(String),
    #[error("{0} refuses connections, as nothing listens there")]
    Refused(SocketAddr),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("no connection ({0})")]
    Tcp(String),
    #[error("it does not speak TLS on that port")]
    NoTls,
    #[error("the TLS handshake fails ({0})")]
    Tls(String),
    #[error("{0}")]
    Untrusted(Untrusted),
}

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct Untrusted {
    pub(super) why: Why,
    /// SHA-256 of the certificate, in hexadecimal digits; empty if it could not be had.
    pub(super) pin: String,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("its certificate is self-signed")]
    SelfSigned,
    #[error("its certificate comes without the authority's intermediate one")]
    Alone,
    #[error("its certificate is not from a public authority")]
    Issuer,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotYet,
    #[error("its certificate is for another name{0}")]
    Name(String),
    #[error("its certificate is not the pinned one")]
    NotPinned,
    #[error("its certificate is not accepted ({0})")]
    Other(String),
}

/// Connects to the host of `url`, with TLS for `https` and `wss`; each step within `limit`.
pub(super) async fn reach(
    url: &Url,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Result<Reached, Unreached> {
    let (tcp, address) = connect(url, limit).await?;
    if matches!(url.scheme(), "http" | "ws") {
        return Ok(Reached { stream: Box::new(tcp), address });
    }
    let name = server_name(url)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let error = match timeout(limit, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => return Ok(Reached { stream: Box::new(stream), address }),
        Ok(Err(error)) => error,
        Err(_) => return Err(Unreached::Tls("no answer in time".to_owned())),
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    Err(match inner {
        Some(rustls::Error::InvalidMessage(_)) => Unreached::NoTls,
        Some(rustls::Error::InvalidCertificate(why)) => {
            Unreached::Untrusted(look(url, Some(why), limit).await)
        }
        Some(rustls::Error::General(text)) if text.contains("not the pinned one") => {
            let seen = look(url, None, limit).await;
            Unreached::Untrusted(Untrusted { why: Why::NotPinned, ..seen })
        }
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            Unreached::Tls("the server hangs up".to_owned())
        }
        _ => Unreached::Tls(error.to_string()),
    })
}

async fn connect(url: &Url, limit: Duration) -> Result<(TcpStream, IpAddr), Unreached> {
    // An IPv6 address stands in brackets in a URL, but nowhere else.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let silent = |_| Unreached::Silent(limit);
    let addresses: Vec<_> = match timeout(limit, lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let mut failed = Unreached::Name(host);
    let all = async {
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok((tcp, address.ip())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    failed = Unreached::Refused(address);
                }
                Err(error) => failed = Unreached::Tcp(error.to_string()),
            }
        }
        Err(failed)
    };
    timeout(limit, all).await.map_err(silent)?
}

fn server_name(url: &Url) -> Result<ServerName<'static>, Unreached> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host.clone()).map_err(|_| Unreached::Name(host))
}

/// Connects once more, trusting anyone, to see the certificate that was not trusted.
async fn look(url: &Url, error: Option<&CertificateError>, limit: Duration) -> Untrusted {
    let looked = timeout(limit, async {
        let (tcp, _) = connect(url, limit).await.ok()?;
        let connector = TlsConnector::from(for_a_look().ok()?);
        let stream = connector.connect(server_name(url).ok()?, tcp).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain.iter().map(|certificate| certificate.to_vec()).collect::<Vec<_>>())
    });
    let chain = looked.await.ok().flatten().unwrap_or_default();
    let pin = chain.first().map(|own| pin_of(own)).unwrap_or_default();
    let pin = if chain.is_empty() { String::new() } else { hex(&pin) };
    let is_own = chain.first().is_some_and(|own| is_self_signed(own));
    let why = match error {
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => Why::Expired,
        Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            Why::NotYet
        }
        Some(CertificateError::NotValidForNameContext { presented, .. }) => {
            Why::Name(format!(": {}", presented.join(", ")))
        }
        Some(CertificateError::NotValidForName) => Why::Name(String::new()),
        _ if is_own => Why::SelfSigned,
        Some(CertificateError::UnknownIssuer) if chain.len() == 1 => Why::Alone,
        Some(CertificateError::UnknownIssuer) => Why::Issuer,
        Some(other) => Why::Other(other.to_string()),
        None => Why::Other("unknown".to_owned()),
    };
    Untrusted { why, pin }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
