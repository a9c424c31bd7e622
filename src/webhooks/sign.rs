//! What Standard Webhooks asks of a sender: an id for each event, a signature for each try, and
//! times as RFC 3339 writes them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::WebhookSecret;

/// Random bytes in an event's id.
const ID_BYTES: usize = 16;
/// What an event's id begins with.
const ID_PREFIX: &str = "msg_";

/// Signs with one secret.
#[derive(Debug, Clone)]
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(secret: &WebhookSecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.key()))
    }

    /// `webhook-signature` of a try at `second` (of Unix time).
    pub(super) fn sign(&self, id: &str, second: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{second}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// An id that no other event has; none if the system has no randomness to give.
pub(super) fn new_id() -> Option<String> {
    let mut random = [0; ID_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    let mut id = ID_PREFIX.to_owned();
    for byte in random {
        write!(id, "{byte:02x}").ok()?;
    }
    Some(id)
}

/// Whether a text may be an event's id. A dot in it would blur what is signed.
pub(super) fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix(ID_PREFIX).unwrap_or_default();
    digits.len() == 2 * ID_BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A number from 0 to 1; 1 if the system has no randomness to give.
pub(super) fn random_part() -> f64 {
    let mut random = [0; 4];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_or(1.0, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}

/// The Unix time by the wall clock.
pub(super) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A Unix time as RFC 3339 writes it, in UTC and to the millisecond.
pub(super) fn rfc3339(unix: Duration) -> String {
    let seconds = unix.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = unix.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day that begin so many days after 1970-01-01. Counts in eras of 400 years that
/// begin with a March, so that a leap day is the last of its year (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_libraries_of_standard_webhooks_do() {
        // The examples of its libraries for Python and for Rust.
        for (secret, id, second, body, signature) in [
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
        ] {
            let signer = Signer::new(&WebhookSecret::parse(secret).unwrap());
            assert_eq!(signer.sign(id, second, body.as_bytes()), signature);
        }
    }

    #[test]
    fn ids_differ_and_are_known_again() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one != other && is_id(&one) && is_id(&other), "{one} {other}");
        for text in ["", "msg_", "msg_0123", &one.replace("msg_", "msg."), &format!("{one}.1")] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_795_401_900_123, "2026-11-23T02:45:00.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn chance_stays_between_none_and_all() {
        let parts: Vec<f64> = (0..100).map(|_| random_part()).collect();
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
        assert!(parts.iter().any(|part| *part < 0.5) && parts.iter().any(|part| *part > 0.5));
    }
}
