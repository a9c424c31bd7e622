"""The measures themselves: each finds what it is for, and nothing in sound that is well."""

import numpy as np
import pytest

import calls
import listen
from listen import RATE
from twilio_caller import FRAME_S, PlayBuffer, from_mulaw, timeline, to_mulaw


@pytest.fixture(scope="module")
def speech():
    return from_mulaw(to_mulaw(calls.bundled(RATE)))


def shifted(signal, seconds, length_s):
    """The signal that much later, on a track of that length."""
    track = np.zeros(int(length_s * RATE), np.float32)
    at = int(seconds * RATE)
    track[at:at + len(signal)] = signal
    return track


# Likeness

def test_speech_is_most_like_itself_wherever_it_is(speech):
    assert listen.quality(speech, shifted(0.5 * speech, 1.234, 12)) > 4.5


def test_noise_and_lost_frames_cost_likeness(speech):
    chance = np.random.default_rng(1)
    assert listen.quality(speech, speech + chance.normal(0, 0.01, len(speech))) < 3.5
    holes = speech.copy()
    for at in range(0, len(holes) - 160, 3200):  # 5 %
        holes[at:at + 160] = 0
    assert listen.quality(speech, holes) < 4.0


# Tones

def test_a_tone_is_measured_through_noise():
    noisy = listen.tones([1000], 0.6, -6, RATE) + np.random.default_rng(1).normal(0, 0.01, 4800)
    (middle,) = listen.middles(noisy, 1)
    assert listen.tone_db(middle, 1000) == pytest.approx(-6, abs=0.05)
    assert listen.tone_db(middle, 1500) < -50


def test_what_is_folded_back_is_found():
    """Every third sample of a tone at 24 kHz, with no filter before; and with a good one."""
    for hz, heard_hz in [(4500, 3500), (5000, 3000), (7000, 1000), (9000, 1000), (11000, 3000)]:
        tone = listen.tones([hz], 0.6, -6, 24_000)
        (bare,) = listen.middles(tone[::3], 1)
        assert listen.tone_db(bare, heard_hz) == pytest.approx(-6, abs=0.1)
        assert listen.loudest_db(bare) == pytest.approx(-6, abs=0.1)
        (filtered,) = listen.middles(listen.resampled(tone, 24_000), 1)
        assert listen.loudest_db(filtered) < -80


# Lag

def test_the_lag_is_measured_where_it_changes(speech):
    said = np.tile(speech, 3)[:20 * RATE]
    heard = np.concatenate([shifted(said[:8 * RATE], 0.3, 8.3), 0.3 * said[8 * RATE:],
                            np.zeros(RATE)])
    heard[8 * RATE:] += np.random.default_rng(1).normal(0, 0.003, len(heard) - 8 * RATE)
    measured = listen.lags(said, heard)
    assert listen.median_ms(measured, 0, 6) == pytest.approx(300, abs=0.2)
    heard = np.concatenate([heard[:int(8.3 * RATE)], np.zeros(RATE // 2), heard[int(8.3 * RATE):]])
    assert listen.median_ms(listen.lags(said, heard), 9, 18) == pytest.approx(800, abs=0.2)


def test_what_was_not_heard_has_no_lag(speech):
    assert listen.lags(speech, np.random.default_rng(1).normal(0, 0.1, len(speech))) == []
    assert listen.lags(speech, np.zeros(len(speech))) == []
    with pytest.raises(AssertionError, match="only 0 windows"):
        listen.median_ms([], 0, 5)


# Clicks

def loud_places(speech, count, reach=800):
    """Places in the middle of loud sound."""
    places = np.random.default_rng(1).integers(reach, len(speech) - reach, 50 * count)
    return [at for at in places if listen.dbfs(speech[at - 80:at + 80]) > -22][:count]


def test_speech_has_no_click_and_no_hole(speech):
    assert listen.clicks(speech, speech) == []
    assert listen.holes(speech) == []


def test_a_hole_in_a_word_is_found(speech):
    """Sound that stops dead, or goes on so after the carrier had nothing to play."""
    found, places = 0, loud_places(speech, 40)
    for at in places:
        broken = np.concatenate([speech[at - 800:at], np.zeros(160), speech[at:at + 800]])
        found += listen.holes(broken) == [pytest.approx(0.1, abs=0.001)]
        fade = np.linspace(1, 0, 80)
        broken[720:800] *= fade
        broken[960:1040] *= fade[::-1]
        assert listen.holes(broken) == []
    assert found >= 0.8 * len(places), f"{found} of {len(places)}: it may stop near zero"


def clicks_in_the_middle(signal, sent):
    """The cut ends of such a piece click too."""
    middle_s = len(signal) / 2 / RATE
    return any(abs(second - middle_s) < 0.006 for second in listen.clicks(signal, sent))


def test_a_splice_clicks_unless_it_is_faded(speech):
    """20 ms left out. Half of such splices meet by chance or drown in the sound around them."""
    fade, places = np.linspace(0, 1, 80), loud_places(speech, 60)
    hard = soft = 0
    for at in places:
        before, after = speech[at - 800:at], speech[at + 160:at + 960]
        hard += clicks_in_the_middle(np.concatenate([before, after]), speech)
        both = speech[at - 40:at + 40] * (1 - fade) + speech[at + 120:at + 200] * fade
        soft += clicks_in_the_middle(np.concatenate([before[:-40], both, after[40:]]), speech)
    assert hard >= 0.3 * len(places), f"{hard} of {len(places)}"
    assert soft == 0


def test_a_click_in_quiet_sound_is_found(speech):
    quiet = 0.1 * speech
    for at in loud_places(speech, 20):
        clicking = quiet.copy()
        clicking[at:] += 0.1
        assert clicks_in_the_middle(clicking[at - 800:at + 800], quiet)


# The carrier's buffer, on which all of the above stands

def test_the_carrier_plays_in_order_from_a_tick_on():
    buffer = PlayBuffer()
    buffer.push(b"\x80" * 160, 0.001)
    buffer.push(b"\x00" * 160, 0.002)
    buffer.mark("first", 0.002)
    assert [start for start, _ in buffer.pieces] == pytest.approx([FRAME_S, 2 * FRAME_S])
    assert buffer.due(0.059) == [] and buffer.due(0.061) == ["first"]
    track = timeline(buffer.pieces, 0.1)
    assert len(track) == 800 and track[:160].max() == 0 < track[160:320].min()


def test_a_carrier_that_stands_still_plays_later():
    buffer = PlayBuffer()
    buffer.push(b"\x80" * 320, 0.02)
    buffer.mark("end", 0.02)
    buffer.stand_still(0.03)
    assert buffer.due(0.4) == [] and buffer.go_on(0.43) == pytest.approx((0.04, 0.44))
    assert buffer.due(0.459) == [] and buffer.due(0.461) == ["end"]
    track = timeline(buffer.pieces, 0.5)
    heard = np.flatnonzero(track)
    assert heard[0] == 160 and np.diff(heard).max() == 3201 and len(heard) == 320


def test_clear_drops_what_waits_and_frees_its_marks():
    buffer = PlayBuffer()
    buffer.push(b"\x80" * 800, 0.02)
    buffer.mark("end", 0.02)
    buffer.clear(0.05)
    assert buffer.due(0.05) == ["end"]
    assert len(np.flatnonzero(timeline(buffer.pieces, 0.2))) == 240
