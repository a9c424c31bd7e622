//! What a prompt costs a model of PersonaPlex's kind: time to read, and room in its memory.

use std::time::Duration;

/// Letters of English in one token of the model's vocabulary of 32,000.
const LETTERS_A_TOKEN: usize = 4;
/// Tokens that the server puts around a prompt.
const AROUND: usize = 6;
/// Steps before the first word that are not the prompt: the voice's, and silence twice.
const OTHER_STEPS: usize = 50 + 6 + 6;
/// Steps that the model remembers, and how much talk each is.
const MEMORY: usize = 3000;
const STEP: Duration = Duration::from_millis(80);
/// What is taken off that, as the next session has to be found, primed and changed to in time.
const MARGIN: Duration = Duration::from_secs(25);

/// An estimate for one prompt, in steps of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Steps until the model speaks.
    pub steps: usize,
}

impl Reading {
    /// What a step takes while a prompt is read, on a GPU that is fast.
    pub const FAST_STEP: Duration = Duration::from_millis(41);

    /// That of this prompt.
    #[must_use]
    pub fn of(prompt: &str) -> Self {
        let tokens = prompt.chars().count().div_ceil(LETTERS_A_TOKEN) + AROUND;
        Self { tokens, steps: tokens + OTHER_STEPS }
    }

    /// How long it takes at so much time for a step.
    #[must_use]
    pub fn takes(self, step: Duration) -> Duration {
        step.saturating_mul(u32::try_from(self.steps).unwrap_or(u32::MAX))
    }

    /// After how much talk the model begins to forget it.
    #[must_use]
    pub fn remembered(self) -> Duration {
        let left = MEMORY.saturating_sub(self.steps);
        STEP.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// After how much talk another session should be made ready to go on.
    #[must_use]
    pub fn horizon(self) -> Duration {
        self.remembered().saturating_sub(MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_takes_time_and_is_forgotten_early() {
        let short = Reading::of("Be Sam.");
        assert_eq!((short.tokens, short.steps), (8, 70));
        assert_eq!(short.takes(Duration::from_millis(41)), Duration::from_millis(2870));
        assert_eq!(short.remembered(), Duration::from_millis(234_400));
        assert!(short.horizon() > Duration::from_secs(200));
        let long = Reading::of(&"x".repeat(4000));
        assert_eq!(long.remembered().as_secs(), 154);
        assert_eq!(Reading::of(&"x".repeat(20_000)).horizon(), Duration::ZERO);
    }
}
