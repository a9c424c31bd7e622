"""`voice-bot serve` between a strict Twilio and the stand-ins for engines' servers: what every engine
has to do, and what PersonaPlex does besides."""

import asyncio
import contextlib
import json
import signal
import wave

import aiohttp
import numpy as np
import pytest
import sphn

import oggopus
import programs
from twilio_caller import RATE, Call, from_mulaw, to_mulaw

FRAME_SAMPLES = 1920  # of one 80 ms model frame at 24 kHz
VOICE_FRAMES = 5
SENTENCES = {"busy": "All lines are busy.", "engine_failed": "Something went wrong.",
             "goodbye": "Time is up."}

CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
[engine]
urls = [{urls}]
handshake_timeout_s = 3
{engine}
[admission]
ring_s = 0
[call]
engine_silence_s = 1
{call}
[say]
{say}
[log]
{log}
[personas]
dir = "personas"
default = "tester"
"""
PERSONA = 'name = "tester"\nvoice = "NATM1.pt"\nprompt = "Be kind."\n'


# Flags with which each kind takes a moment until it is ready; and those that hold several calls.
A_MOMENT = {kind: ("--ready-after-ms", 250) for kind in programs.ENGINES}
A_MOMENT["personaplex"] = ("--voice-frames", VOICE_FRAMES)
SEVERAL = ["moshi-backend", "vllm-omni"]
EVERY_KIND = pytest.mark.parametrize("kind", programs.ENGINES)


def serve(folder, *urls, call="", log="", engine=""):
    """voice-bot with a configuration of its own, on engines at these addresses."""
    port = programs.free_port()
    urls = ", ".join(f'"{url}"' for url in urls)
    say = "\n".join(f'{key} = "{text}"' for key, text in SENTENCES.items())
    (folder / "personas").mkdir()
    (folder / "personas/tester.toml").write_text(PERSONA)
    config = folder / "voice-bot.toml"
    config.write_text(CONFIG.format(port=port, urls=urls, say=say, call=call, log=log,
                                    engine=engine))
    return programs.voice_bot("serve", "--config", config, port=port, cwd=folder)


def base(program):
    return f"http://127.0.0.1:{program.port}"


@contextlib.asynccontextmanager
async def bridge(folder, *flags, kind="personaplex", **config):
    """The stand-in with these flags, voice-bot, and a Call that has not dialled."""
    with programs.engine(kind, *A_MOMENT[kind], *flags) as engine:
        with serve(folder, engine.url, **config) as bot:
            async with Call(base(bot)) as caller:
                yield caller, engine


async def get(program, path):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{program.port}{path}") as response:
            return response.status, await response.read()


async def sessions(engine):
    return json.loads((await get(engine, "/stats"))[1])["sessions"]


def says(verbs):
    """The sentences of some TwiML that must end in a hang-up."""
    assert verbs[-1].tag == "Hangup"
    return [verb.text for verb in verbs if verb.tag == "Say"]


def synthetic():
    return oggopus.voice(6, RATE)


def recorded():
    """8 s of a recorded person, or else of the repository's own voices, at 8 kHz."""
    for parent in (programs.ROOT.parent, programs.ROOT):
        path = parent / "shared/audio/input_assistant.wav"
        if path.is_file():
            return read_wav(path)[:8 * RATE]
    assets = programs.ROOT / "assets"
    return np.concatenate([read_wav(assets / "caller.wav"), read_wav(assets / "greeting.wav")])


def read_wav(path):
    """A WAV file of one channel and 16 bit as float samples at 8 kHz."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        rate = file.getframerate()
    return pcm if rate == RATE else sphn.resample(pcm, rate, RATE)


@pytest.mark.parametrize("speech", [synthetic, recorded])
async def test_a_call_both_ways(tmp_path, speech):
    said = to_mulaw(speech())
    async with bridge(tmp_path) as (caller, engine):
        verbs = await caller.dial()
        assert verbs[0].tag == "Connect"
        await caller.be_silent(1.0)
        await caller.speak(said)
        await caller.be_silent(0.6)
        ended = caller.now()
        await asyncio.sleep(0.2)
        (session,) = await sessions(engine)
        await caller.hang_up()
        _, pcm = await get(engine, "/sessions/0/pcm")

    assert caller.faults == []
    assert (session["voice"], session["text"]) == ("NATM1.pt", "Be kind.")

    # The engine's side: nothing early, all in one stream of 80 ms packets, all of it decoded.
    assert session["messages_before_handshake"] == 0
    packets = session["messages"] - 2  # without head and tags
    decoded = session["samples_decoded"] / FRAME_SAMPLES
    assert decoded == session["frames_in"] == session["frames_out"]
    answers = session["audio_messages"] - 2
    assert packets - 1 <= decoded <= packets, "one may be under way"
    assert decoded - 1 <= answers <= decoded
    assert packets * 0.08 >= len(said) / RATE + 1.0, "only the prompt phase is lost"
    heard = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    original = sphn.resample(from_mulaw(said), RATE, oggopus.RATE)
    assert oggopus.likeness(original, heard)[0] > 0.95

    # The caller's side: an echo in real time, not ahead of it and without holes.
    likeness, delay_ms = oggopus.likeness(from_mulaw(said), caller.heard(), RATE)
    # A caller whom the machine held up was heard with pauses, which the echo has too, elsewhere.
    assert likeness > (0.9 if caller.worst_late_s < 0.03 else 0.8), caller.worst_late_s
    heard_s = len(caller.heard()) / RATE
    assert answers * 0.08 - 0.5 <= heard_s <= answers * 0.08 + 0.17, "all but what is held back"
    first_s = caller.media[0][0]
    assert heard_s <= ended - first_s + 0.4, "no more than a little ahead of real time"
    assert first_s < 1.0


@EVERY_KIND
async def test_a_call_both_ways_with_every_engine(tmp_path, kind):
    said = to_mulaw(oggopus.voice(4, RATE))
    async with bridge(tmp_path, kind=kind) as (caller, engine):
        await caller.dial()
        await caller.be_silent(1.0)
        await caller.speak(said)
        await caller.be_silent(1.0)
        assert caller.closed is None
        await asyncio.sleep(0.2)
        (session,) = await sessions(engine)
        await caller.hang_up()
        _, pcm = await get(engine, "/sessions/0/pcm")
        assert says(await caller.after()) == []
    assert caller.faults == []

    # The engine's side: nothing early, and all of it understood.
    assert session["messages_before_handshake"] == 0
    has_personas = not kind.startswith("moshi")
    persona = ("NATM1.pt", "Be kind.") if has_personas else ("", "")
    assert (session["voice"], session["text"]) == persona
    decoded = session["samples_decoded"] / FRAME_SAMPLES
    assert decoded == session["frames_in"], "whole steps of the model"
    assert decoded * 0.08 >= len(said) / RATE + 1.0, "only the handshake is lost"
    heard = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    original = sphn.resample(from_mulaw(said), RATE, oggopus.RATE)
    assert oggopus.likeness(original, heard)[0] > 0.95

    # The caller's side: an echo.
    likeness, delay_ms = oggopus.likeness(from_mulaw(said), caller.heard(), RATE)
    assert likeness > (0.9 if caller.worst_late_s < 0.03 else 0.8), caller.worst_late_s


async def test_lost_frames_are_filled_to_keep_the_models_clock(tmp_path):
    """The model's time only moves with its input, so a hole in Twilio's must be filled."""
    async with bridge(tmp_path) as (caller, engine):
        await caller.dial()
        await caller.be_silent(1.0)
        before = (await sessions(engine))[0]["frames_in"]
        await caller.lose(0.8)
        await caller.be_silent(0.4)
        after = (await sessions(engine))[0]["frames_in"]
        await caller.hang_up()
    assert after - before >= (0.8 + 0.4) / 0.08 - 2


FAULTS = {
    "cut in the conversation": (["--drop-at", "12"], "engine_failed"),
    "closed with 1000": (["--crash-at", "12"], "engine_failed"),
    "output stops": (["--stall-at", "12"], "engine_failed"),
    "cut before the handshake": (["--drop-before-handshake"], "engine_failed"),
    "not found": (["--refuse", 404], "engine_failed"),
    "no capacity": (["--refuse", 503], "busy"),
    # The server is silent while another has it, so silence means that.
    "no handshake": (["--never-ready"], "busy"),
}


@EVERY_KIND
@pytest.mark.parametrize("name", FAULTS)
async def test_an_engine_that_fails_ends_the_call_with_a_sentence(tmp_path, name, kind):
    flags, sentence = FAULTS[name]
    async with bridge(tmp_path, *flags, kind=kind) as (caller, _):
        await caller.dial()
        assert await caller.until_closed(12) == 1000
        assert says(await caller.after()) == [SENTENCES[sentence]]
    assert caller.faults == []


@pytest.mark.parametrize("kind", SEVERAL)
async def test_an_engine_that_holds_several_calls_is_given_as_many_as_configured(tmp_path, kind):
    async with bridge(tmp_path, kind=kind, engine="sessions = 2") as (first, engine):
        async with Call(first.base) as second, Call(first.base) as third:
            for caller in (first, second):
                assert (await caller.dial())[0].tag == "Connect"
            assert says(await third.dial()) == [SENTENCES["busy"]]
            await asyncio.gather(*(caller.be_silent(1.2) for caller in (first, second)))
            assert first.media and second.media
            assert [session["ready"] for session in await sessions(engine)] == [True, True]
            await first.hang_up()
            await second.hang_up()


async def test_an_engine_that_is_full_already_is_busy(tmp_path):
    """Others may use it too: what it refuses for want of room is no failure."""
    full = ("--max-sessions", 0)
    async with bridge(tmp_path, *full, kind="vllm-omni") as (caller, engine):
        await caller.dial()
        assert await caller.until_closed(8) == 1000
        assert says(await caller.after()) == [SENTENCES["busy"]]
        assert (await sessions(engine))[0]["ended"] == "resource_exhausted"


async def test_a_backend_that_is_out_of_steps_hangs_up(tmp_path):
    async with bridge(tmp_path, "--steps", 12, kind="moshi-backend") as (caller, engine):
        await caller.dial()
        assert await caller.until_closed(8) == 1000
        assert says(await caller.after()) == [SENTENCES["engine_failed"]]
        assert (await sessions(engine))[0]["ended"] == "out of steps"


@pytest.mark.parametrize("signal", [signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
async def test_an_engine_whose_server_is_ended_lets_the_caller_go(tmp_path, signal):
    """SIGTERM freezes an open session and says nothing; SIGKILL cuts it."""
    async with bridge(tmp_path) as (caller, engine):
        await caller.dial()
        await caller.be_silent(1.0)
        assert caller.closed is None
        engine.process.send_signal(signal)
        await caller.be_silent(3.0)
        assert await caller.until_closed(5) == 1000
        assert says(await caller.after()) == [SENTENCES["engine_failed"]]
    assert caller.faults == []


async def test_an_engine_that_is_not_there(tmp_path):
    with serve(tmp_path, f"ws://127.0.0.1:{programs.free_port()}") as bot:
        async with Call(base(bot)) as caller:
            verbs = await caller.dial()
            if verbs[0].tag == "Connect":  # No probe has found out before the call.
                await caller.until_closed(8)
                verbs = await caller.after()
            assert says(verbs) == [SENTENCES["engine_failed"]]
        assert (await get(bot, "/health"))[0] == 200
        assert (await get(bot, "/ready"))[0] == 503


async def test_a_call_outlives_an_engine_that_is_a_little_slower_than_speech(tmp_path):
    """A frame of 80 ms takes 90 ms here: speech gets holes, but the line stays up."""
    async with bridge(tmp_path, "--slow-from", 5, "--slow-step-ms", 90) as (caller, _):
        await caller.dial()
        await caller.be_silent(4.0)
        assert caller.closed is None
        assert 2.0 < len(caller.heard()) / RATE < 3.8
        await caller.hang_up()
    assert caller.faults == []


async def test_an_engine_that_is_too_slow_is_told_to_the_caller(tmp_path):
    """A frame of 80 ms takes 200 ms here, which nothing can make good."""
    patience = "[latency]\nslow_engine_s = 2"
    slow = ("--slow-from", 5, "--slow-step-ms", 200)
    async with bridge(tmp_path, *slow, call=patience) as (caller, _):
        await caller.dial()
        await caller.be_silent(4.0)
        await caller.until_closed(5)
        assert says(await caller.after()) == [SENTENCES["engine_failed"]]


async def test_a_second_caller_hears_that_lines_are_busy(tmp_path):
    async with bridge(tmp_path) as (caller, engine):
        await caller.dial()
        await caller.be_silent(0.8)
        async with Call(caller.base) as second:
            assert says(await second.dial()) == [SENTENCES["busy"]]
        await caller.be_silent(0.4)
        assert caller.closed is None
        assert len(await sessions(engine)) == 1, "the busy engine was not even asked"
        await caller.hang_up()


async def test_calls_one_after_the_other(tmp_path):
    async with bridge(tmp_path) as (first, engine):
        for caller in (first, Call(first.base), Call(first.base)):
            async with caller if caller is not first else contextlib.nullcontext(first):
                assert (await caller.dial())[0].tag == "Connect"
                await caller.be_silent(0.8)
                assert caller.media
                await caller.hang_up()
                assert says(await caller.after()) == []
        early = [session["messages_before_handshake"] for session in await sessions(engine)]
        assert early == [0, 0, 0]


async def test_a_call_that_takes_too_long_is_told_goodbye(tmp_path):
    async with bridge(tmp_path, call="max_duration_s = 2") as (caller, _):
        await caller.dial()
        assert await caller.until_closed(8) == 1000
        assert says(await caller.after()) == [SENTENCES["goodbye"]]


@EVERY_KIND
async def test_health_and_readiness(tmp_path, kind):
    with programs.engine(kind) as engine, serve(tmp_path, engine.url) as bot:
        assert (await get(bot, "/health"))[0] == 200
        assert (await get(bot, "/ready"))[0] == 200
        assert len(await sessions(engine)) == 0, "a probe takes no session"


PERSONAL = {"5550100", "5550199", "Hello"}  # numbers, and what was said
PROMPT = {"Be kind", "Be%20kind", "Be+kind"}


@pytest.mark.parametrize("shown", [False, True], ids=["redacted", "shown"])
async def test_no_number_and_no_word_in_the_log(tmp_path, shown):
    """Not even at the lowest level. That they are there when asked for shows that this can fail."""
    log = 'level = "trace"' + "\nshow_personal_data = true" * shown
    with programs.personaplex("--voice-frames", VOICE_FRAMES) as engine:
        with serve(tmp_path, engine.url, log=log) as bot:
            async with Call(base(bot)) as caller:
                await caller.dial()
                await caller.be_silent(1.5)
                await caller.hang_up()
            assert (await sessions(engine))[0]["text_messages"] >= 2
            bot.stop()
            lines = bot.log()
    assert caller.sid in lines and "TRACE" in lines
    assert {word for word in PERSONAL | PROMPT if word in lines} == (PERSONAL if shown else set())
