//! `voice-bot call`: has the running server call somebody.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use url::Url;
use voice_bot::config::{Config, Flags, environment};
use voice_bot::http;

use super::remote::whole;

/// The server waits for Twilio, and a call for its turn.
const DEADLINE: Duration = Duration::from_secs(120);

/// Longest answer, in bytes.
const LONGEST: usize = 64 << 10;

/// Have the running server call a number
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The number, such as +15551234567; outbound.allow says which may be called
    to: String,
    /// Where the server is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: Url,
    /// Who talks [default: the default persona]
    #[arg(long, value_name = "NAME")]
    persona: Option<String>,
    /// A value for a variable of the persona; may be given several times
    #[arg(long = "var", value_name = "KEY=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as caller_name=Ann")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Asks the server, with the token of the environment.
///
/// # Errors
/// When there is no token, the server cannot be reached, or it does not make the call.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&Flags::default(), &environment()?)?;
    let token = config.api_token.context(
        "set VOICE_BOT_API_TOKEN to the token of the server, in the environment or in .env",
    )?;
    let url = args.server.join("api/v1/calls").context("--server")?;
    let vars: BTreeMap<_, _> = args.vars.into_iter().collect();
    let body = json!({"to": args.to, "persona": args.persona, "vars": vars});
    let client = http::client_for(&url).timeout(DEADLINE).build()?;
    let answer = client
        .post(url.clone())
        .bearer_auth(token.expose())
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .with_context(|| {
            format!("{url}: the server cannot be reached; is `voice-bot serve` running?")
        })?;
    let status = answer.status();
    let answer: Value =
        serde_json::from_slice(&whole(answer, &url, LONGEST).await?).unwrap_or_default();
    if !status.is_success() {
        bail!("{}", answer["error"]["message"].as_str().unwrap_or("the server gave no reason"));
    }
    let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    println!("{} {}", field("call"), field("status"));
    Ok(())
}
