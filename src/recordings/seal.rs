//! Recordings encrypted at rest: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) as age has it:
//! ChaCha20-Poly1305 over chunks, each under its number and whether it is the last, with a key of
//! the file's own, which HKDF-SHA256 makes of the operator's and the file's head with its salt.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};

use crate::config::{RecordingFormat, RecordingKey};

/// Bytes before the first chunk.
pub(super) const HEAD: usize = 56;
/// Bytes that a chunk is longer than what is in it.
pub(super) const TAG: usize = 16;
/// What names of such files end in, behind the format's own ending.
pub(super) const EXTENSION: &str = "enc";

const MAGIC: &[u8; 8] = b"vb-rec-1";
const KEY_ID: usize = 8;
const SALT: usize = 32;
/// Bytes of a recording in a chunk. What has not filled one yet is lost by a kill: Ogg has at least
/// 500 bytes a second, PCM 32,000.
const OGG_CHUNK: u16 = 256;
const WAV_CHUNK: u16 = 2048;

/// Why a sealed recording cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with a key that is not here.
    #[error(
        "the recording was encrypted with another key ({}); put that one behind the present one \
         in VOICE_BOT_RECORDING_KEY, with a comma between", key_name(*.0)
    )]
    NoKey([u8; KEY_ID]),
    /// Its head is none of ours.
    #[error("the file is no encrypted recording, or its beginning is damaged")]
    NotOurs,
    /// A chunk was changed.
    #[error("the recording is damaged from byte {at} on")]
    Damaged {
        /// Where, in what was sealed.
        at: u64,
    },
}

/// The name under which a key is known in heads of files; it tells nothing of the key.
#[must_use]
pub fn key_id(key: &RecordingKey) -> [u8; KEY_ID] {
    let named = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let named = hmac::sign(&named, b"voice-bot recording key");
    let mut id = [0; KEY_ID];
    id.copy_from_slice(&named.as_ref()[..KEY_ID]);
    id
}

/// That name in letters.
#[must_use]
pub fn key_name(id: [u8; 8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands before the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// What is in the chunks: an Ogg file, or a WAV file's samples without its head.
    pub(super) format: RecordingFormat,
    /// Samples in a second of either channel.
    pub(super) hz: u32,
    /// Bytes of a recording in a chunk.
    pub(super) chunk: u16,
    key_id: [u8; KEY_ID],
    salt: [u8; SALT],
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.chunk.to_le_bytes());
        bytes[10] = u8::from(self.format == RecordingFormat::Wav);
        bytes[12..16].copy_from_slice(&self.hz.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.key_id);
        bytes[24..].copy_from_slice(&self.salt);
        bytes
    }

    fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let (mut key_id, mut salt) = ([0; KEY_ID], [0; SALT]);
        key_id.copy_from_slice(&bytes[16..24]);
        salt.copy_from_slice(&bytes[24..]);
        let format = match bytes[10] {
            0 => RecordingFormat::Ogg,
            1 => RecordingFormat::Wav,
            _ => return None,
        };
        let chunk = u16::from_le_bytes([bytes[8], bytes[9]]);
        let hz = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let is_ours = bytes.starts_with(MAGIC) && chunk > 0 && bytes[11] == 0;
        is_ours.then_some(Self { format, hz, chunk, key_id, salt })
    }
}

/// Seals what comes, one chunk after the other.
pub(super) struct Sealer {
    head: Head,
    key: LessSafeKey,
    /// The number of the next chunk.
    next: u64,
    /// What fills no chunk yet.
    waiting: Vec<u8>,
}

impl Sealer {
    /// Begins; `None` when the system has no random numbers.
    pub(super) fn new(key: &RecordingKey, format: RecordingFormat, hz: u32) -> Option<Self> {
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).ok()?;
        let chunk = match format {
            RecordingFormat::Ogg => OGG_CHUNK,
            RecordingFormat::Wav => WAV_CHUNK,
        };
        let head = Head { format, hz, chunk, key_id: key_id(key), salt };
        let waiting = Vec::with_capacity(usize::from(chunk));
        Some(Self { key: file_key(key, &head.to_bytes()), head, next: 0, waiting })
    }

    /// What the file begins with.
    pub(super) fn head(&self) -> [u8; HEAD] {
        self.head.to_bytes()
    }

    /// The chunks that are full now.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let chunk = usize::from(self.head.chunk);
        let mut sealed = Vec::with_capacity(bytes.len() + bytes.len() / chunk * TAG + chunk);
        while self.waiting.len() + bytes.len() >= chunk {
            let (now, rest) = bytes.split_at(chunk - self.waiting.len());
            self.waiting.extend_from_slice(now);
            bytes = rest;
            self.seal(&mut sealed, false);
        }
        self.waiting.extend_from_slice(bytes);
        sealed
    }

    /// The last chunk, which is never full and may be empty; nothing may be pushed behind it.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.seal(&mut sealed, true);
        sealed
    }

    fn seal(&mut self, into: &mut Vec<u8>, is_last: bool) {
        let start = into.len();
        into.append(&mut self.waiting);
        let nonce = nonce(self.next, is_last);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut into[start..]);
        let tag = tag.expect("a chunk is shorter than the cipher's limit of 256 GB");
        into.extend_from_slice(tag.as_ref());
        self.next += 1;
    }
}

/// Opens chunks in any order.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) head: Head,
    key: LessSafeKey,
}

impl Opener {
    /// Opens a file that begins with this, with one of these keys.
    pub(super) fn new(head: &[u8; HEAD], keys: &[RecordingKey]) -> Result<Self, SealError> {
        let read = Head::parse(head).ok_or(SealError::NotOurs)?;
        let key = keys.iter().find(|key| key_id(key) == read.key_id);
        let key = key.ok_or(SealError::NoKey(read.key_id))?;
        Ok(Self { head: read, key: file_key(key, head) })
    }

    /// Bytes of a full chunk in the file.
    pub(super) const fn sealed_chunk(&self) -> u64 {
        self.head.chunk as u64 + TAG as u64
    }

    /// What is in the chunk of this number.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        is_last: bool,
        chunk: &'a mut [u8],
    ) -> Result<&'a [u8], SealError> {
        let damaged = SealError::Damaged { at: number * u64::from(self.head.chunk) };
        let opened = self.key.open_in_place(nonce(number, is_last), Aad::empty(), chunk);
        opened.map(|plain| &*plain).map_err(|_| damaged)
    }
}

/// The key of a file: any other head makes another.
fn file_key(key: &RecordingKey, head: &[u8; HEAD]) -> LessSafeKey {
    let made = hkdf::Salt::new(hkdf::HKDF_SHA256, head).extract(key.expose());
    let made = made.expand(&[b"voice-bot recording"], &CHACHA20_POLY1305);
    LessSafeKey::new(UnboundKey::from(made.expect("a key is shorter than HKDF's limit")))
}

/// 11 bytes of the chunk's number, and whether it is the last.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn sealed(plain: &[u8], pieces: usize) -> Vec<u8> {
        let key = Secret::new([7; 32]);
        let mut sealer = Sealer::new(&key, RecordingFormat::Ogg, 8000).unwrap();
        let mut file = sealer.head().to_vec();
        plain.chunks(pieces).for_each(|piece| file.extend(sealer.push(piece)));
        file.extend(sealer.finish());
        file
    }

    fn opener(file: &[u8]) -> Result<Opener, SealError> {
        Opener::new(
            &file[..HEAD].try_into().unwrap(),
            &[Secret::new([9; 32]), Secret::new([7; 32])],
        )
    }

    #[test]
    fn chunks_come_back_by_their_number_alone() {
        let plain: Vec<u8> = (0..1000_u32).map(|n| n as u8).collect();
        for pieces in [1, 7, 256, 1000] {
            let file = sealed(&plain, pieces);
            assert_eq!(file.len(), HEAD + 1000 + 4 * TAG);
            let opener = opener(&file).unwrap();
            assert_eq!((opener.head.hz, opener.sealed_chunk()), (8000, 272));
            for number in [3, 0, 2, 1] {
                let from = HEAD + 272 * number;
                let mut chunk = file[from..(from + 272).min(file.len())].to_vec();
                let open = opener.open(number as u64, number == 3, &mut chunk).unwrap();
                assert_eq!(open, &plain[256 * number..(256 * number + 256).min(1000)]);
                // Neither at another place, nor as an end that is none.
                for (place, is_last) in [(number + 1, number == 3), (number, number != 3)] {
                    let mut chunk = file[from..(from + 272).min(file.len())].to_vec();
                    let error = opener.open(place as u64, is_last, &mut chunk).unwrap_err();
                    assert_eq!(error, SealError::Damaged { at: 256 * place as u64 });
                }
            }
        }
    }

    #[test]
    fn a_changed_bit_is_noticed_wherever_it_is() {
        let file = sealed(&[5; 300], 300);
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let whole = opener(&changed).and_then(|opener| {
                let (first, last) = changed[HEAD..].split_at_mut(272);
                opener.open(0, false, first)?;
                opener.open(1, true, last).map(<[u8]>::len)
            });
            assert!(whole.is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_two_files_are_alike_and_another_key_is_named() {
        let (one, two) = (sealed(&[5; 300], 300), sealed(&[5; 300], 300));
        assert_ne!(one[HEAD..HEAD + 256], two[HEAD..HEAD + 256]);
        let head = one[..HEAD].try_into().unwrap();
        let error = Opener::new(&head, &[Secret::new([9; 32])]).err().unwrap();
        assert_eq!(error, SealError::NoKey(key_id(&Secret::new([7; 32]))));
        assert!(error.to_string().contains("encrypted with another key ("), "{error}");
        assert!(!error.to_string().contains("0707"), "{error}");
        let error = Opener::new(&[0; HEAD], &[Secret::new([7; 32])]).err().unwrap();
        assert_eq!(error, SealError::NotOurs);
    }
}
