//! The Media Streams socket: one task that moves a call's messages between Twilio and its port.

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::SinkExt as _;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::caller::{Command, Event, Fault, Left};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::twilio::{Decoder, Encoder, Received, Start};

use super::line::Line;
use super::tickets::Admission;
use super::webhook::call_id;
use crate::port::{CallerPort, FarEnd};
use crate::telephony::socket::{
    COMMANDS, EVENTS, READ_BYTES, Reporter, UNSENT_BYTES, WRITE_BYTES, WRITE_DEADLINE, close,
};

/// Longest message accepted, in bytes; Twilio's own are below one thousand.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Messages that a socket may send before its start message.
const EARLY_MESSAGES: usize = 32;

/// `/media/TICKET`: Twilio opens the audio of a call.
pub(super) async fn upgrade(
    State(line): State<Line>,
    Path(ticket): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    request: WebSocketUpgrade,
) -> Response {
    open(line, Some(&ticket), &uri, &headers, request)
}

/// `/media`: the same for TwiML that others wrote, where the configuration allows it.
pub(super) async fn upgrade_without_ticket(
    State(line): State<Line>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    request: WebSocketUpgrade,
) -> Response {
    open(line, None, &uri, &headers, request)
}

/// Lets in whom the webhook has sent; nobody else gets as far as a WebSocket.
fn open(
    line: Line,
    ticket: Option<&str>,
    uri: &Uri,
    headers: &HeaderMap,
    request: WebSocketUpgrade,
) -> Response {
    let url = line.media_url(ticket);
    let url = uri.query().map_or_else(|| url.clone(), |query| format!("{url}?{query}"));
    if line.access().upgrade(headers, &url).is_err() {
        return (StatusCode::FORBIDDEN, "this is not signed by Twilio").into_response();
    }
    let admission = match line.access().redeem(ticket) {
        Ok(admission) => admission,
        Err(why) => return (StatusCode::FORBIDDEN, why.to_string()).into_response(),
    };
    request
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(UNSENT_BYTES)
        .on_upgrade(|socket| serve(socket, line, admission))
}

async fn serve(mut socket: WebSocket, line: Line, admission: Option<Admission>) {
    let Ok(waiting) = line.waiting().try_acquire() else {
        warn!("stream refused: too many sockets wait for their start message");
        return refuse(socket, close_code::AGAIN, &line, admission).await;
    };
    let mut decoder = Decoder::new();
    let mut faults = Vec::new();
    let started = start(&mut socket, &mut decoder, &mut faults);
    let started = match timeout(line.start_timeout(), started).await {
        Ok(Ok(start)) => Started::read(&line, start, admission.as_ref()),
        Ok(Err(why)) => Err((close_code::POLICY, why.to_owned())),
        Err(_) => Err((close_code::POLICY, "no start message came in time".to_owned())),
    };
    let Started { call, stream_sid, format, persona } = match started {
        Ok(started) => started,
        Err((code, why)) => {
            warn!(why, faults = faults.len(), "stream refused");
            return refuse(socket, code, &line, admission).await;
        }
    };
    let (near, far) = CallerPort::pair(EVENTS, COMMANDS);
    let reporter = Reporter::new(call.as_str(), far.events.clone());
    let connected = if admission.is_some_and(|admission| admission.comes_back) {
        line.switchboard().come_back(call.clone(), near).await
    } else {
        line.switchboard().connect(call.clone(), persona, near).await.map(drop)
    };
    if let Err(refusal) = connected {
        warn!(%call, %refusal, "stream refused");
        return close(socket, close_code::AGAIN).await;
    }
    debug!(%call, "stream started");
    let encoder = Encoder::new(&stream_sid);
    let mut stream = Stream { call: call.to_string(), socket, decoder, encoder, far, reporter };
    stream.reporter.report(Event::Started(format));
    faults.into_iter().for_each(|fault| stream.reporter.report(Event::Fault(fault)));
    drop(waiting);
    stream.run().await;
}

/// A stream that may become a call.
struct Started {
    call: CallId,
    stream_sid: String,
    format: Format,
    persona: Persona,
}

impl Started {
    /// What the start message says, if it is the call that was let in; otherwise with which code
    /// the socket is closed, and why.
    fn read(
        line: &Line,
        start: Start,
        admission: Option<&Admission>,
    ) -> Result<Self, (u16, String)> {
        let refused = |why: &str| (close_code::POLICY, why.to_owned());
        let call =
            call_id(&start.call_sid).ok_or_else(|| refused("start.callSid is no call name"))?;
        let format =
            start.format.map_err(|why| (close_code::UNSUPPORTED, format!("{call}: {why}")))?;
        if admission.is_some_and(|admission| admission.call != call) {
            return Err(refused("start.callSid is not the call that this address was given to"));
        }
        let named = match admission {
            Some(admission) => Some(&admission.persona),
            None => start.custom_parameters.get("persona"),
        };
        let personas = line.personas();
        let persona = named.and_then(|name| personas.get(name));
        let persona = persona.unwrap_or(personas.default_persona()).clone();
        Ok(Self { call, stream_sid: start.stream_sid, format, persona })
    }
}

/// Reads up to the start message; what else comes first is a fault, or nothing.
async fn start(
    socket: &mut WebSocket,
    decoder: &mut Decoder,
    faults: &mut Vec<Fault>,
) -> Result<Start, &'static str> {
    for _ in 0..EARLY_MESSAGES {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => match decoder.receive(&text) {
                Received::Start(start) => return Ok(start),
                Received::Event(Event::Fault(fault)) => faults.push(fault),
                Received::Connected | Received::Event(_) | Received::Nothing => {}
            },
            Some(Ok(Message::Binary(_))) => faults.push(Fault::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err("closed before its start"),
        }
    }
    Err("too many messages before its start")
}

/// One stream that has started.
struct Stream {
    call: String,
    socket: WebSocket,
    decoder: Decoder,
    encoder: Encoder,
    far: FarEnd<Event, Command>,
    reporter: Reporter,
}

impl Stream {
    async fn run(mut self) {
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                command = self.far.commands.recv() => match command {
                    Some(command) => {
                        let told = timeout(WRITE_DEADLINE, self.tell(command)).await;
                        if !matches!(told, Ok(Ok(()))) {
                            self.reporter.report(Event::Left(Left::Lost));
                            return;
                        }
                    }
                    None => break,
                },
                message = self.socket.recv(), if listening => {
                    listening = self.hear(message);
                }
            }
        }
        close(self.socket, close_code::NORMAL).await;
    }

    /// Sends what the command and those that wait behind it say, all in one write: a mark mostly
    /// follows its audio at once.
    async fn tell(&mut self, command: Command) -> Result<(), axum::Error> {
        let mut next = Some(command);
        let mut more = COMMANDS;
        while let Some(command) = next {
            if let Some(text) = self.message(&command) {
                self.socket.feed(Message::Text(text.into())).await?;
            }
            more -= 1;
            next = (more > 0).then(|| self.far.commands.try_recv().ok()).flatten();
        }
        self.socket.flush().await
    }

    fn message(&self, command: &Command) -> Option<String> {
        match command {
            Command::Audio(Audio::Mulaw(codes)) => Some(self.encoder.media(codes)),
            Command::Mark(mark) => Some(self.encoder.mark(*mark)),
            Command::Clear => Some(self.encoder.clear()),
            // The stream was started as mu-law, and hanging up is closing the port.
            Command::Audio(Audio::Opus(_) | Audio::Pcm(_)) | Command::HangUp => None,
        }
    }

    /// False when nothing more will come.
    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> bool {
        match message {
            Some(Ok(Message::Text(text))) => match self.decoder.receive(&text) {
                Received::Event(event) => self.reporter.report(event),
                Received::Connected | Received::Start(_) => {
                    self.reporter.report(Event::Fault(Fault::OutOfOrder));
                }
                Received::Nothing => {}
            },
            Some(Ok(Message::Binary(_))) => self.reporter.report(Event::Fault(Fault::Binary)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => {
                self.reporter.report(Event::Left(Left::HungUp));
                return false;
            }
            Some(Err(broken)) => {
                info!(call = self.call, %broken, "stream broke");
                self.reporter.report(Event::Left(Left::Lost));
                return false;
            }
            None => {
                self.reporter.report(Event::Left(Left::Lost));
                return false;
            }
        }
        true
    }
}

/// Closes the socket of a stream that becomes no call. What was kept for it is free again, since
/// its address does not open twice.
async fn refuse(socket: WebSocket, code: u16, line: &Line, admission: Option<Admission>) {
    if let Some(admission) = admission {
        line.switchboard().cancel(admission.call).await;
    }
    close(socket, code).await;
}
