//! The voice webhook: what Twilio is told to do with a call, as TwiML.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracing::{debug, info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::record::{EndReason, Fate};

use super::line::Line;
use super::twiml::{Connect, Say, Stream, Twiml};
use crate::switchboard::Refusal;
use crate::telemetry::Pii;

/// Longest body, in bytes; Twilio's are around one thousand.
const BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a call may take to end once its stream is over; Twilio waits 15 s for an answer.
const END_DEADLINE: Duration = Duration::from_secs(4);
/// Longest call name accepted, in bytes; Twilio's CallSid has 34, a UUID 36.
const CALL_ID_BYTES: usize = 64;

/// `/twiml`: a call comes in.
pub(super) async fn incoming(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let form = Form::read(request).await?;
    let call = form.call()?;
    let (from, to) = (form.field("From"), form.field("To"));
    let persona = line.personas().for_number(to).clone();
    info!(%call, from = %Pii(from), to = %Pii(to), persona = persona.name, "call comes in");
    let name = persona.name.clone();
    let Err(refusal) = line.switchboard().admit(call.clone(), persona).await else {
        return Ok(xml(&connect(&line, &name)));
    };
    warn!(%call, %refusal, "call not taken");
    Ok(xml(&match refusal {
        Refusal::Busy | Refusal::Full | Refusal::Stopping => line.speak(&line.say().busy),
        Refusal::Duplicate => Twiml::new().hangup(),
    }))
}

/// `/twiml/after`: the stream is over; whoever still listens is told why, and hung up.
pub(super) async fn after(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let form = Form::read(request).await?;
    let call = form.call()?;
    let board = line.switchboard();
    let record = match timeout(END_DEADLINE, board.record(call.clone())).await {
        Ok(record) => record,
        Err(_) => {
            warn!(%call, "the stream is over and the call still runs; hanging up");
            board.hang_up(call.clone()).await;
            None
        }
    };
    if record.is_none() {
        board.cancel(call.clone()).await;
    }
    let reason = record.map(|record| record.reason);
    info!(%call, ?reason, "stream is over");
    let say = line.say();
    let sentence = match reason {
        Some(EndReason::TimeLimit) => &say.goodbye,
        Some(reason) => match reason.fate() {
            Fate::Done => return Ok(xml(&Twiml::new().hangup())),
            Fate::Busy => &say.busy,
            Fate::Failed => &say.engine_failed,
        },
        // The stream never became a call: it could not connect or could not be understood.
        None => &say.engine_failed,
    };
    Ok(xml(&line.speak(sentence)))
}

/// Connects the call. Twilio asks the action URL what comes after the stream; a compatible carrier
/// that knows no action goes on to the next verb, which ends the call.
///
/// A persona's opening sentence comes before the stream, so its model begins to read its prompt
/// only when that has been said.
fn connect(line: &Line, persona: &str) -> Twiml {
    let stream = Stream::new(&line.media_url()).parameter("persona", persona);
    let twiml = match line.personas().opening(persona) {
        Some(sentence) => Twiml::new().say(line.voiced(Say::new(sentence))),
        None => Twiml::new(),
    };
    twiml.connect(Connect::new(stream).action(&line.after_url())).hangup()
}

impl Line {
    /// One sentence, then the end.
    fn speak(&self, sentence: &str) -> Twiml {
        let twiml = Twiml::new();
        let twiml = match sentence.trim() {
            "" => twiml,
            sentence => twiml.say(self.voiced(Say::new(sentence))),
        };
        twiml.hangup()
    }

    fn voiced(&self, say: Say) -> Say {
        let say = say.language(&self.say().language);
        match &self.say().voice {
            Some(voice) => say.voice(voice),
            None => say,
        }
    }
}

fn xml(twiml: &Twiml) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], twiml.to_xml()).into_response()
}

/// The fields of a webhook, decoded once. The first of a repeated name counts.
struct Form(BTreeMap<String, String>);

impl Form {
    async fn read(request: Request) -> Result<Self, BadRequest> {
        let bytes = if request.method() == Method::POST {
            let body = axum::body::to_bytes(request.into_body(), BODY_BYTES);
            let late = BadRequest(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
            let large = BadRequest(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 64 KiB");
            timeout(BODY_DEADLINE, body).await.map_err(|_| late)?.map_err(|_| large)?
        } else {
            request.uri().query().unwrap_or_default().to_owned().into()
        };
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&bytes) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Ok(Self(fields))
    }

    fn field(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    fn call(&self) -> Result<CallId, BadRequest> {
        call_id(self.field("CallSid")).ok_or_else(|| {
            let text = "CallSid is missing or is no call name (1 to 64 letters, digits, - or _); \
                        this address is for Twilio's voice webhook";
            BadRequest(StatusCode::BAD_REQUEST, text)
        })
    }
}

/// A call's name as carriers write it: letters, digits, `-` and `_`.
pub(super) fn call_id(name: &str) -> Option<CallId> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = (1..=CALL_ID_BYTES).contains(&name.len()) && name.bytes().all(plain);
    fits.then(|| CallId::new(name))
}

/// A request that is no webhook of Twilio's, and why.
pub(super) struct BadRequest(StatusCode, &'static str);

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        debug!(why = self.1, "webhook refused");
        (self.0, self.1).into_response()
    }
}
