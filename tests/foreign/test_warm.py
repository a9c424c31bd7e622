"""Warm engines on the real sphn: primed before anybody calls, one connection at a time."""

import asyncio
import json

import aiohttp

import programs
from twilio_caller import Call

ENGINES, WAVES = 3, 3
VOICE_FRAMES = 340  # steps of 11 ms: some 4 s of priming
PICK_UP_MS = 300


async def stats(engine):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{engine.port}/stats") as response:
            return json.loads(await response.read())


async def until_primed(engines, sessions):
    """Waits until each engine has had so many sessions, the last of them ready and unused."""
    async with asyncio.timeout(15):
        for engine in engines:
            while True:
                shown = (await stats(engine))["sessions"]
                if len(shown) == sessions and shown[-1]["ready"]:
                    break
                await asyncio.sleep(0.1)


async def pick_up(base):
    """A call of two seconds; how long it took from its stream's start to the first sound, in ms."""
    async with Call(base) as call:
        await call.dial()
        began = call.now()
        await call.be_silent(2)
        await call.hang_up()
        assert call.faults == [] and call.media, "the bot was not heard"
        return 1000 * (call.media[0][0] - began)


async def test_calls_are_answered_at_once_and_no_server_has_two_connections(tmp_path, record_property):
    engines = [programs.personaplex("--voice-frames", VOICE_FRAMES) for _ in range(ENGINES)]
    with engines[0], engines[1], engines[2]:
        urls = ", ".join(f'"ws://127.0.0.1:{engine.port}"' for engine in engines)
        (tmp_path / "voice-bot.toml").write_text(f"[engine]\nurls = [{urls}]\nwarm = {ENGINES}\n")
        port = programs.free_port()
        with programs.voice_bot("serve", "--port", port, port=port, cwd=tmp_path) as bot:
            base, waited = f"http://127.0.0.1:{port}", []
            for wave in range(1, WAVES + 1):
                await until_primed(engines, wave)
                waited += await asyncio.gather(*[pick_up(base) for _ in engines])
            assert max(waited) < PICK_UP_MS, waited
            record_property("worst pick-up in ms", max(waited))
            await until_primed(engines, WAVES + 1)
            assert "lost" not in bot.log()
        for engine in engines:
            shown = await stats(engine)
            assert shown["connections"] == WAVES + 1
            assert all(session["messages_before_handshake"] == 0 for session in shown["sessions"])
