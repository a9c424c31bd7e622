//! `voice-bot engines`: the running server's engines, as they stand.

mod table;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use url::Url;
use voice_bot::config::{Config, Flags, environment};
use voice_bot::http;
use voice_bot::serve::local_url;

use super::remote::whole;
use super::text::escaped;

/// How long the server may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const LONGEST: usize = 1 << 20;
/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// To the top left corner, and clear what stands there.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show the running server's engines: who talks there, who is primed, how well they are
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the server is [default: this machine, at the configured port]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Configuration file, for the port and the token [default: voice-bot.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show them once, also on a terminal
    #[arg(long)]
    once: bool,
    /// Print what the server answers, as JSON, once
    #[arg(long)]
    json: bool,
}

/// Shows the engines: again every second on a terminal, else once.
///
/// # Errors
/// When there is no token, or the server cannot be reached or does not answer.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let flags = Flags { config: args.config, ..Flags::default() };
    let config = Config::load(&flags, &environment()?)?;
    let token = config.api_token.as_ref().context(
        "set VOICE_BOT_API_TOKEN to the token of the server, in the environment or in .env",
    )?;
    let server = args.url.unwrap_or_else(|| local_url(config.server.listen()));
    let url = server.join("api/v1/engines").context("--url")?;
    let client = http::client_for(&url).timeout(DEADLINE).build()?;
    let answer = ask(&client, &url, token.expose()).await?;
    if args.json {
        let answer = serde_json::to_string_pretty(&answer)?;
        println!("{}", if stdout().is_terminal() { escaped(&answer) } else { answer });
        return Ok(());
    }
    if args.once || !stdout().is_terminal() {
        println!("{}", table::of(&answer));
        return Ok(());
    }
    let mut shown = table::of(&answer);
    loop {
        let mut out = stdout().lock();
        writeln!(out, "{CLEAR}{shown}\n\n{server}   Ctrl-C ends this")?;
        out.flush()?;
        drop(out);
        sleep(EVERY).await;
        shown = match ask(&client, &url, token.expose()).await {
            Ok(answer) => table::of(&answer),
            // It may be about to start again.
            Err(error) => format!("{error:#}"),
        };
    }
}

async fn ask(client: &Client, url: &Url, token: &str) -> anyhow::Result<Value> {
    let answer = client.get(url.clone()).bearer_auth(token).send().await.with_context(|| {
        format!(
            "{url}: the server cannot be reached; is `voice-bot serve` running? --url says where"
        )
    })?;
    let status = answer.status();
    let read: Value =
        serde_json::from_slice(&whole(answer, url, LONGEST).await?).unwrap_or_default();
    let reason = read["error"]["message"].as_str();
    match status {
        StatusCode::OK if read["engines"].is_array() => Ok(read),
        StatusCode::UNAUTHORIZED => bail!(
            "{url}: the server has another token; set VOICE_BOT_API_TOKEN to the one it was \
             started with"
        ),
        StatusCode::FORBIDDEN => bail!(
            "{url}: the server was started without a token; set VOICE_BOT_API_TOKEN there too and \
             start it again"
        ),
        _ => bail!(
            "{url}: HTTP {status}, {}; see that this is voice-bot's own address",
            reason.unwrap_or("which is no list of engines")
        ),
    }
}
