//! What keeps a call in real time: the caller's clock, the engine's speed, and how much of what the
//! engine says may wait.

mod arrivals;
pub mod clock;
mod depth;
pub mod governor;
pub(crate) mod least;
pub mod speed;

use std::time::Duration;

/// A length in microseconds, for sums that may fall below zero.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
