"""Ogg pages (RFC 3533) and Opus packets (RFC 6716, RFC 7845) for the tests.

The writer can make every kind of broken page on purpose; the reader tells all it sees. Audio is
coded by the real `sphn`; only the wrapping is done here.
"""

import struct
import time
from dataclasses import dataclass

import numpy as np
import sphn

RATE = 24_000
FRAME = 1920  # samples of one 80 ms model frame at 24 kHz

BOS, EOS, CONTINUED = 0x02, 0x04, 0x01


def _crc_table():
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC = _crc_table()


def crc(data):
    """The Ogg checksum: CRC-32 with polynomial 04c11db7, not reflected, from zero."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC[(value >> 24) ^ byte]
    return value


def page(packets, *, serial, sequence=0, granule=0, flags=0, version=0, checksum=None):
    """One page that holds whole packets. `checksum` replaces the right one."""
    lacing = bytearray()
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    if len(lacing) > 255:
        raise ValueError(f"{len(lacing)} segments do not fit one page")
    head = struct.pack(
        "<4sBBqIIIB", b"OggS", version, flags, granule, serial, sequence, 0, len(lacing)
    )
    whole = bytearray(head + lacing + b"".join(packets))
    struct.pack_into("<I", whole, 22, crc(whole) if checksum is None else checksum)
    return bytes(whole)


@dataclass
class Page:
    """A page as it was read. `size` counts its header too."""

    flags: int
    granule: int
    serial: int
    sequence: int
    packets: list
    crc_ok: bool
    version: int
    size: int


def read_pages(data):
    """All pages of `data`, which has to consist of whole pages."""
    pages, at = [], 0
    while at < len(data):
        head = struct.unpack_from("<4sBBqIIIB", data, at)
        magic, version, flags, granule, serial, sequence, checksum, segments = head
        if magic != b"OggS":
            raise ValueError(f"no page at byte {at}: {data[at:at + 16].hex()}")
        lacing = data[at + 27:at + 27 + segments]
        end = at + 27 + segments + sum(lacing)
        if end > len(data):
            raise ValueError(f"page at byte {at} is cut: {end} > {len(data)}")
        packets, start, length = [], at + 27 + segments, 0
        for lace in lacing:
            length += lace
            if lace < 255:
                packets.append(data[start:start + length])
                start, length = start + length, 0
        plain = data[at:at + 22] + bytes(4) + data[at + 26:end]
        pages.append(Page(flags, granule, serial, sequence, packets, crc(plain) == checksum,
                          version, end - at))
        at = end
    return pages


def opus_head(rate=RATE, pre_skip=312, channels=1):
    """The OpusHead packet (RFC 7845, section 5.1)."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, pre_skip, rate, 0, 0)


def opus_tags(vendor=b"tests"):
    """The OpusTags packet without comments (RFC 7845, section 5.2)."""
    return struct.pack("<8sI", b"OpusTags", len(vendor)) + vendor + struct.pack("<I", 0)


class Writer:
    """A stream of pages that a careful client would send."""

    def __init__(self, serial=0x5EED):
        self.serial, self.sequence, self.granule = serial, 0, 0

    def page(self, packets, **changes):
        """The next page; `changes` override its fields."""
        self.granule += sum(packet_samples(p) * 2 for p in packets)  # RFC 7845: at 48 kHz
        fields = {"serial": self.serial, "sequence": self.sequence, "granule": self.granule}
        self.sequence += 1
        return page(packets, **{**fields, **changes})

    def head(self, **changes):
        """The page that begins the stream."""
        return page([opus_head()], **{"serial": self.serial, "sequence": self._next(),
                                      "flags": BOS, **changes})

    def tags(self, **changes):
        """The second page."""
        return page([opus_tags()], **{"serial": self.serial, "sequence": self._next(), **changes})

    def _next(self):
        self.sequence += 1
        return self.sequence - 1


# Frame durations in samples at 24 kHz by TOC configuration (RFC 6716, table 2).
_SILK, _HYBRID, _CELT = (240, 480, 960, 1440), (240, 480), (60, 120, 240, 480)


def frame_samples(packet):
    """Samples of each frame of the packet, at 24 kHz."""
    config = packet[0] >> 3
    if config < 12:
        return _SILK[config % 4]
    return _HYBRID[config % 2] if config < 16 else _CELT[config % 4]


def frame_count(packet):
    """Frames in the packet (RFC 6716, section 3.2)."""
    code = packet[0] & 3
    return (1, 2, 2, packet[1] & 0x3F if code == 3 and len(packet) > 1 else 1)[code]


def packet_samples(packet):
    """Samples of the packet at 24 kHz; 0 for one that cannot be read."""
    return frame_samples(packet) * frame_count(packet) if packet else 0


def join(packets):
    """One packet of code 3 with the frames of several one-frame packets (section 3.2.5)."""
    toc = packets[0][0]
    if toc & 3 or any(p[0] != toc for p in packets):
        raise ValueError("only one-frame packets of one configuration can be joined")
    lengths = b"".join(_length(len(p) - 1) for p in packets[:-1])
    return bytes([toc | 3, 0x80 | len(packets)]) + lengths + b"".join(p[1:] for p in packets)


def _length(size):
    return bytes([size]) if size < 252 else bytes([252 + size % 4, (size - 252 - size % 4) // 4])


def encode(pcm, packet_ms, rate=RATE):
    """Packets of 5, 10, 20, 40, 80 or 120 ms, coded by sphn. A rest is left out."""
    size = rate * packet_ms // 1000
    writer, wanted = sphn.OpusStreamWriter(rate), len(pcm) // size
    packets, deadline = [], time.monotonic() + 20
    for start in range(0, wanted * size, size):
        writer.append_pcm(np.ascontiguousarray(pcm[start:start + size], dtype=np.float32))
    while len(packets) < wanted + 2:  # the first two are OpusHead and OpusTags
        data = bytes(writer.read_bytes())
        packets += [p for one in read_pages(data) for p in one.packets]
        if not data:
            if time.monotonic() > deadline:
                raise TimeoutError(f"sphn coded {len(packets) - 2} of {wanted} packets")
            time.sleep(0.001)
    return packets[2:]


def decode(pages):
    """What sphn makes of whole pages (head and tags first): float32 samples at 24 kHz."""
    reader, parts, idle = sphn.OpusStreamReader(RATE), [], 0
    for one in pages:
        reader.append_bytes(one)
    while idle < 100:
        part = reader.read_pcm()
        idle = 0 if part.shape[-1] else idle + 1
        parts.append(part)
        if not part.shape[-1]:
            time.sleep(0.002)
    return np.concatenate(parts)


def voice(seconds, rate=RATE, seed=1):
    """A speech-like signal: syllables of chance length, loudness and pitch. Peak 0.5."""
    chance, count = np.random.default_rng(seed), int(seconds * rate)
    parts, total = [], 0
    while total < count:
        length = int(chance.uniform(0.08, 0.3) * rate)
        pitch = chance.uniform(100, 220) * np.linspace(1, chance.uniform(0.8, 1.2), length)
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        peak = chance.uniform(2, 9)  # the harmonic that this vowel brings out
        tone = sum(np.sin(k * phase + k) / (1 + abs(k - peak)) / k**0.5 for k in range(1, 16))
        parts.append(tone * np.hanning(length) * chance.uniform(0.1, 1))
        total += length
    signal = np.concatenate(parts)[:count]
    return (0.5 * signal / np.max(np.abs(signal))).astype(np.float32)


STEP_MS = 5


def _loudness(signal, rate):
    """Loudness of four bands of the telephone's range, every STEP_MS."""
    window, hop = rate // 50, rate * STEP_MS // 1000
    cut = np.lib.stride_tricks.sliding_window_view(signal, window)[::hop] * np.hanning(window)
    spectrum = np.abs(np.fft.rfft(cut, axis=1))
    edges = np.array([100, 500, 1000, 2000, 3400]) * window // rate
    return np.sqrt(np.add.reduceat(spectrum, edges, axis=1).T[:4])


def _centred(bands):
    return bands - bands.mean(axis=1, keepdims=True)


def likeness(said, heard, rate=RATE):
    """How alike two signals are at best, up to 1, and how many ms `heard` is later then.

    Compares how loudness moves in four bands, which codecs keep and filters do not shift much.
    """
    said, heard = _loudness(said, rate), _loudness(heard, rate)
    size = 1 << (said.shape[1] + heard.shape[1]).bit_length()
    both = np.conj(np.fft.rfft(_centred(said), size)) * np.fft.rfft(_centred(heard), size)
    delay = int(np.argmax(np.fft.irfft(both, size).sum(axis=0)[:heard.shape[1]]))
    count = min(said.shape[1], heard.shape[1] - delay)
    one, other = _centred(said[:, :count]), _centred(heard[:, delay:delay + count])
    level = np.linalg.norm(one) * np.linalg.norm(other) + 1e-9
    return float((one * other).sum() / level), delay * STEP_MS
