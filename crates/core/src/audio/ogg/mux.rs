//! Writes Ogg pages, one Opus packet in each.

use super::crc::crc32;
use super::{BOS, CAPTURE, CRC_AT, HEADER, MAX_PACKET, PRE_SKIP};

/// Why a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OggError {
    /// PersonaPlex decodes an empty packet as 10 s of concealment.
    #[error("an Opus packet of 0 bytes cannot be sent; send silence instead")]
    EmptyPacket,
    /// The packet would need several pages.
    #[error("an Opus packet of {bytes} bytes does not fit one Ogg page ({MAX_PACKET} at most)")]
    PacketTooLong {
        /// Length of the packet.
        bytes: usize,
    },
}

/// Writes one logical stream, one packet per page.
#[derive(Debug, Clone)]
pub struct Muxer {
    serial: u32,
    sequence: u32,
    granule: u64,
}

impl Muxer {
    /// A stream that has written nothing yet. `serial` tells it from others on the same wire.
    #[must_use]
    pub const fn new(serial: u32) -> Self {
        Self { serial, sequence: 0, granule: 0 }
    }

    /// The page that begins the stream (BOS): OpusHead for mono, [`PRE_SKIP`], and `rate`, the
    /// rate of the original input in Hz (RFC 7845, section 5.1). Comes first, and once.
    pub fn head_page(&mut self, rate: u32) -> Vec<u8> {
        self.head(1, PRE_SKIP, rate)
    }

    /// The same for stereo, of whose beginning a player leaves out `pre_skip` samples at 48 kHz.
    pub fn stereo_head_page(&mut self, pre_skip: u16, rate: u32) -> Vec<u8> {
        self.head(2, pre_skip, rate)
    }

    fn head(&mut self, channels: u8, pre_skip: u16, rate: u32) -> Vec<u8> {
        let mut packet = b"OpusHead\x01".to_vec();
        packet.push(channels);
        packet.extend_from_slice(&pre_skip.to_le_bytes());
        packet.extend_from_slice(&rate.to_le_bytes());
        packet.extend_from_slice(&[0, 0, 0]);
        self.write(BOS, &packet)
    }

    /// The second page: OpusTags with `vendor` (its first 255 bytes at most) and no comments
    /// (RFC 7845, section 5.2).
    pub fn tags_page(&mut self, vendor: &str) -> Vec<u8> {
        let vendor = &vendor.as_bytes()[..vendor.len().min(255)];
        let length = u32::try_from(vendor.len()).expect("cut to 255 bytes");
        let mut packet = b"OpusTags".to_vec();
        packet.extend_from_slice(&length.to_le_bytes());
        packet.extend_from_slice(vendor);
        packet.extend_from_slice(&0_u32.to_le_bytes());
        self.write(0, &packet)
    }

    /// A page with one packet that lasts `samples`, in whatever unit the caller counts granules
    /// (RFC 7845 says 48 kHz samples; PersonaPlex counts 24 kHz).
    ///
    /// # Errors
    /// An empty packet, or one longer than [`MAX_PACKET`].
    pub fn page(&mut self, packet: &[u8], samples: u32) -> Result<Vec<u8>, OggError> {
        match packet.len() {
            0 => Err(OggError::EmptyPacket),
            1..=MAX_PACKET => {
                self.granule = self.granule.wrapping_add(u64::from(samples));
                Ok(self.write(0, packet))
            }
            bytes => Err(OggError::PacketTooLong { bytes }),
        }
    }

    fn write(&mut self, flags: u8, packet: &[u8]) -> Vec<u8> {
        let (full, rest) = (packet.len() / 255, packet.len() % 255);
        let segments = u8::try_from(full + 1).expect("MAX_PACKET fits 255 segments");
        let rest = u8::try_from(rest).expect("a remainder of 255");
        let mut page = Vec::with_capacity(HEADER + full + 1 + packet.len());
        page.extend_from_slice(CAPTURE);
        page.extend_from_slice(&[0, flags]);
        page.extend_from_slice(&self.granule.to_le_bytes());
        page.extend_from_slice(&self.serial.to_le_bytes());
        page.extend_from_slice(&self.sequence.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.push(segments);
        page.resize(HEADER + full, 255);
        page.push(rest);
        page.extend_from_slice(packet);
        let crc = crc32(&[&page]);
        page[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        page
    }
}
