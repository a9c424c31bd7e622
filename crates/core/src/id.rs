//! Names of things that live longer than one message.

use std::fmt;
use std::sync::Arc;

/// Names one call for its whole life; for a Twilio call this is the CallSid.
///
/// Cheap to clone. Ordered, so that maps keyed by it iterate in one order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(Arc<str>);

impl CallId {
    /// Wraps `name` as it stands; the caller vouches that it is unique among running calls.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one engine of a pool, for as long as the pool lives: its number in the order in which
/// engines came, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(pub usize);

/// Names one engine slot, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub usize);
