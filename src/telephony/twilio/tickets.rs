//! Tickets for audio sockets: each lets one caller in, once, for a short time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use voice_bot_core::id::CallId;

use crate::telephony::random_name;

/// How long a ticket holds: what Twilio may say before it connects, and then some.
const LIFETIME: Duration = Duration::from_secs(120);
/// Tickets that are out at most; beyond, the oldest is void.
const MOST: usize = 20_000;

/// What a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) call: CallId,
    pub(super) persona: String,
    /// The caller comes back to a call that runs.
    pub(super) comes_back: bool,
}

/// The tickets that are out. They are kept as digests, so that how long a look-up takes tells
/// nothing of them.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    out: Mutex<BTreeMap<[u8; 32], (Instant, Admission)>>,
}

impl Tickets {
    /// A ticket, as a segment of an address; none if the system has no randomness to give.
    pub(super) fn issue(&self, admission: Admission, now: Instant) -> Option<String> {
        let ticket = random_name()?;
        let mut out = self.out.lock().ok()?;
        if out.len() >= MOST {
            out.retain(|_, (until, _)| *until > now);
        }
        if out.len() >= MOST
            && let Some(oldest) = out.iter().min_by_key(|(_, (until, _))| *until)
        {
            let oldest = *oldest.0;
            out.remove(&oldest);
        }
        out.insert(digest(&ticket), (now + LIFETIME, admission));
        Some(ticket)
    }

    /// What this ticket is for; it is void from then on. None for one that was never issued, has
    /// been used, or is too old.
    pub(super) fn redeem(&self, ticket: &str, now: Instant) -> Option<Admission> {
        let (until, admission) = self.out.lock().ok()?.remove(&digest(ticket))?;
        (now < until).then_some(admission)
    }
}

fn digest(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(call: &str) -> Admission {
        Admission { call: CallId::new(call), persona: "assistant".to_owned(), comes_back: false }
    }

    #[test]
    fn a_ticket_lets_one_in_once() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let [one, two] = ["A", "B"].map(|call| tickets.issue(admission(call), now).unwrap());
        assert!(one.len() == 32 && one != two);
        assert_eq!(tickets.redeem(&two, now), Some(admission("B")));
        assert_eq!(tickets.redeem(&two, now), None);
        assert_eq!(tickets.redeem(&one, now), Some(admission("A")));
        for stranger in ["", "x", &"A".repeat(32), &one] {
            assert_eq!(tickets.redeem(stranger, now), None, "{stranger}");
        }
    }

    #[test]
    fn a_ticket_is_void_after_two_minutes() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let [early, late] = [(); 2].map(|()| tickets.issue(admission("A"), now).unwrap());
        assert!(tickets.redeem(&early, now + LIFETIME - Duration::from_millis(1)).is_some());
        assert!(tickets.redeem(&late, now + LIFETIME).is_none());
    }

    #[test]
    fn no_more_tickets_are_out_than_fit() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        let first = tickets.issue(admission("A"), now).unwrap();
        let second = tickets.issue(admission("B"), later).unwrap();
        for _ in 1..MOST {
            tickets.issue(admission("C"), later + Duration::from_secs(1)).unwrap();
        }
        assert_eq!(tickets.out.lock().unwrap().len(), MOST);
        assert!(
            tickets.redeem(&first, later).is_none() && tickets.redeem(&second, later).is_some()
        );
    }
}
