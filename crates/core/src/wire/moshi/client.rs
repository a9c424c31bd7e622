//! The bridge's end of a session: messages become events of the engine's leg, packets become
//! messages.

use super::text::Pieces;
use super::{Kind, MAX_MESSAGE};
use crate::audio::ogg::{Demuxer, Item, Muxer};
use crate::audio::opus;
use crate::leg::Audio;
use crate::leg::engine::Event;

/// Rate that the stream's head names; the server ignores it.
const INPUT_HZ: u32 = 8000;

/// Names the writer of the stream in its tags; the server ignores it.
const VENDOR: &str = "voice-bot";

/// Granules per millisecond (RFC 7845, section 4).
const GRANULES_PER_MS: u64 = 48;

/// The longest text message that is believed, in bytes; real ones hold one word piece.
const MAX_TEXT: usize = 64 * 1024;

/// What a [`Client`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets given to [`Client::send`] before the handshake, and dropped.
    pub dropped_before_ready: u64,
    /// Packets given to [`Client::send`] that would have killed the session, and were dropped.
    pub refused_packets: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Text messages received.
    pub texts_received: u64,
    /// Faults reported as [`Event::Fault`].
    pub faults: u64,
    /// Messages of a kind that other servers of the family send, and that say nothing of use here.
    pub ignored_kinds: u64,
    /// Messages of a kind that nobody is known to send. Each is a fault too.
    pub unknown_kinds: u64,
}

/// One session as the bridge sees it.
///
/// Sends nothing before the handshake: the server would swallow the beginning of the stream and
/// close the session at the first audio after it.
#[derive(Debug)]
pub struct Client {
    ready: bool,
    begun: bool,
    muxer: Muxer,
    demuxer: Demuxer,
    pieces: Pieces,
    counters: Counters,
}

impl Client {
    /// A session whose connection stands. `serial` names its Ogg stream; any number will do.
    #[must_use]
    pub fn new(serial: u32) -> Self {
        Self {
            ready: false,
            begun: false,
            muxer: Muxer::new(serial),
            demuxer: Demuxer::new(),
            pieces: Pieces::default(),
            counters: Counters::default(),
        }
    }

    /// What a binary message from the server says, in order. Anything unreadable, and anything
    /// but a handshake before the handshake, is a [`Event::Fault`].
    pub fn receive(&mut self, message: &[u8]) -> Vec<Event> {
        let Some((&kind, payload)) = message.split_first() else {
            return self.fault();
        };
        if message.len() > MAX_MESSAGE {
            return self.fault();
        }
        match Kind::from_byte(kind) {
            Some(Kind::Handshake) => self.handshake(),
            Some(Kind::Control | Kind::Metadata | Kind::Error | Kind::Ping) => {
                self.counters.ignored_kinds += 1;
                Vec::new()
            }
            Some(Kind::Audio | Kind::Text) if !self.ready => self.fault(),
            Some(Kind::Audio) => self.audio(payload),
            Some(Kind::Text) => self.text(payload),
            None => {
                self.counters.unknown_kinds += 1;
                self.fault()
            }
        }
    }

    /// The messages that carry one Opus packet (RFC 6716, 120 ms at most) of the caller's to the
    /// server: none before the handshake or for a packet that the server could not decode; the
    /// first time three, with the beginning of the stream; from then on one.
    pub fn send(&mut self, audio_packet: &[u8]) -> Vec<Vec<u8>> {
        if !self.ready {
            self.counters.dropped_before_ready += 1;
            return Vec::new();
        }
        let pages = self.pages(audio_packet);
        match pages.len() {
            0 => self.counters.refused_packets += 1,
            _ => self.counters.packets_sent += 1,
        }
        pages.iter().map(|page| Kind::Audio.message(page)).collect()
    }

    /// Whether the handshake has come.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The pages for a packet; none, and the stream as it was, for one that is refused.
    fn pages(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut muxer = self.muxer.clone();
        let mut pages = Vec::new();
        if !self.begun {
            pages.extend([muxer.head_page(INPUT_HZ), muxer.tags_page(VENDOR)]);
        }
        let granules = opus::duration_ms(packet).map(|ms| ms * GRANULES_PER_MS);
        let page = granules.ok().and_then(|granules| {
            let granules = u32::try_from(granules).ok()?;
            muxer.page(packet, granules).ok()
        });
        let Some(page) = page else {
            return Vec::new();
        };
        pages.push(page);
        self.muxer = muxer;
        self.begun = true;
        pages
    }

    fn handshake(&mut self) -> Vec<Event> {
        if self.ready {
            return self.fault();
        }
        self.ready = true;
        vec![Event::Ready]
    }

    fn audio(&mut self, payload: &[u8]) -> Vec<Event> {
        self.demuxer.push(payload);
        let mut events = Vec::new();
        while let Some(item) = self.demuxer.next_item() {
            match item {
                Item::Packet(packet) if !packet.is_empty() => {
                    self.counters.packets_received += 1;
                    events.push(Event::Audio(Audio::Opus(packet)));
                }
                Item::Packet(_) | Item::Fault(_) => events.extend(self.fault()),
                Item::Head(_) | Item::Tags => {}
            }
        }
        events
    }

    fn text(&mut self, payload: &[u8]) -> Vec<Event> {
        let Some(piece) = std::str::from_utf8(payload).ok().filter(|_| payload.len() <= MAX_TEXT)
        else {
            return self.fault();
        };
        self.counters.texts_received += 1;
        let text = self.pieces.push(piece);
        if text.is_empty() { Vec::new() } else { vec![Event::Text(text)] }
    }

    fn fault(&mut self) -> Vec<Event> {
        self.counters.faults += 1;
        vec![Event::Fault]
    }
}

#[cfg(test)]
mod tests;
