//! Which TLS servers to trust: public roots, a certificate file, one pinned certificate, or any.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use crate::config::Trust;

/// How an engine's TLS certificate is judged. The default trusts the public roots only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file whose certificates are trusted besides the public roots.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the only certificate accepted, over its DER form; names, dates and chain are
    /// then not looked at.
    pub pin_sha256: Option<[u8; 32]>,
    /// Accept any certificate: whoever is on the path can listen in. A pin takes precedence.
    pub insecure: bool,
}

/// Why [`TlsOptions`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read.
    #[error("ca_file {}: cannot be read ({source}); name a readable PEM file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What reading it gave.
        source: io::Error,
    },
    /// The certificate file holds no certificate, or a broken one.
    #[error(
        "ca_file {}: {reason}; it must hold one or more '-----BEGIN CERTIFICATE-----' blocks",
        path.display()
    )]
    NotCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
    /// No protocol version is left to speak.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Text that is not a certificate pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a SHA-256 pin; write 64 hex digits (colons allowed) or 44 base64 characters, \
     as `openssl x509 -in cert.pem -noout -fingerprint -sha256` prints it"
)]
pub struct PinError(String);

impl TlsOptions {
    /// The client configuration that judges servers in this way.
    ///
    /// Logs a warning each time when it accepts any certificate.
    ///
    /// # Errors
    /// [`TlsError`] when `ca_file` cannot be read or holds no certificate.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let unchained = |accept| {
            let verifier = Arc::new(Unchained { accept, provider });
            builder.clone().dangerous().with_custom_certificate_verifier(verifier)
        };
        let config = match (self.pin_sha256, self.insecure) {
            (Some(pin), _) => unchained(Accept::Pinned(pin)).with_no_client_auth(),
            (None, true) => {
                tracing::warn!(
                    "TLS certificates of the engine are not verified; use ca_file or pin_sha256"
                );
                unchained(Accept::Any).with_no_client_auth()
            }
            (None, false) => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &self.ca_file {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| TlsError::NotCertificates {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
            }
        }
        Ok(roots)
    }
}

impl From<&Trust> for TlsOptions {
    fn from(trust: &Trust) -> Self {
        match trust {
            Trust::WebRoots => Self::default(),
            Trust::CaFile(file) => Self { ca_file: Some(file.clone()), ..Self::default() },
            Trust::Pin(digest) => Self { pin_sha256: Some(*digest), ..Self::default() },
            Trust::Insecure => Self { insecure: true, ..Self::default() },
        }
    }
}

/// Accepts any certificate, so that one that is not trusted can be looked at. Nothing may be sent
/// over a connection that is made with it.
///
/// # Errors
/// [`TlsError`] when no protocol version is left to speak.
pub fn for_a_look() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Unchained { accept: Accept::Any, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Reads a pin: 64 hex digits with or without colons, or 44 base64 characters; a leading
/// `sha256:` is allowed.
///
/// # Errors
/// [`PinError`] when the text is neither, with the text.
pub fn parse_pin(text: &str) -> Result<[u8; 32], PinError> {
    let text = text.trim();
    let digest = match text.split_at_checked(7) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("sha256:") => rest.trim(),
        Some(_) | None => text,
    };
    from_hex(digest)
        .or_else(|| STANDARD.decode(digest).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| PinError(text.to_owned()))
}

/// The pin of a certificate in DER form, as [`TlsOptions::pin_sha256`] wants it.
#[must_use]
pub fn pin_of(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Bytes of an even number of hex digits, colons skipped.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|&character| character != ':')
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let whole = digits.len().is_multiple_of(2);
    whole.then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = std::fs::read(path)
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    let faulty = |reason: String| TlsError::NotCertificates { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| faulty(error.to_string()))?;
    if certificates.is_empty() {
        return Err(faulty("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

/// Which certificate is accepted without its chain.
#[derive(Debug, Clone, Copy)]
enum Accept {
    Pinned([u8; 32]),
    Any,
}

/// Judges the server's own certificate without its chain. That the server holds the certificate's
/// key is still checked, or a pin would prove nothing.
struct Unchained {
    accept: Accept,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Unchained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unchained").field("accept", &self.accept).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Unchained {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.accept {
            Accept::Any => Ok(ServerCertVerified::assertion()),
            Accept::Pinned(pin) if pin == pin_of(end_entity) => Ok(ServerCertVerified::assertion()),
            Accept::Pinned(_) => Err(rustls::Error::General(format!(
                "the server's certificate is not the pinned one; its pin is sha256:{}",
                hex(&pin_of(end_entity))
            ))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_alike_in_every_spelling() {
        let pin = pin_of(b"certificate");
        let digits = hex(&pin);
        let colons: Vec<String> = pin.iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [
            digits.clone(),
            format!("sha256:{digits}"),
            format!(" SHA256: {} ", colons.join(":")),
            format!("sha256:{}", STANDARD.encode(pin)),
        ] {
            assert_eq!(parse_pin(&text), Ok(pin), "{text}");
        }
    }

    #[test]
    fn what_is_no_pin_is_named_with_the_fix() {
        for text in ["", "sha256:", "abcd", "sha256:äöü", "zz", "sha1:00", "é256:x"] {
            let message = parse_pin(text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("'{text}' is not a SHA-256 pin")), "{message}");
            assert!(message.contains("openssl x509"));
        }
    }

    #[test]
    fn a_ca_file_error_names_the_file_and_the_fix() {
        let missing = TlsOptions { ca_file: Some("/nowhere/ca.pem".into()), ..Default::default() };
        let message = missing.client_config().unwrap_err().to_string();
        assert!(
            message.contains("/nowhere/ca.pem") && message.contains("readable PEM"),
            "{message}"
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
        {
            std::fs::write(file.path(), content).unwrap();
            let options = TlsOptions { ca_file: Some(file.path().into()), ..Default::default() };
            let message = options.client_config().unwrap_err().to_string();
            assert!(message.contains(&file.path().display().to_string()), "{message}");
            assert!(message.contains("BEGIN CERTIFICATE"), "{message}");
        }
    }

    #[test]
    fn a_certificate_file_adds_to_the_public_roots() {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certified.cert.pem()).unwrap();
        let options = TlsOptions { ca_file: Some(file.path().into()), ..Default::default() };
        let roots = options.roots().unwrap();
        assert_eq!(roots.len(), webpki_roots::TLS_SERVER_ROOTS.len() + 1);
        assert!(options.client_config().is_ok());
        assert!(TlsOptions::default().client_config().is_ok());
    }
}
