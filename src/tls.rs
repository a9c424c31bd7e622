//! TLS towards servers of the internet: certificates are verified by the public authorities.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Trusts servers whose certificate chains to a public root, as Twilio does.
#[must_use]
pub fn public_roots() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("this provider has the cipher suites of the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
