//! Holds one conversation from code: PCM in, PCM and words out.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::call;
use voice_bot_core::call::Event;
use voice_bot_core::id::CallId;
use voice_bot_core::leg::caller::{Command, Event as CallerEvent, Left};
use voice_bot_core::leg::{Audio, Format, Mark};
use voice_bot_core::persona::Persona;
use voice_bot_core::pool;
use voice_bot_core::record::CallRecord;

use crate::engine::Engine;
use crate::port::{CallerPort, FarEnd};
use crate::switchboard::{Happening, Happenings, Notes, Refusal, Settings, Switchboard};

/// Pieces of audio that may wait on either side of a conversation.
const WAITING: usize = 512;
/// Conversations that one bot may hold at once, engines permitting.
const CONVERSATIONS: usize = 1024;

/// A bot that talks with code in this process.
///
/// Must be used inside a tokio runtime.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
/// use voice_bot::{Heard, VoiceBot, core::audio::frame::Rate, core::persona::Persona};
///
/// let engine = PersonaPlex::new(PersonaPlexConfig::new("ws://gpu-box:8998".parse()?))?;
/// let bot = VoiceBot::new(vec![std::sync::Arc::new(engine)]);
/// let sam = Persona::new("sam", "NATM1.pt", "Be Sam.");
/// let mut talk = bot.converse(sam, Rate::Hz16000).await?;
/// let mut clock = tokio::time::interval(std::time::Duration::from_millis(20));
/// loop {
///     tokio::select! {
///         _ = clock.tick() => talk.send(&[0; 320]),
///         heard = talk.recv() => match heard {
///             Some(Heard::Audio(pcm)) => println!("{} samples", pcm.len()),
///             Some(Heard::Cleared) => println!("drop what is not played"),
///             Some(Heard::Word(word)) => println!("{word}"),
///             Some(Heard::Ended(_)) | None => break,
///         },
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VoiceBot {
    switchboard: Switchboard,
}

/// What a conversation gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The bot speaks: PCM at the conversation's rate.
    Audio(Vec<i16>),
    /// What was heard of the bot and is not played yet is stale: it went quiet for the other side.
    Cleared,
    /// A word of what the bot says.
    Word(String),
    /// The conversation is over; nothing follows.
    Ended(Box<CallRecord>),
}

impl VoiceBot {
    /// A bot that uses these engines, with the default limits.
    #[must_use]
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self::with_config(engines, call::Config::default())
    }

    /// A bot that uses these engines, with these limits for every conversation.
    #[must_use]
    pub fn with_config(engines: Vec<Arc<dyn Engine>>, call: call::Config) -> Self {
        let pool = pool::Config::default();
        let settings = Settings {
            engines,
            call,
            pool,
            max_calls: CONVERSATIONS,
            recordings: None,
            tapes: None,
            probe: None,
            standbys: Vec::new(),
            acts: None,
            webhooks: None,
            notes: Notes::default(),
            keeper: None,
            transcription: None,
        };
        Self { switchboard: Switchboard::start(settings) }
    }

    /// Opens a conversation at this sample rate.
    ///
    /// The engine reads its prompts first; what is sent meanwhile is not heard. The first
    /// [`Heard::Audio`] tells that it listens.
    ///
    /// # Errors
    /// [`Refusal`] when the bot holds too many conversations.
    pub async fn converse(&self, persona: Persona, rate: Rate) -> Result<Conversation, Refusal> {
        let (near, far) = CallerPort::pair(WAITING, WAITING);
        let id = next_id();
        let events = self.switchboard.connect(id.clone(), persona, near).await?;
        let switchboard = self.switchboard.clone();
        let mut conversation = Conversation {
            id,
            switchboard,
            far,
            events,
            playing: Playing { rate, ends: Instant::now(), marks: VecDeque::new() },
            ended: false,
            dropped: 0,
            missed: 0,
        };
        conversation.tell(CallerEvent::Started(Format::Pcm(rate)));
        Ok(conversation)
    }
}

/// One conversation. Dropping it hangs up.
pub struct Conversation {
    id: CallId,
    switchboard: Switchboard,
    far: FarEnd<CallerEvent, Command>,
    events: Happenings,
    playing: Playing,
    ended: bool,
    dropped: u64,
    missed: u64,
}

/// Whoever hears the bot is taken to play it in real time, without a break.
struct Playing {
    rate: Rate,
    ends: Instant,
    /// Marks that are not passed, and when they will be.
    marks: VecDeque<(Instant, Mark)>,
}

impl Playing {
    fn audio(&mut self, samples: usize) {
        let micros = samples as u64 * 1_000_000 / u64::from(self.rate.hz());
        self.ends = self.ends.max(Instant::now()) + Duration::from_micros(micros);
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.push_back((self.ends, mark));
    }

    /// Drops what is not played; every mark has been passed then.
    fn clear(&mut self) {
        self.ends = Instant::now();
        self.marks.iter_mut().for_each(|(at, _)| *at = self.ends);
    }

    /// The next mark, when it is passed. Safe to cancel.
    async fn next_mark(&mut self) -> Mark {
        let Some((at, mark)) = self.marks.front().copied() else {
            return future::pending().await;
        };
        tokio::time::sleep_until(at).await;
        self.marks.pop_front();
        mark
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.tell(CallerEvent::Left(Left::HungUp));
    }
}

impl Conversation {
    /// Says something: PCM samples at the conversation's rate, any number, in real time.
    ///
    /// The engine's clock is this audio: send 50 times 20 ms a second, silence included, for as
    /// long as the conversation lasts.
    pub fn send(&mut self, samples: &[i16]) {
        self.tell(CallerEvent::Audio { audio: Audio::Pcm(samples.to_vec()), at: None });
    }

    /// Pieces of audio that were dropped because the conversation did not keep up.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events of the conversation that were not looked at in time, so that words may be missing
    /// from what was heard.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// What comes next; `None` after [`Heard::Ended`]. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Heard> {
        while !self.ended {
            let heard = tokio::select! {
                biased;
                command = self.far.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => match self.last_word() {
                        None => return self.end().await,
                        word => word,
                    },
                },
                event = self.events.recv() => self.witness(event),
                mark = self.playing.next_mark() => {
                    self.tell(CallerEvent::MarkPlayed(mark));
                    None
                }
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    /// Hangs up and waits for the end; what was still to be heard is dropped.
    pub async fn hang_up(mut self) -> Option<CallRecord> {
        // An error means that the call is over already.
        drop(self.far.events.send(CallerEvent::Left(Left::HungUp)).await);
        loop {
            match self.recv().await? {
                Heard::Ended(record) => return Some(*record),
                Heard::Audio(_) | Heard::Cleared | Heard::Word(_) => {}
            }
        }
    }

    fn tell(&mut self, event: CallerEvent) {
        match self.far.events.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.dropped += 1,
        }
    }

    fn obey(&mut self, command: Command) -> Option<Heard> {
        match command {
            Command::Audio(Audio::Pcm(samples)) => {
                self.playing.audio(samples.len());
                Some(Heard::Audio(samples))
            }
            Command::Mark(mark) => {
                self.playing.mark(mark);
                None
            }
            Command::Clear => {
                self.playing.clear();
                Some(Heard::Cleared)
            }
            Command::Audio(Audio::Mulaw(_) | Audio::Opus(_)) | Command::HangUp => None,
        }
    }

    fn witness(&mut self, event: Result<Happening, RecvError>) -> Option<Heard> {
        match event {
            Ok(Happening { event: Event::Word(word), .. }) => Some(Heard::Word(word)),
            Err(RecvError::Lagged(missed)) => {
                self.missed += missed;
                None
            }
            Ok(Happening {
                event:
                    Event::Ended(_)
                    | Event::Phase(_)
                    | Event::Digit(_)
                    | Event::Turn(_)
                    | Event::Speed(_)
                    | Event::Cleared
                    | Event::RuleMet(_)
                    | Event::Succeeded(_)
                    | Event::Action { .. },
                ..
            })
            | Err(RecvError::Closed) => None,
        }
    }

    /// A word that was said before the end and not given out yet.
    fn last_word(&mut self) -> Option<Heard> {
        loop {
            let event = match self.events.try_recv() {
                Ok(event) => Ok(event),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            };
            if let Some(word) = self.witness(event) {
                return Some(word);
            }
        }
    }

    async fn end(&mut self) -> Option<Heard> {
        let record = self.switchboard.record(self.id.clone()).await;
        // Only now: whoever is cancelled while waiting for the record asks again.
        self.ended = true;
        Some(Heard::Ended(Box::new(record?)))
    }
}

/// A name for a conversation that no other in this process has.
fn next_id() -> CallId {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    CallId::new(&format!("code-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}
