//! The `[[rules]]` of a persona file: what the persona does of its own accord, and when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use voice_bot_core::persona::{Action, Pattern, PatternError, Rule, Trigger};
use voice_bot_core::toll;

use super::address::hook_url;
use super::error::{ConfigError, Origin};
use super::layers::Given;
use super::raw::RawRule;
use super::start::read_clip;

/// Rules of one persona at most.
const RULES: usize = 64;
/// Keys that a caller may have to press, and that are sent, at most: each takes up to a second, in
/// which the model hears nothing.
const KEYS: usize = 20;
/// Characters of what is said before a transfer, at most.
pub const TRANSFER_SAY_CHARACTERS: usize = 1000;
/// What a rule may wait for.
const TRIGGERS: &str =
    "bot_says, bot_says_regex, caller_presses, silence_s, caller_silence_s, call_lasts_s";
/// Longest silence or call that a rule may wait for, in seconds.
const LONGEST_S: i64 = 86_400;

/// What the rest of the configuration lets rules do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct May<'a> {
    /// Beginnings of what callers may be handed over to.
    pub(super) dial: &'a [String],
    /// Whether webhooks can be signed.
    pub(super) tell: bool,
}

impl May<'_> {
    /// Whom a caller may be handed over to.
    pub(super) fn dial_target(&self, to: &Given) -> Result<String, ConfigError> {
        let text = &to.text;
        let is_sip = text.strip_prefix("sip:").is_some_and(|address| address.contains('@'));
        let is_url = text.starts_with("https://") && Url::parse(text).is_ok();
        if !(toll::is_number(text) || is_sip || is_url) {
            let fix = "use +15551234567, sip:NAME@HOST, or an https:// address of TwiML";
            return Err(to.refuse("is no target of a transfer", fix));
        }
        if !self.dial.iter().any(|prefix| text.starts_with(prefix.as_str())) {
            let fix = "add the beginning of it to outbound.allow";
            return Err(to.refuse("may not be dialled", fix));
        }
        Ok(to.text.clone())
    }
}

/// Checks the rules of the persona in `file`.
pub(super) fn resolve(
    file: &Path,
    raw: &[RawRule],
    may: May<'_>,
) -> Result<Arc<[Rule]>, ConfigError> {
    if let Some(beyond) = raw.get(RULES) {
        let origin = Origin::File(file.to_owned(), format!("rules[{RULES}].name"));
        let name = beyond.name.clone().unwrap_or_default();
        let fix = format!("use {RULES} rules at most");
        return Err(origin.refuse_text(&name, "is one too many", fix));
    }
    let rules: Vec<Rule> = (0..)
        .zip(raw)
        .map(|(index, raw)| Reader { file, index, raw, may }.rule())
        .collect::<Result<_, _>>()?;
    for (index, rule) in rules.iter().enumerate() {
        if rules[..index].iter().any(|other| other.name == rule.name) {
            let origin = Origin::File(file.to_owned(), format!("rules[{index}].name"));
            let fix = "give each rule a name of its own";
            return Err(origin.refuse_text(&rule.name, "is the name of another rule", fix));
        }
    }
    Ok(rules.into())
}

/// Reads one rule.
struct Reader<'a> {
    file: &'a Path,
    index: usize,
    raw: &'a RawRule,
    may: May<'a>,
}

impl Reader<'_> {
    fn rule(&self) -> Result<Rule, ConfigError> {
        let name = self.text("name", &self.raw.name).filter(|name| !name.text.is_empty());
        let name = name.ok_or_else(|| ConfigError::MissingKey {
            origin: self.key("name"),
            fix: "add name = \"goodbye\", the name that logs and webhooks use".to_owned(),
        })?;
        let (when, then) = (self.trigger()?, self.actions()?);
        Ok(Rule { name: name.text, when, again: self.raw.again.unwrap_or(false), then })
    }

    fn trigger(&self) -> Result<Trigger, ConfigError> {
        let raw = self.raw;
        let mut given = Vec::new();
        if let Some(phrase) = self.text("bot_says", &raw.bot_says) {
            given.push(self.pattern(&phrase, Pattern::phrase));
        }
        if let Some(regex) = self.text("bot_says_regex", &raw.bot_says_regex) {
            given.push(self.pattern(&regex, Pattern::regex));
        }
        if let Some(keys) = self.text("caller_presses", &raw.caller_presses) {
            given.push(digits(&keys, "").map(Trigger::CallerPresses));
        }
        if let Some(seconds) = raw.silence_s {
            given.push(self.seconds("silence_s", seconds).map(Trigger::Silence));
        }
        if let Some(seconds) = raw.caller_silence_s {
            given.push(self.seconds("caller_silence_s", seconds).map(Trigger::CallerSilence));
        }
        if let Some(seconds) = raw.call_lasts_s {
            given.push(self.seconds("call_lasts_s", seconds).map(Trigger::Lasts));
        }
        match given.len() {
            1 => given.swap_remove(0),
            0 => Err(ConfigError::MissingKey {
                origin: self.key("bot_says"),
                fix: format!("say what it waits for: one of {TRIGGERS}"),
            }),
            _ => {
                let origin = Origin::File(self.file.to_owned(), format!("rules[{}]", self.index));
                let fix = format!("keep one of {TRIGGERS}");
                Err(origin.refuse("{…}", "waits for more than one thing", fix))
            }
        }
    }

    fn actions(&self) -> Result<Vec<Action>, ConfigError> {
        let raw = self.raw;
        let mut then = Vec::new();
        if let Some(url) = self.text("webhook", &raw.webhook) {
            let hook = hook_url(&url)?;
            if !self.may.tell {
                let fix = "set VOICE_BOT_WEBHOOK_SECRET in the environment or in .env";
                let shown = hook.origin().ascii_serialization();
                let problem = "needs a secret that signs what is sent there";
                return Err(url.origin.refuse_text(&shown, problem, fix));
            }
            then.push(Action::Webhook(hook.into()));
        }
        if let Some(clip) = self.text("play", &raw.play) {
            then.push(Action::Play(Arc::new(read_clip(self.file, &clip)?)));
        }
        let send = self.text("send_digits", &raw.send_digits);
        let transfer = self.text("transfer", &raw.transfer);
        let hang_up = raw.hang_up.unwrap_or(false);
        if [send.is_some(), transfer.is_some(), hang_up].iter().filter(|it| **it).count() > 1 {
            let origin = Origin::File(self.file.to_owned(), format!("rules[{}]", self.index));
            let fix = "keep one of send_digits, transfer and hang_up";
            return Err(origin.refuse("{…}", "leads to more than one place", fix));
        }
        if let Some(keys) = send {
            then.push(Action::SendDigits(digits(&keys, "wW")?));
        }
        let say = self.text("say", &raw.say).filter(|say| !say.text.is_empty());
        match (transfer, say) {
            (Some(to), say) => {
                then.push(Action::Transfer { to: self.target(&to)?, say: sentence(say)? });
            }
            (None, Some(say)) => {
                return Err(say.refuse("is not used", "add transfer, or remove it"));
            }
            (None, None) => {}
        }
        if hang_up {
            then.push(Action::HangUp);
        }
        if then.is_empty() {
            let fix = "add webhook, play, send_digits, transfer or hang_up = true";
            let origin = self.key("hang_up");
            return Err(ConfigError::MissingKey { origin, fix: fix.to_owned() });
        }
        Ok(then)
    }

    fn pattern(
        &self,
        given: &Given,
        make: fn(&str) -> Result<Pattern, PatternError>,
    ) -> Result<Trigger, ConfigError> {
        let pattern = make(&given.text);
        let refuse = |error: PatternError| {
            let fix = "write what the bot says, such as \"goodbye\"";
            given.refuse(&format!("cannot be found in speech: {error}"), fix)
        };
        pattern.map(Trigger::BotSays).map_err(refuse)
    }

    fn seconds(&self, key: &str, seconds: i64) -> Result<Duration, ConfigError> {
        if !(1..=LONGEST_S).contains(&seconds) {
            let fix = format!("use 1 to {LONGEST_S} seconds");
            return Err(self.key(key).refuse(seconds, "is out of range", fix));
        }
        Ok(Duration::from_secs(seconds.unsigned_abs()))
    }

    fn target(&self, to: &Given) -> Result<String, ConfigError> {
        self.may.dial_target(to)
    }

    fn key(&self, name: &str) -> Origin {
        Origin::File(self.file.to_owned(), format!("rules[{}].{name}", self.index))
    }

    fn text(&self, key: &str, text: &Option<String>) -> Option<Given> {
        let text = text.as_ref()?.trim().to_owned();
        Some(Given { text, origin: self.key(key) })
    }
}

/// Whether these are 1 to 20 of the keys `0-9 * # A-D`, and of those that stand for `pauses`.
#[must_use]
pub fn are_keys(text: &str, pauses: &str) -> bool {
    let is_key = |key: char| "0123456789*#ABCD".contains(key) || pauses.contains(key);
    (1..=KEYS).contains(&text.len()) && text.chars().all(is_key)
}

fn digits(keys: &Given, pauses: &str) -> Result<String, ConfigError> {
    if !are_keys(&keys.text, pauses) {
        let pauses = if pauses.is_empty() { "" } else { ", and w and W for pauses of 0.5 and 1 s" };
        let fix = format!("use 1 to {KEYS} of 0-9 * # A-D{pauses}");
        return Err(keys.refuse("are no keys of a telephone", fix));
    }
    Ok(keys.text.clone())
}

fn sentence(say: Option<Given>) -> Result<Option<String>, ConfigError> {
    let Some(say) = say else { return Ok(None) };
    if say.text.chars().count() > TRANSFER_SAY_CHARACTERS {
        return Err(
            say.refuse("is too long", format!("use {TRANSFER_SAY_CHARACTERS} characters at most"))
        );
    }
    Ok(Some(say.text))
}
