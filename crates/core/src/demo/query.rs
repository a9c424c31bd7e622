//! The query of a session's request, and what the server makes of it.

use crate::wire::personaplex::VOICES;

/// Steps of silence before and after the text prompt: half a second each.
const SILENCE_STEPS: u64 = 6;

/// Characters of a prompt that make one token, about.
const CHARACTERS_PER_TOKEN: usize = 4;

/// The parameters that matter; the last one wins where a name comes twice, others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// File name of the voice.
    pub voice_prompt: Option<String>,
    /// What the model is told about its role.
    pub text_prompt: Option<String>,
    /// Seed; the real server crashes on any.
    pub seed: Option<String>,
}

/// How the server reads its prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Steps of the model.
    pub(super) steps: u64,
    /// Those of them that come after the voice.
    pub(super) text_steps: u64,
    /// Whether the server fails at the end of them.
    pub(super) then_cut: bool,
}

impl Query {
    /// Reads what stands behind the `?` of a request target, percent-encoded (RFC 3986) with `+`
    /// for a space. What cannot be decoded is taken as it stands.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "voice_prompt" => &mut parsed.voice_prompt,
                "text_prompt" => &mut parsed.text_prompt,
                "seed" => &mut parsed.seed,
                _ => continue,
            };
            *field = Some(decode(value));
        }
        parsed
    }

    /// What the server does for this query; `None` if it fails at once.
    pub(super) fn plan(&self, voice_frames: u32) -> Option<Plan> {
        let voice = self.voice_prompt.as_deref()?;
        let text = self.text_prompt.as_deref()?;
        if self.seed.is_some() || !VOICES.contains(&voice) {
            return None;
        }
        let voice_steps = u64::from(voice_frames) + SILENCE_STEPS;
        if text.is_empty() {
            return Some(Plan { steps: voice_steps, text_steps: 0, then_cut: true });
        }
        let tokens = text.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64;
        // One more poll comes after the last step.
        let text_steps = tokens + SILENCE_STEPS + 1;
        Some(Plan { steps: voice_steps + text_steps, text_steps, then_cut: false })
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = (first == b'%').then(|| behind.get(..2).and_then(hex)).flatten();
        rest = if escaped.is_some() { &behind[2..] } else { behind };
        bytes.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::personaplex::request_target;

    fn plan(query: &str) -> Option<Plan> {
        Query::parse(query).plan(50)
    }

    #[test]
    fn reads_back_what_the_client_asks_for() {
        let prompt = "You enjoy 100% & <é>\n\"#+?=/ok~-_.";
        let target = request_target("NATF2.pt", prompt).unwrap();
        let query = Query::parse(target.split_once('?').unwrap().1);
        assert_eq!(query.voice_prompt.as_deref(), Some("NATF2.pt"));
        assert_eq!(query.text_prompt.as_deref(), Some(prompt));
        assert_eq!(query.seed, None);
    }

    #[test]
    fn broken_escapes_stand_as_they_are() {
        let query = Query::parse("text_prompt=a+b%2&voice_prompt=%zz%+1%C3&seed&x=1");
        assert_eq!(query.text_prompt.as_deref(), Some("a b%2"));
        assert_eq!(query.voice_prompt.as_deref(), Some("%zz% 1\u{fffd}"));
        assert_eq!(query.seed.as_deref(), Some(""));
        assert_eq!(Query::parse(""), Query::default());
    }

    #[test]
    fn steps_follow_from_voice_and_prompt() {
        let steps = |tokens: u64| {
            Some(Plan {
                steps: 50 + 6 + tokens + 6 + 1,
                text_steps: tokens + 6 + 1,
                then_cut: false,
            })
        };
        assert_eq!(plan("voice_prompt=NATF2.pt&text_prompt=Hi"), steps(1));
        assert_eq!(plan("voice_prompt=NATF2.pt&text_prompt=12345"), steps(2));
        assert_eq!(plan("voice_prompt=VARM4.pt&text_prompt=%C3%A9%C3%A9%C3%A9%C3%A9"), steps(1));
    }

    #[test]
    fn wrong_queries_fail_at_once_or_after_the_voice() {
        let wrong = [
            "",
            "voice_prompt=NATF2.pt",
            "text_prompt=Hi",
            "voice_prompt=NATF2&text_prompt=Hi",
            "voice_prompt=../NATF2.pt&text_prompt=Hi",
            "voice_prompt=&text_prompt=Hi",
            "voice_prompt=NATF2.pt&text_prompt=Hi&seed=42",
            "voice_prompt=NATF2.pt&text_prompt=Hi&seed=",
        ];
        for query in wrong {
            assert_eq!(plan(query), None, "{query}");
        }
        let empty = plan("voice_prompt=NATF2.pt&text_prompt=");
        assert_eq!(empty, Some(Plan { steps: 56, text_steps: 0, then_cut: true }));
    }
}
