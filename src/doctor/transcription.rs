//! The server that writes down what callers say: does it take sound as we send it, and answer?

use std::f64::consts::TAU;
use std::time::Instant;

use voice_bot_core::audio::frame::Rate;

use super::Finding;
use super::settings::without_secrets;
use crate::config::Config;
use crate::transcription::{Client, Failure, wav};

/// Answers that take longer make a transcript of a call that runs useless.
const SLOW_S: u64 = 5;

/// Nothing where no persona wants it and no server is named.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let wanting: Vec<&str> = config
        .personas
        .iter()
        .filter(|persona| persona.transcribe)
        .map(|persona| persona.name.as_str())
        .collect();
    let transcription = &config.transcription;
    let (Some(url), Some(client)) = (&transcription.url, Client::new(transcription)) else {
        return unnamed(&wanting);
    };
    let mut findings = vec![trial(&without_secrets(url), &client).await];
    if transcription.is_readable_on_the_way() {
        let what = "what callers say crosses the network to it readable, and the key with it";
        let fix = "use https://, or keep the server on this machine or in a network of your own";
        findings.push(Finding::warning(what, fix));
    }
    if wanting.is_empty() {
        let fix = "add transcribe = true to a persona's file, or leave transcription.url out";
        findings.push(Finding::warning("no persona has its callers' words written down", fix));
    }
    findings
}

fn unnamed(wanting: &[&str]) -> Vec<Finding> {
    if wanting.is_empty() {
        return Vec::new();
    }
    let personas = wanting.join(", ");
    let what = format!("nothing is written down of what callers say to {personas}");
    vec![Finding::warning(what, "set transcription.url, or take transcribe out of their files")]
}

/// Half a second of a soft tone between silence: what a model hears in it matters to nobody.
async fn trial(url: &str, client: &Client) -> Finding {
    let tone = |n: i32| (1000.0 * (TAU * 440.0 * f64::from(n) / 16_000.0).sin()) as i16;
    let sound = |n: i32| if (4000..12_000).contains(&n) { tone(n) } else { 0 };
    let file = wav(&(0..16_000).map(sound).collect::<Vec<_>>(), Rate::Hz16000);
    let began = Instant::now();
    let failure = match client.ask(&file).await {
        Ok(answer) => {
            let (took, text) = (began.elapsed(), answer.text);
            let heard = if text.is_empty() { "no words".to_owned() } else { format!("{text:?}") };
            let ms = took.as_millis();
            let what = format!("{url} hears {heard} in a second of a tone, and says so in {ms} ms");
            if took.as_secs() >= SLOW_S {
                let fix = "take a smaller model or a faster server, or set transcription.when to \
                           \"after\"";
                return Finding::warning(what, fix);
            }
            return Finding::ok(what);
        }
        Err(failure) => failure,
    };
    let Failure { why, complaint, .. } = failure;
    let complaint = complaint.map(|complaint| format!(": {complaint}")).unwrap_or_default();
    let fix = match &*why {
        why if why.contains("401") || why.contains("403") => {
            "set VOICE_BOT_TRANSCRIPTION_KEY to a key that it takes"
        }
        why if why.contains("404") => {
            "see transcription.url for the path, and transcription.model for a name that it has"
        }
        _ => "see transcription.url and transcription.model; calls go on without it",
    };
    Finding::failure(format!("{url} writes nothing down ({why}{complaint})"), fix)
}
