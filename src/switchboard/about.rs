//! What is known of a call besides its audio.

use voice_bot_core::id::CallId;

use crate::store;

/// What is known of a call besides its audio.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Who called whom.
    pub direction: Direction,
    /// The caller's number or name, as the carrier gives it; empty if there is none.
    pub from: String,
    /// What was called; likewise.
    pub to: String,
    /// Whether the caller is told that the call is recorded.
    pub announced: bool,
}

/// What is known of a call that was never admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeverBegan {
    /// Who called whom.
    pub about: About,
    /// The name of the persona that would have talked.
    pub persona: String,
}

impl About {
    /// What other programs are told of it.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let Self { direction, from, to, announced } = self;
        serde_json::json!({
            "direction": direction, "from": from, "to": to, "announced": announced,
        })
    }

    /// What is kept of it.
    pub(super) fn to_store(&self, call: &CallId, persona: &str) -> store::About {
        let Self { direction, from, to, announced } = self;
        store::About {
            call: call.as_str().into(),
            direction: direction.name(),
            from: from.clone(),
            to: to.clone(),
            persona: persona.to_owned(),
            announced: *announced,
        }
    }
}

/// Who called whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Somebody called the bot.
    #[default]
    Inbound,
    /// The bot called somebody.
    Outbound,
    /// Somebody talks from a browser or another program, by its microphone.
    Browser,
}

impl Direction {
    /// Its name in answers and figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Browser => "browser",
        }
    }
}
