//! What the server keeps for all its connections: the voice and the text prompt that were asked for
//! last, whoever's turn it is. So prompts leak from one waiting client to another, as on the real
//! server.

use super::query::Query;
use crate::wire::personaplex::VOICES;

/// The server's prompts, from one connection to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// The voice that was asked for last, loaded or not.
    asked: Option<String>,
    /// The voice that was loaded last.
    loaded: Option<String>,
    text: String,
}

impl Prompts {
    /// Takes in what a new connection asks for; false if the server cuts that connection at once.
    ///
    /// A file that is no voice is refused the first time. The second time the server takes it for
    /// loaded, and speaks with the voice before.
    pub fn take(&mut self, query: &Query) -> bool {
        let (Some(voice), Some(text)) = (&query.voice_prompt, &query.text_prompt) else {
            return false;
        };
        let again = self.asked.as_ref() == Some(voice);
        if VOICES.contains(&voice.as_str()) {
            self.loaded = Some(voice.clone());
        } else if !(is_there(voice) && again) {
            if is_there(voice) {
                self.asked = Some(voice.clone());
            }
            return false;
        }
        self.asked = Some(voice.clone());
        self.text.clone_from(text);
        query.seed.is_none()
    }

    /// What a session is primed with whose turn it is now.
    #[must_use]
    pub fn current(&self) -> Query {
        let voice = self.loaded.as_deref().unwrap_or(VOICES[0]);
        Query {
            voice_prompt: Some(voice.to_owned()),
            text_prompt: Some(self.text.clone()),
            seed: None,
        }
    }
}

/// Whether the name leads to something that exists on the server and is no voice: the folder of
/// the voices itself, or a recording.
fn is_there(voice: &str) -> bool {
    voice.is_empty() || voice.ends_with(".wav")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text)
    }

    #[test]
    fn who_connects_last_sets_the_prompt() {
        let mut prompts = Prompts::default();
        assert!(prompts.take(&query("voice_prompt=NATF2.pt&text_prompt=first")));
        assert!(prompts.take(&query("voice_prompt=NATM1.pt&text_prompt=second")));
        assert_eq!(prompts.current(), query("voice_prompt=NATM1.pt&text_prompt=second"));
    }

    #[test]
    fn a_bad_voice_is_refused_once_and_then_served_with_the_voice_before() {
        let mut prompts = Prompts::default();
        assert!(prompts.take(&query("voice_prompt=NATM1.pt&text_prompt=a")));
        for bad in ["", "clip.wav"] {
            let asked = query(&format!("voice_prompt={bad}&text_prompt=b"));
            assert!(!prompts.take(&asked), "{bad:?}");
            assert!(prompts.take(&asked), "{bad:?} again");
            assert_eq!(prompts.current(), query("voice_prompt=NATM1.pt&text_prompt=b"));
        }
    }

    #[test]
    fn a_voice_that_is_not_there_and_a_missing_prompt_are_refused_every_time() {
        let mut prompts = Prompts::default();
        for bad in ["voice_prompt=NATF9.pt&text_prompt=a", "voice_prompt=NATF2.pt", "text_prompt=a"]
        {
            assert!(!prompts.take(&query(bad)) && !prompts.take(&query(bad)), "{bad}");
        }
        assert!(!prompts.take(&query("voice_prompt=NATF2.pt&text_prompt=a&seed=1")));
    }
}
