"""What every engine on PersonaPlex's wire has to do: one suite for the stand-in on the real sphn
and for `voice-bot engine`. A subclass gives the `engine` fixture. The engine echoes, at no cost per
step, and takes one session at a time.

What the wire leaves open is not asked for: how the 80 ms of a packet are cut into frames, its size,
permessage-deflate, and how long after the last byte an output leaves.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass

import aiohttp
import numpy as np
import pytest

import encoders
import oggopus
from engine_client import FRAME_S, PROMPT, VOICE, Client

POLL_S = 0.010  # the least that a step of the prompt phase takes while the client keeps still
SLACK_S = 1.0  # what a busy test machine may add to any wait
SILENCE_STEPS = 12
CLOSE_S = 10  # how long the server waits for the answer to its close frame

# Two loops of the server notice a dead stream. If more audio follows the fatal message both may
# fail at once, and then the connection is cut without a CLOSE: which of the two is chance.
DEAD = {1000, 1006}


@dataclass
class Engine:
    """An engine under test."""

    url: str
    voice_frames: int

    def steps(self, prompt=PROMPT):
        """The least count of steps in the prompt phase."""
        return self.voice_frames + SILENCE_STEPS + max(1, len(prompt) // 5)

    def client(self, query=None, **connect):
        return Client(self.url, query, **connect)


def query(prompt=PROMPT, voice=VOICE, **more):
    return {"voice_prompt": voice, "text_prompt": prompt, **more}


SPEECH = oggopus.voice(6)
PACKETS = oggopus.encode(SPEECH, 20)
ONE = PACKETS[10]


class Talker:
    """Sends a proper stream to a client that has its handshake."""

    def __init__(self, client, serial=0x5EED):
        self.client, self.writer = client, oggopus.Writer(serial)

    async def headers(self):
        await self.client.send(self.writer.head())
        await self.client.send(self.writer.tags())
        return self

    async def packets(self, packets, **changes):
        for packet in packets:
            await self.client.send(self.writer.page([packet], **changes))


@contextlib.asynccontextmanager
async def talking(engine, **connect):
    """A client after its handshake and its headers, and its Talker."""
    async with engine.client(**connect) as client:
        await client.ready(hurry=True)
        yield client, await Talker(client).headers()


# Ways to cut a stream that all give floor(samples / 1920) frames: name -> messages.

def _packets_of(ms):
    if ms in (60, 100):
        return [oggopus.join([ONE] * (ms // 20))] * (1200 // ms)
    return oggopus.encode(SPEECH[:oggopus.RATE * 13 // 10], ms)


def _pages_with(count):
    writer, packets = oggopus.Writer(), PACKETS[:200]
    pages = [writer.page(packets[i:i + count]) for i in range(0, len(packets), count)]
    return [oggopus.Writer().head(), oggopus.Writer().tags(), *pages], packets


def _plain(packets):
    writer = oggopus.Writer()
    return [writer.head(), writer.tags(), *(writer.page([p]) for p in packets)]


def _split(size):
    """All bytes of a stream in messages of that size, headers too."""
    whole = b"".join(_plain(PACKETS[:60]))
    return [whole[i:i + size] for i in range(0, len(whole), size)]


def _glued(count):
    """The first pages in one message."""
    pages = _plain(PACKETS[:60])
    return [b"".join(pages[:count]), *pages[count:]]


def _cut_pages():
    """Each page spans two messages."""
    messages = []
    for page in _plain(PACKETS[:60]):
        messages += [page[:len(page) // 2], page[len(page) // 2:]]
    return messages


def _headers_in_sevens():
    head, tags, *pages = _plain(PACKETS[:60])
    both = head + tags
    return [both[i:i + 7] for i in range(0, len(both), 7)] + pages


def _head_and_tags_in_one_page():
    writer = oggopus.Writer()
    first = writer.page([oggopus.opus_head(), oggopus.opus_tags()], flags=oggopus.BOS, granule=0)
    return [first, *(writer.page([p]) for p in PACKETS[:60])]


def _headers_changed(head=None, **changes):
    writer = oggopus.Writer()
    first = oggopus.page([head or oggopus.opus_head()], serial=writer.serial, flags=oggopus.BOS)
    writer.sequence = 1
    return [first, writer.tags(), *(writer.page([p], **changes) for p in PACKETS[:60])]


def _without_tags():
    return [page for i, page in enumerate(_plain(PACKETS[:60])) if i != 1]


def _without_head():
    """Audio from the first page on; that page has the flag that begins a stream."""
    writer = oggopus.Writer()
    pages = [writer.page([PACKETS[0]], flags=oggopus.BOS)]
    return pages + [writer.page([p]) for p in PACKETS[1:62]]


def _backwards():
    writer = oggopus.Writer()
    pages = [writer.head(), writer.tags()]
    return pages + [writer.page([p], sequence=1000 - i) for i, p in enumerate(PACKETS[:60])]


def _encoded(rate, **settings):
    return lambda: _plain(encoders.opus(oggopus.voice(1.3, rate), rate, **settings))


def _encoded_with_dtx():
    said = oggopus.voice(0.6, 16_000)
    whole = np.concatenate([said, np.zeros(16_000, np.float32)])
    packets = encoders.opus(whole, 16_000, application="voip")
    return _plain(encoders.with_dtx(packets, speech=30))


def _encoded_with_fec():
    packets = encoders.opus(oggopus.voice(1.3, 16_000), 16_000, application="voip", fec="1",
                            packet_loss="20")
    assert any(map(encoders.has_fec, packets))
    return _plain(packets)


ACCEPTED = {
    **{f"{ms} ms packets": lambda ms=ms: _plain(_packets_of(ms))
       for ms in (5, 10, 20, 40, 60, 80, 100, 120)},
    "coded at 48 kHz": lambda: _plain(oggopus.encode(oggopus.voice(1.3, 48_000), 20, 48_000)),
    "coded at 8 kHz": _encoded(8000, application="voip"),
    "coded at 16 kHz": _encoded(16_000, application="voip"),
    "narrowband at 24 kHz": _encoded(24_000, application="voip", cutoff="4000"),
    "stereo": _encoded(48_000, channels=2, bit_rate=64_000),
    "constant 64 kbit/s": _encoded(24_000, bit_rate=64_000, vbr="off"),
    "constant 510 kbit/s": _encoded(48_000, channels=2, bit_rate=510_000, vbr="off"),
    "with DTX": _encoded_with_dtx,
    "with in-band FEC": _encoded_with_fec,
    "each page cut over two messages": _cut_pages,
    "messages of 100 bytes": lambda: _split(100),
    "headers in 7-byte messages": _headers_in_sevens,
    "headers in one message": lambda: _glued(2),
    "headers glued to the first page": lambda: _glued(3),
    "head and tags in one page": _head_and_tags_in_one_page,
    "4 s in one message": lambda: [b"".join(_plain(PACKETS[:200]))],
    "no OpusTags": _without_tags,
    "pre-skip 3840, which is played all the same":
        lambda: _headers_changed(oggopus.opus_head(pre_skip=3840)),
    "OpusHead says 8 kHz stereo": lambda: _headers_changed(oggopus.opus_head(8000, 0, 2)),
    "granule always 0": lambda: _headers_changed(granule=0),
    "granule always -1": lambda: _headers_changed(granule=-1),
    "sequence always 0": lambda: _headers_changed(sequence=0),
    "sequence backwards": _backwards,
    "every page says end of stream": lambda: _headers_changed(flags=oggopus.EOS),
}


def samples_in(messages):
    """Samples of all audio packets in the messages, whole pages or not."""
    pages = oggopus.read_pages(b"".join(messages))
    packets = [p for one in pages for p in one.packets if p[:4] != b"Opus"]
    return sum(map(oggopus.packet_samples, packets))


# What a session survives: name -> async function(client, talker), and the packets it adds.

async def _jump(client, talker, by):
    talker.writer.sequence += by


async def _chain(client, talker, end_first):
    if end_first:
        await client.send(talker.writer.page([], flags=oggopus.EOS))
    talker.writer = oggopus.Writer(0xBEEF)
    await talker.headers()


async def _kinds(client, talker):
    for kind in (0, 2, 3, 4, 5, 6, 7, 255):
        await client.send(b"what is this", kind)


async def _ping(client, talker):
    await client.ping()
    await client.until(lambda: client.pongs, 2, "pong")


SURVIVED = {
    "sequence 5 ahead": (lambda c, t: _jump(c, t, 5), 0),
    "sequence 3 back": (lambda c, t: _jump(c, t, -3), 0),
    "end of stream, and going on": (
        lambda c, t: c.send(t.writer.page([ONE] * 4, flags=oggopus.EOS)), 4),
    "end of stream, then another serial": (lambda c, t: _chain(c, t, True), 0),
    "another serial begins in between": (lambda c, t: _chain(c, t, False), 0),
    "page without packets": (lambda c, t: c.send(t.writer.page([])), 0),
    "1000 bytes of garbage between pages": (
        lambda c, t: c.send(random.Random(3).randbytes(1000).replace(b"O", b"o")), 0),
    "packets of one byte": (lambda c, t: t.packets([ONE[:1]] * 4), 4),
    "audio message without payload": (lambda c, t: c.send(b""), 0),
    "empty message": (lambda c, t: c.send_raw(b""), 0),
    "unknown kinds": (_kinds, 0),
    "text frame": (lambda c, t: c.ws.send_str("hello"), 0),
    "ping": (_ping, 0),
    "10 bytes less than 4 MiB": (lambda c, t: c.send(bytes(4 * 1024 * 1024 - 11), 3), 0),
}


# What ends a session: name -> messages after some proper ones.

def _broken(**changes):
    return lambda writer: [writer.page([ONE], **changes)]


def _truncated(writer):
    return [writer.page([ONE])[:-20], *(writer.page([ONE]) for _ in range(20))]


def _garbage_inside(writer):
    page = writer.page([ONE])
    return [page[:40] + b"\x55" * 100 + page[40:], *(writer.page([ONE]) for _ in range(20))]


def _opus(packet):
    return lambda writer: [writer.page([packet])]


def _random_opus(writer):
    """Random bytes may happen to be Opus, so there are several."""
    chance = random.Random(5)
    return [writer.page([chance.randbytes(80)]) for _ in range(20)]


FATAL = {
    "wrong checksum": (_broken(checksum=1), {1000}),
    "Ogg version 1": (_broken(version=1), {1000}),
    "continued without an open packet": (_broken(flags=oggopus.CONTINUED), {1000}),
    "another serial without a beginning": (_broken(serial=0xBEEF), {1000}),
    "the same serial begins again": (lambda writer: [writer.head()], {1000}),
    "truncated page": (_truncated, DEAD),
    "garbage inside a page": (_garbage_inside, DEAD),
    "Opus of ff ff ff ff": (_opus(b"\xff" * 4), {1000}),
    "Opus of random bytes": (_random_opus, DEAD),
    "Opus of code 3 with no frames": (_opus(bytes([ONE[0] | 3, 0])), {1000}),
    "mu-law silence as Opus": (lambda writer: [writer.page([b"\xff" * 160]) for _ in range(10)],
                               DEAD),
}


class EngineSuite:
    """Subclasses give `engine`, an Engine."""

    # Connection and handshake

    async def test_upgrade_comes_at_once_without_subprotocol(self, engine):
        async with engine.client(protocols=["foo"], origin="http://elsewhere") as client:
            assert client.upgraded < SLACK_S
            assert client.ws.protocol is None

    async def test_a_client_that_offers_compression_is_served(self, engine):
        async with talking(engine, compress=15) as (client, talker):
            await talker.packets(PACKETS[:20])
            await client.frames(5)

    async def test_handshake_is_one_byte_then_two_header_pages(self, engine):
        async with engine.client() as client:
            await client.ready()
            (ready, first), (_, head), (last, tags) = client.messages
            assert first == b"\x00"
            assert last - ready < SLACK_S
            assert (len(head), len(tags)) == (48, 54)
            head, tags = oggopus.read_pages(head[1:])[0], oggopus.read_pages(tags[1:])[0]
            assert head.packets == [bytes.fromhex("4f707573486561640101000fc05d0000000000")]
            assert tags.packets == [b"OpusTags\x09\0\0\0sphn-pyo3\0\0\0\0"]
            assert [(p.serial, p.flags, p.sequence, p.granule, p.crc_ok, p.version)
                    for p in (head, tags)] == [(42, 2, 0, 0, True, 0), (42, 0, 1, 0, True, 0)]
            await asyncio.sleep(0.3)
            assert len(client.messages) == 3, "there is no output without input"

    async def test_handshake_takes_a_poll_per_step_of_the_prompts(self, engine):
        times = {}
        for prompt in (PROMPT, "A much longer prompt. " * 12):
            async with engine.client(query(prompt)) as client:
                times[prompt] = await client.ready()
            least = engine.steps(prompt) * POLL_S
            assert least <= times[prompt] <= 2 * least + SLACK_S
        short, long = times.values()
        assert long - short > 0.4

    async def test_pings_are_answered_in_the_prompt_phase(self, engine):
        async with engine.client() as client:
            await client.ping()
            await client.ready()
            assert client.pongs and client.pongs[0] < client.messages[0][0]

    @pytest.mark.parametrize("kind", ["junk", "audio", "text frames"])
    async def test_early_messages_are_swallowed_and_save_their_poll(self, engine, kind):
        async with engine.client(query(PROMPT * 30)) as client:
            count = engine.steps(PROMPT * 30) - 5
            for _ in range(count):
                if kind == "text frames":
                    await client.ws.send_str("early")
                else:
                    await client.send(b"early", 7 if kind == "junk" else 1)
            assert await client.ready() < count * POLL_S
            talker = await Talker(client).headers()
            await talker.packets(PACKETS[:20])
            await client.frames(5)

    # Audio before the handshake

    async def test_a_stream_begun_before_the_handshake_is_dead(self, engine):
        async with engine.client() as client:
            talker = await Talker(client).headers()
            while not client.messages:
                await talker.packets(PACKETS[:1])
                await asyncio.sleep(0.02)
            await talker.packets(PACKETS[:5])
            assert await client.end() in DEAD
            assert not client.audio

    async def test_headers_before_the_handshake_are_lost(self, engine):
        async with engine.client() as client:
            talker = await Talker(client).headers()
            await client.ready()
            await talker.packets(PACKETS[:1])
            assert await client.end() == 1000

    async def test_a_burst_before_the_handshake_is_dead(self, engine):
        async with engine.client() as client:
            await (await Talker(client).headers()).packets(PACKETS[:150] * 2)
            assert await client.end() in DEAD

    async def test_a_stream_begun_again_after_the_handshake_works(self, engine):
        async with engine.client() as client:
            early = Talker(client)
            await (await early.headers()).packets(PACKETS[:8])
            await client.ready()
            talker = await Talker(client, early.writer.serial).headers()
            await talker.packets(PACKETS[:40])
            await client.frames(10)

    # What is accepted

    @pytest.mark.parametrize("name", ACCEPTED)
    async def test_accepted(self, engine, name):
        messages = ACCEPTED[name]()
        async with engine.client() as client:
            await client.ready(hurry=True)
            for message in messages:
                await client.send(message)
            await client.frames(samples_in(messages) // oggopus.FRAME)

    @pytest.mark.parametrize("count", [1, 2, 4, 5, 10, 50, 200])
    async def test_packets_per_page(self, engine, count):
        messages, packets = _pages_with(count)
        async with engine.client() as client:
            await client.ready(hurry=True)
            for message in messages:
                await client.send(message)
            await client.frames(len(packets) // 4)

    async def test_a_stream_may_begin_with_audio(self, engine):
        """Whether the first packet is taken for the head, and lost, is the codec's choice."""
        async with engine.client() as client:
            await client.ready(hurry=True)
            for message in _without_head():
                await client.send(message)
            await client.frames(15)

    async def test_lost_pages_are_not_concealed(self, engine):
        async with talking(engine) as (client, talker):
            for index, packet in enumerate(PACKETS[:200]):
                page = talker.writer.page([packet])
                if index % 10 != 3:
                    await client.send(page)
            await client.frames(180 // 4)

    async def test_a_rest_below_a_frame_stays(self, engine):
        async with talking(engine) as (client, talker):
            await talker.packets(PACKETS[:153])
            await client.frames(38)
            await talker.packets(PACKETS[153:156])
            await client.frames(39)

    async def test_an_empty_packet_is_ten_seconds_of_concealment(self, engine):
        async with talking(engine) as (client, talker):
            await talker.packets([*PACKETS[:4], b""])
            await client.frames(126)

    async def test_opus_without_ogg_is_ignored(self, engine):
        async with engine.client() as client:
            await client.ready(hurry=True)
            for packet in PACKETS[:50]:
                await client.send(packet)
            await asyncio.sleep(0.2)
            talker = await Talker(client).headers()
            await talker.packets(PACKETS[:20])
            await client.frames(5)

    async def test_150_kib_without_a_page_end_the_session(self, engine):
        async with engine.client() as client:
            await client.ready(hurry=True)
            for _ in range(1000):
                await client.send(b"\x78" + bytes(159))
            assert await client.end() in DEAD
            assert not client.audio

    async def test_a_serial_needs_its_beginning(self, engine):
        async with engine.client() as client:
            await client.ready(hurry=True)
            talker = Talker(client)
            await talker.packets(PACKETS[:1])
            assert await client.end() == 1000

    # Corruption and odd messages

    @pytest.mark.parametrize("name", SURVIVED)
    async def test_survived(self, engine, name):
        act, packets = SURVIVED[name]
        async with talking(engine) as (client, talker):
            await talker.packets(PACKETS[:12])
            await act(client, talker)
            await talker.packets(PACKETS[12:24])
            await client.frames((24 + packets) // 4)

    @pytest.mark.parametrize("name", FATAL)
    async def test_fatal(self, engine, name):
        act, codes = FATAL[name]
        async with talking(engine) as (client, talker):
            await talker.packets(PACKETS[:12])
            await client.frames(3)
            for message in act(talker.writer):
                await client.send(message)
            assert await client.end() in codes

    async def test_a_message_over_4_mib_is_too_big(self, engine):
        async with talking(engine) as (client, _):
            await client.send(bytes(4 * 1024 * 1024 + 1), 3)
            assert await client.end() == 1009

    # What comes back

    async def test_each_message_is_a_page_of_one_packet_of_80_ms(self, engine):
        async with talking(engine) as (client, talker):
            await talker.packets(PACKETS[:200])
            await client.frames(50)
            assert len(client.pages) == 50
            for index, page in enumerate(client.pages):
                assert len(page.packets) == 1
                assert oggopus.packet_samples(page.packets[0]) == oggopus.FRAME
                assert (page.serial, page.flags, page.version, page.crc_ok) == (42, 0, 0, True)
                assert page.sequence == index + 2
                assert page.granule == (index + 1) * oggopus.FRAME

    async def test_text_comes_right_before_the_audio_of_its_frame(self, engine):
        async with talking(engine) as (client, talker):
            for index in range(24):
                await talker.packets(PACKETS[4 * index:4 * index + 4])
                await client.until(lambda n=index: len(client.audio) > n, 3, "frame")
            kinds = bytes(data[0] for _, data in client.messages[3:])
        assert set(kinds) <= {1, 2}
        assert b"\x02\x02" not in kinds, "at most one piece of text for a frame"
        assert kinds.endswith(b"\x01")
        assert all(piece and "\N{REPLACEMENT CHARACTER}" not in piece for piece in client.text)

    async def test_what_comes_back_is_what_was_said(self, engine):
        async with talking(engine) as (client, talker):
            await talker.packets(PACKETS[:200])
            await client.frames(50)
            heads = [data[1:] for _, data in client.messages if data[:1] == b"\x01"][:2]
        heard = oggopus.decode(heads + client.audio)
        assert len(heard) == 50 * oggopus.FRAME
        value, delay = oggopus.likeness(SPEECH[:len(heard)], heard)
        assert value > 0.9
        assert 85 <= delay <= 105, "one frame and two codec delays"

    # Lockstep

    async def test_a_pause_in_the_input_is_a_pause_in_the_output(self, engine):
        async with talking(engine) as (client, talker):
            for count in (1, 2, 3):
                await talker.packets(PACKETS[4 * count:4 * count + 4])
                await client.frames(count)
                await asyncio.sleep(0.4)
                assert len(client.audio) == count
            assert [page.granule for page in client.pages] == [1920, 3840, 5760]

    async def test_a_burst_gives_a_burst(self, engine):
        async with talking(engine) as (client, talker):
            began = client.now()
            await talker.packets(PACKETS[:200])
            await client.frames(50)
            arrived = client.messages[-1][0] - began
            assert arrived < 2.5, "4 s of audio are not held back to real time"

    async def test_a_minute_in_one_message_is_worked_off(self, engine):
        async with talking(engine) as (client, talker):
            pages = [talker.writer.page([packet]) for packet in PACKETS * 10]
            began = client.now()
            await client.send(b"".join(pages))
            await client.until(lambda: len(client.audio) >= 256, FRAME_S, "256 frames")
            assert client.now() - began < 256 * 0.08 / 4, "far faster than real time"
            assert client.closed is None
        async with engine.client() as client:
            await client.ready(hurry=True)
            assert client.now() < engine.steps() * POLL_S + SLACK_S, "the rest is thrown away"

    async def test_a_client_that_stops_reading_loses_nothing(self, engine):
        """Only for so long as the system holds what is sent: filling its buffers takes too long."""
        async with talking(engine) as (client, talker):
            client.stop_reading()
            began = client.now()
            await talker.packets(PACKETS)
            await asyncio.sleep(max(0.0, 2.5 - client.now() + began))
            assert not client.audio
            client.go_on_reading()
            await client.frames(75)
            await talker.packets(PACKETS[:40])
            await client.frames(85)

    # Second client and disconnects

    async def test_a_second_client_waits_in_silence(self, engine):
        async with talking(engine) as (first, talker), engine.client() as second:
            assert second.upgraded < SLACK_S
            await second.ping()
            await talker.packets(PACKETS[:40])
            await first.frames(10)
            await asyncio.sleep(0.4)
            assert not second.messages and not second.pongs and second.closed is None
            left = second.now()
            await first.ws.close()
            ready = await second.ready() - left
            assert engine.steps() * POLL_S - POLL_S * 2 <= ready
            assert ready < 2 * engine.steps() * POLL_S + SLACK_S
            assert second.pongs

    async def test_the_queue_is_first_come_first_served(self, engine):
        async with talking(engine) as (first, _), engine.client() as second:
            await asyncio.sleep(0.1)
            async with engine.client() as third:
                await first.ws.close()
                await second.ready()
                await asyncio.sleep(0.2)
                assert not third.messages
                await second.ws.close()
                await third.ready()

    async def test_audio_sent_while_queued_is_dead(self, engine):
        async with talking(engine) as (first, _), engine.client() as second:
            await (await Talker(second).headers()).packets(PACKETS[:150])
            await asyncio.sleep(0.2)
            await first.ws.close()
            assert await second.end() in DEAD
            assert second.messages[0][1] == b"\x00"

    @pytest.mark.parametrize("how", ["close", "abort", "fin", "abort in the prompt phase",
                                     "abort in the queue"])
    async def test_a_client_that_leaves_frees_the_engine(self, engine, how):
        async with engine.client() as first:
            if how != "abort in the prompt phase":
                await first.ready()
            if how == "abort in the queue":
                async with engine.client() as queued:
                    await asyncio.sleep(0.1)
                    queued.abort()
            if how in ("close", "abort in the queue"):
                await first.ws.close()
            elif how == "fin":
                first.finish()
            else:
                await asyncio.sleep(0.05)
                first.abort()
            async with engine.client() as second:
                assert await second.ready() < 2 * engine.steps() * POLL_S + SLACK_S

    async def test_a_close_that_is_not_answered_holds_the_engine(self, engine):
        async with talking(engine, autoclose=False) as (client, talker):
            await talker.packets([b"\xff" * 4])
            assert await client.end() == 1000
            async with engine.client() as second:
                ready = await second.ready()
            assert CLOSE_S - SLACK_S < ready < CLOSE_S + engine.steps() * POLL_S * 2 + SLACK_S

    # Query

    @pytest.mark.parametrize("parameters", [
        {"text_prompt": PROMPT},
        {"voice_prompt": VOICE},
        query(voice="NOBODY.pt"),
        query(voice="NATF2"),
        query(seed="42"),
        query(seed="-1"),
        query(seed=""),
        query(voice="clip.wav"),
    ], ids=lambda parameters: "&".join(f"{key}={value}" for key, value in parameters.items()))
    async def test_a_wrong_query_is_cut_after_the_upgrade(self, engine, parameters):
        async with engine.client(parameters) as client:
            assert await client.end() == 1006
            assert not client.messages
            assert client.now() < SLACK_S
        async with engine.client() as client:
            await client.ready(hurry=True)

    async def test_who_connects_last_sets_the_prompt_of_all_who_wait(self, engine):
        long = query("long " * 200)
        async with talking(engine) as (first, _), engine.client(long) as second:
            await asyncio.sleep(0.1)
            async with engine.client(query("Hi")):
                left = second.now()
                await first.ws.close()
                assert await second.ready() - left < engine.steps("long " * 200) * 0.01

    async def test_a_second_client_changes_the_prompt_that_is_being_read(self, engine):
        async with engine.client(query("long " * 200)) as first:
            await asyncio.sleep(0.1)
            async with engine.client(query("Hi")):
                assert await first.ready() < engine.steps("long " * 200) * 0.01

    async def test_a_refused_voice_is_served_the_second_time(self, engine):
        for ending in (1006, None):
            async with engine.client(query(voice="clip.wav")) as client:
                if ending:
                    assert await client.end() == ending
                else:
                    await client.ready()

    async def test_an_empty_prompt_is_cut_after_the_voice(self, engine):
        async with engine.client(query("")) as client:
            assert await client.end() == 1006
            assert not client.messages
            assert client.now() >= engine.voice_frames * POLL_S
        async with engine.client() as client:
            await client.ready(hurry=True)

    async def test_unknown_parameters_and_other_alphabets_work(self, engine):
        prompt = "Sei freundlich, 请友好, будь добр & <system> 100 % \N{SLIGHTLY SMILING FACE}"
        async with engine.client(query(prompt, text_temperature="0.7", audio_topk="250")) as client:
            await client.ready(hurry=True)

    async def test_a_request_without_upgrade_is_refused(self, engine):
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{engine.url}/api/chat", params=query()) as response:
                assert response.status == 400

    async def test_a_request_line_has_a_limit(self, engine):
        def target(length):
            path = f"/api/chat?voice_prompt={VOICE}&text_prompt="
            return query("x" * (length - len(path)))

        async with engine.client(target(8160)) as client:
            assert client.upgraded < SLACK_S
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with engine.client(target(8200)):
                pass
        assert error.value.status == 400
