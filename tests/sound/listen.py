"""Measures on what was said and heard: likeness to the ear (PESQ), tones, lag, clicks.

Signals are float samples, full scale 1, at 8 kHz unless a rate is named.
"""

from dataclasses import dataclass

import numpy as np
import pesq
import soxr

RATE = 8000
PIECE_S = 8  # PESQ is made for pieces of 8 to 12 s (ITU-T P.862, section 8)


def resampled(signal, rate, to=RATE):
    """At another rate, by the best of soxr's filters."""
    return signal if rate == to else soxr.resample(signal, rate, to, quality="VHQ")


def dbfs(signal):
    """Root mean square level; a full-scale sine has -3.01 dBFS."""
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)) + 1e-12)


# Likeness

def correlation(part, whole):
    """Sum of part[t] * whole[t + shift] for every shift from 0 at which `part` lies in `whole`."""
    size = 1 << (len(part) + len(whole)).bit_length()
    both = np.conj(np.fft.rfft(part, size)) * np.fft.rfft(whole, size)
    return np.fft.irfft(both, size)[:len(whole) - len(part) + 1]


def find(part, whole):
    """The stretch of `whole` that is most like `part`, as long as it."""
    if len(whole) < len(part):
        raise ValueError(f"{len(part)} samples cannot lie in {len(whole)}")
    at = int(np.argmax(correlation(part, whole)))
    return whole[at:at + len(part)]


def quality(original, heard):
    """Narrow-band PESQ (MOS-LQO, 1.0 to 4.55), the mean over pieces of PIECE_S or a little more.

    `heard` may have more before and behind.
    """
    heard = find(original, heard)
    count = max(1, len(original) // (PIECE_S * RATE))
    pairs = zip(np.array_split(original, count), np.array_split(heard, count))
    return float(np.mean([pesq.pesq(RATE, one, other, "nb") for one, other in pairs]))


# Tones

def tones(frequencies, seconds, dbfs_peak, rate):
    """Sines of that peak level one after the other, with soft ends."""
    time = np.arange(int(seconds * rate)) / rate
    edge = np.minimum(1, np.minimum(time, seconds - time) / 0.01)
    peak = 10 ** (dbfs_peak / 20)
    return np.concatenate([peak * edge * np.sin(2 * np.pi * hz * time) for hz in frequencies])


def middles(signal, count):
    """The middle 60 % of each of `count` equal parts: what is steady of `tones`."""
    size = len(signal) // count
    return [signal[size * n + size // 5:size * (n + 1) - size // 5] for n in range(count)]


def tone_db(signal, hz, rate=RATE):
    """Peak level of the sine of this frequency in the signal, dB; noise averages out."""
    phase = 2 * np.pi * hz / rate * np.arange(len(signal))
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    parts = np.linalg.lstsq(basis, signal, rcond=None)[0]
    return float(20 * np.log10(np.hypot(*parts) + 1e-9))


def loudest_db(signal):
    """Peak level of the strongest sine, dB."""
    window = np.hanning(len(signal))
    spectrum = np.abs(np.fft.rfft(signal * window, 8 * len(signal)))
    return float(20 * np.log10(2 * spectrum.max() / window.sum() + 1e-9))


# Lag

WINDOW_S, HOP_S, FARTHEST_S = 1.0, 0.25, 4.0
SPEECH_DBFS = -40
ALIKE = 0.5


@dataclass
class Lag:
    """How much later than said a window was heard, and how alike the two are, up to 1."""

    said_s: float
    ms: float
    alike: float


def lags(said, heard, farthest_s=FARTHEST_S):
    """The lag of each window of speech that was heard again. The tracks begin together."""
    size, found = int(WINDOW_S * RATE), []
    for at in range(0, min(len(said), len(heard)) - size, int(HOP_S * RATE)):
        window = said[at:at + size]
        reach = heard[at:at + size + int(farthest_s * RATE)]
        if dbfs(window) < SPEECH_DBFS:
            continue
        power = np.cumsum(np.concatenate([[0.0], np.square(reach, dtype=np.float64)]))
        power = power[size:] - power[:-size]
        level = np.sqrt(np.sum(np.square(window)) * np.maximum(power, 1e-3 * power.max() + 1e-9))
        alike = correlation(window, reach) / level
        shift = int(np.argmax(alike))
        if alike[shift] >= ALIKE:
            found.append(Lag(at / RATE, shift * 1000 / RATE, float(alike[shift])))
    return found


def median_ms(measured, from_s, to_s):
    """The median lag of what was said between these seconds; fails if little of it was heard."""
    ms = [lag.ms for lag in measured if from_s <= lag.said_s <= to_s]
    assert len(ms) >= 3, f"only {len(ms)} windows of {from_s:.1f} to {to_s:.1f} s were heard again"
    return float(np.median(ms))


# Clicks

ORDER, BLOCK, SPAN = 12, 80, 240  # of the prediction; 10 ms are predicted from 30 ms around them
NEAR_S = 0.03
STANDS_OUT = 1.4
AUDIBLE_STEP = 0.03
EXCERPT = 20  # samples to each side of a click
SAME = 0.97
HOLE, LOUD = 40, 0.05


def steps(signal):
    """How far each sample is from where the sound before it was going (linear prediction).

    A plain difference says less: at 8 kHz a vowel alone moves by half of its peak per sample.
    """
    signal = np.concatenate([np.zeros(SPAN), signal, np.zeros(SPAN)])
    window, found = np.hanning(SPAN), np.zeros(len(signal))
    lag = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
    for at in range(SPAN, len(signal) - SPAN, BLOCK):
        around = signal[at + (BLOCK - SPAN) // 2:][:SPAN] * window
        power = np.correlate(around, around, "full")[SPAN - 1:SPAN + ORDER]
        power[0] = 1.0001 * power[0] + 1e-6
        weights = np.linalg.solve(power[lag], power[1:])
        predicted = np.convolve(signal[at - ORDER:at + BLOCK - 1], weights, "valid")
        found[at:at + BLOCK] = np.abs(signal[at:at + BLOCK] - predicted)
    return found[SPAN:-SPAN]


def clicks(signal, sent):
    """Seconds at which a step stands out that was not in what was sent.

    It stands out when no other within NEAR_S comes near it: in a vowel each pitch period has one
    as great. Consonants have their own; those are found again in `sent`.
    """
    reach, step = int(NEAR_S * RATE), steps(signal)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(step, reach), 2 * reach + 1)
    near = np.maximum(around[:, :reach - ORDER].max(axis=1),  # it misleads the next ORDER samples
                      around[:, reach + ORDER + 1:].max(axis=1))
    found = np.flatnonzero((step > AUDIBLE_STEP) & (step > STANDS_OUT * near))
    return [int(at) / RATE for at in found if not _is_in(sent, _excerpt(signal, at))]


def holes(signal):
    """Seconds at which loud sound stops or starts dead, beside 5 ms or more of nothing."""
    silent = np.concatenate([[0], (signal == 0).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(silent) == 1), np.flatnonzero(np.diff(silent) == -1)
    beside = np.concatenate([[0] * 8, np.abs(signal), [0] * 8])
    return [int(start) / RATE for start, end in zip(starts, ends) if end - start >= HOLE
            and max(beside[start:start + 8].max(), beside[end + 8:end + 16].max()) > LOUD]


def _excerpt(signal, at):
    return signal[max(0, at - EXCERPT):at + EXCERPT]


def _is_in(whole, part):
    """Whether nearly the same samples, about as loud, are anywhere in `whole`."""
    own = np.sum(np.square(part, dtype=np.float64))
    power = np.cumsum(np.concatenate([[0.0], np.square(whole, dtype=np.float64)]))
    power = np.maximum(power[len(part):] - power[:-len(part)], own / 2)
    return bool((correlation(part, whole) / np.sqrt(own * power)).max() >= SAME)
