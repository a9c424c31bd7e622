//! What Twilio's API answers. Fields that nobody needs are left out, new ones do no harm.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CallState {
    /// Its SID, `CA…`.
    pub sid: String,
    /// What it is doing.
    pub status: CallStatus,
    /// Who or what answered, where Twilio was asked to listen.
    #[serde(default)]
    pub answered_by: Option<String>,
}

/// What a call is doing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStatus {
    /// It waits for its turn.
    Queued,
    /// It is being dialled.
    Initiated,
    /// It rings.
    Ringing,
    /// Somebody has answered.
    InProgress,
    /// It is over, and was answered.
    Completed,
    /// The line was busy.
    Busy,
    /// It could not be put through.
    Failed,
    /// Nobody answered.
    NoAnswer,
    /// It was called off before anybody answered.
    Canceled,
    /// Something that is not documented.
    #[serde(untagged)]
    Other(String),
}

impl CallStatus {
    /// What Twilio calls by this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        serde_json::from_value(name.into()).unwrap_or_else(|_| Self::Other(name.to_owned()))
    }

    /// Whether nothing more will become of it.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Completed | Self::Busy | Self::Failed | Self::NoAnswer | Self::Canceled => true,
            Self::Queued | Self::Initiated | Self::Ringing | Self::InProgress | Self::Other(_) => {
                false
            }
        }
    }
}

/// The account itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// Its SID, `AC…`.
    pub sid: String,
    /// What the owner calls it.
    #[serde(default)]
    pub friendly_name: Option<String>,
    /// `active`, `suspended` or `closed`.
    #[serde(default)]
    pub status: Option<String>,
    /// `Trial` or `Full`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// A number of the account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PhoneNumber {
    /// Its SID, `PN…`.
    pub sid: String,
    /// The number in E.164 form.
    pub phone_number: String,
    /// What the owner calls it.
    #[serde(default)]
    pub friendly_name: Option<String>,
    /// Asked what to do with a call.
    #[serde(default)]
    pub voice_url: Option<String>,
    /// How it is asked: `GET` or `POST`.
    #[serde(default)]
    pub voice_method: Option<String>,
    /// Asked if that does not answer.
    #[serde(default)]
    pub voice_fallback_url: Option<String>,
    /// Told how calls went.
    #[serde(default)]
    pub status_callback: Option<String>,
    /// An application whose addresses beat those above.
    #[serde(default)]
    pub voice_application_sid: Option<String>,
    /// A SIP trunk that beats both.
    #[serde(default)]
    pub trunk_sid: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Calls {
    pub(super) calls: Vec<CallState>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Numbers {
    pub(super) incoming_phone_numbers: Vec<PhoneNumber>,
}

/// What Twilio has against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Twilio's code, 0 if it gave none; see `https://www.twilio.com/docs/api/errors`.
    pub code: u32,
    /// Twilio's words.
    pub message: String,
}

impl Problem {
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            code: Option<u32>,
            message: Option<String>,
        }
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let message = body.message.unwrap_or_else(|| "no reason given".to_owned());
        Self { status, code: body.code.unwrap_or(0), message }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match (self.code, self.status) {
            (20003, _) | (_, 401) => Some("check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
            (21210 | 21212, _) => Some("call from a number of this account, or a verified one"),
            (21219, _) => Some("a trial account calls verified numbers alone"),
            (21215, _) => Some("allow that country in the console: Voice, Geo permissions"),
            (21201 | 21211, _) => Some("write the number as + and country code, without spaces"),
            (10004, _) => Some("too many calls run at once on this account"),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, message } = self;
        write!(f, "{message} (HTTP {status}, code {code})")?;
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}
