"""Calls that outlive their engine, and its memory: on the real sphn, with servers that are killed."""

import asyncio
import json

import aiohttp
import numpy as np
import pytest

import programs
from twilio_caller import FRAME_S, RATE, Call, to_mulaw

PRIMING = ("--voice-frames", 170)  # steps of 11 ms: some 2 s of priming
AUDIBLE = 0.01
PROMPT = "Be Sam, who is brief."
FRAME = int(RATE * FRAME_S)


async def stats(engine):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{engine.port}/stats") as response:
            return json.loads(await response.read())


async def until(engines, is_so):
    """Waits until this is so of the engines' figures; returns them."""
    async with asyncio.timeout(20):
        while True:
            shown = [await stats(engine) for engine in engines]
            if is_so(shown):
                return shown
            await asyncio.sleep(0.05)


def is_ready(shown):
    return bool(shown["sessions"]) and shown["sessions"][-1]["ready"]


def site(tmp_path, engines, config):
    """The bot before those engines, to be used in `with`."""
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas/assistant.toml").write_text(
        f'name = "assistant"\nvoice = "NATF2.pt"\nprompt = "{PROMPT}"\n')
    urls = ", ".join(f'"ws://127.0.0.1:{engine.port}"' for engine in engines)
    (tmp_path / "voice-bot.toml").write_text(f"[engine]\nurls = [{urls}]\n{config}")
    port = programs.free_port()
    return programs.voice_bot("serve", "--port", port, port=port, cwd=tmp_path)


def bursts(seconds, on, off):
    """A hum that comes and goes, as mu-law."""
    at = np.arange(int(seconds * RATE))
    hum = sum(np.sin(2 * np.pi * hz * at / RATE) for hz in (220, 430, 660)) / 12
    return to_mulaw(np.where(at / RATE % (on + off) < on, hum, 0))


def sounding(track):
    """Stretches that can be heard, as pairs of seconds; pauses up to 60 ms do not part them."""
    frames = np.abs(track[:len(track) // FRAME * FRAME]).reshape(-1, FRAME).max(axis=1) > AUDIBLE
    stretches = []
    for index in np.flatnonzero(frames):
        begin, end = index * FRAME_S, (index + 1) * FRAME_S
        if stretches and begin - stretches[-1][1] <= 0.061:
            stretches[-1][1] = end
        else:
            stretches.append([begin, end])
    return stretches


def first_after(track, second):
    """When something is heard after that, in seconds."""
    return next(max(begin, second) for begin, end in sounding(track) if end > second)


def used(shown):
    """Which of the engines the call is on: the one that hears it."""
    return max(range(len(shown)), key=lambda n: max(
        [session["frames_in"] for session in shown[n]["sessions"]] or [0]))


async def lose_engine(call, engines):
    """Kills the server that the call is on, in mid-talk. Its number, and when that was."""
    shown = await until(engines, lambda all: any(
        session["frames_in"] > 20 for one in all for session in one["sessions"]))
    lost = used(shown)
    killed = call.now()
    engines[lost].process.kill()
    return lost, killed


async def test_a_warm_engine_goes_on_at_once_where_one_was_killed(tmp_path, record_property):
    engines = [programs.personaplex(*PRIMING) for _ in range(2)]
    with engines[0], engines[1], site(tmp_path, engines, "warm = 2\n") as bot:
        await until(engines, lambda all: all_ready(all))
        async with Call(f"http://127.0.0.1:{bot.port}") as call:
            await call.dial()
            talk = asyncio.create_task(call.speak(bursts(9, 3, 0)))
            lost, killed = await lose_engine(call, engines)
            await talk
            await call.hang_up()
            track = call.heard_track()
            waited = max(holes_of(track, killed, killed + 0.5))
            record_property("nothing was heard for, in s", float(waited))
            assert waited <= 0.2, f"nothing for {waited:.2f} s"
            # The other hears the caller within a second, and is heard.
            holes = holes_of(track, killed, killed + 4)
            assert max(holes) <= 0.7, holes
        session = (await stats(engines[1 - lost]))["sessions"][0]
        assert session["messages_before_handshake"] == 0
        assert session["frames_in"] > 40, session
        assert "another session goes on" in bot.log()


def all_ready(shown):
    return all(is_ready(one) for one in shown)


def holes_of(track, begin, end):
    """Lengths of the pauses between those seconds."""
    heard = [one for one in sounding(track) if one[1] > begin and one[0] < end]
    edges = [begin, *[second for pair in heard for second in pair], end]
    return [max(0.0, after - before) for before, after in zip(edges[::2], edges[1::2])]


async def test_without_a_warm_one_the_caller_hears_tones_until_the_next_knows_what_was_said(
        tmp_path, record_property):
    engines = [programs.personaplex(*PRIMING) for _ in range(2)]
    with engines[0], engines[1], site(tmp_path, engines, "") as bot:
        async with Call(f"http://127.0.0.1:{bot.port}") as call:
            await call.dial()
            talk = asyncio.create_task(call.speak(bursts(12, 12, 0)))
            lost, killed = await lose_engine(call, engines)
            [shown] = await until([engines[1 - lost]], lambda one: is_ready(one[0]))
            back = call.now()
            await talk
            await call.hang_up()
            track = call.heard_track()
            waited = max(holes_of(track, killed, killed + 0.4))
            record_property("nothing was heard for, in s", float(waited))
            record_property("back after, in s", float(back - killed))
            assert waited <= 0.2, f"nothing for {waited:.2f} s"
            assert max(holes_of(track, killed, back)) < 1.4, "the tones come again"
            assert first_after(track, back + 0.3) - back < 0.6
            assert max(holes_of(track, back + 0.5, back + 3)) < 0.2, "the bot is heard again"
        text = shown["sessions"][0]["text"]
        assert text.startswith("<system> " + PROMPT) or text.startswith(PROMPT), text
        assert "Hello there" in text, text
        assert shown["sessions"][0]["messages_before_handshake"] == 0


@pytest.mark.parametrize("overflow", [None, "+15550100"])
async def test_without_another_engine_the_caller_is_told_or_goes_elsewhere(tmp_path, overflow):
    config = f'[admission]\noverflow = "{overflow}"\n[outbound]\nallow = ["+1555"]\n'
    with programs.personaplex(*PRIMING) as engine, \
            site(tmp_path, [engine], config if overflow else "") as bot:
        async with Call(f"http://127.0.0.1:{bot.port}") as call:
            await call.dial()
            talk = asyncio.create_task(call.speak(bursts(6, 6, 0)))
            await lose_engine(call, [engine])
            await call.until_closed(5)
            talk.cancel()
            said, then, *_ = await call.after()
            assert "something went wrong" in said.text
            assert (then.tag, then.text) == {
                None: ("Hangup", None), "+15550100": ("Dial", overflow)}[overflow]


async def test_before_the_model_forgets_another_goes_on_and_no_word_is_cut(tmp_path, record_property):
    """The engines say what they hear, 80 ms later: words of 0.9 s with pauses of 0.9 s."""
    engines = [programs.personaplex(*PRIMING, "--text-every", 25) for _ in range(2)]
    config = "[call]\nhorizon_s = 5\n"
    with engines[0], engines[1], site(tmp_path, engines, config) as bot:
        async with Call(f"http://127.0.0.1:{bot.port}") as call:
            await call.dial()
            await until(engines, lambda all: any(is_ready(one) for one in all))
            await asyncio.sleep(0.3)
            said = bursts(18, 0.9, 0.9)
            began = call.now()
            await call.speak(said)
            ended = call.now()
            await call.be_silent(1)
            await call.hang_up()
            words = [pair for pair in sounding(call.heard_track()) if began < pair[0] < ended]
        shown = [await stats(engine) for engine in engines]
        assert [one["connections"] for one in shown] in ([1, 1], [2, 1], [1, 2]), shown
        lengths = [round(end - begin, 2) for begin, end in words]
        gaps = [round(after[0] - before[1], 2) for before, after in zip(words, words[1:])]
        record_property("words in s", list(map(float, lengths)))
        record_property("pauses in s", list(map(float, gaps)))
        assert len(words) == 10 and min(lengths) > 0.85 and max(lengths) < 1.1, lengths
        assert max(gaps) - 0.9 < 0.3 and min(gaps) > 0.6, gaps
        assert bot.log().count("before the model forgets") >= 1
        first, second = sorted((one["sessions"][0] for one in shown),
                               key=lambda session: len(session["text"]))
        assert PROMPT in first["text"] and PROMPT in second["text"]
        assert "Hello" in second["text"] and "Hello" not in first["text"]
        assert second["messages_before_handshake"] == 0
