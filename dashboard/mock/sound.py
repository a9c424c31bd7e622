"""Invented sound: two voices that hum while their words last."""

import functools
import io
import wave

import numpy as np

RATE = 8000


def voice(phrases, length_ms, pitch, seed):
    """One side's PCM, -1..1: a hum of `pitch` Hz with syllables, where `phrases` say so."""
    noise = np.random.default_rng(seed)
    samples = np.zeros(int(length_ms * RATE / 1000), dtype=np.float32)
    for phrase in phrases:
        first, last = (int(phrase[key] * RATE / 1000) for key in ("at_ms", "until_ms"))
        last = min(last, len(samples))
        time = np.arange(max(0, last - first)) / RATE
        syllables = 0.25 + 0.75 * np.abs(np.sin(np.pi * (3.1 + noise.uniform(0, 1.4)) * time))
        hum = sum(np.sin(2 * np.pi * pitch * k * time + noise.uniform(0, 6)) / k
                  for k in (1, 2, 3, 5))
        loud = noise.uniform(0.12, 0.3)
        samples[first:last] += (loud * syllables * hum).astype(np.float32)
    return np.clip(samples + noise.normal(0, 0.002, len(samples)).astype(np.float32), -1, 1)


def wav(left, right, rate=RATE):
    """A stereo WAV file of two sides of -1..1."""
    pairs = np.stack([left, right], axis=1)
    data = (pairs * 32767).astype("<i2").tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(data)
    return file.getvalue()


def peaks(samples, points):
    """The loudest sample of each of `points` even pieces, 0..1."""
    edges = np.linspace(0, len(samples), points + 1).astype(int)
    loud = np.abs(samples)
    return [round(float(loud[a:b].max()), 4) if b > a else 0.0 for a, b in zip(edges, edges[1:])]


@functools.lru_cache(maxsize=4)
def sides(call_id, world):
    """Both sides of an ended call."""
    call = world.ended[call_id]
    if call.get("pcm"):
        return call["pcm"]
    said = world.said(call)
    length = max(1000, call["duration_ms"])
    seed = int(call_id[-6:], 36)
    return (voice([w for w in said if w["who"] == "caller"], length, 165, seed),
            voice([w for w in said if w["who"] == "bot"], length, 110, seed + 1), RATE)
