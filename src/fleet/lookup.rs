//! Looks names of engines up: addresses by the system, services (SRV, RFC 2782) by a resolver.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::net::lookup_host;

use crate::config::Names;
use crate::engine::BoxFuture;

/// How long a look-up may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Services that one name may have.
const MOST: usize = 256;

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) names: Names,
    pub(super) host: String,
    /// Services have their own.
    pub(super) port: u16,
}

/// One server that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) address: SocketAddr,
    /// The name that its certificate is to have.
    pub(super) host: String,
}

/// Looks a name up.
pub(super) type Lookup =
    Arc<dyn Fn(Question) -> BoxFuture<'static, io::Result<Vec<Found>>> + Send + Sync>;

/// What the system says, and the name servers that it knows.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|question| Box::pin(look_up(question)))
}

async fn look_up(question: Question) -> io::Result<Vec<Found>> {
    let Question { names, host, port } = question;
    match names {
        Names::Itself | Names::Addresses => addresses(host, port).await,
        Names::Services => {
            let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            services(&resolver.map_err(io::Error::other)?, &host).await
        }
    }
}

async fn addresses(host: String, port: u16) -> io::Result<Vec<Found>> {
    let found = lookup_host((host.as_str(), port)).await?;
    Ok(found.map(|address| Found { address, host: host.clone() }).collect())
}

/// Every address of every target; all are in use at once, so priority and weight say nothing.
async fn services(resolver: &TokioResolver, name: &str) -> io::Result<Vec<Found>> {
    // A name with its last dot is looked up as it stands, without the system's search domains.
    let full = format!("{}.", name.trim_end_matches('.'));
    let records = resolver.srv_lookup(full).await.map_err(io::Error::other)?;
    let mut found = Vec::new();
    for record in records.answers().iter().take(MOST) {
        let RData::SRV(service) = &record.data else { continue };
        let target = service.target.to_utf8();
        // "." says that there is no such service (RFC 2782).
        if target == "." {
            continue;
        }
        let host = target.trim_end_matches('.').to_owned();
        let ips = resolver.lookup_ip(target).await.map_err(io::Error::other)?;
        let at = |ip| Found { address: SocketAddr::new(ip, service.port), host: host.clone() };
        found.extend(ips.iter().map(at));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    const SRV: u16 = 33;
    const A: u16 = 1;

    fn labels(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    /// The answers to a question of this kind about this name.
    fn answers(name: &str, kind: u16) -> Vec<Vec<u8>> {
        let service = |port: u16, target: &str| {
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            data.extend(labels(target));
            data
        };
        match (name, kind) {
            ("_personaplex._tcp.internal", SRV) => {
                vec![service(8998, "one.internal"), service(9000, "two.internal")]
            }
            ("one.internal", A) => vec![vec![10, 0, 0, 1], vec![10, 0, 0, 2]],
            ("two.internal", A) => vec![vec![10, 0, 0, 3]],
            _ => Vec::new(),
        }
    }

    /// A name server on this machine (RFC 1035, section 4): what is asked is answered at once.
    async fn name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap();
                let (mut name, mut at) = (Vec::new(), 12);
                while query[at] > 0 {
                    let label = &query[at + 1..=at + usize::from(query[at])];
                    name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                    at += 1 + usize::from(query[at]);
                }
                let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
                let found = answers(&name.join("."), kind);
                let mut reply = query[..2].to_vec();
                reply.extend([0x81, 0x80, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
                reply.extend(&query[12..end + 5]);
                for data in found {
                    reply.extend([0xc0, 12]);
                    reply.extend(kind.to_be_bytes());
                    reply.extend([0, 1, 0, 0, 0, 60]);
                    reply.extend((data.len() as u16).to_be_bytes());
                    reply.extend(data);
                }
                socket.send_to(&reply, peer).await.unwrap();
            }
        });
        address
    }

    fn resolver(server: SocketAddr) -> TokioResolver {
        let mut server_config = NameServerConfig::udp(server.ip());
        server_config.connections[0].port = server.port();
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server_config]);
        let runtime = TokioRuntimeProvider::default();
        TokioResolver::builder_with_config(config, runtime).build().unwrap()
    }

    #[tokio::test]
    async fn services_are_every_address_of_every_target() {
        let resolver = resolver(name_server().await);
        let mut found = services(&resolver, "_personaplex._tcp.internal").await.unwrap();
        found.sort();
        let at = |address: &str, host: &str| Found {
            address: address.parse().unwrap(),
            host: host.to_owned(),
        };
        let expected = [
            at("10.0.0.1:8998", "one.internal"),
            at("10.0.0.2:8998", "one.internal"),
            at("10.0.0.3:9000", "two.internal"),
        ];
        assert_eq!(found, expected);
        assert!(services(&resolver, "_other._tcp.internal").await.is_err());
    }
}
