"""Opus packets with settings that sphn does not offer, coded by libopus in ffmpeg's libraries."""

import av
import numpy as np

PACKETS_PER_S = 50
SILENCE_REPEAT = 20  # packets: libopus codes the silence again every 400 ms


def opus(pcm, rate, *, channels=1, bit_rate=24_000, **options):
    """Packets of 20 ms of float samples at `rate`. The options are those of ffmpeg's encoder."""
    layout, size = ("mono", "stereo")[channels - 1], rate // PACKETS_PER_S
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "flt"
    encoder.bit_rate, encoder.options = bit_rate, options
    encoder.open()
    packets = []
    for start in range(0, len(pcm) - size + 1, size):
        both = np.repeat(pcm[start:start + size], channels)[np.newaxis].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(both, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, start
        packets += map(bytes, encoder.encode(frame))
    return [*packets, *map(bytes, encoder.encode(None))]


def with_dtx(packets, speech):
    """The packets with all after the first `speech` cut to what libopus gives with DTX on.

    That is the first byte alone, but for one whole packet now and then. ffmpeg has no switch
    for it.
    """
    return [packet if index < speech or index % SILENCE_REPEAT == 0 else packet[:1]
            for index, packet in enumerate(packets)]


def has_fec(packet):
    """Whether a SILK packet of one 20 ms frame, mono, carries its predecessor again.

    Its first bits, each as likely as not, are "speech" and "FEC" (RFC 6716, section 4.2.3).
    """
    return len(packet) > 1 and bool(packet[1] & 0x40)


class Encoder:
    """Codes sound bit by bit, in packets of one length."""

    def __init__(self, rate, packet_ms):
        self.size, self.rate, self.samples = rate * packet_ms // 1000, rate, 0
        self.coder = av.CodecContext.create("libopus", "w")
        self.coder.sample_rate, self.coder.layout, self.coder.format = rate, "mono", "flt"
        self.coder.options = {"application": "voip", "frame_duration": str(packet_ms)}
        self.coder.open()

    def push(self, pcm):
        """The packets for whole packets' worth of float samples."""
        packets = []
        for start in range(0, len(pcm) - self.size + 1, self.size):
            part = pcm[np.newaxis, start:start + self.size].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
            frame.sample_rate, frame.pts = self.rate, self.samples
            self.samples += self.size
            packets += map(bytes, self.coder.encode(frame))
        return packets
