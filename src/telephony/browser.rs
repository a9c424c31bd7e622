//! `/talk`: a call from a browser, or from another program with a microphone.

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info};
use voice_bot_core::call::{Event as CallEvent, Snapshot};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::caller::{Command, Event, Left};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::persona::Persona;
use voice_bot_core::pool::Admission;
use voice_bot_core::wire::browser::{self, RATE, Told};

use super::socket::{COMMANDS, EVENTS, READ_BYTES, Reporter, UNSENT_BYTES, close, send};
use super::{announcement, random_name};
use crate::config::{Personas, SayConfig, Variables};
use crate::live::Live;
use crate::port::{CallerPort, FarEnd};
use crate::switchboard::{About, Direction, Happening, Happenings, Refusal, Switchboard};
use crate::transcription::{Spoken, Transcription};

/// Longest message accepted, in bytes: a second of audio is 48,000.
const MESSAGE_BYTES: usize = 16 * 1024;
/// How often the browser is told how the call stands.
const STATE_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether an engine is free, and how often who waits is told so.
const LOOK: Duration = Duration::from_millis(250);
const WAITING_EVERY: Duration = Duration::from_secs(2);
/// How long the record of a call may take that has ended.
const RECORD_DEADLINE: Duration = Duration::from_secs(5);

/// What calls from browsers are told.
#[derive(Debug, Clone)]
pub struct BrowserConfig {
    /// Who answers.
    pub personas: Live<Personas>,
    /// Whether words or sound of all calls are kept.
    pub recorded: bool,
    /// Writes down what callers say, if somebody does.
    pub transcription: Option<Transcription>,
    /// What callers are told of both.
    pub say: SayConfig,
}

/// What the route works with.
#[derive(Clone)]
struct Desk {
    switchboard: Switchboard,
    config: BrowserConfig,
}

/// The route `/talk`, for whoever is let in to it: it asks for nothing itself.
pub fn router(switchboard: Switchboard, config: BrowserConfig) -> Router {
    Router::new().route("/talk", get(talk)).with_state(Desk { switchboard, config })
}

/// What a call from a browser is asked for with.
#[derive(Debug, Deserialize)]
struct Asked {
    /// Who is to talk; the default persona unless told.
    persona: Option<String>,
}

async fn talk(
    State(desk): State<Desk>,
    Query(asked): Query<Asked>,
    request: WebSocketUpgrade,
) -> Response {
    request
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_BYTES)
        .on_upgrade(|socket| desk.serve(socket, asked))
}

/// Why there is no call: a code that stays, and words.
struct NoCall(&'static str, String);

impl From<Refusal> for NoCall {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Busy => "busy",
            Refusal::NoEngine => "no_engine",
            Refusal::Full => "full",
            Refusal::Duplicate | Refusal::Over => "over",
            Refusal::Stopping => "stopping",
        };
        Self(code, refusal.to_string())
    }
}

impl Desk {
    async fn serve(self, mut socket: WebSocket, asked: Asked) {
        match self.begin(&mut socket, asked).await {
            Ok(Some(leg)) => leg.run(socket).await,
            Ok(None) => close(socket, close_code::NORMAL).await,
            Err(NoCall(code, message)) => {
                info!(code, "a browser's call is not taken");
                let error = serde_json::json!({"error": {"code": code, "message": message}});
                if send(&mut socket, Message::Text(error.to_string().into())).await {
                    close(socket, close_code::AGAIN).await;
                }
            }
        }
    }

    /// Has the call admitted and connected; `None` if its caller has left meanwhile.
    async fn begin(&self, socket: &mut WebSocket, asked: Asked) -> Result<Option<Leg>, NoCall> {
        let persona = self.persona(asked)?;
        let name = random_name();
        let call = name.map(|name| CallId::new(&format!("{PREFIX}{name}"))).ok_or_else(|| {
            let why = "the system has no random numbers to give; try again".to_owned();
            NoCall("no_randomness", why)
        })?;
        let BrowserConfig { recorded, transcription, say, .. } = &self.config;
        let (notice, announced) = announcement(&persona, *recorded, transcription.is_some(), say);
        let about = About { direction: Direction::Browser, announced, ..About::default() };
        let spoken = transcription.as_ref().map(Transcription::subscribe);
        let admission = self.switchboard.admit(call.clone(), persona.clone(), about).await?;
        let (near, far) = CallerPort::pair(EVENTS, COMMANDS);
        let mut reporter = Reporter::new(call.as_str(), far.events.clone());
        let connected = match self.wait(&call, admission, socket).await {
            Ok(true) => {
                let connected = self.switchboard.connect(call.clone(), persona, near).await;
                connected.map(Some).map_err(NoCall::from)
            }
            Ok(false) => Ok(None),
            Err(why) => Err(why),
        };
        let happenings = match connected {
            Ok(Some(happenings)) => happenings,
            // What was kept for it is free again.
            other => {
                self.switchboard.cancel(call).await;
                return other.map(|_| None);
            }
        };
        reporter.report(Event::Started(Format::Pcm(RATE)));
        let snapshot = self.switchboard.watch(call.clone()).await;
        let switchboard = self.switchboard.clone();
        Ok(Some(Leg { call, switchboard, far, reporter, happenings, spoken, snapshot, notice }))
    }

    fn persona(&self, Asked { persona }: Asked) -> Result<Persona, NoCall> {
        let personas = self.config.personas.get();
        let persona = match persona.filter(|name| !name.is_empty()) {
            None => personas.default_persona(),
            Some(name) => personas.get(&name).ok_or_else(|| {
                let known: Vec<_> = personas.iter().map(|it| it.name.as_str()).collect();
                let why = format!("there is no such persona; use one of {}", known.join(", "));
                NoCall("no_persona", why)
            })?,
        };
        Ok(personas.fill(persona, &Variables::new()).persona)
    }

    /// Waits for an engine, for as long as the pool lets it; false when the caller has left.
    async fn wait(
        &self,
        call: &CallId,
        mut admission: Admission,
        socket: &mut WebSocket,
    ) -> Result<bool, NoCall> {
        let mut told: Option<Instant> = None;
        loop {
            let ahead = match admission {
                Admission::Connect => return Ok(true),
                Admission::Ring => None,
                Admission::Queue { ahead } => Some(ahead),
                Admission::Refuse => return Err(Refusal::Busy.into()),
            };
            if told.is_none_or(|told| told.elapsed() >= WAITING_EVERY) {
                told = Some(Instant::now());
                let waiting = Told::Waiting { ahead }.to_text();
                if !send(socket, Message::Text(waiting.into())).await {
                    return Ok(false);
                }
            }
            if left(socket).await {
                return Ok(false);
            }
            admission = self.switchboard.ask_again(call.clone()).await?;
        }
    }
}

/// What the names of such calls begin with.
const PREFIX: &str = "browser-";

/// Looks for a moment whether who waits has hung up. What they say meanwhile nobody hears.
async fn left(socket: &mut WebSocket) -> bool {
    let looked = sleep(LOOK);
    tokio::pin!(looked);
    loop {
        let message = tokio::select! {
            () = &mut looked => return false,
            message = socket.recv() => message,
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                if matches!(browser::read(&text), Event::Left(_)) {
                    return true;
                }
            }
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return true,
        }
    }
}

/// The leg of one call.
struct Leg {
    call: CallId,
    switchboard: Switchboard,
    far: FarEnd<Event, Command>,
    reporter: Reporter,
    happenings: Happenings,
    /// What callers say, written down; of other calls, too.
    spoken: Option<broadcast::Receiver<Spoken>>,
    snapshot: Option<watch::Receiver<Option<Snapshot>>>,
    notice: Option<String>,
}

impl Leg {
    async fn run(mut self, mut socket: WebSocket) {
        debug!(call = %self.call, "a browser talks");
        let started = Told::Started {
            call: self.call.as_str(),
            rate: RATE.hz(),
            notice: self.notice.as_deref(),
        };
        let mut is_open = tell(&mut socket, &started).await;
        let mut listening = is_open;
        if !is_open {
            self.reporter.report(Event::Left(Left::Lost));
        }
        let mut clock = interval(STATE_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                biased;
                command = self.far.commands.recv() => match command {
                    Some(command) => of_command(command),
                    None => break,
                },
                Ok(happening) = self.happenings.recv() => Self::of(&happening),
                Some(spoken) = next(&mut self.spoken) => self.of_caller(&spoken),
                _ = clock.tick() => self.state(),
                message = socket.recv(), if listening => {
                    listening = self.hear(message);
                    None
                }
            };
            if let Some(message) = message
                && is_open
                && !send(&mut socket, message).await
            {
                (is_open, listening) = (false, false);
                self.reporter.report(Event::Left(Left::Lost));
            }
        }
        if is_open {
            self.say_goodbye(socket).await;
        }
    }

    /// What is told of something that happens.
    fn of(Happening { at, event, .. }: &Happening) -> Option<Message> {
        let CallEvent::Word(word) = event else { return None };
        let word = Told::Word { who: "bot", text: word, at_ms: millis(*at) };
        Some(Message::Text(word.to_text().into()))
    }

    fn of_caller(&self, Spoken { call, at, text, .. }: &Spoken) -> Option<Message> {
        let word = Told::Word { who: "caller", text, at_ms: millis(*at) };
        (*call == self.call).then(|| Message::Text(word.to_text().into()))
    }

    fn state(&self) -> Option<Message> {
        let Snapshot { phase, caller_dbfs, engine_dbfs, depth, target, .. } =
            (*self.snapshot.as_ref()?.borrow())?;
        let state = Told::State {
            phase: phase.name(),
            caller_dbfs: caller_dbfs.max(-100.0),
            engine_dbfs: engine_dbfs.max(-100.0),
            depth_ms: millis(depth),
            target_ms: millis(target),
        };
        Some(Message::Text(state.to_text().into()))
    }

    /// False when nothing more will come.
    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> bool {
        let event = match message {
            Some(Ok(Message::Text(text))) => browser::read(&text),
            Some(Ok(Message::Binary(bytes))) => browser::hear(&bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return true,
            Some(Ok(Message::Close(_))) => Event::Left(Left::HungUp),
            Some(Err(broken)) => {
                info!(call = %self.call, %broken, "a browser's connection broke");
                Event::Left(Left::Lost)
            }
            None => Event::Left(Left::Lost),
        };
        let goes_on = !matches!(event, Event::Left(_));
        self.reporter.report(event);
        goes_on
    }

    /// The call is over: tells how it ended.
    async fn say_goodbye(self, mut socket: WebSocket) {
        let record = self.switchboard.record(self.call.clone());
        let record = timeout(RECORD_DEADLINE, record).await.ok().flatten();
        let reason = record.map(|record| record.reason);
        let (name, text) = match reason {
            Some(reason) => (reason.name(), reason.to_string()),
            None => ("unknown", "the call is over".to_owned()),
        };
        let call = self.call.as_str();
        if tell(&mut socket, &Told::Ended { reason: name, reason_text: &text, call }).await {
            close(socket, close_code::NORMAL).await;
        }
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// What is written down next; never, where nobody writes.
async fn next(spoken: &mut Option<broadcast::Receiver<Spoken>>) -> Option<Spoken> {
    match spoken {
        Some(spoken) => spoken.recv().await.ok(),
        None => pending().await,
    }
}

fn of_command(command: Command) -> Option<Message> {
    Some(match command {
        Command::Audio(Audio::Pcm(samples)) => Message::Binary(browser::say(&samples).into()),
        Command::Mark(mark) => Message::Text(Told::Mark(mark).to_text().into()),
        Command::Clear => Message::Text(Told::Clear.to_text().into()),
        // The leg was started as PCM, and hanging up is closing the port.
        Command::Audio(Audio::Mulaw(_) | Audio::Opus(_)) | Command::HangUp => return None,
    })
}

async fn tell(socket: &mut WebSocket, told: &Told<'_>) -> bool {
    send(socket, Message::Text(told.to_text().into())).await
}
