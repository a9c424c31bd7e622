//! Ogg pages (RFC 3533) around Opus packets (RFC 7845): a writer, and a reader that survives
//! whatever it is fed and keeps its memory bounded.

use std::collections::VecDeque;

use self::crc::crc32;
pub use self::mux::{Muxer, OggError};

mod crc;
mod mux;
#[cfg(test)]
mod tests;

/// Pre-skip that [`Muxer::head_page`] announces, in 48 kHz samples: the 80 ms that RFC 7845
/// recommends. PersonaPlex announces the same and drops nothing.
pub const PRE_SKIP: u16 = 3840;

/// The longest packet that fits into one page, in bytes: 254 full segments and one of 254.
pub const MAX_PACKET: usize = 255 * 255 - 1;

/// The longest page in bytes: header, 255 lacing values, 255 full segments.
pub const MAX_PAGE: usize = HEADER + 255 + 255 * 255;

/// Bytes without a capture pattern after which a reader says that this is no Ogg stream.
pub const SEARCH_LIMIT: usize = 150 * 1024;

/// Bytes that a [`Demuxer`] holds at most; what is pushed beyond is dropped and reported.
pub const BUFFER_LIMIT: usize = 8 * 1024 * 1024;

/// Logical streams that a [`Demuxer`] remembers; a new one displaces the oldest.
const MAX_STREAMS: usize = 8;

const CAPTURE: &[u8; 4] = b"OggS";
const HEADER: usize = 27;
const CRC_AT: usize = 22;
const CONTINUED: u8 = 1;
const BOS: u8 = 2;

/// What an OpusHead packet says (RFC 7845, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Channels; 1 is mono.
    pub channels: u8,
    /// Samples at 48 kHz to drop at the beginning. PersonaPlex' own value is not to be obeyed.
    pub pre_skip: u16,
    /// Rate of the original input in Hz; decoders may run at any.
    pub rate: u32,
}

impl Head {
    fn parse(packet: &[u8]) -> Option<Self> {
        let major_version_is_0 = packet.len() >= 19 && packet[8] < 16;
        major_version_is_0.then(|| Self {
            channels: packet[9],
            pre_skip: u16::from_le_bytes([packet[10], packet[11]]),
            rate: u32_at(packet, 12),
        })
    }
}

/// What a [`Demuxer`] finds, in stream order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An OpusHead packet.
    Head(Head),
    /// An OpusTags packet; what it says is of no use here.
    Tags,
    /// Any other packet, possibly empty.
    Packet(Vec<u8>),
    /// Something out of order; reading goes on behind it.
    Fault(Fault),
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A page whose checksum does not match; the page is skipped.
    Crc,
    /// A page of another version of Ogg than 0, with that version; the page is skipped.
    Version(u8),
    /// The continued flag and the page before contradict each other; the cut packet is dropped.
    Continued,
    /// A page of a stream that never began, with its serial number; the stream counts as begun.
    Serial(u32),
    /// A stream that began again under the same serial number, named here; it starts over.
    RepeatedBos(u32),
    /// Bytes between two pages that belong to neither; skipped.
    Garbage {
        /// How many.
        bytes: usize,
    },
    /// No page for [`SEARCH_LIMIT`] bytes; the search goes on.
    NotOgg,
    /// An OpusHead packet that is cut short or of an unknown version; skipped.
    Head,
    /// A packet over several pages that grew past [`MAX_PACKET`]; dropped.
    TooLong,
    /// Bytes dropped because [`BUFFER_LIMIT`] was reached.
    Overflow {
        /// How many.
        bytes: usize,
    },
}

impl Fault {
    /// Whether the reader inside PersonaPlex (sphn 0.1.12) gives its stream up at this fault,
    /// which ends the session.
    #[must_use]
    pub const fn is_fatal_for_server(self) -> bool {
        match self {
            Self::Crc
            | Self::Version(_)
            | Self::Continued
            | Self::Serial(_)
            | Self::RepeatedBos(_)
            | Self::NotOgg
            | Self::TooLong
            | Self::Overflow { .. } => true,
            Self::Garbage { .. } | Self::Head => false,
        }
    }
}

/// Reads pages from bytes that may be cut anywhere, of several streams, chained or mixed.
///
/// Granule positions, sequence numbers and the end flag are not looked at: servers of this family
/// write them as they please.
#[derive(Debug, Clone, Default)]
pub struct Demuxer {
    buffer: Vec<u8>,
    start: usize,
    skipped: usize,
    resyncing: bool,
    overflow: usize,
    streams: Vec<Stream>,
    items: VecDeque<Item>,
}

#[derive(Debug, Clone)]
struct Stream {
    serial: u32,
    open: Option<Partial>,
}

/// A packet that is not at its end yet.
#[derive(Debug, Clone)]
enum Partial {
    Whole(Vec<u8>),
    /// Its beginning was lost, which has been reported.
    Headless,
    TooLong,
}

impl Demuxer {
    /// A reader that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in more bytes, to be read by [`Self::next_item`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let room = BUFFER_LIMIT - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.overflow += bytes.len() - taken;
    }

    /// The next thing found; `None` when more bytes are needed.
    pub fn next_item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            if !self.read_page() {
                break;
            }
        }
        self.release();
        let bytes = std::mem::take(&mut self.overflow);
        (bytes > 0).then_some(Item::Fault(Fault::Overflow { bytes }))
    }

    /// Bytes held for lack of the rest of a page or packet.
    #[must_use]
    pub fn held(&self) -> usize {
        let open = |stream: &Stream| stream.open.as_ref().map_or(0, Partial::held);
        self.buffer.len() - self.start + self.streams.iter().map(open).sum::<usize>()
    }

    /// Gives back the memory of a huge message once it has been read.
    fn release(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.capacity() > 2 * MAX_PAGE {
            self.buffer.shrink_to(MAX_PAGE);
        }
    }

    /// Reads one page or reports one fault; false when more bytes are needed.
    fn read_page(&mut self) -> bool {
        if self.skip_garbage() {
            return true;
        }
        let bytes = &self.buffer[self.start..];
        if bytes.len() < HEADER {
            return false;
        }
        let body = HEADER + usize::from(bytes[26]);
        if bytes[4] != 0 {
            let fault = Fault::Version(bytes[4]);
            return self.reject(fault, CAPTURE.len());
        }
        if bytes.len() < body {
            return false;
        }
        let size: usize = bytes[HEADER..body].iter().map(|&lacing| usize::from(lacing)).sum();
        if bytes.len() < body + size {
            return false;
        }
        let parts = [&bytes[..CRC_AT], &[0; 4], &bytes[CRC_AT + 4..body + size]];
        if crc32(&parts) != u32_at(bytes, CRC_AT) {
            return self.reject(Fault::Crc, body);
        }
        let page = bytes[..body + size].to_vec();
        self.start += page.len();
        self.resyncing = false;
        self.accept(&page, body);
        true
    }

    /// Moves to the next capture pattern, or to where one may begin; true when it reports a fault.
    fn skip_garbage(&mut self) -> bool {
        let bytes = &self.buffer[self.start..];
        let found = bytes.windows(CAPTURE.len()).position(|window| window == CAPTURE);
        let skip = found.unwrap_or(bytes.len().saturating_sub(CAPTURE.len() - 1));
        self.start += skip;
        self.skipped += skip;
        let fault = if self.skipped > SEARCH_LIMIT {
            self.skipped = 0;
            Some(Fault::NotOgg)
        } else if found.is_some() {
            let bytes = std::mem::take(&mut self.skipped);
            (bytes > 0 && !self.resyncing).then_some(Fault::Garbage { bytes })
        } else {
            None
        };
        self.items.extend(fault.map(Item::Fault));
        fault.is_some()
    }

    /// Reports a broken page. The next one is looked for `behind` its beginning and not behind its
    /// end, as the page may have been cut short; not nearer, so that no byte is summed often.
    fn reject(&mut self, fault: Fault, behind: usize) -> bool {
        self.items.push_back(Item::Fault(fault));
        self.start += behind;
        self.resyncing = true;
        true
    }

    /// Takes the packets out of a sound page whose segments start at `body`.
    fn accept(&mut self, page: &[u8], body: usize) {
        let (continued, bos) = (page[5] & CONTINUED != 0, page[5] & BOS != 0);
        let stream = self.stream(u32_at(page, 14), bos);
        let mut open = self.streams[stream].open.take();
        if continued != open.is_some() {
            self.items.push_back(Item::Fault(Fault::Continued));
            open = continued.then_some(Partial::Headless);
        }
        let mut at = body;
        for &lacing in &page[HEADER..body] {
            let end = at + usize::from(lacing);
            let mut packet = open.take().unwrap_or(Partial::Whole(Vec::new()));
            packet.extend(&page[at..end]);
            at = end;
            if lacing == 255 {
                open = Some(packet);
            } else {
                self.items.extend(packet.finish());
            }
        }
        self.streams[stream].open = open;
    }

    /// Index of the stream of that serial number, begun if need be.
    fn stream(&mut self, serial: u32, bos: bool) -> usize {
        if let Some(index) = self.streams.iter().position(|stream| stream.serial == serial) {
            if bos {
                self.items.push_back(Item::Fault(Fault::RepeatedBos(serial)));
                self.streams[index].open = None;
            }
            return index;
        }
        if !bos {
            self.items.push_back(Item::Fault(Fault::Serial(serial)));
        }
        if self.streams.len() == MAX_STREAMS {
            self.streams.remove(0);
        }
        self.streams.push(Stream { serial, open: None });
        self.streams.len() - 1
    }
}

impl Partial {
    fn extend(&mut self, segment: &[u8]) {
        if let Self::Whole(bytes) = self {
            if bytes.len() + segment.len() > MAX_PACKET {
                *self = Self::TooLong;
            } else {
                bytes.extend_from_slice(segment);
            }
        }
    }

    const fn held(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Headless | Self::TooLong => 0,
        }
    }

    /// What there is to report once the last segment is in.
    fn finish(self) -> Option<Item> {
        match self {
            Self::Whole(packet) if packet.starts_with(b"OpusHead") => {
                Some(Head::parse(&packet).map_or(Item::Fault(Fault::Head), Item::Head))
            }
            Self::Whole(packet) if packet.starts_with(b"OpusTags") => Some(Item::Tags),
            Self::Whole(packet) => Some(Item::Packet(packet)),
            Self::Headless => None,
            Self::TooLong => Some(Item::Fault(Fault::TooLong)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
