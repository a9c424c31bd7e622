//! HTTP clients: whom they trust, and which way their requests go.

use reqwest::{Client, ClientBuilder};
use url::{Host, Url};

use crate::tls;

/// A client of those servers that public authorities know. Where the environment names a proxy
/// (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`), requests go through it.
pub fn client() -> ClientBuilder {
    let tls = rustls::ClientConfig::clone(&tls::public_roots());
    Client::builder().tls_backend_preconfigured(tls)
}

/// The same for one server. To this machine no proxy leads: to a proxy its names mean itself, and
/// tokens and what callers say are none of its business.
pub fn client_for(url: &Url) -> ClientBuilder {
    if is_this_machine(url) { client().no_proxy() } else { client() }
}

/// Whether an address is one of this machine's own: `localhost`, or a loopback address.
#[must_use]
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (url, ours) in [
            ("http://127.0.0.1:8080/", true),
            ("http://127.9.9.9/", true),
            ("http://LOCALHOST:9000/x", true),
            ("ws://[::1]:8998", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("https://bot.example.com/", false),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://[2001:db8::1]/", false),
            ("data:,localhost", false),
        ] {
            assert_eq!(is_this_machine(&url.parse().unwrap()), ours, "{url}");
        }
    }
}
