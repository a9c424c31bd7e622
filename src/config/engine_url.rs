//! Where an engine's server is, and by the scheme of its address of what kind it is.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// What kind of server an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// NVIDIA's server of PersonaPlex: `ws://` or `wss://`.
    PersonaPlex,
    /// Kyutai's `moshi.server`, in Python: `moshi+ws://` or `moshi+wss://`.
    Moshi,
    /// Kyutai's `moshi-backend`, in Rust: `moshi-backend+ws://` or `moshi-backend+wss://`.
    MoshiBackend,
    /// PersonaPlex behind vLLM-Omni: `vllm-omni+ws://` or `vllm-omni+wss://`.
    VllmOmni,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PersonaPlex, Self::Moshi, Self::MoshiBackend, Self::VllmOmni];

    /// What stands before `ws://` or `wss://` in its addresses.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::PersonaPlex => "",
            Self::Moshi => "moshi+",
            Self::MoshiBackend => "moshi-backend+",
            Self::VllmOmni => "vllm-omni+",
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PersonaPlex => "PersonaPlex",
            Self::Moshi => "moshi.server",
            Self::MoshiBackend => "moshi-backend",
            Self::VllmOmni => "vLLM-Omni",
        }
    }

    /// Whether a server of this kind can hold several conversations at once.
    #[must_use]
    pub const fn holds_several(self) -> bool {
        match self {
            Self::PersonaPlex | Self::Moshi => false,
            Self::MoshiBackend | Self::VllmOmni => true,
        }
    }

    /// Whether a persona's voice and prompt reach the model; Moshi has neither.
    #[must_use]
    pub const fn has_personas(self) -> bool {
        match self {
            Self::PersonaPlex | Self::VllmOmni => true,
            Self::Moshi | Self::MoshiBackend => false,
        }
    }

    /// How its server is started, as a command.
    #[must_use]
    pub const fn start_command(self) -> &'static str {
        match self {
            Self::PersonaPlex | Self::Moshi => "python -m moshi.server",
            Self::MoshiBackend => "moshi-backend --config config.json standalone",
            Self::VllmOmni => "vllm-omni serve nvidia/personaplex-7b-v1 --omni",
        }
    }

    /// Every scheme that an address may have, as a list for people.
    pub(super) fn schemes() -> String {
        let all: Vec<String> = Self::ALL
            .iter()
            .flat_map(|kind| ["ws", "wss"].map(|scheme| format!("{}{scheme}://", kind.prefix())))
            .collect();
        let (last, others) = all.split_last().expect("there are kinds");
        format!("{} or {last}", others.join(", "))
    }

    /// The kind of an address, and the address without what says so; `None` for another scheme.
    pub(super) fn split(address: &str) -> Option<(Self, &str)> {
        let (scheme, _) = address.split_once("://")?;
        let kind = Self::ALL.into_iter().find(|kind| {
            let bare = scheme.strip_prefix(kind.prefix());
            bare.is_some_and(|bare| ["ws", "wss"].iter().any(|it| bare.eq_ignore_ascii_case(it)))
        })?;
        Some((kind, &address[kind.prefix().len()..]))
    }
}

/// What the host of an engine's address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// One server.
    Itself,
    /// One server at each of its addresses (A and AAAA records): `dns+` before all else.
    Addresses,
    /// One at each address of each service of this name (SRV records, RFC 2782): `srv+`.
    Services,
}

impl Names {
    const ALL: [Self; 3] = [Self::Itself, Self::Addresses, Self::Services];

    const fn mark(self) -> &'static str {
        match self {
            Self::Itself => "",
            Self::Addresses => "dns+",
            Self::Services => "srv+",
        }
    }

    /// What the text's mark says, and what follows it.
    pub(super) fn split(text: &str) -> (Self, &str) {
        let is_marked = |names: &Self| {
            let mark = names.mark();
            text.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark))
        };
        // The empty mark fits everything, so it comes last.
        let names = Self::ALL.into_iter().rev().find(is_marked).unwrap_or(Self::Itself);
        (names, &text[names.mark().len()..])
    }
}

/// Where an engine's server is, and of what kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineUrl {
    /// What its host stands for.
    pub names: Names,
    /// What kind of server it is.
    pub kind: EngineKind,
    /// Its address: `ws` or `wss`, and a host.
    pub url: Url,
}

impl EngineUrl {
    /// Whether it stands for many servers, which come and go.
    #[must_use]
    pub fn is_many(&self) -> bool {
        self.names != Names::Itself
    }

    /// One of the servers that it stands for, at that host and port; `None` if that is no host.
    #[must_use]
    pub fn one(&self, host: &str, port: u16) -> Option<Self> {
        let mut url = self.url.clone();
        url.set_host(Some(host)).ok()?;
        url.set_port(Some(port)).ok()?;
        Some(Self { names: Names::Itself, url, ..self.clone() })
    }

    /// Whether both are the same server, however they are written.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.url.host_str().map(str::to_owned), it.port());
        place(self) == place(other)
    }

    /// As it is written in a configuration, with this in place of the address itself.
    pub(crate) fn with_url(&self, url: impl fmt::Display) -> String {
        format!("{}{}{url}", self.names.mark(), self.kind.prefix())
    }

    fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }
}

/// As it is written in a configuration.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_url(&self.url))
    }
}

/// Why a text is not an engine's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineUrlError {
    /// No kind of engine has this scheme.
    #[error("an engine's address starts with {}", EngineKind::schemes())]
    Scheme,
    /// What follows is not a URL.
    #[error("an engine's address is not a URL: {0}")]
    Url(#[from] url::ParseError),
}

impl FromStr for EngineUrl {
    type Err = EngineUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (names, text) = Names::split(text);
        let (kind, bare) = EngineKind::split(text).ok_or(EngineUrlError::Scheme)?;
        Ok(Self { names, kind, url: Url::parse(bare)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_the_kind() {
        for (text, kind, url) in [
            ("ws://gpu:8998", EngineKind::PersonaPlex, "ws://gpu:8998/"),
            ("WSS://gpu", EngineKind::PersonaPlex, "wss://gpu/"),
            ("moshi+ws://gpu:8998", EngineKind::Moshi, "ws://gpu:8998/"),
            ("moshi-backend+wss://gpu:8998", EngineKind::MoshiBackend, "wss://gpu:8998/"),
            ("vllm-omni+ws://[::1]:8099", EngineKind::VllmOmni, "ws://[::1]:8099/"),
        ] {
            let parsed: EngineUrl = text.parse().unwrap();
            assert_eq!((parsed.kind, parsed.url.as_str()), (kind, url));
            assert_eq!(parsed.to_string(), format!("{}{url}", kind.prefix()));
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn a_name_may_stand_for_many_servers_of_any_kind() {
        let many: EngineUrl = "dns+moshi-backend+ws://gpus:8998".parse().unwrap();
        assert_eq!(many.to_string(), "dns+moshi-backend+ws://gpus:8998/");
        assert!(many.is_many());
        let one = many.one("gpus", 9000).unwrap();
        assert_eq!(one.to_string(), "moshi-backend+ws://gpus:9000/");
        assert!(!one.is_many());
        let services: EngineUrl = "SRV+wss://_personaplex._tcp.internal".parse().unwrap();
        assert_eq!(services.names, Names::Services);
        assert_eq!(
            services.one("one.internal", 8998).unwrap().to_string(),
            "wss://one.internal:8998/"
        );
    }

    #[test]
    fn other_schemes_are_refused_with_those_there_are() {
        for text in
            ["https://gpu", "moshi+https://gpu", "vllm+ws://gpu", "ws:gpu", "moshi+moshi+ws://a"]
        {
            let error = text.parse::<EngineUrl>().unwrap_err();
            assert_eq!(error, EngineUrlError::Scheme, "{text}");
            assert!(error.to_string().contains("ws://, wss://, moshi+ws://"), "{error}");
            assert!(error.to_string().ends_with(" or vllm-omni+wss://"), "{error}");
        }
    }

    #[test]
    fn a_server_is_one_however_it_is_written() {
        let url = |text: &str| text.parse::<EngineUrl>().unwrap();
        assert!(url("ws://gpu:8998").is_same_server(&url("moshi+wss://GPU:8998/")));
        assert!(!url("ws://gpu:8998").is_same_server(&url("ws://gpu:8999")));
    }
}
