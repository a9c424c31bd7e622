//! The tunnel that `voice-bot serve --tunnel` opens, by which Twilio reaches a home.

use url::Url;

use super::Secret;
use super::error::{ConfigError, Origin};
use super::layers::Layers;
use super::twilio::secret;

/// Who runs the tunnel's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TunnelKind {
    /// ngrok, with an account of yours
    Ngrok,
}

/// What the command line may say about a tunnel; only `voice-bot serve` has these flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct TunnelFlags {
    /// Open a tunnel, and use its address as the public URL; the token is NGROK_AUTHTOKEN's
    #[arg(long, value_name = "SERVICE")]
    pub tunnel: Option<TunnelKind>,
    /// Domain of your ngrok account that the tunnel shall have [default: the one that ngrok gives]
    #[arg(long, value_name = "NAME", requires = "tunnel")]
    pub tunnel_domain: Option<String>,
}

/// A tunnel that ngrok's other end accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// The account's token.
    pub authtoken: Secret<String>,
    /// A domain of the account; without one ngrok chooses.
    pub domain: Option<String>,
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<Option<TunnelConfig>, ConfigError> {
    let over = layers.overrides;
    let Some(tunnel) = &over.tunnel else { return Ok(None) };
    let raw = layers.raw.server.public_url.as_ref();
    if let Some(url) = layers.text(over.public_url.as_ref(), "server.public_url", raw) {
        let problem =
            format!("is set beside {}, which brings an address of its own", tunnel.origin);
        let fix = format!("keep one of them; for {} leave public_url unset", tunnel.origin);
        return Err(url.refuse(&problem, fix));
    }
    let token = secret(over.ngrok_authtoken.as_ref(), over.ngrok_authtoken_file.as_ref())?;
    let Some(authtoken) = token else {
        let fix = "set it, in the environment or in .env, to what \
                   https://dashboard.ngrok.com/get-started/your-authtoken shows";
        let origin = Origin::Variable("NGROK_AUTHTOKEN");
        return Err(ConfigError::MissingKey { origin, fix: fix.to_owned() });
    };
    let domain = over.tunnel_domain.as_ref().map(|given| {
        let fix = "use a name such as bot.ngrok-free.app; yours are on \
                   https://dashboard.ngrok.com/domains";
        match Url::parse(&format!("https://{}/", given.text)) {
            Ok(url) if given.text.contains('.') && url.domain() == Some(&*given.text) => {
                Ok(given.text.clone())
            }
            Ok(_) | Err(_) => Err(given.refuse("is not a domain", fix)),
        }
    });
    Ok(Some(TunnelConfig { authtoken, domain: domain.transpose()? }))
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawConfig;
    use super::super::{Config, Flags};
    use super::*;

    const TOKENS: [(&str, &str); 2] = [("NGROK_AUTHTOKEN", "sesame"), ("TWILIO_AUTH_TOKEN", "t")];

    fn flags(domain: Option<&str>) -> Flags {
        let domain = domain.map(str::to_owned);
        let tunnel = TunnelFlags { tunnel: Some(TunnelKind::Ngrok), tunnel_domain: domain };
        Flags { tunnel, ..Flags::default() }
    }

    fn load(file: &str, flags: &Flags, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("voice-bot.toml"), file).unwrap();
        Config::load_from(folder.path(), flags, &|wanted| {
            let found = env.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(file: &str, flags: &Flags, env: &[(&str, &str)]) -> String {
        let error = load(file, flags, env).unwrap_err().to_string();
        assert!(!error.contains("sesame") && !error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn a_tunnel_has_a_token_and_maybe_a_domain() {
        let tunnel = load("", &flags(None), &TOKENS).unwrap().tunnel.unwrap();
        assert_eq!((tunnel.authtoken.expose().as_str(), tunnel.domain), ("sesame", None));
        let config = load("", &flags(Some("bot.ngrok-free.app")), &TOKENS).unwrap();
        assert_eq!(config.tunnel.unwrap().domain.as_deref(), Some("bot.ngrok-free.app"));
        assert!(config.twilio.webhook_signature && config.server.public_url.is_none());
        assert_eq!(load("", &Flags::default(), &TOKENS).unwrap().tunnel, None);
    }

    #[test]
    fn a_tunnel_needs_its_token() {
        let error = refusal("", &flags(None), &TOKENS[1..]);
        assert!(error.starts_with("NGROK_AUTHTOKEN is missing; set it"), "{error}");
        let both = [TOKENS[0], TOKENS[1], ("NGROK_AUTHTOKEN_FILE", "token")];
        assert!(refusal("", &flags(None), &both).contains("set the one or the other"));
    }

    #[test]
    fn a_tunnel_lets_strangers_in_so_that_twilio_must_be_told_from_them() {
        let error = refusal("", &flags(None), &TOKENS[..1]);
        assert!(error.starts_with("--tunnel = \"ngrok\" lets strangers call"), "{error}");
        assert!(error.contains("; set TWILIO_AUTH_TOKEN") && !error.contains("off"), "{error}");
        let file = "[twilio]\nwebhook_signature = \"off\"\n";
        let error = refusal(file, &flags(None), &TOKENS);
        assert!(
            error.contains("twilio.webhook_signature = \"off\" lets strangers call"),
            "{error}"
        );
        assert!(error.ends_with("or start without --tunnel"), "{error}");
        let file = "[twilio]\nupgrade_signature = \"off\"\nstream_token = \"off\"\n";
        assert!(refusal(file, &flags(None), &TOKENS).contains("lets strangers open audio sockets"));
    }

    #[test]
    fn a_public_url_beside_a_tunnel_is_refused_wherever_it_is_set() {
        let file = "[server]\npublic_url = \"https://bot.example.com\"\n";
        let in_file = refusal(file, &flags(None), &TOKENS);
        assert!(in_file.contains("server.public_url = \"https://bot.example.com\" is set beside"));
        let variables = [TOKENS[0], TOKENS[1], ("PUBLIC_URL", "https://a.example")];
        let in_environment = refusal("", &flags(None), &variables);
        assert!(in_environment.starts_with("PUBLIC_URL = \"https://a.example\" is set beside"));
        let public_url = Some("https://b.example".to_owned());
        let as_flag = refusal("", &Flags { public_url, ..flags(None) }, &TOKENS);
        assert!(as_flag.starts_with("--public-url = \"https://b.example\" is set beside --tunnel"));
    }

    #[test]
    fn a_domain_is_a_name_and_nothing_else() {
        for wrong in
            ["", "bot", "https://a.ngrok.app", "a.ngrok.app/x", "a.b:443", "1.2.3.4", "a b.c"]
        {
            let error = refusal("", &flags(Some(wrong)), &TOKENS);
            assert!(error.starts_with("--tunnel-domain = ") && error.contains(".ngrok"), "{error}");
        }
    }

    #[test]
    fn a_token_in_the_file_is_sent_to_the_environment() {
        let raw = super::super::raw::parse::<RawConfig>(
            std::path::Path::new("voice-bot.toml"),
            "[server]\nngrok_authtoken = \"sesame\"\n",
        );
        let error = raw.unwrap_err().to_string();
        assert!(error.contains("set NGROK_AUTHTOKEN in"), "{error}");
    }
}
