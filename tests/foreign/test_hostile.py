"""Strangers who hold connections, send half of something or nonsense, beside calls that go well."""

import asyncio
import contextlib
import json
import random

import aiohttp
import pytest

import programs
from twilio_caller import RATE, Call

CALLS, CALL_S = 20, 16
PRIMED_S = 8
GAPS_S = 0.5  # of each call, on a machine that also floods it
LATE_S = 0.15  # a caller that is later than this was held up by the machine
SOCKETS, AT_ONCE = 10_000, 1_000
MEMORY_MB = 80
HEAD = b"GET /twiml?CallSid=CA1 HTTP/1.1\r\nHost: bot.example.com\r\n"


@pytest.fixture
def bot(tmp_path):
    port = programs.free_port()
    # Each webhook is answered with a stream at once: nothing rings.
    (tmp_path / "voice-bot.toml").write_text("[admission]\nring_s = 0\n")
    with programs.voice_bot("serve", "--demo", CALLS, "--port", port, port=port,
                            cwd=tmp_path) as program:
        yield program


def resident_mb(program):
    with open(f"/proc/{program.process.pid}/status") as status:
        kb = next(line.split()[1] for line in status if line.startswith("VmRSS"))
    return int(kb) / 1000


async def connected(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def hold(port, count, sent):
    """Opens so many sockets, sends that much and keeps them until the server closes them."""
    files = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            reader, writer = await connected(port)
            writer.write(sent)
            files.append((reader, writer))
    await asyncio.sleep(0.2)
    return files


async def flood(port):
    """Ten thousand sockets in all, a thousand at once, each with something else."""
    chance, kept = random.Random(1), []
    for _ in range(SOCKETS // AT_ONCE):
        sent = chance.choice([b"", HEAD, HEAD[:9], bytes(chance.randbytes(200)), b"\x16\x03\x01\x02",
                              b"POST /twiml HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nC"])
        for _, writer in kept:
            writer.transport.abort()
        kept = await hold(port, AT_ONCE, sent)
    return kept


async def one_good_call(bot, after_s):
    """Returns for how many seconds nothing was played once the model speaks, what the carrier had to
    complain of, and by how much this program was late itself at worst."""
    await asyncio.sleep(after_s)
    async with Call(f"http://127.0.0.1:{bot.port}") as call:
        verbs = await call.dial()
        assert verbs[0].tag == "Connect", verbs[0].tag
        await call.be_silent(CALL_S)
        assert call.closed is None
        await call.hang_up()
        pieces = [piece for piece in call.played() if piece[0] > PRIMED_S]
        ends = [start + len(codes) / RATE for start, codes in pieces]
        starts = [start for start, _ in pieces]
        assert ends[-1] > call.now() - 1, "the bot fell silent"
        gaps_s = sum(start - end for start, end in zip(starts[1:], ends))
        return gaps_s, call.faults, call.worst_late_s


async def test_calls_stay_clean_while_ten_thousand_sockets_come_and_go(bot, record_property):
    # On a machine that others use too, what the callers themselves could not do in time tells
    # nothing of the bot: then it is measured again.
    for tries_left in (1, 0):
        calls = [asyncio.create_task(one_good_call(bot, 0.2 * n)) for n in range(CALLS)]
        await asyncio.sleep(1)
        kept = await flood(bot.port)
        record_property("resident MB", float(resident_mb(bot)))
        assert resident_mb(bot) < MEMORY_MB
        outcomes = await asyncio.gather(*calls)
        for _, writer in kept:
            writer.transport.abort()
        assert all(faults == [] for _, faults, _ in outcomes) and "panicked" not in bot.log()
        gaps_s, _, late_s = (max(column) for column in zip(*outcomes))
        record_property("seconds of nothing", float(gaps_s))
        if gaps_s < GAPS_S:
            return
        assert tries_left and late_s > LATE_S, f"{gaps_s} s of nothing, callers {late_s} s late"


async def test_a_head_that_does_not_end_is_given_up(bot):
    loop = asyncio.get_running_loop()
    reader, writer = await connected(bot.port)
    began = loop.time()
    writer.write(HEAD)
    with contextlib.suppress(ConnectionError):
        while loop.time() - began < 20 and not reader.at_eof():
            writer.write(b"X-Slow: 1\r\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1000), 0.5)
    assert 8 < loop.time() - began < 15
    writer.close()


async def test_a_head_that_is_too_long_is_refused(bot):
    for head in (HEAD + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n", HEAD + b"X: y\r\n" * 500 + b"\r\n"):
        reader, writer = await connected(bot.port)
        writer.write(head)
        status = await asyncio.wait_for(reader.readline(), 5)
        assert status.split()[1] == b"431", status
        writer.close()


async def test_nonsense_on_a_stream_ends_that_stream_alone(bot):
    chance = random.Random(2)
    pieces = ["{", "[]", "null", '{"event":"media"}', '{"event":"start"}', "\x00" * 100, "9" * 1000,
              '{"event":"connected"}', json.dumps({"event": "stop", "stop": []}), "[" * 50_000]
    for n in range(20):
        async with Call(f"http://127.0.0.1:{bot.port}") as call:
            url = (await call.webhook(f"http://127.0.0.1:{bot.port}/twiml"))[0][0].get("url")
            async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    for _ in range(chance.randrange(1, 60)):
                        await socket.send_str(chance.choice(pieces))
                if n % 2:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(socket.receive(), 2)
    gaps_s, faults, _ = await one_good_call(bot, 1)
    assert faults == [] and gaps_s < GAPS_S
    assert "panicked" not in bot.log()
