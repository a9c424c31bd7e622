//! What all calls of a load share, the callers' clock, and the engines.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep_until;
use voice_bot_core::audio::frame::{FRAME, FRAME_MS};
use voice_bot_core::audio::opus::OpusError;
use voice_bot_core::carrier::PlayBuffer;
use voice_bot_core::wire::twilio::Carrier;

use super::delay::{Inbound, Outbound, ms};
use super::socket::{self, BINARY, CLOSE, PING, PONG, TEXT};
use crate::bench::canned::{EngineBytes, caller_frames};

/// How far the callers of a load are into their sentence when their call begins, in frames, so
/// that no two servers' codecs work on the same sound at once.
const STRIDE: usize = 37;

/// What all calls share. One thread has it.
pub(super) struct World {
    caller: Vec<Vec<u8>>,
    engine: EngineBytes,
    /// Calls that wait for an engine to be asked, oldest first.
    pub(super) awaiting: RefCell<VecDeque<Rc<Pair>>>,
    pub(super) samples: RefCell<Samples>,
    pub(super) measuring: Cell<bool>,
    lines: RefCell<Vec<Line>>,
    poke: Notify,
    /// Set when every caller is to hang up.
    pub(super) ending: Cell<bool>,
}

/// What was measured.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) inbound: Vec<f32>,
    pub(super) outbound: Vec<f32>,
    /// How much later than planned frames were sent: the load's own doing.
    pub(super) lateness: Vec<f32>,
    pub(super) frames: u64,
    pub(super) packets: u64,
    /// Engine messages after which no media came before the next one.
    pub(super) unanswered: u64,
    /// Messages that a server's socket did not take.
    pub(super) refused: u64,
}

/// The two far ends of one call.
pub(super) struct Pair {
    /// The engine has been asked and has answered.
    pub(super) ready: Notify,
    pub(super) play: RefCell<PlayBuffer>,
    pub(super) inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
}

impl Pair {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ready: Notify::new(),
            play: RefCell::new(PlayBuffer::new(now)),
            inbound: RefCell::default(),
            outbound: RefCell::default(),
        }
    }

    /// Media came from the server.
    pub(super) fn media(&self, mulaw: &[u8], now: Instant, world: &World) {
        let delay = self.outbound.borrow_mut().media(now);
        world.note(|samples| samples.outbound.extend(delay.map(ms)));
        self.play.borrow_mut().media(mulaw, now);
    }
}

/// A caller who speaks.
pub(super) struct Line {
    pub(super) pair: Rc<Pair>,
    pub(super) carrier: Carrier,
    pub(super) writer: OwnedWriteHalf,
    /// When the next frame is due.
    pub(super) next: Instant,
    /// Frames until this caller hangs up; `None` for one who waits to be told.
    pub(super) left: Option<u64>,
    pub(super) frames: u64,
    /// What the socket has taken a part of.
    pub(super) rest: Vec<u8>,
}

impl World {
    pub(super) fn new() -> Result<Self, OpusError> {
        Ok(Self {
            caller: caller_frames(),
            engine: EngineBytes::new()?,
            awaiting: RefCell::default(),
            samples: RefCell::default(),
            measuring: Cell::new(false),
            lines: RefCell::default(),
            poke: Notify::new(),
            ending: Cell::new(false),
        })
    }

    /// Changes the samples, while there is something to measure.
    fn note(&self, change: impl FnOnce(&mut Samples)) {
        if self.measuring.get() {
            change(&mut self.samples.borrow_mut());
        }
    }

    /// Lets a caller speak from now on.
    pub(super) fn speak(&self, line: Line) {
        self.lines.borrow_mut().push(line);
        self.poke.notify_one();
    }

    /// The callers' clock: sends every frame when it has been spoken. Never ends.
    pub(super) async fn run_callers(self: Rc<Self>) {
        let mut lines: Vec<Option<Line>> = Vec::new();
        let mut due = BinaryHeap::new();
        loop {
            for line in self.lines.borrow_mut().drain(..) {
                let free = lines.iter().position(Option::is_none).unwrap_or(lines.len());
                due.push(Reverse((line.next, free)));
                match lines.get_mut(free) {
                    Some(place) => *place = Some(line),
                    None => lines.push(Some(line)),
                }
            }
            while let Some(&Reverse((at, index))) = due.peek()
                && at <= Instant::now()
            {
                due.pop();
                let goes_on = lines[index].as_mut().is_some_and(|line| line.tick(index, &self));
                if goes_on {
                    due.push(Reverse((at + FRAME, index)));
                } else if let Some(line) = lines[index].take() {
                    // Dropped, it would end the connection before the server does.
                    line.writer.forget();
                }
            }
            match due.peek() {
                Some(&Reverse((at, _))) => tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = self.poke.notified() => {}
                },
                None => self.poke.notified().await,
            }
        }
    }

    /// An engine: one conversation after the other. Never ends.
    pub(super) async fn run_engine(self: Rc<Self>, listener: TcpListener, number: usize) {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                spawn_local(Rc::clone(&self).converse(stream, number));
            }
        }
    }

    /// One connection to an engine. Answers each packet with one of its own, at once.
    async fn converse(self: Rc<Self>, stream: TcpStream, number: usize) {
        let Some((mut reader, mut writer)) = socket::accept(stream).await else { return };
        let pair = self.awaiting.borrow_mut().pop_front();
        let mut next = number * STRIDE % self.engine.messages.len();
        if writer.write_all(&self.engine.opening).await.is_err() {
            return;
        }
        if let Some(pair) = &pair {
            pair.ready.notify_one();
        }
        while reader.more().await {
            while let Some(frame) = reader.next_frame() {
                let mut answer = Vec::new();
                let sent = match frame.opcode {
                    BINARY if is_packet(frame.payload) => {
                        self.packet_came(pair.as_deref());
                        next = (next + 1) % self.engine.messages.len();
                        writer.write_all(&self.engine.messages[next]).await
                    }
                    PING => {
                        socket::frame(&mut answer, PONG, false, &[frame.payload]);
                        writer.write_all(&answer).await
                    }
                    CLOSE => {
                        socket::frame(&mut answer, CLOSE, false, &[frame.payload]);
                        // It is over either way.
                        drop(writer.write_all(&answer).await);
                        return;
                    }
                    _ => Ok(()),
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }

    fn packet_came(&self, pair: Option<&Pair>) {
        let Some(pair) = pair else { return };
        let now = Instant::now();
        let delay = pair.inbound.borrow_mut().packet(now);
        let unanswered = pair.outbound.borrow_mut().spoke(now);
        self.note(|samples| {
            samples.packets += 1;
            samples.inbound.extend(delay.map(ms));
            samples.outbound.extend(unanswered.map(ms));
            samples.unanswered += u64::from(unanswered.is_some());
        });
    }
}

/// Whether a message to an engine holds an Opus packet, rather than a page that begins a stream.
fn is_packet(message: &[u8]) -> bool {
    const SEGMENTS: usize = 1 + 26;
    let Some(&segments) = message.get(SEGMENTS) else { return false };
    let body = message.get(SEGMENTS + 1 + usize::from(segments)..).unwrap_or_default();
    message[0] == 1 && !body.starts_with(b"OpusHead") && !body.starts_with(b"OpusTags")
}

impl Line {
    /// Sends the frame that is due and the marks that were heard; false once it has hung up.
    fn tick(&mut self, index: usize, world: &World) -> bool {
        let mut out = std::mem::take(&mut self.rest);
        let waiting = !out.is_empty();
        let over = self.left == Some(0) || (self.left.is_none() && world.ending.get());
        if over {
            text(&mut out, &self.carrier.stop());
            self.send(&out, world);
            return false;
        }
        let now = Instant::now();
        for name in self.pair.play.borrow_mut().poll(now).marks {
            text(&mut out, &self.carrier.mark(&name));
        }
        let at = (index * STRIDE + self.frames as usize) % world.caller.len();
        text(&mut out, &self.carrier.media(&world.caller[at], self.frames * FRAME_MS));
        let late = now.saturating_duration_since(self.next);
        self.pair.inbound.borrow_mut().frame(Instant::now());
        self.send(&out, world);
        self.frames += 1;
        self.next += FRAME;
        self.left = self.left.map(|left| left - 1);
        world.note(|samples| {
            samples.frames += 1;
            samples.lateness.push(ms(late));
            samples.refused += u64::from(waiting);
        });
        true
    }

    /// Sends without waiting; what the socket does not take goes first next time.
    fn send(&mut self, out: &[u8], world: &World) {
        let taken = self.writer.try_write(out).unwrap_or(0);
        if taken < out.len() {
            self.rest = out[taken..].to_vec();
            world.note(|samples| samples.refused += 1);
        }
    }
}

fn text(out: &mut Vec<u8>, message: &str) {
    socket::frame(out, TEXT, true, &[message.as_bytes()]);
}

/// The first moment at least 40 ms from now at which call `index` of `count` may speak, so that
/// the packets of all calls are spread evenly over an engine's step.
pub(super) fn first_frame(epoch: Instant, now: Instant, index: usize, count: usize) -> Instant {
    const STEP: Duration = Duration::from_millis(80);
    let phase = STEP * index as u32 / count.max(1) as u32;
    let mut at = epoch + phase;
    while at < now + STEP / 2 {
        at += STEP;
    }
    at
}
