//! The rules of a persona, as far as a tape keeps them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recorder::masked;
use super::sound::Sound;
use super::{Keeps, who};
use crate::persona::{Action, ClipError, Pattern, Rule, Trigger};

/// A [`Rule`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapedRule {
    /// Its name.
    pub name: String,
    /// What it waits for.
    pub when: When,
    /// Whether it holds again.
    #[serde(default)]
    pub again: bool,
    /// What is done.
    pub then: Vec<Then>,
}

/// A [`Trigger`]. Words and keys are told unless words are kept: a call is then told of the rule
/// by an entry of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum When {
    /// [`Trigger::BotSays`], a phrase.
    Says(String),
    /// [`Trigger::BotSays`], a regular expression.
    SaysRegex(String),
    /// [`Trigger::CallerPresses`].
    Presses(String),
    /// [`Trigger::Silence`].
    Silence(Duration),
    /// [`Trigger::CallerSilence`].
    CallerSilence(Duration),
    /// [`Trigger::Lasts`].
    Lasts(Duration),
    /// [`Trigger::Told`].
    Told,
    /// The same, in place of words.
    ToldInSpeech,
}

/// An [`Action`]; texts are masked unless words are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Then {
    /// [`Action::Webhook`]: scheme and host alone, since the rest may be a secret.
    Webhook(String),
    /// [`Action::Play`].
    Play {
        /// Samples per second of the recording.
        hz: u32,
        /// Its samples, as PCM.
        sound: Sound,
    },
    /// [`Action::SendDigits`].
    SendDigits(String),
    /// [`Action::Transfer`].
    Transfer {
        /// Where to.
        to: String,
        /// What is said first.
        say: Option<String>,
    },
    /// [`Action::HangUp`].
    HangUp,
}

impl TapedRule {
    /// What is kept of this rule.
    pub(super) fn new(rule: &Rule, keeps: Keeps) -> Self {
        let when = match &rule.when {
            Trigger::BotSays(_) if !keeps.words => When::ToldInSpeech,
            Trigger::CallerPresses(_) if !keeps.words => When::Told,
            Trigger::BotSays(pattern) => match pattern.source() {
                (text, false) => When::Says(text.to_owned()),
                (text, true) => When::SaysRegex(text.to_owned()),
            },
            Trigger::CallerPresses(keys) => When::Presses(keys.clone()),
            Trigger::Silence(limit) => When::Silence(*limit),
            Trigger::CallerSilence(limit) => When::CallerSilence(*limit),
            Trigger::Lasts(limit) => When::Lasts(*limit),
            Trigger::Told { in_speech: false } => When::Told,
            Trigger::Told { in_speech: true } => When::ToldInSpeech,
        };
        let text = |text: &String| if keeps.words { text.clone() } else { masked(text) };
        let then = |action: &Action| match action {
            Action::Webhook(url) => Then::Webhook(text(&origin(url))),
            Action::Play(clip) => {
                let (hz, sound) = who::taped_clip(clip, keeps);
                Then::Play { hz, sound }
            }
            Action::SendDigits(digits) => Then::SendDigits(text(digits)),
            Action::Transfer { to, say } => {
                Then::Transfer { to: text(to), say: say.as_ref().map(text) }
            }
            Action::HangUp => Then::HangUp,
        };
        let then = rule.then.iter().map(then).collect();
        Self { name: rule.name.clone(), when, again: rule.again, then }
    }

    /// The rule again.
    ///
    /// # Errors
    /// [`ClipError`] for a recording that no persona can have. A pattern that none can have waits
    /// for nothing.
    pub(super) fn to_rule(&self) -> Result<Rule, ClipError> {
        let says = |pattern: Result<Pattern, _>| {
            pattern.map_or(Trigger::Told { in_speech: true }, Trigger::BotSays)
        };
        let when = match &self.when {
            When::Says(text) => says(Pattern::phrase(text)),
            When::SaysRegex(text) => says(Pattern::regex(text)),
            When::Presses(keys) => Trigger::CallerPresses(keys.clone()),
            When::Silence(limit) => Trigger::Silence(*limit),
            When::CallerSilence(limit) => Trigger::CallerSilence(*limit),
            When::Lasts(limit) => Trigger::Lasts(*limit),
            When::Told => Trigger::Told { in_speech: false },
            When::ToldInSpeech => Trigger::Told { in_speech: true },
        };
        let then = |then: &Then| {
            Ok(match then {
                Then::Webhook(url) => Action::Webhook(url.clone()),
                Then::Play { hz, sound } => Action::Play(Arc::new(who::clip(*hz, sound)?)),
                Then::SendDigits(digits) => Action::SendDigits(digits.clone()),
                Then::Transfer { to, say } => Action::Transfer { to: to.clone(), say: say.clone() },
                Then::HangUp => Action::HangUp,
            })
        };
        let then = self.then.iter().map(then).collect::<Result<_, ClipError>>()?;
        Ok(Rule { name: self.name.clone(), when, again: self.again, then })
    }
}

/// Scheme and host of an address.
fn origin(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    let host = url[host..end].rsplit('@').next().unwrap_or_default();
    format!("{}://{host}", url.split("://").next().unwrap_or_default())
}
