//! The conversation: every 80 ms of input give 80 ms of output after one step of the model.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::behaviour::Mind;
use super::{Config, Counters, FRAME_SAMPLES, Faults, LONGEST, Output, QUEUE_LIMIT};
use crate::audio::frame::Rate;
use crate::audio::ogg::{Demuxer, Item, Muxer};
use crate::audio::opus::{Decoder, MAX_CONCEALED_FRAMES, OpusError, ServerEncoder};
use crate::wire::personaplex::Kind;

/// How long after the handshake the stream's two header pages leave.
const HEADERS: Duration = Duration::from_millis(2);

/// How long the server takes to look for the next packet; it takes one at a time.
const LOOK: Duration = Duration::from_micros(1500);

/// How long the server takes to die.
const DEATH: Duration = Duration::from_millis(10);

/// What the real server calls every one of its streams, and how it signs them.
const SERIAL: u32 = 42;
const VENDOR: &str = "sphn-pyo3";

/// What a queued packet counts for besides its bytes.
const PACKET_OVERHEAD: usize = 64;

#[derive(Debug)]
pub(super) struct Live {
    step: Duration,
    faults: Faults,
    mind: Mind,
    demuxer: Demuxer,
    decoder: Decoder,
    encoder: ServerEncoder,
    muxer: Muxer,
    queue: VecDeque<Work>,
    queued: usize,
    /// The server's reader has given up; it dies when it comes to it, or at the next message.
    unreadable: bool,
    heard: Vec<i16>,
    frames: u64,
    next: Option<(Instant, Activity)>,
}

#[derive(Debug)]
enum Work {
    Packet(Vec<u8>),
    Unreadable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Headers,
    Look,
    Step,
    Close,
    Cut,
}

impl Live {
    /// A conversation whose handshake leaves at `now`.
    ///
    /// # Errors
    /// When there is no memory for a codec.
    pub(super) fn new(config: &Config, now: Instant) -> Result<Self, OpusError> {
        Ok(Self {
            step: config.step.min(LONGEST),
            faults: config.faults,
            mind: Mind::new(&config.behaviour),
            demuxer: Demuxer::new(),
            decoder: Decoder::new(Rate::Hz24000)?,
            encoder: ServerEncoder::new()?,
            muxer: Muxer::new(SERIAL),
            queue: VecDeque::new(),
            queued: 0,
            unreadable: false,
            heard: Vec::new(),
            frames: 0,
            next: Some((now + HEADERS, Activity::Headers)),
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// Takes a message; all but audio is ignored.
    pub(super) fn receive(&mut self, message: &[u8], now: Instant, counters: &mut Counters) {
        let Some((&kind, payload)) = message.split_first() else { return };
        if Kind::from_byte(kind) != Some(Kind::Audio) {
            return;
        }
        if self.unreadable {
            self.die(now, Activity::Close);
            return;
        }
        self.demuxer.push(payload);
        while let Some(item) = self.demuxer.next_item() {
            match item {
                Item::Packet(packet) => self.enqueue(packet, counters),
                Item::Fault(fault) if fault.is_fatal_for_server() => {
                    self.unreadable = true;
                    self.queue.push_back(Work::Unreadable);
                    break;
                }
                Item::Fault(_) | Item::Head(_) | Item::Tags => {}
            }
        }
        if self.next.is_none() && !self.stalled() {
            self.next = self.after(now);
        }
    }

    /// Does what is due at [`Self::deadline`]; the last output if that is the end.
    pub(super) fn turn(
        &mut self,
        outbox: &mut VecDeque<Output>,
        counters: &mut Counters,
    ) -> Option<Output> {
        let (at, activity) = self.next.take()?;
        match activity {
            Activity::Headers => {
                let pages =
                    [self.muxer.head_page(Rate::Hz24000.hz()), self.muxer.tags_page(VENDOR)];
                outbox.extend(pages.map(|page| Output::Message(Kind::Audio.message(&page))));
                self.next = self.after(at);
            }
            Activity::Look => self.look(at),
            Activity::Step => {
                if self.speak(outbox).is_none() {
                    return Some(Output::Close(1000));
                }
                counters.frames = self.frames;
                if self.faults.drop_after_frames.is_some_and(|after| self.frames >= after) {
                    return Some(Output::Cut);
                }
                if self.faults.close_after_frames.is_some_and(|after| self.frames >= after) {
                    return Some(Output::Close(1000));
                }
                self.next = self.after(at);
            }
            Activity::Close => return Some(Output::Close(1000)),
            Activity::Cut => return Some(Output::Cut),
        }
        None
    }

    fn enqueue(&mut self, packet: Vec<u8>, counters: &mut Counters) {
        let size = packet.len() + PACKET_OVERHEAD;
        if self.queued + size > QUEUE_LIMIT {
            counters.dropped += 1;
        } else {
            self.queued += size;
            self.queue.push_back(Work::Packet(packet));
        }
    }

    /// What comes next, when nothing else is under way at `at`.
    fn after(&self, at: Instant) -> Option<(Instant, Activity)> {
        if self.stalled() {
            None
        } else if self.heard.len() >= FRAME_SAMPLES {
            Some((at + self.step_now(), Activity::Step))
        } else if self.queue.is_empty() {
            None
        } else {
            Some((at + LOOK, Activity::Look))
        }
    }

    /// Takes one packet off the queue.
    fn look(&mut self, at: Instant) {
        let samples = match self.queue.pop_front() {
            Some(Work::Packet(packet)) => {
                self.queued -= packet.len() + PACKET_OVERHEAD;
                self.decode(&packet)
            }
            Some(Work::Unreadable) => return self.die(at, Activity::Close),
            None => Ok(Vec::new()),
        };
        match samples {
            Ok(samples) => {
                self.heard.extend(samples);
                self.next = self.after(at);
            }
            Err(_) => {
                // With more behind it two loops of the real server fail at once, and the second
                // one takes the closing with it.
                let more = !self.queue.is_empty();
                self.unreadable = true;
                self.die(at, if more { Activity::Cut } else { Activity::Close });
            }
        }
    }

    /// The real decoder has room for 10 s, and fills it when it gets no bytes.
    fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, OpusError> {
        if packet.is_empty() {
            self.decoder.conceal(MAX_CONCEALED_FRAMES)
        } else {
            self.decoder.decode(packet)
        }
    }

    /// Speaks one frame: a piece of text, if any, and then its audio. `None` if a codec failed.
    fn speak(&mut self, outbox: &mut VecDeque<Output>) -> Option<()> {
        let rest = self.heard.split_off(FRAME_SAMPLES);
        let heard = std::mem::replace(&mut self.heard, rest);
        let said = self.mind.step(&heard);
        let packet = self.encoder.encode(&said.samples).ok()?;
        let page = self.muxer.page(&packet, FRAME_SAMPLES as u32).ok()?;
        let text = said.text.map(|text| Kind::Text.message(text.as_bytes()));
        outbox.extend(text.into_iter().chain([Kind::Audio.message(&page)]).map(Output::Message));
        self.frames += 1;
        Some(())
    }

    /// Ends soon, but not before the step that is under way.
    fn die(&mut self, now: Instant, how: Activity) {
        let busy_until = match self.next {
            Some((_, Activity::Close | Activity::Cut)) => return,
            Some((at, Activity::Headers | Activity::Look | Activity::Step)) => at,
            None => now,
        };
        self.next = Some((busy_until.max(now + DEATH), how));
    }

    fn stalled(&self) -> bool {
        self.faults.stall_at_frame.is_some_and(|frame| self.frames >= frame)
    }

    fn step_now(&self) -> Duration {
        match self.faults.slow_step {
            Some((from, step)) if self.frames >= from => step.min(LONGEST),
            Some(_) | None => self.step,
        }
    }
}
