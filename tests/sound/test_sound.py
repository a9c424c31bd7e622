"""What the two directions do to sound: speech by PESQ, tones by their level.

The stand-in engine has the codec of NVIDIA's server. It decodes the caller at 24 kHz, as that one
does, and says a file while it listens. It takes no time per step, so nothing is late.
"""

import numpy as np
import pytest

import calls
import listen
import oggopus
import programs
from calls import ENGINE_RATE, Scene
from listen import RATE
from twilio_caller import from_mulaw, to_mulaw

SAY_FROM = 25  # frames of 80 ms after the handshake
PASS_BAND = [300, 350, 400, 500, 650, 800, 1000, 1300, 1600, 2000, 2500, 2800, 3000, 3200, 3400]
ABOVE_BAND = [4500, 5000, 7000, 9000, 11000]
ENGINE_TONES = PASS_BAND + ABOVE_BAND
TONE_S, LEVEL_DB = 0.6, -6
FLAT_DB = 0.3

SHARED = [parent / "shared/audio" for parent in (programs.ROOT.parent, programs.ROOT)]
SPEECH = {"bundled": calls.bundled,
          **{path.stem: lambda rate, path=path: calls.read_speech(path, rate)
             for folder in SHARED for path in sorted(folder.glob("*.wav"))}}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """One call for each recording of speech, spoken by both sides, and one for tones."""
    folder = tmp_path_factory.mktemp("sound")
    sounds = {name: (read(RATE), read(ENGINE_RATE)) for name, read in SPEECH.items()}
    sounds["tones"] = (caller_tones(), engine_tones())
    scenes = {}
    for name, (caller, engine) in sounds.items():
        path = calls.write_wav(folder / f"{name}.wav", engine, ENGINE_RATE)
        seconds = SAY_FROM * calls.ENGINE_FRAME_S + len(engine) / ENGINE_RATE
        scenes[name] = Scene(caller, ["--say", path, "--say-from", SAY_FROM],
                             tail_s=max(0.0, seconds - len(caller) / RATE) + 1.0)
    return calls.record(folder, scenes)


def caller_tones():
    return listen.tones(PASS_BAND, TONE_S, LEVEL_DB, RATE)


def engine_tones():
    return listen.tones(ENGINE_TONES, TONE_S, LEVEL_DB, ENGINE_RATE)


@pytest.mark.parametrize("name", SPEECH)
def test_the_engine_hears_the_caller_as_the_telephone_does(recordings, name, record_property):
    original = from_mulaw(to_mulaw(SPEECH[name](RATE)))
    heard = listen.resampled(recordings[name].engine_heard, ENGINE_RATE)
    score = listen.quality(original, heard)
    record_property("pesq", score)
    assert score >= 4.4


@pytest.mark.parametrize("name", SPEECH)
def test_the_caller_hears_the_engine_as_by_the_best_resampler(recordings, name, record_property):
    """The other way is the same packets, decoded at 24 kHz, by soxr at its best to 8 kHz."""
    original = listen.resampled(SPEECH[name](ENGINE_RATE), ENGINE_RATE)
    best = listen.resampled(oggopus.decode([recordings[name].engine_pages]), ENGINE_RATE)
    best_score = listen.quality(original, from_mulaw(to_mulaw(best)))
    score = listen.quality(original, recordings[name].played)
    record_property("pesq", (score, best_score))
    assert score >= best_score - 0.05, recordings[name].record["governor"]


def levels(track, count, rate=RATE):
    """Each tone of the pass band, dB."""
    parts = listen.middles(track, count)
    return np.array([listen.tone_db(part, hz, rate) for part, hz in zip(parts, PASS_BAND)])


def test_the_band_of_the_telephone_is_flat_to_the_engine(recordings, record_property):
    original = from_mulaw(to_mulaw(caller_tones()))
    heard = listen.find(original, listen.resampled(recordings["tones"].engine_heard, ENGINE_RATE))
    change = levels(heard, len(PASS_BAND)) - levels(original, len(PASS_BAND))
    record_property("dB", change.round(2).tolist())
    assert np.abs(change).max() <= FLAT_DB, dict(zip(PASS_BAND, change.round(2)))


@pytest.fixture(scope="module")
def tones_heard(recordings):
    """The engine's tones as the caller heard them."""
    return listen.find(listen.resampled(engine_tones(), ENGINE_RATE), recordings["tones"].played)


def test_the_band_of_the_telephone_is_flat_to_the_caller(recordings, tones_heard, record_property):
    """The far encoder moves a level by up to half a dB; what it sent is what counts here."""
    sent = listen.find(engine_tones(), oggopus.decode([recordings["tones"].engine_pages]))
    change = (levels(tones_heard, len(ENGINE_TONES))
              - levels(sent, len(ENGINE_TONES), ENGINE_RATE))
    record_property("dB", change.round(2).tolist())
    assert np.abs(change).max() <= FLAT_DB, dict(zip(PASS_BAND, change.round(2)))


def test_what_is_above_the_band_does_not_reach_the_caller(tones_heard, record_property):
    """Nothing of it, wherever in what the caller hears: not where it would fold to, nor elsewhere."""
    parts = listen.middles(tones_heard, len(ENGINE_TONES))
    reference = listen.tone_db(parts[PASS_BAND.index(1000)], 1000)
    above = {hz: round(listen.loudest_db(part) - reference, 1)
             for part, hz in zip(parts[len(PASS_BAND):], ABOVE_BAND)}
    record_property("dB", above)
    assert max(above.values()) <= -55, above


@pytest.mark.parametrize("name", [*SPEECH, "tones"])
def test_the_carrier_had_nothing_to_complain_of(recordings, name):
    assert recordings[name].faults == []
