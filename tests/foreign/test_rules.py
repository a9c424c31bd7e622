"""What a persona does of its own accord, and keys sent down the line, while a whole Twilio holds
the call: its API, its webhooks, its streams."""

import asyncio
import json
import wave

import numpy as np
import pytest

from bot_and_twilio import ask, site
from twilio_caller import to_mulaw

def rule(**keys):
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n[[rules]]\n" + "\n".join(lines) + "\n"


def loud_seconds(track):
    """How many of its 20 ms frames are loud, in seconds."""
    frames = track[:len(track) // 160 * 160].reshape(-1, 160)
    return float((np.sqrt((frames ** 2).mean(axis=1)) > 0.01).sum()) * 0.02


async def test_keys_are_sent_and_the_conversation_goes_on_in_the_same_session(tmp_path):
    script = "20 say Press nine two to go on.\n20 tone 440 20\n120 tone 880 60\n"
    rules = rule(name="menu", bot_says="press nine two", send_digits="9w2#")
    async with site(tmp_path, script, rules) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.until_stream(2, 15)
        assert call.sent_digits == ["9w2#"]
        left_at = call.now()
        await call.press("5")
        await call.be_silent(10)
        assert call.closed is None
        # The tone of 440 Hz was before, that of 880 Hz is heard from frame 120 of the same session.
        late = call.heard_track()[int(left_at * 8000):]
        spectrum = np.abs(np.fft.rfft(late))
        assert 870 < np.argmax(spectrum) * 8000 / len(late) < 890
        assert 4.0 < loud_seconds(late) <= 5.0
        await call.hang_up()
        await asyncio.sleep(0.5)
        assert bot.log().count("engine connected") == 1
        assert bot.log().count("call ended") == 1
        assert "CallerHungUp" in bot.log() or "the caller hung up" in bot.log()
        assert call.faults == [] and len(twilio.updates) == 1


async def test_keys_are_sent_by_the_api_and_pressed_by_the_caller(tmp_path):
    rules = rule(name="desk", caller_presses="*0", transfer="+15550123", say="One moment.")
    async with site(tmp_path, "0 tone 440 500\n", rules) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.be_silent(4)
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "1,2"}))[0] == 400
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "12"}))[0] == 202
        await call.until_stream(2, 5)
        await call.be_silent(1)
        assert call.sent_digits == ["12"]
        for key in "*0":
            await call.press(key)
        assert await call.until_closed(5) == 1000
        verbs = await call.after()
        assert [verb.tag for verb in verbs] == ["Say", "Dial", "Hangup"]
        assert verbs[1].text == "+15550123"
        nobody = await call.webhook(verbs[1].get("action"), DialCallStatus="no-answer")
        assert [verb.tag for verb in nobody] == ["Say", "Hangup"]
        assert call.faults == [] and bot.log().count("engine connected") == 1


async def test_a_call_goes_on_if_twilio_does_not_send_the_keys(tmp_path):
    rules = rule(name="menu", caller_presses="1", send_digits="2")
    async with site(tmp_path, "0 tone 440 500\n", rules) as (bot, twilio):
        twilio.refuse_updates = (400, 21218)
        call = await twilio.incoming()
        await call.dial()
        await call.be_silent(3)
        await call.press("1")
        await call.be_silent(3)
        assert call.closed is None and len(twilio.updates) == 1
        assert "cannot be done" in bot.log()
        assert loud_seconds(call.heard_track()[-16000:]) > 1.8
        await call.hang_up()


async def test_the_bot_hangs_up_after_its_last_word(tmp_path):
    # The words come with the first frame of 24 (1.92 s) of sound, as the model's do.
    script = "20 say That was all. Good bye!\n20 tone 440 24\n"
    rules = rule(name="goodbye", bot_says="goodbye", hang_up=True)
    async with site(tmp_path, script, rules) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        assert await call.until_closed(15) == 1000
        assert [verb.tag for verb in await call.after()] == ["Hangup"]
        assert abs(loud_seconds(call.heard_track()) - 1.92) < 0.05
        assert "a rule is acted on" in bot.log() and "goodbye" in bot.log()


async def test_a_silent_line_hears_a_clip_and_is_hung_up(tmp_path):
    sound = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    (tmp_path / "personas").mkdir()
    with wave.open(str(tmp_path / "personas/bye.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype(np.int16).tobytes())
    rules = rule(name="idle", silence_s=3, play="bye.wav", hang_up=True)
    async with site(tmp_path, "20 tone 440 10\n", rules) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        began = call.now()
        assert await call.until_closed(20) == 1000
        heard = call.heard_track()
        spectrum = np.abs(np.fft.rfft(heard[-12000:]))
        assert 990 < np.argmax(spectrum) * 8000 / 12000 < 1010
        assert abs(loud_seconds(heard) - (0.8 + 1.0)) < 0.06
        # Primed, 1.6 s of silence, 0.8 s of tone, 3 s of silence, the clip.
        assert 6 < call.now() - began < 14
        assert [verb.tag for verb in await call.after()] == ["Hangup"]


@pytest.mark.parametrize("when, least", [
    ({"caller_silence_s": 4}, 3.9), ({"call_lasts_s": 6}, 5.9),
    ({"bot_says_regex": r"(?i)order number \d{3}\b"}, 2.4)])  # frame 31
async def test_other_rules_hand_the_caller_over(tmp_path, when, least):
    script = "0 tone 440 500\n30 say Your order number\n31 say 123 is ready.\n"
    rules = rule(name="over", transfer="+15550123", **when)
    async with site(tmp_path, script, rules) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        began = call.now()
        await call.speak(to_mulaw(0.3 * np.sin(np.arange(8000) * 0.6)))
        assert await call.until_closed(20) == 1000
        assert call.now() - began > least
        assert [verb.tag for verb in await call.after()] == ["Dial", "Hangup"]
        assert call.faults == []


async def test_keys_whose_sending_nobody_confirms_are_not_sent_twice(tmp_path):
    async with site(tmp_path, "0 tone 440 500\n") as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.be_silent(3)
        twilio.lose_answers = True
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "12"}))[0] == 504
        await call.until_stream(2, 5)
        await call.be_silent(4)
        assert call.closed is None and call.sent_digits == ["12"] and len(twilio.updates) == 1
        assert loud_seconds(call.heard_track()[-16000:]) > 1.8
        await call.hang_up()


async def test_keys_are_sent_only_while_the_two_talk(tmp_path):
    at_once = "[admission]\nring_s = 0\n"
    async with site(tmp_path, "0 tone 440 500\n", config=at_once) as (bot, twilio):
        call = await twilio.incoming()
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "1"}))[0] == 404
        await call.dial()
        await call.be_silent(0.3)
        status, answer = await ask(bot, f"/{call.sid}/digits", {"digits": "1"})
        assert (status, answer["error"]["code"]) == (409, "not_talking")
        await call.be_silent(3)
        assert call.closed is None and twilio.updates == []
        first, second = await asyncio.gather(
            ask(bot, f"/{call.sid}/digits", {"digits": "1"}),
            asyncio.sleep(0.2, ask(bot, f"/{call.sid}/digits", {"digits": "2"})))
        assert (first[0], (await second)[0]) == (202, 409)
        await call.until_stream(2, 5)
        await call.be_silent(1)
        await call.hang_up()


async def test_keys_are_sent_where_audio_sockets_need_no_ticket(tmp_path):
    async with site(tmp_path, "0 tone 440 500\n", stream_token="off") as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.be_silent(3)
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "12"}))[0] == 202
        await call.until_stream(2, 5)
        await call.be_silent(2)
        assert call.closed is None and bot.log().count("engine connected") == 1
        await call.hang_up()
