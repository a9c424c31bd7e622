"""More callers than engines, on the real sphn: ringing, the queue, music, and overflow."""

import asyncio
import contextlib

import aiohttp

import programs
from twilio_caller import Call

VOICE_FRAMES = 150  # steps of 11 ms: some 2 s of priming
OVERFLOW = "+15550123"
CONFIG = f"""
[outbound]
allow = ["+1555"]
[admission]
ring_s = 4
then = "queue"
queue_callers = 1
overflow = "{OVERFLOW}"
"""


async def heard(call):
    """Speaks a second and hangs up; the bot must have been heard."""
    await call.be_silent(1)
    assert call.faults == [] and call.media, "the bot was not heard"


async def test_the_fourth_of_three_waits_and_the_fifth_goes_elsewhere(tmp_path):
    engines = [programs.personaplex("--voice-frames", VOICE_FRAMES) for _ in range(3)]
    with engines[0], engines[1], engines[2]:
        urls = ", ".join(f'"ws://127.0.0.1:{engine.port}"' for engine in engines)
        (tmp_path / "voice-bot.toml").write_text(f"[engine]\nurls = [{urls}]\n{CONFIG}")
        port = programs.free_port()
        with programs.voice_bot("serve", "--port", port, port=port, cwd=tmp_path):
            base = f"http://127.0.0.1:{port}"
            async with contextlib.AsyncExitStack() as stack:
                first, second, third, fourth, fifth = [
                    await stack.enter_async_context(Call(base)) for _ in range(5)]
                served = [first, second, third]
                async with asyncio.timeout(30):
                    await asyncio.gather(*[call.dial() for call in served])
                # They heard ringing alone, and the bot was ready when they were answered.
                await asyncio.gather(*[heard(call) for call in served])
                assert all(call.announced == call.music == [] for call in served)

                async def talk(call):
                    await call.be_silent(60)

                talks = [asyncio.create_task(talk(call)) for call in served]
                waits = asyncio.create_task(fourth.dial())
                async with asyncio.timeout(20):
                    while not fourth.music:
                        await asyncio.sleep(0.1)
                assert fourth.announced == ["All lines are busy. You are number 1 in line."]
                async with asyncio.timeout(20):
                    await fifth.dial()
                assert fifth.dialled == OVERFLOW and fifth.announced == []

                talks[0].cancel()
                await first.hang_up()
                async with asyncio.timeout(20):
                    await waits
                await heard(fourth)
                # Every 20 s at most is the same place told again.
                assert len(set(fourth.announced)) == 1 and len(fourth.announced) <= 2
                for task in talks[1:]:
                    task.cancel()
                for call in (second, third, fourth):
                    await call.hang_up()
        async with aiohttp.ClientSession() as http:
            for engine in engines:
                async with http.get(f"http://127.0.0.1:{engine.port}/stats") as response:
                    shown = await response.json(content_type=None)
                assert all(it["messages_before_handshake"] == 0 for it in shown["sessions"])
