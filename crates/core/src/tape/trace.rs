//! A fingerprint of all that happened, to tell whether two runs were the same.

use std::fmt;

/// A running hash (in the manner of FNV-1a, 8 bytes at a time). Not for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Takes in a number.
    pub const fn number(&mut self, number: u64) {
        // The multiplication alone never moves a high bit down.
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    /// Takes in bytes and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// The hash of all so far.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_every_boundary_counts() {
        let hash = |parts: &[&[u8]]| {
            let mut trace = Trace::default();
            parts.iter().for_each(|part| trace.bytes(part));
            trace.value()
        };
        assert_eq!(hash(&[b"abc", b"d"]), hash(&[b"abc", b"d"]));
        let others: [&[&[u8]]; 4] = [&[b"abcd"], &[b"ab", b"cd"], &[b"abc", b"e"], &[b"abc"]];
        for other in others {
            assert_ne!(hash(&[b"abc", b"d"]), hash(other));
        }
    }
}
