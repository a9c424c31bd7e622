//! What Twilio says to a bot: reads messages, tolerantly, and says what they mean for the leg.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::encode::named_mark;
use crate::leg::caller::{Event, Fault, Left};
use crate::leg::{Audio, Format};

/// Longest message that is read, in bytes; Twilio's own stay under 1 KiB.
const MAX_MESSAGE: usize = 1 << 20;

/// Longest piece of a peer's text that an error repeats, in characters.
const MAX_QUOTE: usize = 64;

/// Standard base64, with or without padding: compatible carriers differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What one message meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The first message: the socket is up. Carries nothing of use.
    Connected,
    /// The stream begins; comes once.
    Start(Start),
    /// Something for the leg: audio, a digit, a played mark, a fault, or the orderly end.
    Event(Event),
    /// A message that asks for nothing, such as media of no length.
    Nothing,
}

/// What `start` tells of the stream and its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Names the stream; every message to Twilio carries it.
    pub stream_sid: String,
    /// The account that owns the call; empty where a compatible carrier leaves it out.
    pub account_sid: String,
    /// Names the call.
    pub call_sid: String,
    /// The tracks that follow as media, `inbound` alone on a bidirectional stream.
    pub tracks: Vec<String>,
    /// What the TwiML's `<Parameter>` elements named.
    pub custom_parameters: BTreeMap<String, String>,
    /// The audio that follows, or why it cannot be decoded. After an error, media is a fault.
    pub format: Result<Format, MediaFormatError>,
}

/// Why a stream's audio cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaFormatError {
    /// `start` has no `mediaFormat`, or one without an encoding.
    #[error("start.mediaFormat is missing; it must name audio/x-mulaw, 8000 Hz, 1 channel")]
    Missing,
    /// Another encoding than mu-law.
    #[error("start.mediaFormat.encoding is {0:?}; set the stream to audio/x-mulaw (PCMU)")]
    Encoding(String),
    /// Another sample rate than 8000 Hz.
    #[error("start.mediaFormat.sampleRate is {0}; set the stream to 8000 Hz")]
    SampleRate(u64),
    /// More or fewer channels than one.
    #[error("start.mediaFormat.channels is {0}; set the stream to 1 channel")]
    Channels(u64),
}

/// The carrier's own count and clock of a media message; `None` where it left one out.
///
/// A jump of the timestamp means that the carrier dropped audio (Twilio: warning 31930).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// Counts media messages, from 1.
    pub chunk: Option<u64>,
    /// When the audio began, in milliseconds since the stream's start.
    pub timestamp_ms: Option<u64>,
    /// Counts all messages after `connected`, from 1.
    pub sequence: Option<u64>,
}

/// A media message as Twilio writes them, read without a copy; one that is written in another way
/// is read as every other message is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsualMedia<'a> {
    event: &'a str,
    stream_sid: &'a str,
    sequence_number: &'a str,
    #[serde(borrow)]
    media: UsualBody<'a>,
}

#[derive(Deserialize)]
struct UsualBody<'a> {
    track: &'a str,
    chunk: &'a str,
    timestamp: &'a str,
    payload: &'a str,
}

/// Where the stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Fresh,
    /// `connected` has come.
    Connected,
    /// `start` has come; media is decodable or not.
    Started { stream_sid: String, decodable: bool },
    /// `stop` has come.
    Stopped,
}

/// Reads the messages of one stream in order.
///
/// Numbers may come as numbers or as decimal strings, unknown fields are passed over, and an absent
/// `streamSid` is taken for the right one, since a socket carries one stream.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    last_media: Option<Media>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that awaits `connected` (or `start`, for carriers that leave it out).
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Fresh, last_media: None }
    }

    /// What the last readable media message said of its place in the stream.
    #[must_use]
    pub const fn last_media(&self) -> Option<Media> {
        self.last_media
    }

    /// Reads one text message. What cannot be read is a [`Fault`]; the stream goes on.
    pub fn receive(&mut self, text: &str) -> Received {
        self.read(text).unwrap_or_else(|fault| Received::Event(Event::Fault(fault)))
    }

    fn read(&mut self, text: &str) -> Result<Received, Fault> {
        if text.len() > MAX_MESSAGE {
            return Err(Fault::Malformed);
        }
        // Fifty come a second.
        if let Ok(usual) = serde_json::from_str::<UsualMedia<'_>>(text)
            && usual.event == "media"
        {
            return self.usual_media(&usual);
        }
        let mut message: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
        let event = take_text(&mut message, "event").ok_or(Fault::Malformed)?;
        match event.as_str() {
            "connected" => self.connected(),
            "start" => self.start(&mut message),
            "media" => self.media(&mut message),
            "dtmf" => self.dtmf(&mut message),
            "mark" => self.mark(&mut message),
            "stop" => self.stop(&message),
            _ => Err(Fault::Unknown),
        }
    }

    fn connected(&mut self) -> Result<Received, Fault> {
        if self.state != State::Fresh {
            return Err(Fault::OutOfOrder);
        }
        self.state = State::Connected;
        Ok(Received::Connected)
    }

    fn start(&mut self, message: &mut Map<String, Value>) -> Result<Received, Fault> {
        if !matches!(self.state, State::Fresh | State::Connected) {
            return Err(Fault::OutOfOrder);
        }
        let outer = take_text(message, "streamSid");
        let mut body = take_object(message, "start").ok_or(Fault::Malformed)?;
        let inner = take_text(&mut body, "streamSid");
        if matches!((&inner, &outer), (Some(inner), Some(outer)) if inner != outer) {
            return Err(Fault::WrongStream);
        }
        let stream_sid = inner.or(outer).filter(|sid| !sid.is_empty()).ok_or(Fault::Malformed)?;
        let start = Start {
            stream_sid: stream_sid.clone(),
            account_sid: take_text(&mut body, "accountSid").unwrap_or_default(),
            call_sid: take_text(&mut body, "callSid").ok_or(Fault::Malformed)?,
            tracks: tracks(&body),
            custom_parameters: custom_parameters(&mut body),
            format: take_object(&mut body, "mediaFormat")
                .ok_or(MediaFormatError::Missing)
                .and_then(|mut format| media_format(&mut format)),
        };
        self.state = State::Started { stream_sid, decodable: start.format.is_ok() };
        Ok(Received::Start(start))
    }

    fn usual_media(&mut self, message: &UsualMedia<'_>) -> Result<Received, Fault> {
        let decodable = self.running(Some(Some(message.stream_sid)))?;
        let body = &message.media;
        let media = Media {
            chunk: body.chunk.parse().ok(),
            timestamp_ms: body.timestamp.parse().ok(),
            sequence: message.sequence_number.parse().ok(),
        };
        self.audio(Some(body.track), Some(body.payload), decodable, media)
    }

    fn media(&mut self, message: &mut Map<String, Value>) -> Result<Received, Fault> {
        let decodable = self.running(sid(message))?;
        let sequence = number(message, "sequenceNumber");
        let mut body = take_object(message, "media").ok_or(Fault::Malformed)?;
        let payload = take_text(&mut body, "payload");
        let (chunk, timestamp_ms) = (number(&body, "chunk"), number(&body, "timestamp"));
        let track = body.get("track").and_then(Value::as_str);
        let media = Media { chunk, timestamp_ms, sequence };
        self.audio(track, payload.as_deref(), decodable, media)
    }

    fn audio(
        &mut self,
        track: Option<&str>,
        payload: Option<&str>,
        decodable: bool,
        media: Media,
    ) -> Result<Received, Fault> {
        // Only a one-way fork of both sides carries the bot's own voice; it must not hear itself.
        if track == Some("outbound") {
            return Err(Fault::Unknown);
        }
        let mulaw = payload.and_then(|payload| BASE64.decode(payload).ok());
        let mulaw = mulaw.filter(|_| decodable).ok_or(Fault::Malformed)?;
        self.last_media = Some(media);
        if mulaw.is_empty() {
            return Ok(Received::Nothing);
        }
        let at = media.timestamp_ms.map(Duration::from_millis);
        Ok(Received::Event(Event::Audio { audio: Audio::Mulaw(mulaw), at }))
    }

    fn dtmf(&self, message: &mut Map<String, Value>) -> Result<Received, Fault> {
        self.running(sid(message))?;
        let digit = take_object(message, "dtmf")
            .and_then(|mut body| take_text(&mut body, "digit"))
            .and_then(|digit| single_key(&digit))
            .ok_or(Fault::Malformed)?;
        Ok(Received::Event(Event::Digit(digit)))
    }

    fn mark(&self, message: &mut Map<String, Value>) -> Result<Received, Fault> {
        self.running(sid(message))?;
        let name = take_object(message, "mark")
            .and_then(|mut body| take_text(&mut body, "name"))
            .ok_or(Fault::Malformed)?;
        let mark = named_mark(&name).ok_or(Fault::Unknown)?;
        Ok(Received::Event(Event::MarkPlayed(mark)))
    }

    fn stop(&mut self, message: &Map<String, Value>) -> Result<Received, Fault> {
        self.running(sid(message))?;
        self.state = State::Stopped;
        Ok(Received::Event(Event::Left(Left::HungUp)))
    }

    /// Checks that the stream runs and that the message with this `streamSid`, if it has any and
    /// that is text, is its own; says if media is decodable.
    fn running(&self, sid: Option<Option<&str>>) -> Result<bool, Fault> {
        let (stream_sid, decodable) = match &self.state {
            State::Started { stream_sid, decodable } => (stream_sid, *decodable),
            State::Fresh | State::Connected | State::Stopped => return Err(Fault::OutOfOrder),
        };
        match sid {
            Some(sid) if sid != Some(stream_sid) => Err(Fault::WrongStream),
            Some(_) | None => Ok(decodable),
        }
    }
}

fn sid(message: &Map<String, Value>) -> Option<Option<&str>> {
    message.get("streamSid").map(Value::as_str)
}

fn tracks(start: &Map<String, Value>) -> Vec<String> {
    let tracks = start.get("tracks").and_then(Value::as_array);
    tracks.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn custom_parameters(start: &mut Map<String, Value>) -> BTreeMap<String, String> {
    let parameters = take_object(start, "customParameters").unwrap_or_default();
    parameters.into_iter().filter_map(|(name, value)| Some((name, plain_text(value)?))).collect()
}

fn media_format(format: &mut Map<String, Value>) -> Result<Format, MediaFormatError> {
    let encoding = take_text(format, "encoding").ok_or(MediaFormatError::Missing)?;
    let mulaw = ["audio/x-mulaw", "audio/mulaw", "audio/pcmu", "pcmu"];
    if !mulaw.iter().any(|name| name.eq_ignore_ascii_case(&encoding)) {
        return Err(MediaFormatError::Encoding(encoding.chars().take(MAX_QUOTE).collect()));
    }
    // An absent number is taken for mu-law's usual one.
    let rate = number(format, "sampleRate").unwrap_or(8000);
    if rate != 8000 {
        return Err(MediaFormatError::SampleRate(rate));
    }
    let channels = number(format, "channels").unwrap_or(1);
    if channels != 1 {
        return Err(MediaFormatError::Channels(channels));
    }
    Ok(Format::Mulaw)
}

/// The key that `digit` names, when it names one key and nothing else.
fn single_key(digit: &str) -> Option<char> {
    let mut characters = digit.chars();
    let key = characters.next()?.to_ascii_uppercase();
    let known = matches!(key, '0'..='9' | '*' | '#' | 'A'..='D');
    (known && characters.next().is_none()).then_some(key)
}

fn take_text(object: &mut Map<String, Value>, key: &str) -> Option<String> {
    object.remove(key).and_then(plain_text)
}

fn take_object(object: &mut Map<String, Value>, key: &str) -> Option<Map<String, Value>> {
    match object.remove(key) {
        Some(Value::Object(inner)) => Some(inner),
        Some(_) | None => None,
    }
}

/// A whole number at `key`, written as a number or as a decimal string.
fn number(object: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = object.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A string as it stands, a number or truth value as its JSON text, and nothing for the rest.
fn plain_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
