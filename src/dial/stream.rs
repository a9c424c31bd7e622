//! Runs one stream: the caller's frames go out on an absolute clock, the bot's audio plays out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use voice_bot_core::audio::frame::{FRAME, FRAME_MS};
use voice_bot_core::audio::mulaw;
use voice_bot_core::carrier::PlayBuffer;
use voice_bot_core::wire::twilio::{Carrier, Outbound, parse_outbound};

use super::Progress;
use super::report::{StreamEnd, StreamReport, count, millis};
use super::socket::Socket;
use super::tracks::{Tracks, dbfs};
use super::voice::Voice;

/// Messages that may wait for a server that reads slowly: four seconds of audio.
const OUTBOX: usize = 200;

/// Places in the outbox that only marks and `stop` may take.
const RESERVED: usize = 50;

/// How long closing may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How often the observer is called, in frames.
const OBSERVE_FRAMES: u64 = 5;

/// What is louder than this is a sound.
const SOUND_DBFS: f32 = -45.0;

const FRAME_SAMPLES: usize = 160;

/// What of the call a stream works on.
pub(super) struct Talk<'a> {
    pub(super) tracks: &'a mut Tracks,
    pub(super) voice: &'a mut Voice,
    pub(super) faults: &'a mut BTreeMap<String, u64>,
    pub(super) observer: &'a mut (dyn FnMut(&Progress) + Send),
    pub(super) deadline: Instant,
}

/// Who the stream is to the bot.
pub(super) struct Names<'a> {
    pub(super) stream_sid: &'a str,
    pub(super) account_sid: &'a str,
    pub(super) call_sid: &'a str,
    pub(super) parameters: &'a BTreeMap<String, String>,
}

/// Runs the stream to its end and fills in `report`.
pub(super) async fn run<'a>(
    socket: Socket,
    names: &'a Names<'a>,
    talk: Talk<'a>,
    report: &'a mut StreamReport,
) {
    let (sink, mut inbox) = socket.split();
    let (outbox, queue) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(write(sink, queue));
    let mut carrier = Carrier::new(names.stream_sid, names.account_sid, names.call_sid);
    let greetings = [carrier.connected(), carrier.start(names.parameters)];
    let start = Instant::now();
    talk.tracks.settle(start);
    let mut live = Live {
        talk,
        carrier,
        stream_sid: names.stream_sid,
        buffer: PlayBuffer::new(start),
        outbox,
        start,
        frames_sent: 0,
        frames_played: 0,
        report,
    };
    greetings.into_iter().for_each(|message| live.send(message));
    let ended = live.converse(&mut inbox).await;
    if matches!(ended, StreamEnd::CallerHungUp | StreamEnd::TimeLimit) {
        let stop = live.carrier.stop();
        live.send(stop);
    }
    live.report.play = live.buffer.stats();
    live.report.ended = ended;
    // Dropping the last sender tells the writer to close the socket.
    drop(live);
    close(inbox, writer).await;
}

/// A running stream.
struct Live<'a> {
    talk: Talk<'a>,
    carrier: Carrier,
    stream_sid: &'a str,
    buffer: PlayBuffer,
    outbox: mpsc::Sender<String>,
    start: Instant,
    frames_sent: u64,
    frames_played: u64,
    report: &'a mut StreamReport,
}

impl Live<'_> {
    async fn converse(&mut self, inbox: &mut SplitStream<Socket>) -> StreamEnd {
        loop {
            let due = self.start + FRAME * u32::try_from(self.frames_sent + 1).unwrap_or(u32::MAX);
            tokio::select! {
                biased;
                () = sleep_until(due.into()) => {
                    if let Some(end) = self.tick(due, Instant::now()) {
                        return end;
                    }
                }
                message = inbox.next() => {
                    if let Some(end) = self.receive(message, Instant::now()) {
                        return end;
                    }
                }
            }
        }
    }

    /// The caller has spoken 20 ms more.
    fn tick(&mut self, due: Instant, now: Instant) -> Option<StreamEnd> {
        self.play(now);
        if now >= self.talk.deadline {
            return Some(StreamEnd::TimeLimit);
        }
        let Some(frame) = self.talk.voice.next_frame() else {
            return Some(StreamEnd::CallerHungUp);
        };
        let lateness = millis(now.saturating_duration_since(due));
        self.report.worst_lateness_ms = self.report.worst_lateness_ms.max(lateness);
        if self.outbox.capacity() > RESERVED {
            let timestamp_ms = self.frames_sent * FRAME_MS;
            let message = self.carrier.media(&mulaw::encode_all(&frame), timestamp_ms);
            self.send(message);
        } else {
            self.report.dropped_ms += FRAME_MS;
            let fault = "the bot reads too slowly; caller audio was dropped (warning 31930)";
            count(self.talk.faults, fault.to_owned());
        }
        self.frames_sent += 1;
        self.talk.tracks.caller.extend(frame);
        if self.frames_sent.is_multiple_of(OBSERVE_FRAMES) {
            self.observe(now);
        }
        None
    }

    fn receive(
        &mut self,
        message: Option<Result<Message, WsError>>,
        now: Instant,
    ) -> Option<StreamEnd> {
        match message {
            Some(Ok(Message::Text(text))) => self.obey(&text, now),
            Some(Ok(Message::Binary(_))) => {
                self.report.messages_in += 1;
                count(self.talk.faults, "a binary message (warning 31950)".to_owned());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                return Some(StreamEnd::BotClosed(frame.map(|frame| frame.code.into())));
            }
            Some(Err(error)) => {
                if matches!(error, WsError::Protocol(_) | WsError::Utf8(_) | WsError::Capacity(_)) {
                    let fault = format!("WebSocket protocol violation: {error} (error 31924)");
                    count(self.talk.faults, fault);
                }
                return Some(StreamEnd::Broken(error.to_string()));
            }
            None => return Some(StreamEnd::Broken("ended without a close frame".to_owned())),
        }
        None
    }

    fn obey(&mut self, text: &str, now: Instant) {
        self.report.messages_in += 1;
        match parse_outbound(text, self.stream_sid) {
            Ok(Outbound::Media(audio)) => {
                let after = millis(now.saturating_duration_since(self.start));
                self.report.first_audio_ms.get_or_insert(after);
                let overflow = self.buffer.stats().overflow_ms;
                self.buffer.media(&audio, now);
                if self.buffer.stats().overflow_ms > overflow {
                    let fault = "over 10 minutes of audio were queued (warning 31931)";
                    count(self.talk.faults, fault.to_owned());
                }
            }
            Ok(Outbound::Mark(name)) => {
                self.report.marks += 1;
                self.buffer.mark(name, now);
            }
            Ok(Outbound::Clear) => {
                self.report.clears += 1;
                self.buffer.clear(now);
            }
            Err(violation) => count(self.talk.faults, format!("{violation} (warning 31951)")),
        }
        self.play(now);
    }

    /// Puts what has played on the bot's track and echoes the marks.
    fn play(&mut self, now: Instant) {
        let played = self.buffer.poll(now);
        for name in played.marks {
            let echo = self.carrier.mark(&name);
            self.send(echo);
        }
        let samples = mulaw::decode_all(&played.mulaw);
        for frame in samples.chunks(FRAME_SAMPLES) {
            if self.report.first_sound_ms.is_none() && dbfs(frame) > SOUND_DBFS {
                self.report.first_sound_ms = Some((self.frames_played * FRAME_MS) as f64);
            }
            self.frames_played += 1;
        }
        self.talk.tracks.bot.extend(samples);
    }

    fn send(&mut self, message: String) {
        match self.outbox.try_send(message) {
            Ok(()) => self.report.messages_out += 1,
            Err(mpsc::error::TrySendError::Full(_)) => {
                count(self.talk.faults, "the bot reads nothing; a message was lost".to_owned());
            }
            // The connection is gone; the reading side says how.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn observe(&mut self, now: Instant) {
        let tracks = &self.talk.tracks;
        let recent = |track: &[i16]| {
            let window = FRAME_SAMPLES * OBSERVE_FRAMES as usize;
            dbfs(&track[track.len().saturating_sub(window)..])
        };
        (self.talk.observer)(&Progress {
            elapsed: tracks.elapsed(now),
            caller_dbfs: recent(&tracks.caller),
            bot_dbfs: recent(&tracks.bot),
        });
    }
}

/// Sends what is queued, then closes.
async fn write(mut sink: SplitSink<Socket, Message>, mut queue: mpsc::Receiver<String>) {
    while let Some(text) = queue.recv().await {
        if sink.send(Message::text(text)).await.is_err() {
            return;
        }
    }
    // Both fail when the bot was first to close or to vanish, and then nothing is left to do.
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(frame))).await.ok();
    sink.close().await.ok();
}

/// Waits, not for long, until both sides have closed.
async fn close(mut inbox: SplitStream<Socket>, mut writer: JoinHandle<()>) {
    let closing = async {
        // Without reading, the bot's own close would never be seen.
        while let Some(Ok(_)) = inbox.next().await {}
        (&mut writer).await.ok();
    };
    if timeout(CLOSE_LIMIT, closing).await.is_err() {
        writer.abort();
    }
}
