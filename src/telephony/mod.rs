//! Telephony: how calls of each carrier reach this program.

pub mod browser;
mod socket;
pub mod twilio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use voice_bot_core::persona::Persona;

use crate::config::SayConfig;

/// Random bytes in a name that nobody can guess.
const RANDOM_BYTES: usize = 24;

/// A name that nobody can guess, as a segment of an address; none if the system has no randomness.
pub(crate) fn random_name() -> Option<String> {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(URL_SAFE_NO_PAD.encode(random))
}

/// What callers are told before anything else of what is kept of their calls, and whether that is
/// all that there is to tell. `recorded`: words or sound of all calls are kept; `transcribes`:
/// what callers say is written down, if their persona wants it.
fn announcement(
    persona: &Persona,
    recorded: bool,
    transcribes: bool,
    say: &SayConfig,
) -> (Option<String>, bool) {
    let sentences = [
        (recorded || persona.record, &say.recorded),
        (transcribes && persona.transcribe, &say.transcribed),
    ];
    let sentences = sentences.into_iter().filter(|(is_so, _)| *is_so);
    let due: Vec<&str> = sentences.map(|(_, sentence)| sentence.trim()).collect();
    let is_whole = !due.is_empty() && due.iter().all(|sentence| !sentence.is_empty());
    let said = due.join(" ").trim().to_owned();
    ((!said.is_empty()).then_some(said), is_whole)
}
