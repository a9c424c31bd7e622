"""Recordings of calls, as a strict Twilio heard them: what is in the file, and when."""

import io
import signal
import time
import wave

import numpy as np
import pytest
import sphn

from bot_and_twilio import site
from twilio_caller import RATE, to_mulaw

CLOSE_S = 0.02  # how far the sides may be from when they were heard
SECONDS = 12
PRE_SKIP = 120  # samples at 48 kHz


def bursts(seconds, hz, on, off):
    """A tone that comes and goes."""
    at = np.arange(int(seconds * RATE)) / RATE
    return np.where(at % (on + off) < on, 0.3 * np.sin(2 * np.pi * hz * at), 0.0)


def onsets(track):
    """The seconds at which sound begins after 200 ms of nothing."""
    loud = np.flatnonzero(np.abs(track) > 0.05)
    first = np.diff(loud, prepend=-RATE) > 0.2 * RATE
    return loud[first] / RATE


def read(path):
    """Both channels of a recording, at 8 kHz."""
    if path.suffix == ".ogg":
        both, hz = sphn.read_opus(str(path))
        assert both.shape[0] == 2
        # It does not leave out what the file's head says; of tones nothing is above 4 kHz.
        both = both[:, PRE_SKIP * hz // 48_000::hz // RATE]
        return both[0], both[1]
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 2, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
    return samples[::2], samples[1::2]


def recorded(folder):
    (path,) = (folder / "recordings").iterdir()
    return path


@pytest.mark.parametrize("form", ["wav", "ogg"])
async def test_both_sides_are_where_they_were_heard(tmp_path, form):
    script = "".join(f"{frame} tone 700 4\n" for frame in range(10, 400, 15))
    config = f'[recording]\nformat = "{form}"\n'
    async with site(tmp_path, script, "record = true\n", config) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        assert call.announced == ["This call is recorded."]
        began = call.now()
        await call.speak(to_mulaw(bursts(SECONDS, 400, 0.3, 0.7)))
        await call.hang_up()
        for _ in range(50):
            if "the call is recorded" in bot.log():
                break
            time.sleep(0.1)
    path = recorded(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    left, right = read(path)
    assert abs(len(left) / RATE - SECONDS) < 0.2 and len(left) == len(right)
    # The first frame that the carrier hears ends a frame after it has begun.
    said = onsets(call.said_track()) - began
    assert np.abs(onsets(left) - (said - said[0])).max() < 0.003
    heard = onsets(call.heard_track()) - began - said[0]
    heard = heard[(heard > 2) & (heard < SECONDS - 1)]
    errors = [np.abs(onsets(right) - at).min() for at in heard]
    assert len(errors) > 5 and max(errors) <= CLOSE_S, np.round(errors, 4)


async def test_what_was_said_until_a_second_before_a_kill_is_there(tmp_path):
    config = '[recording]\nformat = "wav"\n'
    async with site(tmp_path, "0 tone 700 400\n", "record = true\n", config) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.speak(to_mulaw(bursts(5, 400, 5, 0)))
        bot.process.send_signal(signal.SIGKILL)
        bot.process.wait(5)
        left, right = read(recorded(tmp_path))
    assert 4 <= len(left) / RATE <= 5.1
    assert np.abs(left[-80:]).max() > 0.1 and np.abs(right[-80:]).max() > 0.1


async def test_who_is_not_to_be_recorded_is_not(tmp_path):
    async with site(tmp_path, "0 tone 700 400\n") as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        assert call.announced == []
        await call.be_silent(1)
        await call.hang_up()
    assert not (tmp_path / "recordings").exists()
