//! A call comes in: it is connected, rings, waits in the queue, or is turned away.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::Response;
use tokio::time::sleep;
use tracing::{info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::persona::Persona;
use voice_bot_core::pool;

use super::line::Line;
use super::tickets::Admission;
use super::transfer::Target;
use super::twiml::{Connect, Method, Play, Redirect, RejectReason, Say, Stream, Twiml};
use super::webhook::{BadRequest, Form, xml};
use crate::config::{Filled, NoSlot, Variables};
use crate::switchboard::{About, Direction, Refusal};
use crate::telephony::announcement;

/// How long an answer is held back for an engine that is soon ready; Twilio waits for 15 s.
const HOLD: Duration = Duration::from_secs(2);
/// How often it is looked meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How often those in the queue are told their place when it has not changed.
const PLACE_EVERY: Duration = Duration::from_secs(20);
/// Who has not asked again for so long does not wait any more.
const ABSENT: Duration = Duration::from_secs(60);
/// Calls that may wait; the pool has bounds of its own, far below.
const MOST: usize = 10_000;

/// A call that waits, as it was when it came in.
#[derive(Debug, Clone)]
struct Wait {
    persona: String,
    /// What is said of recording before anything else.
    announcement: Option<String>,
    /// What is said before the stream.
    opening: Option<String>,
    /// Nothing rings any more: the call was made by us, or has been in the queue.
    answered: bool,
    /// The place that the caller was told, and when.
    told: Option<(usize, Instant)>,
    /// Pieces of music so far.
    pieces: usize,
    asked: Instant,
}

/// The calls that wait.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<CallId, Wait>>);

impl Waits {
    fn keep(&self, call: CallId, wait: Wait) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.len() >= MOST {
            waits.retain(|_, other| wait.asked.saturating_duration_since(other.asked) < ABSENT);
        }
        if waits.len() < MOST {
            waits.insert(call, wait);
        }
    }

    fn take(&self, call: &CallId) -> Option<Wait> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(call)
    }
}

/// `/twiml/wait`: a caller for whom no engine was ready asks again.
pub(super) async fn wait(
    State(line): State<Line>,
    request: Request,
) -> Result<Response, BadRequest> {
    let began = Instant::now();
    let form = Form::read(&line, &line.wait_url(), request).await?;
    let call = form.call()?;
    let Some(wait) = line.waits().take(&call) else {
        warn!(%call, "a call asks again that does not wait; hanging up");
        return Ok(xml(&Twiml::new().hangup()));
    };
    let admission = line.switchboard().ask_again(call.clone()).await;
    let twiml = line.admitted(call.clone(), wait, admission).await;
    line.switchboard().answered(&call, began.elapsed());
    Ok(xml(&twiml))
}

impl Line {
    /// Takes a call, if somebody can talk in it: with these values for the persona's variables,
    /// then those of the webhook's fields.
    pub(super) async fn take(
        &self,
        call: CallId,
        form: &Form,
        persona: &Persona,
        values: &Variables,
        direction: Direction,
    ) -> Twiml {
        let mut values = values.clone();
        for name in self.personas().variables(&persona.name) {
            if let Some(value) = form.variable(name) {
                values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        let Filled { persona, opening } = self.personas().fill(persona, &values);
        let (from, to) = (form.field("From").to_owned(), form.field("To").to_owned());
        let (announcement, announced) =
            announcement(&persona, self.config().recorded, self.config().transcribes, self.say());
        let about = About { direction, from, to, announced };
        let wait = Wait {
            persona: persona.name.clone(),
            announcement,
            opening,
            answered: direction == Direction::Outbound,
            told: None,
            pieces: 0,
            asked: Instant::now(),
        };
        let admission = self.switchboard().admit(call.clone(), persona, about).await;
        self.admitted(call, wait, admission).await
    }

    /// What Twilio is told of a call that asks. The answer is held back for a moment while it
    /// rings, since a session that is soon primed saves the caller a second.
    async fn admitted(
        &self,
        call: CallId,
        mut wait: Wait,
        mut admission: Result<pool::Admission, Refusal>,
    ) -> Twiml {
        wait.asked = Instant::now();
        while admission == Ok(pool::Admission::Ring) && wait.asked.elapsed() < HOLD {
            sleep(LOOK).await;
            admission = self.switchboard().ask_again(call.clone()).await;
        }
        match admission {
            Ok(pool::Admission::Connect) => self.connect(call, &wait),
            // Twilio answers the call at the first verb that is heard, so a pause goes on ringing.
            Ok(pool::Admission::Ring) => {
                self.waits().keep(call, wait);
                Twiml::new().pause(1).redirect(self.again())
            }
            Ok(pool::Admission::Queue { ahead }) => self.queued(call, wait, ahead + 1),
            Ok(pool::Admission::Refuse) => self.refused(&call, &wait, Refusal::Busy).await,
            Err(refusal) => self.refused(&call, &wait, refusal).await,
        }
    }

    /// Twilio asks the action URL what comes after the stream; a compatible carrier that knows no
    /// action goes on to the next verb, which ends the call. What is said before the stream delays
    /// the model, which begins to read its prompt only then.
    fn connect(&self, call: CallId, wait: &Wait) -> Twiml {
        let persona = wait.persona.clone();
        let ticket = self.access().issue(Admission { call, persona, comes_back: false });
        let stream = Stream::new(&self.media_url(ticket.as_deref()));
        let stream = stream.parameter("persona", &wait.persona);
        let stream = stream.status_callback(&self.stream_url());
        let sentences = wait.announcement.iter().chain(&wait.opening);
        let say = |twiml: Twiml, sentence: &String| twiml.say(self.voiced(Say::new(sentence)));
        let connect = Connect::new(stream).action(&self.after_url());
        sentences.fold(Twiml::new(), say).connect(connect).hangup()
    }

    fn queued(&self, call: CallId, mut wait: Wait, place: usize) -> Twiml {
        let now = wait.asked;
        let mut twiml = Twiml::new();
        let is_known = wait.told.is_some_and(|(told, when)| {
            told == place && now.saturating_duration_since(when) < PLACE_EVERY
        });
        let sentence = self.say().queued.replace("{place}", &place.to_string());
        if !is_known && !sentence.trim().is_empty() {
            twiml = twiml.say(self.voiced(Say::new(sentence.trim())));
        }
        if !is_known {
            info!(%call, place, "caller waits in the queue");
            wait.told = Some((place, now));
        }
        let music = self.music_url(wait.pieces);
        (wait.answered, wait.pieces) = (true, wait.pieces + 1);
        self.waits().keep(call, wait);
        twiml.play(Play::url(&music)).redirect(self.again())
    }

    async fn refused(&self, call: &CallId, wait: &Wait, refusal: Refusal) -> Twiml {
        warn!(%call, %refusal, "call not taken");
        let sentence = match refusal {
            Refusal::Duplicate | Refusal::Over => return Twiml::new().hangup(),
            Refusal::Busy | Refusal::Full | Refusal::Stopping => &self.say().busy,
            Refusal::NoEngine => &self.say().engine_failed,
        };
        self.switchboard().cancel(call.clone()).await;
        let policy = self.admission().then;
        let goes_on = match policy {
            NoSlot::Queue | NoSlot::Overflow => true,
            NoSlot::Busy | NoSlot::Reject => refusal == Refusal::Stopping,
        };
        if goes_on && let Some(target) = self.overflow(&wait.persona) {
            info!(%call, "caller goes elsewhere");
            let action = self.transferred_url();
            return target.twiml(Twiml::new(), Some(&action), self.dial_ring());
        }
        match policy {
            NoSlot::Reject if !wait.answered => Twiml::new().reject(RejectReason::Busy),
            NoSlot::Busy | NoSlot::Reject | NoSlot::Queue | NoSlot::Overflow => {
                self.speak(sentence)
            }
        }
    }

    /// What a caller hears whose call has failed, if there is somewhere else to go.
    pub(super) fn goes_elsewhere(&self, persona: &str) -> Option<Twiml> {
        let target = self.overflow(persona)?;
        let twiml = match self.say().overflow.trim() {
            "" => Twiml::new(),
            sentence => Twiml::new().say(self.voiced(Say::new(sentence))),
        };
        Some(target.twiml(twiml, Some(&self.transferred_url()), self.dial_ring()))
    }

    /// Where callers of this persona go who can be served nowhere else.
    fn overflow(&self, persona: &str) -> Option<Target> {
        let personas = self.personas();
        let own = personas.overflow(persona);
        Target::parse(own.or(self.admission().overflow.as_deref())?)
    }

    /// A caller who waits has hung up.
    pub(super) async fn left(&self, call: &CallId) {
        self.waits().take(call);
        self.switchboard().cancel(call.clone()).await;
    }

    /// Where Twilio asks again for a caller who waits.
    fn wait_url(&self) -> String {
        self.below_base("twiml/wait").into()
    }

    /// The piece of music that comes after so many others.
    fn music_url(&self, before: usize) -> String {
        self.below_base(&format!("twiml/hold/{}", self.music().name(before))).into()
    }

    fn again(&self) -> Redirect {
        Redirect::new(&self.wait_url()).method(Method::Post)
    }
}
