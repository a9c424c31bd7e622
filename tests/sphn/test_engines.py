"""Runs the engine suite against the stand-in on the real sphn, and against `voice-bot engine`."""

import asyncio

import aiohttp
import pytest

import programs
from engine_client import PROMPT, Client
from engine_suite import PACKETS, Engine, EngineSuite, Talker, query, talking

VOICE_FRAMES = 50  # of both engines unless told otherwise


class Restarted:
    """Keeps a program for a class of tests, and starts it again if a test has ended it."""

    def __init__(self, make):
        self.make, self.program = make, None

    def program_now(self):
        if self.program is None or not self.program.alive():
            self.close()
            self.program = self.make().__enter__()
        return self.program

    def close(self):
        if self.program is not None:
            self.program.__exit__()
            self.program = None


@pytest.fixture(scope="class")
def kept(request):
    kept = Restarted(request.cls.start)
    yield kept
    kept.close()


@pytest.fixture
def engine(kept):
    return Engine(f"http://127.0.0.1:{kept.program_now().port}", VOICE_FRAMES)


class TestSphn(EngineSuite):
    """The stand-in: sphn, aiohttp and the loops are real."""

    @staticmethod
    def start():
        return programs.personaplex()


class TestDemo(EngineSuite):
    """The demo engine that voice-bot carries."""

    @staticmethod
    def start():
        port = programs.free_port()
        return programs.voice_bot("engine", "--behaviour", "echo", "--step-ms", 0, "--port", port,
                                  port=port)


async def stats(program):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{program.port}/stats") as response:
            return await response.json()


class TestStandIn:
    """The faults and counters that the other tests rely on."""

    @pytest.mark.parametrize("flags, code", [
        (["--drop-before-handshake"], 1006),
        (["--drop-at", "3"], 1006),
        (["--crash-at", "3"], 1000),
    ], ids=lambda value: " ".join(value) if isinstance(value, list) else str(value))
    async def test_endings(self, flags, code):
        with programs.personaplex("--voice-frames", 1, *flags) as program:
            async with Client(f"http://127.0.0.1:{program.port}") as client:
                if "--drop-before-handshake" not in flags:
                    await client.ready()
                    await (await Talker(client).headers()).packets(PACKETS[:40])
                assert await client.end() == code
                assert len(client.audio) <= 3

    async def test_stall_and_counters(self):
        with programs.personaplex("--voice-frames", 1, "--stall-at", "3") as program:
            async with talking(Engine(f"http://127.0.0.1:{program.port}", 1)) as (client, talker):
                await talker.packets(PACKETS[:40])
                await client.frames(3)
                session = (await stats(program))["sessions"][0]
            assert session["messages_before_handshake"] == 1 + 6 + len(PROMPT) // 4 + 6 + 1
            assert session["frames_out"] == 3

    async def test_refusal_and_silence(self):
        with programs.personaplex("--refuse", 503) as program:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with Client(f"http://127.0.0.1:{program.port}"):
                    pass
        with programs.personaplex("--voice-frames", 1, "--never-ready") as program:
            async with Client(f"http://127.0.0.1:{program.port}") as client:
                await asyncio.sleep(0.6)
                assert not client.messages and client.closed is None
