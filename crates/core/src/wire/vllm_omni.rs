//! vLLM-Omni's full-duplex wire, OpenAI's Realtime events as JSON over a WebSocket, as spoken to a
//! PersonaPlex behind it. Source: vllm-project/vllm-omni, `docs/serving/realtime_duplex_api.md` at
//! 09c32f1, `vllm_omni/clients/duplex.py` at 040aa6b, PersonaPlex' `duplex/plugin.py` at 0e61742.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::audio::frame::Rate;
use crate::leg::engine::{Closed, Event, OpenError};
use crate::leg::{Audio, Format};

/// Where a server answers; the query asks for the full-duplex protocol.
pub const TARGET: &str = "/v1/realtime?duplex=1";

/// What a session carries, both ways: the server takes no other rate for PersonaPlex.
pub const FORMAT: Format = Format::Pcm(RATE);

const RATE: Rate = Rate::Hz24000;

/// The longest message that is read, in bytes: several seconds of audio.
const MAX_MESSAGE: usize = 1 << 20;

/// The longest text that is believed, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// One step of the model takes this many samples, 80 ms; the server waits until it has them.
const STEP: usize = 1920;

/// A server that was fed so many samples, 5 s, and says nothing is dead. PersonaPlex answers after
/// one step, then after every five.
const STALLED: usize = 5 * 24_000;

/// Longest error code that is repeated, in characters.
const MAX_CODE: usize = 64;

/// What a [`Client`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Samples given to [`Client::send`] before the session was there, and dropped.
    pub dropped_before_ready: u64,
    /// Messages with audio sent.
    pub appends_sent: u64,
    /// Pieces of audio received.
    pub audio_received: u64,
    /// Pieces of text received.
    pub texts_received: u64,
    /// Messages that say nothing of use here.
    pub ignored: u64,
    /// Errors that the server reported in a session. Each is a fault too.
    pub errors: u64,
    /// Faults reported as [`Event::Fault`].
    pub faults: u64,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Ready,
    Over,
}

/// One session as the bridge sees it.
#[derive(Debug)]
pub struct Client {
    state: State,
    /// Samples that do not fill a step yet.
    held: Vec<i16>,
    /// Samples sent since the server last said anything about a response.
    unanswered: usize,
    fed: bool,
    error: Option<String>,
    counters: Counters,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A session whose connection stands and that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Opening,
            held: Vec::new(),
            unanswered: 0,
            fed: false,
            error: None,
            counters: Counters::default(),
        }
    }

    /// The message that asks for a session; the first on the connection.
    #[must_use]
    pub fn open(voice: &str, prompt: &str) -> String {
        let rate = RATE.hz();
        let session = json!({
            "modalities": ["audio", "text"],
            "voice": voice,
            "instructions": prompt,
            "input_audio_format": "pcm_f32le",
            "output_audio_format": "pcm16",
            "sample_rate_hz": rate,
            "audio": {"input": {"sample_rate_hz": rate}, "output": {"sample_rate_hz": rate}},
            "turn_detection": null,
            "extra_body": {"auto_response": true},
        });
        json!({"type": "session.update", "session": session}).to_string()
    }

    /// What a text message from the server says, in order. Anything unreadable is a
    /// [`Event::Fault`]; events that this side has no use for are counted and passed over.
    pub fn receive(&mut self, text: &str) -> Vec<Event> {
        if self.state == State::Over {
            return Vec::new();
        }
        let Some(message) = read(text) else {
            return self.fault();
        };
        let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind.starts_with("response.") {
            self.unanswered = 0;
        }
        match kind {
            "session.created" => self.created(),
            // The first name is the newer one.
            "response.output_audio.delta" | "response.audio.delta" => self.audio(&message),
            "response.output_audio_transcript.delta" | "response.audio_transcript.delta" => {
                self.text(&message)
            }
            "error" => self.refused(&message),
            "session.closed" | "session.expired" | "session.replaced" => self.closed(),
            "" => self.fault(),
            _ => {
                self.counters.ignored += 1;
                Vec::new()
            }
        }
    }

    /// The messages that carry the caller's audio (24 kHz) to the server, 80 ms each; none before
    /// the session is there, nor while less than a step has come.
    pub fn send(&mut self, samples: &[i16]) -> Vec<String> {
        if self.state != State::Ready {
            self.counters.dropped_before_ready += samples.len() as u64;
            return Vec::new();
        }
        self.held.extend_from_slice(samples);
        let steps = self.held.chunks_exact(STEP);
        let rest = steps.remainder().to_vec();
        let messages: Vec<String> = steps.map(append).collect();
        self.held = rest;
        self.fed |= !messages.is_empty();
        self.unanswered = self.unanswered.saturating_add(messages.len() * STEP);
        self.counters.appends_sent += messages.len() as u64;
        messages
    }

    /// A message that keeps the session from ending for idleness, to be sent every few seconds;
    /// none where audio has done so since the last time.
    pub fn keep_alive(&mut self) -> Option<String> {
        let idle = !std::mem::take(&mut self.fed) && self.state == State::Ready;
        idle.then(|| json!({"type": "session.heartbeat"}).to_string())
    }

    /// Whether the session is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether the server has been fed for 5 s without a word about a response.
    #[must_use]
    pub const fn is_stalled(&self) -> bool {
        self.unanswered > STALLED
    }

    /// The code of the last error that the server reported, such as `resource_exhausted`.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn created(&mut self) -> Vec<Event> {
        if self.state != State::Opening {
            return self.fault();
        }
        self.state = State::Ready;
        vec![Event::Ready]
    }

    fn audio(&mut self, message: &Map<String, Value>) -> Vec<Event> {
        let agreed = |key: &str, value: Value| message.get(key).is_none_or(|it| *it == value);
        let as_asked = agreed("format", json!("pcm16")) && agreed("sample_rate_hz", json!(24_000));
        let bytes = delta(message).and_then(|delta| STANDARD.decode(delta).ok());
        let Some(bytes) = bytes.filter(|_| as_asked && self.is_ready()) else {
            return self.fault();
        };
        let (samples, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return self.fault();
        }
        self.counters.audio_received += 1;
        if samples.is_empty() {
            return Vec::new();
        }
        let samples = samples.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
        vec![Event::Audio(Audio::Pcm(samples))]
    }

    fn text(&mut self, message: &Map<String, Value>) -> Vec<Event> {
        let text = delta(message).filter(|text| text.len() <= MAX_TEXT && self.is_ready());
        let Some(text) = text else {
            return self.fault();
        };
        self.counters.texts_received += 1;
        if text.is_empty() { Vec::new() } else { vec![Event::Text(text.to_owned())] }
    }

    /// An error of an open session concerns a single message of ours; before there is one, it is
    /// the answer to our request.
    fn refused(&mut self, message: &Map<String, Value>) -> Vec<Event> {
        // Errors of the handshake have the code outside.
        let code = message.get("error").and_then(|error| error.get("code")).or(message.get("code"));
        let code = code.and_then(Value::as_str).unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        self.error = Some(code.chars().filter(plain).take(MAX_CODE).collect());
        match (self.state, code) {
            (State::Opening, "resource_exhausted" | "timeout") => self.open_failed(OpenError::Busy),
            (State::Opening, _) => self.open_failed(OpenError::Refused),
            (State::Ready, "unknown_session" | "session_closed") => self.closed(),
            (State::Ready | State::Over, _) => {
                self.counters.errors += 1;
                self.fault()
            }
        }
    }

    fn open_failed(&mut self, error: OpenError) -> Vec<Event> {
        self.state = State::Over;
        vec![Event::OpenFailed(error)]
    }

    /// The server's last event; it closes with this code behind it.
    fn closed(&mut self) -> Vec<Event> {
        if self.state == State::Opening {
            return self.open_failed(OpenError::Refused);
        }
        self.state = State::Over;
        vec![Event::Closed(Closed::ByEngine(1000))]
    }

    fn fault(&mut self) -> Vec<Event> {
        self.counters.faults += 1;
        vec![Event::Fault]
    }
}

fn read(text: &str) -> Option<Map<String, Value>> {
    if text.len() > MAX_MESSAGE {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn delta(message: &Map<String, Value>) -> Option<&str> {
    message.get("delta").and_then(Value::as_str)
}

/// One step of the caller's audio, as 32 bit floats of which 1.0 is the loudest.
fn append(samples: &[i16]) -> String {
    let floats = samples.iter().map(|sample| f32::from(*sample) / 32_768.0);
    let bytes: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
    let audio = STANDARD.encode(bytes);
    format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#)
}

#[cfg(test)]
mod tests;
