//! `voice-bot number`: the Twilio account's numbers, and where their calls go.

use anyhow::{Context as _, bail};
use voice_bot::config::{Config, Flags, environment};
use voice_bot::telephony::twilio::rest::{PhoneNumber, Rest, Webhooks};

/// See the Twilio account's numbers, and point one at this server
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the account's numbers, and where their calls go
    List(List),
    /// Point a number at this server: shows the change, and makes it with --yes
    Set(Set),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    config: Flags,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The number, such as +15551234567
    number: String,
    /// Address that Twilio asks when this server does not answer
    #[arg(long, value_name = "URL")]
    fallback: Option<url::Url>,
    /// Make the change
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    config: Flags,
}

/// Lists or sets.
///
/// # Errors
/// When the account is not configured, Twilio refuses, or the number is not the account's.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(args) => list(&config(&args.config)?).await,
        Command::Set(args) => set(args).await,
    }
}

fn config(flags: &Flags) -> anyhow::Result<Config> {
    Ok(Config::load(flags, &environment()?)?)
}

fn rest(config: &Config) -> anyhow::Result<Rest> {
    let account = config.twilio.account().context(
        "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, which the Twilio console shows, in the \
         environment or in .env",
    )?;
    Ok(Rest::new(account)?)
}

async fn list(config: &Config) -> anyhow::Result<()> {
    for number in rest(config)?.numbers(None).await? {
        println!("{}  {}", number.phone_number, number.friendly_name.as_deref().unwrap_or(""));
        print!("{}", going(&number));
    }
    Ok(())
}

async fn set(args: Set) -> anyhow::Result<()> {
    let config = config(&args.config)?;
    let base = config.server.public_url.as_ref().context(
        "server.public_url is not set: set PUBLIC_URL to the https address at which Twilio reaches \
         this server",
    )?;
    let rest = rest(&config)?;
    let found = rest.numbers(Some(&args.number)).await?;
    let Some(number) = found.iter().find(|number| number.phone_number == args.number) else {
        bail!("{} is no number of this account; `voice-bot number list` shows them", args.number);
    };
    let to = Webhooks { voice: base.join("twiml")?, fallback: args.fallback, status: None };
    println!("{} goes now to\n{}", number.phone_number, going(number));
    println!("and then to\n  {}", to.voice);
    if let Some(fallback) = &to.fallback {
        println!("  {fallback} if that does not answer");
    }
    if !args.yes {
        println!("\nNothing was changed. Add --yes to make the change.");
        return Ok(());
    }
    rest.set_webhooks(number, &to).await?;
    println!("\nDone.");
    Ok(())
}

/// Where a number's calls go, a line each.
fn going(number: &PhoneNumber) -> String {
    let of = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut lines = String::new();
    let mut line = |what: String| {
        lines.push_str("  ");
        lines.push_str(&what);
        lines.push('\n');
    };
    if let Some(trunk) = of(&number.trunk_sid) {
        line(format!("SIP trunk {trunk}, which beats every address below"));
    }
    if let Some(application) = of(&number.voice_application_sid) {
        line(format!("application {application}, which beats every address below"));
    }
    line(of(&number.voice_url).unwrap_or_else(|| "nowhere".to_owned()));
    if let Some(fallback) = of(&number.voice_fallback_url) {
        line(format!("{fallback} if that does not answer"));
    }
    lines
}
