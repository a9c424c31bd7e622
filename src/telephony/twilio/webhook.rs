//! The voice webhook: what Twilio is told to do with a call, as TwiML.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracing::{debug, info, warn};
use voice_bot_core::call::Control;
use voice_bot_core::id::CallId;
use voice_bot_core::persona::Persona;
use voice_bot_core::record::{EndReason, Fate, Report};

use super::errors;
use super::line::Line;
use super::rest::CallStatus;
use super::signature::Body;
use super::twiml::{RejectReason, Say, Twiml};
use crate::config::Variables;
use crate::lookup::Question;
use crate::switchboard::{About, Direction, NeverBegan, TurnedAway};
use crate::telemetry::Pii;

/// Longest body, in bytes; Twilio's are around one thousand.
const BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a call may take to end once its stream is over; Twilio waits 15 s for an answer.
const END_DEADLINE: Duration = Duration::from_secs(4);
/// Characters that are kept of a word of Twilio's.
const WORD_CHARACTERS: usize = 100;
/// Longest call name accepted, in bytes; Twilio's CallSid has 34, a UUID 36.
const CALL_ID_BYTES: usize = 64;

/// `/twiml`: a call comes in.
pub(super) async fn incoming(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let began = Instant::now();
    let form = Form::read(&line, &line.incoming_url(), request).await?;
    let call = form.call()?;
    let (from, to) = (form.field("From"), form.field("To"));
    let persona = line.personas().for_number(to).clone();
    info!(%call, from = %Pii(from), to = %Pii(to), persona = persona.name, "call comes in");
    if !line.access().may_call(from, to) {
        warn!(%call, from = %Pii(from), to = %Pii(to), "call not taken: too many in a minute");
        line.switchboard().turned_away(TurnedAway::TooMany);
        return Ok(xml(&Twiml::new().reject(RejectReason::Busy)));
    }
    let values = line.looked_up(&form, &call, &persona).await;
    let twiml = line.take(call.clone(), &form, &persona, &values, Direction::Inbound).await;
    line.switchboard().answered(&call, began.elapsed());
    Ok(xml(&twiml))
}

/// `/twiml/after`: the stream is over; whoever still listens is told why, and hung up.
pub(super) async fn after(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let form = Form::read(&line, &line.after_url(), request).await?;
    let call = form.call()?;
    let board = line.switchboard();
    let record = match timeout(END_DEADLINE, board.record(call.clone())).await {
        Ok(record) => record,
        Err(_) => {
            warn!(%call, "the stream is over and the call still runs; hanging up");
            board.tell(call.clone(), Control::HangUp).await;
            None
        }
    };
    if record.is_none() {
        board.cancel(call.clone()).await;
    }
    let (reason, persona) = record.map(|record| (record.reason, record.persona)).unzip();
    info!(%call, ?reason, "stream is over");
    if reason == Some(EndReason::Transferred)
        && let Some(twiml) = line.transferred(&call)
    {
        return Ok(xml(&twiml));
    }
    let say = line.say();
    let sentence = match reason {
        Some(EndReason::TimeLimit) => &say.goodbye,
        // The stream never became a call: it could not connect or could not be understood.
        Some(EndReason::NeverStarted) | None => &say.engine_failed,
        Some(reason) => match reason.fate() {
            Fate::Done => return Ok(xml(&Twiml::new().hangup())),
            Fate::Busy => &say.busy,
            Fate::Failed => &say.engine_failed,
        },
    };
    let is_let_down = reason.is_none_or(|reason| reason.fate() != Fate::Done);
    if is_let_down && let Some(twiml) = line.goes_elsewhere(&persona.unwrap_or_default()) {
        info!(%call, "caller goes elsewhere");
        return Ok(xml(&twiml));
    }
    Ok(xml(&line.speak(sentence)))
}

/// `/twiml/transferred`: a transfer is over. A caller whom nobody has answered is told so.
pub(super) async fn transferred(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let form = Form::read(&line, &line.transferred_url(), request).await?;
    let (call, status) = (form.call()?, form.field("DialCallStatus"));
    info!(%call, status, "transfer is over");
    Ok(xml(&match status {
        "completed" | "answered" => Twiml::new().hangup(),
        _ => line.speak(&line.say().nobody_there),
    }))
}

/// `/twiml/out/ORDER`: a call that voice-bot made was answered.
pub(super) async fn answered(
    State(line): State<Line>,
    Path(order): Path<String>,
    request: Request,
) -> Result<Response, BadRequest> {
    let began = Instant::now();
    let url = line.addresses(&order).answered;
    let form = Form::read(&line, url.as_str(), request).await?;
    let call = form.call()?;
    let wanted = line.outbound().wanted(&order);
    let personas = line.personas();
    let wanted = wanted.and_then(|(name, values)| Some((personas.get(&name)?, values)));
    let Some((persona, values)) = wanted else {
        warn!(%call, "nobody asked for this call; hanging up");
        return Ok(xml(&Twiml::new().hangup()));
    };
    info!(%call, persona = persona.name, "call that was made is answered");
    let twiml = line.take(call.clone(), &form, persona, &values, Direction::Outbound).await;
    line.switchboard().answered(&call, began.elapsed());
    Ok(xml(&twiml))
}

/// `/twiml/status/ORDER`: how a call that voice-bot made is going.
pub(super) async fn status(
    State(line): State<Line>,
    Path(order): Path<String>,
    request: Request,
) -> Result<StatusCode, BadRequest> {
    let url = line.addresses(&order).status;
    let form = Form::read(&line, url.as_str(), request).await?;
    let (call, status) = (form.call()?, form.field("CallStatus"));
    let is_over = CallStatus::named(status).is_over();
    if line.outbound().reported(&order, call.as_str(), status, is_over) {
        info!(%call, status, "call that was made");
        let (from, to) = (form.field("From").to_owned(), form.field("To").to_owned());
        let about = About { direction: Direction::Outbound, from, to, announced: false };
        let persona = line.outbound().wanted(&order).map(|(persona, _)| persona);
        let never_began = NeverBegan { about, persona: persona.unwrap_or_default() };
        line.reported(call, &form, is_over.then_some(never_began)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `/twiml/status`: a call to a number that was told to report here is over.
pub(super) async fn status_of_incoming(
    State(line): State<Line>,
    request: Request,
) -> Result<StatusCode, BadRequest> {
    let form = Form::read(&line, &line.status_url(), request).await?;
    if CallStatus::named(form.field("CallStatus")).is_over() {
        line.left(&form.call()?).await;
    }
    // One that was not taken, or was long ago, is to have no record for this alone.
    line.reported(form.call()?, &form, None).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `/twiml/stream`: how the stream of a call is going. What failed before it became a call is seen
/// nowhere else.
pub(super) async fn stream(
    State(line): State<Line>,
    request: Request,
) -> Result<StatusCode, BadRequest> {
    let form = Form::read(&line, &line.stream_url(), request).await?;
    let (call, event) = (form.call()?, form.field("StreamEvent"));
    let code =
        form.field("StreamErrorCode").parse().ok().or_else(|| code_in(form.field("StreamError")));
    let report = report(event, code);
    if event == "stream-error" {
        warn!(%call, code, meaning = report.meaning, "Twilio reports an error of the stream");
    } else {
        debug!(%call, event, "Twilio reports of the stream");
    }
    let never_began = (event == "stream-error").then(NeverBegan::default);
    line.switchboard().report(call, report, never_began).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `/twiml/machine/ORDER`: who or what has answered.
pub(super) async fn machine(
    State(line): State<Line>,
    Path(order): Path<String>,
    request: Request,
) -> Result<StatusCode, BadRequest> {
    let url = line.addresses(&order).machine;
    let form = Form::read(&line, url.as_str(), request).await?;
    let (call, who) = (form.call()?, form.field("AnsweredBy"));
    info!(%call, answered_by = who, "call that was made");
    line.switchboard().report(call.clone(), report(who, None), None).await;
    let say = |text: &str| line.voiced(Say::new(text));
    if let Some(update) = line.outbound().answered_by(&order, who, say) {
        let outbound = Arc::clone(line.outbound());
        tokio::spawn(async move {
            if let Err(error) = outbound.update(call.as_str(), &update).await {
                warn!(%call, %error, "a machine answered, and nothing can be done about it");
            }
        });
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Line {
    /// Puts what Twilio reports of a call on its record.
    async fn reported(&self, call: CallId, form: &Form, never_began: Option<NeverBegan>) {
        let (status, code) = (form.field("CallStatus"), form.field("ErrorCode").parse().ok());
        if CallStatus::named(status).is_over() {
            // A caller who hangs up while away does not come back.
            self.switchboard().tell(call.clone(), Control::Unhold).await;
        }
        self.switchboard().report(call, report(status, code), never_began).await;
    }

    /// What the lookup says of the caller, if it is asked.
    async fn looked_up(&self, form: &Form, call: &CallId, persona: &Persona) -> Variables {
        let Some(lookup) = self.lookup() else { return Variables::new() };
        if self.personas().variables(&persona.name).next().is_none() {
            return Variables::new();
        }
        let (from, to) = (form.field("From"), form.field("To"));
        let name = persona.name.as_str();
        lookup.ask(call, &Question { call: call.as_str(), from, to, persona: name }).await
    }

    /// One sentence, then the end.
    pub(super) fn speak(&self, sentence: &str) -> Twiml {
        let twiml = Twiml::new();
        let twiml = match sentence.trim() {
            "" => twiml,
            sentence => twiml.say(self.voiced(Say::new(sentence))),
        };
        twiml.hangup()
    }

    pub(super) fn voiced(&self, say: Say) -> Say {
        let say = say.language(&self.say().language);
        match &self.say().voice {
            Some(voice) => say.voice(voice),
            None => say,
        }
    }
}

/// What the carrier says, as it is kept: at most so much of it.
fn report(what: &str, code: Option<u32>) -> Report {
    let what = what.chars().take(WORD_CHARACTERS).filter(|letter| !letter.is_control()).collect();
    Report { what, code, meaning: code.and_then(errors::meaning).map(str::to_owned) }
}

/// The number of an error in its text.
fn code_in(text: &str) -> Option<u32> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    numbers.find(|number| number.len() == 5)?.parse().ok()
}

/// The name of the webhook's field that is this variable's: `CallerName` for `caller_name`.
fn field_name(variable: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    variable.split('_').map(capital).collect::<Vec<String>>().concat()
}

pub(super) fn xml(twiml: &Twiml) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], twiml.to_xml()).into_response()
}

/// The fields of a webhook, decoded once. The first of a repeated name counts.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a webhook that Twilio was told to send to `url`.
    pub(super) async fn read(line: &Line, url: &str, request: Request) -> Result<Self, BadRequest> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query();
        let url = query.map_or_else(|| url.to_owned(), |query| format!("{url}?{query}"));
        let is_signed = |body| {
            let checked = line.access().webhook(&parts.headers, &url, body);
            checked.map_err(|_| {
                line.switchboard().turned_away(TurnedAway::Unsigned);
                BadRequest(StatusCode::FORBIDDEN, "this is not signed by Twilio")
            })
        };
        let fields: Vec<(String, String)>;
        if parts.method == Method::POST {
            let bytes = body_of(body).await?;
            fields = url::form_urlencoded::parse(&bytes).into_owned().collect();
            is_signed(if is_form(&parts.headers) {
                Body::Form(&fields)
            } else {
                Body::Raw(&bytes)
            })?;
        } else {
            let query = query.unwrap_or_default().as_bytes();
            fields = url::form_urlencoded::parse(query).into_owned().collect();
            is_signed(Body::None)?;
        }
        let mut first = BTreeMap::new();
        for (name, value) in fields {
            first.entry(name).or_insert(value);
        }
        Ok(Self(first))
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The field that is this variable's, if it was sent.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(&field_name(name)).map(String::as_str)
    }

    pub(super) fn call(&self) -> Result<CallId, BadRequest> {
        call_id(self.field("CallSid")).ok_or_else(|| {
            let text = "CallSid is missing or is no call name (1 to 64 letters, digits, - or _); \
                        this address is for Twilio's voice webhook";
            BadRequest(StatusCode::BAD_REQUEST, text)
        })
    }
}

pub(super) async fn body_of(body: axum::body::Body) -> Result<Bytes, BadRequest> {
    let late = BadRequest(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let large = BadRequest(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 64 KiB");
    let body = axum::body::to_bytes(body, BODY_BYTES);
    timeout(BODY_DEADLINE, body).await.map_err(|_| late)?.map_err(|_| large)
}

/// Whether the body is a form, as Twilio's are; one of no type is taken for one.
fn is_form(headers: &HeaderMap) -> bool {
    let form = |kind: &str| kind.trim_start().starts_with("application/x-www-form-urlencoded");
    headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind.to_str().is_ok_and(form))
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
