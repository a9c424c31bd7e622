//! Asks a server what is said in an utterance: `POST …/v1/audio/transcriptions`, as OpenAI, vLLM,
//! speaches and whisper.cpp's server take it.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;
use tracing::warn;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::resample::Resampler;

use crate::config::TranscriptionConfig;
use crate::http;

/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read at most.
const ANSWER_BYTES: usize = 256 * 1024;
/// Characters of what was said, and of what a server complains of.
const TEXT_CHARS: usize = 8000;
const COMPLAINT_CHARS: usize = 200;
/// The rate that every server takes: whisper's own, and older ones of whisper.cpp take no other.
const HZ: u32 = 16_000;

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was said; empty where it has found nothing.
    pub text: String,
}

/// Why there is no answer. Nothing of what was said is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What happened.
    pub why: String,
    /// What the server complains of, in its own words, which may be anything.
    pub complaint: Option<String>,
    /// Whether it may go better later.
    pub is_passing: bool,
    /// How long the server wants to be left alone.
    pub asked: Option<Duration>,
}

impl Failure {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), complaint: None, is_passing: true, asked: None }
    }
}

/// Asks one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    client: reqwest::Client,
    config: TranscriptionConfig,
}

impl Client {
    /// One that asks as it is configured; none where nobody is to be asked.
    #[must_use]
    pub fn new(config: &TranscriptionConfig) -> Option<Self> {
        let client = http::client_for(config.url.as_ref()?)
            .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE.min(config.timeout))
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        match client {
            Ok(client) => Some(Self { client, config: config.clone() }),
            Err(error) => {
                warn!(%error, "nothing that callers say can be written down");
                None
            }
        }
    }

    /// What is said in a file such as [`wav`] makes.
    ///
    /// # Errors
    /// [`Failure`] when it is not known.
    pub async fn ask(&self, file: &[u8]) -> Result<Answer, Failure> {
        let Some(url) = &self.config.url else { return Err(Failure::passing("no address")) };
        let boundary = boundary().ok_or_else(|| Failure::passing("no randomness"))?;
        let body = self.body(file, &boundary);
        let kind = format!("multipart/form-data; boundary={boundary}");
        let mut request = self.client.post(url.clone()).header(CONTENT_TYPE, kind);
        if let Some(key) = &self.config.key {
            request = request.bearer_auth(key.expose());
        }
        let response = request.body(body).send().await.map_err(unanswered)?;
        let (status, asked) = (response.status(), retry_after(&response));
        let body = read(response).await?;
        if status.is_success() {
            return understood(&body);
        }
        let is_passing = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT
                    | StatusCode::CONFLICT
                    | StatusCode::TOO_EARLY
                    | StatusCode::TOO_MANY_REQUESTS
            );
        let why = format!("the server answers {status}");
        Err(Failure { why, complaint: complaint(&body), is_passing, asked })
    }

    /// The form. All that stands in it is checked when the configuration is read.
    fn body(&self, wav: &[u8], boundary: &str) -> Vec<u8> {
        let mut fields = vec![("model", &*self.config.model), ("response_format", "json")];
        fields.extend(self.config.language.as_deref().map(|language| ("language", language)));
        let mut head = String::new();
        for (name, value) in fields {
            write!(
                head,
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .expect("a String takes all that is written");
        }
        // Servers tell the format by the name's end.
        write!(
            head,
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"utterance.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
        )
        .expect("a String takes all that is written");
        let tail = format!("\r\n--{boundary}--\r\n");
        [head.as_bytes(), wav, tail.as_bytes()].concat()
    }
}

/// What stands in no form by chance.
fn boundary() -> Option<String> {
    let mut random = [0; 20];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(random.iter().fold("voice-bot-".to_owned(), |mut name, byte| {
        write!(name, "{byte:02x}").expect("a String takes all that is written");
        name
    }))
}

/// A WAV file of mono samples at that rate: 16 bit, 16 kHz. It takes some milliseconds.
#[must_use]
pub fn wav(samples: &[i16], rate: Rate) -> Vec<u8> {
    let samples = if rate.hz() == HZ {
        samples.to_vec()
    } else {
        let mut resampler = Resampler::new(rate.hz(), HZ).expect("calls run at 8 to 24 kHz");
        let mut samples = resampler.process(samples);
        samples.extend(resampler.flush());
        samples
    };
    let bytes = samples.len() as u32 * 2;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    // PCM, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend(HZ.to_le_bytes());
    file.extend((HZ * 2).to_le_bytes());
    // Bytes, then bits, of a sample.
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// Seconds that the server wants to be left alone; a date is not looked at.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            let why = format!("the answer is over {ANSWER_BYTES} bytes");
            return Err(Failure { is_passing: false, ..Failure::passing(why) });
        }
    }
    Ok(body)
}

/// The innermost reason, without the address, which may hold a secret.
fn unanswered(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::passing("no answer in time");
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failure::passing(cause.to_string())
}

/// `{"text": …}`, whatever stands beside it.
fn understood(body: &[u8]) -> Result<Answer, Failure> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let text = answer.as_ref().and_then(|answer| answer.get("text")?.as_str());
    // It may be words, so nothing of it is shown.
    let why = "the answer is not {\"text\": …}";
    let text = text.ok_or_else(|| Failure { is_passing: false, ..Failure::passing(why) })?;
    Ok(Answer { text: words(text) })
}

/// What was said, in one line. A remark in brackets, such as `[BLANK_AUDIO]` or `(music)`, is how
/// models say that nobody has said anything.
fn words(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_remark = [('[', ']'), ('(', ')')].into_iter().any(|(open, close)| {
        let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        inside.is_some_and(|inside| !inside.contains([open, close]))
    });
    if is_remark { String::new() } else { text.chars().take(TEXT_CHARS).collect() }
}

/// What the server says is wrong: `{"error": {"message": …}}`, `{"error": …}`, `{"detail": …}`.
fn complaint(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error").or_else(|| body.get("detail")).or_else(|| body.get("message"))?;
    let text = error.get("message").unwrap_or(error);
    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    let text: String = text.chars().filter(|c| !c.is_control()).take(COMPLAINT_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_file_is_16_khz_mono_pcm_of_the_same_length() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000] {
            let file = wav(&vec![1000; rate.hz() as usize], rate);
            let mut reader = hound::WavReader::new(&*file).unwrap();
            let spec = reader.spec();
            assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 16_000, 16));
            let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
            assert_eq!(samples.len(), 16_000);
            assert!(samples[100..15_900].iter().all(|sample| (995..1005).contains(sample)));
        }
    }

    #[test]
    fn words_are_one_line_and_remarks_are_none() {
        for (text, said) in [
            (" Hello\n there. \u{7}", "Hello there."),
            ("[BLANK_AUDIO]", ""),
            (" (wind blowing)\n", ""),
            ("(Well) I said (so)", "(Well) I said (so)"),
            ("(Well) (so)", "(Well) (so)"),
            ("", ""),
        ] {
            assert_eq!(words(text), said);
        }
        assert_eq!(words(&"a".repeat(10_000)).len(), TEXT_CHARS);
    }

    #[test]
    fn answers_are_json_with_a_text() {
        let text = |body: &str| understood(body.as_bytes()).map(|answer| answer.text);
        assert_eq!(text(r#"{"text": " Hi. ", "usage": {}}"#), Ok("Hi.".to_owned()));
        for body in ["", "Hi.", "[]", r#"{"text": 5}"#, r#"{"texts": "secret"}"#, "\u{0}"] {
            let failure = text(body).unwrap_err();
            assert!(!failure.is_passing && !failure.why.contains("secret"), "{body}");
        }
    }

    #[test]
    fn complaints_are_found_where_servers_have_them() {
        for (body, said) in [
            (r#"{"error": {"message": "no such model", "type": "x"}}"#, Some("no such model")),
            (r#"{"error": "failed to read"}"#, Some("failed to read")),
            (r#"{"detail": [{"loc": "file"}]}"#, Some(r#"[{"loc":"file"}]"#)),
            ("<html>", None),
        ] {
            assert_eq!(complaint(body.as_bytes()).as_deref(), said);
        }
    }
}
