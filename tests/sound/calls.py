"""Calls to `voice-bot serve` over sockets, several at once, each with an engine of its own."""

import asyncio
import contextlib
import json
import time
import wave
from dataclasses import dataclass, field

import aiohttp
import numpy as np

import listen
import programs
from twilio_caller import Call, from_mulaw, to_mulaw

ENGINE_RATE = 24_000
ENGINE_FRAME_S = 0.08
READY_S = 10
LATE_S = 0.05
PAUSE_S, SILENCE_DBFS = 0.5, -60
TRIES = 3
PERSONA = 'name = "tester"\nvoice = "NATM1.pt"\nprompt = "Be kind."\n'


@dataclass
class Upset:
    """What goes wrong that many seconds after the caller has begun to speak."""

    at_s: float
    seconds: float
    kind: str  # "carrier", "caller" or "engine"


@dataclass(repr=False)
class Scene:
    """A call: what the caller says after a second of silence, and what the engine is like."""

    said: np.ndarray
    flags: list = field(default_factory=list)
    upset: Upset | None = None
    tail_s: float = 1.0


@dataclass(repr=False)
class Recording:
    """What became of a Scene."""

    said: np.ndarray  # both tracks at 8 kHz, from the same moment on
    heard: np.ndarray
    begun_s: float  # when the caller began to speak, on these tracks
    upset_s: float | None  # when the upset began, and when it was over
    over_s: float | None
    played: np.ndarray  # all media that the carrier got, one after the other
    engine_heard: np.ndarray  # 24 kHz
    engine_pages: bytes
    record: dict  # the server's own, from its log
    faults: list
    late_s: float

    def counted(self, part, *names):
        """Sum of these counters of the call's record."""
        return sum(self.record[part][name] for name in names)


def read_wav(path, rate):
    """A mono file of 16 bit, at this rate."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return listen.resampled(pcm, file.getframerate(), rate)


def read_speech(path, rate):
    """The same without long pauses: half seconds of silence between others are left out."""
    pcm = read_wav(path, rate)
    blocks = np.array_split(pcm, max(1, round(len(pcm) / (PAUSE_S * rate))))
    loud = np.array([False, *(listen.dbfs(block) > SILENCE_DBFS for block in blocks), False])
    kept = loud[:-2] | loud[1:-1] | loud[2:]
    return np.concatenate([block for block, keep in zip(blocks, kept) if keep])


def write_wav(path, pcm, rate):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.round(pcm * 32767).astype("<i2").tobytes())
    return path


def bundled(rate):
    """The repository's two recordings, one after the other."""
    parts = [read_wav(programs.ROOT / "assets" / name, rate)
             for name in ("caller.wav", "greeting.wav")]
    return np.concatenate(parts)


def record(folder, scenes):
    """Plays all scenes at once; again if this machine was too busy to keep a telephone's pace.

    It was if the caller was late, or a word was interrupted where nothing was to go wrong.
    """
    tries = []
    for attempt in range(TRIES):
        recordings = asyncio.run(_record(folder / str(attempt), scenes))
        late_s = max(recording.late_s for recording in recordings.values())
        interrupted = sum(recordings[name].counted("governor", "underruns")
                          for name, scene in scenes.items() if scene.upset is None)
        tries.append((interrupted, late_s, recordings))
        if late_s < LATE_S and interrupted == 0:
            break
        print(f"this machine was late by {1000 * late_s:.0f} ms; {interrupted} interruptions")
    return min(tries, key=lambda one: one[:2])[2]


async def _record(folder, scenes):
    (folder / "personas").mkdir(parents=True)
    (folder / "personas/tester.toml").write_text(PERSONA)
    (folder / "voice-bot.toml").write_text('[personas]\ndir = "personas"\ndefault = "tester"\n')
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(programs.personaplex("--voice-frames", 5, *scene.flags))
                   for scene in scenes.values()]
        urls = [flag for engine in engines
                for flag in ("--engine-url", f"ws://127.0.0.1:{engine.port}")]
        port = programs.free_port()
        bot = stack.enter_context(programs.voice_bot(
            "serve", "--port", port, "--log-format", "json", "--log-level", "debug", *urls,
            port=port, cwd=folder))
        said = [to_mulaw(scene.said) for scene in scenes.values()]
        async with contextlib.AsyncExitStack() as callers:
            calls, played = [], []
            for engine, scene, codes in zip(engines, scenes.values(), said):
                call = await callers.enter_async_context(Call(f"http://127.0.0.1:{port}"))
                await call.dial()
                await _until_connected(engine)  # each call takes the first free engine
                calls.append(call)
                played.append(asyncio.create_task(_play(call, engine, scene, codes)))
            times = await asyncio.gather(*played)
            recordings = [await _recording(call, engine, bot, *when)
                          for call, engine, when in zip(calls, engines, times)]
    return dict(zip(scenes, recordings))


async def _play(call, engine, scene, codes):
    """Does nothing that takes long, for that would keep the other calls waiting."""
    await call.be_silent(1.0)
    begun_s, upset_s, over_s = call.now(), None, None
    spoken = asyncio.create_task(call.speak(codes))
    if scene.upset is not None:
        await asyncio.sleep(begun_s + scene.upset.at_s - call.now())
        upset_s, over_s = await _upset(call, engine, scene.upset)
    await spoken
    await call.be_silent(scene.tail_s)
    assert call.closed is None, f"the stream was closed with {call.closed}"
    await call.hang_up()
    return begun_s, upset_s, over_s


async def _recording(call, engine, bot, *when):
    pcm = np.frombuffer(await _get(engine, "/sessions/0/pcm"), "<i2").astype(np.float32) / 32768
    return Recording(call.said_track(), call.heard_track(), *when, call.heard(), pcm,
                     await _get(engine, "/sessions/0/pages"), await _record_of(bot, call.sid),
                     call.faults, call.worst_late_s)


async def _upset(call, engine, upset):
    """Returns from when until when it lasts."""
    began_s = call.now()
    if upset.kind == "carrier":
        return await call.stand_still(upset.seconds)
    if upset.kind == "caller":
        await call.hold_back(upset.seconds)
    else:
        url = f"http://127.0.0.1:{engine.port}/pause"
        async with aiohttp.ClientSession() as http:
            await http.post(url, params={"ms": str(1000 * upset.seconds)})
    return began_s, began_s + upset.seconds


async def _get(engine, path):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{engine.port}{path}") as response:
            return await response.read()


async def _until_connected(engine):
    deadline = time.monotonic() + READY_S
    while json.loads(await _get(engine, "/stats"))["connections"] == 0:
        assert time.monotonic() < deadline, "the call did not take the engine that was meant for it"
        await asyncio.sleep(0.02)


async def _record_of(bot, sid):
    """The CallRecord of this call: JSON in a field of the log; none if there is no such field."""
    deadline = time.monotonic() + READY_S
    while True:
        entries = [json.loads(line) for line in bot.log().splitlines() if sid in line]
        for entry in entries:
            if "record" in entry:
                return json.loads(entry["record"])
        if any(entry["message"] == "call ended" for entry in entries):
            return {}
        assert time.monotonic() < deadline, f"the log does not say that {sid} ended"
        await asyncio.sleep(0.05)
