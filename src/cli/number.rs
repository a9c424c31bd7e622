//! `voice-bot number`: the Twilio account's numbers, and where their calls go.

use anyhow::{Context as _, bail};
use voice_bot::config::{Config, Flags, environment};
use voice_bot::telephony::twilio::Target;
use voice_bot::telephony::twilio::rest::{PhoneNumber, Rest, Webhooks};
use voice_bot::telephony::twilio::twiml::{Say, Twiml};
use voice_bot_core::toll;

/// Twilio takes no more where TwiML is given inline (error 32018).
const TWIML_CHARACTERS: usize = 4000;

/// See the Twilio account's numbers, point one at this server, and prepare for its absence
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
    /// Print TwiML for callers whom this server does not answer, to be kept elsewhere
    ///
    /// It says say.engine_failed and hangs up. Keep it where it does not fail together with this
    /// server, such as in a TwiML Bin of the Twilio console, and give its address to
    /// `number set --fallback`. Asks nobody: it needs no account and no running server.
    Fallback(Fallback),
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

#[derive(Debug, clap::Args)]
struct Fallback {
    /// First connect the caller with this number, such as +15551234567, rather than with
    /// admission.overflow; the sentence comes when nobody answers there for outbound.ring_s, or
    /// hangs up before the caller does
    #[arg(long, value_name = "NUMBER")]
    dial: Option<String>,
    #[command(flatten)]
    config: Flags,
}

/// Lists, sets, or prints TwiML.
///
/// # Errors
/// When the account is not configured, Twilio refuses, the number is not the account's, or there
/// would be more TwiML than Twilio takes.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(args) => list(&config(&args.config)?).await,
        Command::Set(args) => set(args).await,
        Command::Fallback(args) => fallback(&args),
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
    let to = Webhooks {
        voice: base.join("twiml")?,
        fallback: args.fallback,
        status: Some(base.join("twiml/status")?),
    };
    println!("{} goes now to\n{}", number.phone_number, going(number));
    println!("and then to\n  {}", to.voice);
    if let Some(fallback) = &to.fallback {
        println!("  {fallback} if that does not answer");
    }
    if let Some(status) = &to.status {
        println!("  {status} is told when a call is over");
    }
    if !args.yes {
        println!("\nNothing was changed. Add --yes to make the change.");
        return Ok(());
    }
    rest.set_webhooks(number, &to).await?;
    println!("\nDone.");
    Ok(())
}

fn fallback(args: &Fallback) -> anyhow::Result<()> {
    let Config { say, outbound, admission, .. } = config(&args.config)?;
    let mut twiml = Twiml::new();
    if let Some(number) = args.dial.as_ref().filter(|number| !toll::is_number(number)) {
        bail!("--dial: {number} is no number; write + and country code, such as +15551234567");
    }
    let target = args.dial.as_deref().or(admission.overflow.as_deref());
    if let Some(target) = target.and_then(Target::parse) {
        twiml = target.twiml(twiml, None, outbound.ring);
    }
    let sentence = say.engine_failed.trim();
    if !sentence.is_empty() {
        let spoken = Say::new(sentence).language(&say.language);
        twiml = twiml.say(match &say.voice {
            Some(voice) => spoken.voice(voice),
            None => spoken,
        });
    }
    let xml = twiml.hangup().to_xml();
    let length = xml.chars().count();
    if length > TWIML_CHARACTERS {
        bail!(
            "the TwiML has {length} characters, and may have {TWIML_CHARACTERS}: shorten \
               say.engine_failed"
        );
    }
    println!("{xml}");
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
    if let Some(status) = of(&number.status_callback) {
        line(format!("{status} is told when a call is over"));
    }
    lines
}
