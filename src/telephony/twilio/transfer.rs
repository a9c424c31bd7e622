//! Transfers: the model says its last words, its stream ends, and Twilio connects the caller with
//! somebody else. What `outbound.allow` does not list is not dialled.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use voice_bot_core::id::CallId;
use voice_bot_core::toll;

use super::twiml::{Dial, Redirect, Say, Sip, Twiml};
use crate::config::TRANSFER_SAY_CHARACTERS;

/// How long a transfer is kept for a call whose stream has to end first.
const LIFETIME: Duration = Duration::from_secs(120);

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A telephone number in E.164 form.
    Number(String),
    /// A SIP address.
    Sip(String),
    /// TwiML found there.
    Url(String),
}

impl Target {
    /// The target that this names, if it names one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.chars().all(|letter| letter.is_ascii_graphic());
        match text {
            _ if !plain => None,
            number if toll::is_number(number) => Some(Self::Number(number.to_owned())),
            sip if sip.strip_prefix("sip:").is_some_and(|address| address.contains('@')) => {
                Some(Self::Sip(sip.to_owned()))
            }
            url if url.starts_with("https://") && url::Url::parse(url).is_ok() => {
                Some(Self::Url(url.to_owned()))
            }
            _ => None,
        }
    }

    /// What Twilio is told after what is in `twiml`: it lets that ring for so long and asks
    /// `action` how it went, or goes on without one. Where other TwiML takes over, nothing follows.
    #[must_use]
    pub fn twiml(&self, twiml: Twiml, action: Option<&str>, ring: Duration) -> Twiml {
        let dial = match self {
            Self::Number(number) => Dial::number(number),
            Self::Sip(address) => Dial::nouns().or_sip(Sip::new(address)),
            Self::Url(url) => return twiml.redirect(Redirect::new(url)),
        };
        let dial = dial.timeout(u32::try_from(ring.as_secs()).unwrap_or(u32::MAX));
        match action {
            Some(action) => twiml.dial(dial.action(action)).hangup(),
            None => twiml.dial(dial),
        }
    }
}

/// Why a call is not transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// It is no target.
    #[error(
        "this is no target: use a number such as +15551234567, sip:NAME@HOST, or an https:// \
         address of TwiML"
    )]
    NoTarget,
    /// It is not among those that may be dialled.
    #[error("this may not be dialled; add the beginning of it to outbound.allow")]
    NotAllowed,
    /// What is to be said before is too long.
    #[error("what is to be said is longer than {TRANSFER_SAY_CHARACTERS} characters")]
    TooLong,
    /// The call does not run.
    #[error("this call does not run")]
    NoCall,
    /// The call has come from a browser.
    #[error("this call has come from a browser: no carrier can dial on from there")]
    NoCarrier,
}

/// What is to become of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    target: Target,
    say: Option<String>,
}

impl Transfer {
    /// A transfer to `target`, once `say` was said, if `allow` lists the beginning of it.
    pub(super) fn new(
        target: &str,
        say: Option<String>,
        allow: &[String],
    ) -> Result<Self, TransferError> {
        let say = say.map(|say| say.trim().to_owned()).filter(|say| !say.is_empty());
        if say.as_ref().is_some_and(|say| say.chars().count() > TRANSFER_SAY_CHARACTERS) {
            return Err(TransferError::TooLong);
        }
        let target = Target::parse(target).ok_or(TransferError::NoTarget)?;
        let text = match &target {
            Target::Number(text) | Target::Sip(text) | Target::Url(text) => text,
        };
        if !allow.iter().any(|prefix| text.starts_with(prefix.as_str())) {
            return Err(TransferError::NotAllowed);
        }
        Ok(Self { target, say })
    }

    /// What Twilio is told; it asks `action` how it went.
    pub(super) fn twiml(&self, action: &str, ring: Duration, voiced: impl Fn(Say) -> Say) -> Twiml {
        let twiml = match &self.say {
            Some(say) => Twiml::new().say(voiced(Say::new(say))),
            None => Twiml::new(),
        };
        self.target.twiml(twiml, Some(action), ring)
    }
}

/// The transfers whose streams have not ended yet.
#[derive(Debug, Default)]
pub(super) struct Transfers(Mutex<BTreeMap<CallId, (Instant, Transfer)>>);

impl Transfers {
    pub(super) fn note(&self, call: CallId, transfer: Transfer, now: Instant) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (noted, _)| now.saturating_duration_since(*noted) < LIFETIME);
        waiting.insert(call, (now, transfer));
    }

    pub(super) fn take(&self, call: &CallId) -> Option<Transfer> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(call).map(|(_, transfer)| transfer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow() -> Vec<String> {
        ["+1555", "sip:desk@pbx.example.com", "https://twiml.example.com/"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn a_target_is_a_number_a_sip_address_or_twiml() {
        for (target, error) in [
            ("+15551234567", None),
            ("sip:desk@pbx.example.com", None),
            ("https://twiml.example.com/agent", None),
            ("+4930123456", Some(TransferError::NotAllowed)),
            ("sip:boss@pbx.example.com", Some(TransferError::NotAllowed)),
            ("https://twiml.example.org/", Some(TransferError::NotAllowed)),
            ("http://twiml.example.com/", Some(TransferError::NoTarget)),
            ("15551234567", Some(TransferError::NoTarget)),
            ("sip:desk", Some(TransferError::NoTarget)),
            ("+1 555 1234567", Some(TransferError::NoTarget)),
            ("", Some(TransferError::NoTarget)),
        ] {
            assert_eq!(Transfer::new(target, None, &allow()).err(), error, "{target}");
        }
        let long = Some("x".repeat(1001));
        let error = Transfer::new("+15551234567", long, &allow()).unwrap_err();
        assert_eq!(error, TransferError::TooLong);
    }

    #[test]
    fn twilio_says_the_hand_over_and_dials() {
        let twiml = |target: &str| {
            let transfer = Transfer::new(target, Some(" One moment. ".to_owned()), &allow());
            let ring = Duration::from_secs(30);
            transfer.unwrap().twiml("https://a.example/next", ring, |say| say).to_xml()
        };
        let number = twiml("+15551234567");
        assert!(number.contains("<Say>One moment.</Say><Dial "), "{number}");
        assert!(number.contains("action=\"https://a.example/next\""), "{number}");
        assert!(number.contains("timeout=\"30\""), "{number}");
        assert!(number.contains(">+15551234567</Dial><Hangup/>"), "{number}");
        assert!(twiml("sip:desk@pbx.example.com").contains("<Sip>sip:desk@pbx.example.com</Sip>"));
        let url = twiml("https://twiml.example.com/agent");
        assert!(url.contains(">https://twiml.example.com/agent</Redirect></Response>"), "{url}");
    }

    #[test]
    fn a_transfer_is_taken_once_and_not_kept_for_long() {
        let (transfers, now) = (Transfers::default(), Instant::now());
        let transfer = Transfer::new("+15551234567", None, &allow()).unwrap();
        transfers.note(CallId::new("A"), transfer.clone(), now);
        transfers.note(CallId::new("B"), transfer.clone(), now + LIFETIME);
        assert_eq!(transfers.take(&CallId::new("A")), None);
        assert_eq!(transfers.take(&CallId::new("B")), Some(transfer));
        assert_eq!(transfers.take(&CallId::new("B")), None);
    }
}
