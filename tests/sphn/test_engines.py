"""Runs the engine suite against the stand-in on the real sphn, and against `voice-bot engine`; and
shows what the other stand-ins do on the wire."""

import asyncio
import base64

import aiohttp
import pytest

import oggopus
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


class TestMoshi:
    """As Kyutai's own server did with a tiny model: see moshi_server.py."""

    async def test_the_handshake_comes_at_once_and_nothing_with_it(self):
        with programs.engine("moshi") as program:
            async with Client(f"http://127.0.0.1:{program.port}", {}) as client:
                await client.until(lambda: client.messages, 5, "handshake")
                await asyncio.sleep(0.3)
                assert [data for _, data in client.messages] == [b"\x00"]

    async def test_a_frame_is_answered_by_two_pages_and_its_text_but_the_first_is_not(self):
        with programs.engine("moshi", "--text-every", 1) as program:
            async with Client(f"http://127.0.0.1:{program.port}", {}) as client:
                await client.until(lambda: client.messages, 5, "handshake")
                talker = await Talker(client).headers()
                await talker.packets(PACKETS[:4])
                await asyncio.sleep(0.3)
                assert len(client.messages) == 1
                await talker.packets(PACKETS[4:12])
                await client.until(lambda: len(client.messages) == 5, 5, "two answers")
                (first, _, second, _) = (data for _, data in client.messages[1:])
                assert bytes(data[0] for _, data in client.messages[1:]) == b"\x01\x02\x01\x02"
                assert [len(oggopus.read_pages(one[1:])) for one in (first, second)] == [4, 2]
                for page in oggopus.read_pages(second[1:]):
                    assert [oggopus.packet_samples(packet) for packet in page.packets] == [960]

    async def test_what_cannot_be_decoded_cuts_the_connection(self):
        with programs.engine("moshi") as program:
            async with Client(f"http://127.0.0.1:{program.port}", {}) as client:
                await client.until(lambda: client.messages, 5, "handshake")
                talker = await Talker(client).headers()
                await talker.packets([*PACKETS[:4], b"\xff" * 4])
                assert await client.end() == 1006

    async def test_a_second_client_waits_in_silence(self):
        with programs.engine("moshi") as program:
            url = f"http://127.0.0.1:{program.port}"
            async with Client(url, {}) as first, Client(url, {}) as second:
                await first.until(lambda: first.messages, 5, "handshake")
                await second.ping()
                await asyncio.sleep(0.3)
                assert not second.messages and not second.pongs
                await first.ws.close()
                await second.until(lambda: second.messages and second.pongs, 5, "its turn")


class TestMoshiBackend:
    """As its source says: see moshi_backend_server.py."""

    async def test_metadata_a_long_handshake_and_a_packet_of_40_ms_in_each_message(self):
        with programs.engine("moshi-backend", "--text-every", 0) as program:
            url = f"http://127.0.0.1:{program.port}"
            async with Client(url, {}) as client, Client(url, {}) as other:
                for one in (client, other):
                    await one.until(lambda one=one: len(one.messages) == 2, 5, "handshake")
                    metadata, handshake = (data for _, data in one.messages)
                    assert (metadata[:2], handshake) == (b"\x04{", bytes(9))
                talker = await Talker(client).headers()
                await talker.packets(PACKETS[:12])
                await client.until(lambda: len(client.messages) == 6, 5, "two answers")
                pages = [oggopus.read_pages(data[1:]) for _, data in client.messages[2:]]
                assert [len(some) for some in pages] == [3, 1, 1, 1]

    async def test_an_unknown_kind_and_too_many_steps_end_it(self):
        with programs.engine("moshi-backend", "--steps", 2) as program:
            for audio in (False, True):
                async with Client(f"http://127.0.0.1:{program.port}", {}) as client:
                    await client.until(lambda: len(client.messages) == 2, 5, "handshake")
                    if audio:
                        await (await Talker(client).headers()).packets(PACKETS[:40])
                    else:
                        await client.send(b"", kind=7)
                    assert await client.end() == 1006


class TestVllmOmni:
    """As its documents say: see vllm_omni_server.py."""

    OPEN = {"type": "session.update", "session": {
        "voice": "NATF2.pt", "instructions": PROMPT, "input_audio_format": "pcm_f32le",
        "output_audio_format": "pcm16", "sample_rate_hz": 24_000}}

    async def talk(self, program, *events, until=None):
        """Sends these events; the types that come back until one is `until`, or the end."""
        url = f"http://127.0.0.1:{program.port}/v1/realtime?duplex=1"
        got = []
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:
            for event in events:
                await ws.send_json(event)
            while not got or got[-1]["type"] != until:
                message = await ws.receive(5)
                if message.type != aiohttp.WSMsgType.TEXT:
                    break
                got.append(message.json())
        return got

    async def test_one_frame_alone_then_five_at_a_time(self):
        step = base64.b64encode(bytes(4 * 1920)).decode()
        append = {"type": "input_audio_buffer.append", "audio": step}
        with programs.engine("vllm-omni") as program:
            close = {"type": "session.close"}
            got = await self.talk(program, self.OPEN, *[append] * 11, close)
        kinds = [event["type"] for event in got]
        assert kinds[:2] == ["session.created", "session.updated"]
        assert kinds[-1] == "session.closed"
        deltas = [event for event in got if event["type"] == "response.output_audio.delta"]
        lengths = [len(base64.b64decode(event["delta"])) // 2 // 1920 for event in deltas]
        assert lengths == [1, 5, 5]

    async def test_what_it_refuses(self):
        with programs.engine("vllm-omni", "--max-sessions", 1) as program:
            bad = {"type": "session.update", "session": {"voice": "../x.pt"}}
            got = await self.talk(program, bad)
            assert [event["error"]["code"] for event in got] == ["invalid_voice"]
            wrong = {**self.OPEN, "session": {**self.OPEN["session"], "sample_rate_hz": 8000}}
            append = {"type": "input_audio_buffer.append", "audio": "AAAAAA=="}
            got = await self.talk(program, wrong, append, until="error")
            assert got[-1]["error"]["code"] == "runtime_append_failed"
