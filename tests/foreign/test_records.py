"""What is left of calls: after their end, after kill -9, and after they were deleted."""

import asyncio
import contextlib
import csv
import datetime
import io
import json
import subprocess
import time
import wave

import aiohttp
import numpy as np
import pytest

import postgres
import programs
from bot_and_twilio import API_TOKEN
from twilio_caller import Call

CALLS = 20
TALK_S = 6
# A word every 320 ms, each its own, under a tone that never ends.
WORDS = "".join(f"{4 * n} say w{n}\n" for n in range(500)) + "0 tone 440 2000\n"
RECORDED = 'name = "assistant"\nvoice = "NATF2.pt"\nprompt = "Be brief."\nrecord = true\n'
# From the webhook to the first sound, when twenty call at once.
SET_UP_S = 0.5
CONFIG = '[log]\nshow_personal_data = true\nformat = "json"\nlevel = "info,voice_bot=debug"\n'


@contextlib.contextmanager
def store(kind):
    """What the configuration says of the store, and the environment."""
    if kind == "sqlite":
        yield "", {}
    else:
        with postgres.postgres() as url:
            yield f'[store]\nurl = "{url}"\n', {"VOICE_BOT_STORE_PASSWORD": postgres.PASSWORD}


@contextlib.contextmanager
def engines(folder, count):
    """That many engines, each with the words."""
    (folder / "script").write_text(WORDS)
    with contextlib.ExitStack() as running:
        urls = []
        for _ in range(count):
            port = programs.free_port()
            running.enter_context(programs.voice_bot(
                "engine", "--behaviour", "script", "--script", folder / "script", "--port", port,
                port=port))
            urls.append(f"ws://127.0.0.1:{port}")
        yield urls


def server(folder, port, urls, env):
    flags = [flag for url in urls for flag in ("--engine-url", url)]
    return programs.voice_bot("serve", "--port", port, *flags, port=port, cwd=folder,
                              env={"VOICE_BOT_API_TOKEN": API_TOKEN, **env})


async def ask(bot, path, method="GET"):
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    url = f"http://127.0.0.1:{bot.port}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, \
            http.request(method, url, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


def voice_bot(folder, *flags, env=()):
    """What the command prints."""
    done = subprocess.run([programs.binary(), *flags], cwd=folder, capture_output=True, text=True,
                          env=programs.unset_settings() | dict(env), timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def recorded_s(bot, call):
    """How long the recording of a call is that was cut off, by the sound in it."""
    async with asyncio.timeout(10):
        while not call["recording"]:
            await asyncio.sleep(0.1)
            _, call = await ask(bot, f"calls/{call['id']}")
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    url = f"http://127.0.0.1:{bot.port}/api/v1/calls/{call['id']}/recording"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        assert response.status == 200
        with wave.open(io.BytesIO(await response.read())) as sound:
            assert sound.getnchannels() == 2
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
            # The bot talks all the time.
            assert np.abs(samples[:, 1]).max() > 1000
            return len(samples) / sound.getframerate()


async def talk(base, until):
    """A call that lasts until then; gives its name."""
    async with Call(base) as call:
        await call.dial()
        with contextlib.suppress(Exception):
            # The server is killed under it.
            await call.be_silent(until - time.monotonic())
        return call.sid


def said_in_time(log, deadline):
    """The words of each call that the server had before that moment, by its own log."""
    said = {}
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry.get("message") != "engine said":
            continue
        at = datetime.datetime.fromisoformat(entry["timestamp"]).timestamp()
        words = said.setdefault(entry["span"]["id"], [])
        if at <= deadline:
            words.append(entry["word"])
    return said


@pytest.mark.limit(150)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_kill_9_in_the_middle_of_20_calls_costs_a_second_of_them(
        tmp_path, kind, record_property):
    port = programs.free_port()
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas/assistant.toml").write_text(RECORDED)
    with store(kind) as (config, env), engines(tmp_path, CALLS) as urls:
        (tmp_path / "voice-bot.toml").write_text(CONFIG + config)
        with server(tmp_path, port, urls, env) as bot:
            until = time.monotonic() + TALK_S + 30
            calls = [asyncio.create_task(talk(f"http://127.0.0.1:{port}", until))
                     for _ in range(CALLS)]
            # Every one of them talks, and for a while.
            async with asyncio.timeout(40):
                while len(said_in_time(bot.log(), time.time())) < CALLS:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(TALK_S)
            status, listed = await ask(bot, "calls?state=running")
            assert (status, listed["total"]) == (200, CALLS)
            bot.process.kill()
            killed = time.time()
            bot.process.wait()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            said = said_in_time(bot.log(), killed - 1)
        assert len(said) == CALLS and all(len(words) > 5 for words in said.values()), said

        with server(tmp_path, port, [urls[0]], env) as bot:
            async with asyncio.timeout(10):
                while (await ask(bot, "calls?state=running"))[1]["total"]:
                    await asyncio.sleep(0.1)
            _, listed = await ask(bot, "calls?reason=cut-off&limit=100")
            assert {call["id"] for call in listed["calls"]} == set(said)
            lacks = []
            for call in listed["calls"]:
                _, shown = await ask(bot, f"calls/{call['id']}")
                kept = " ".join(line["text"] for line in shown["transcript"]).split()
                wanted = said[call["id"]]
                assert kept[:len(wanted)] == wanted, (call, kept, wanted)
                assert call["words"] == len(kept) == shown["record"]["words"]
                assert call["reason_text"] == "voice-bot was stopped in the middle of the call"
                # It was alive at the last touch, a second before the kill at most.
                assert killed * 1000 - 1500 < call["ended_ms"] <= killed * 1000
                assert len(shown["curve"]["depth_ms"]) >= (call["duration_ms"] - 1500) // 1000
                assert call["engine"] in {url.removeprefix("ws://") for url in urls}
                assert [note for note in shown["notes"] if note["text"] == "live"]
                lacks.append(killed - call["started_ms"] / 1000 - await recorded_s(bot, call))
        record_property("sound that recordings lack, in s", [round(it, 3) for it in lacks])
        assert max(lacks) <= 1 + SET_UP_S, lacks


@pytest.mark.limit(90)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_call_is_shown_exported_and_deleted(tmp_path, kind):
    port = programs.free_port()
    with store(kind) as (config, env), engines(tmp_path, 1) as urls:
        (tmp_path / "voice-bot.toml").write_text(CONFIG + config)
        with server(tmp_path, port, urls, env) as bot:
            call = Call(f"http://127.0.0.1:{port}", fields={"From": "+15550123"})
            async with call:
                await call.dial()
                await call.be_silent(4)
                async with asyncio.timeout(5):
                    while (await ask(bot, "calls?search=w3"))[1]["total"] != 1:
                        await asyncio.sleep(0.1)
                await call.press("7")
                await call.be_silent(1)
                # A call that runs is seen from outside, and not removed.
                assert call.sid in voice_bot(tmp_path, "calls", "list", "--state=running", env=env)
                status, answer = await ask(bot, f"calls/{call.sid}", "DELETE")
                assert (status, answer["error"]["code"]) == (409, "running")
                await call.hang_up()
            async with asyncio.timeout(5):
                while (await ask(bot, "calls?state=ended&search=0123"))[1]["total"] != 1:
                    await asyncio.sleep(0.1)
            status, shown = await ask(bot, f"calls/{call.sid}")
            assert (status, shown["reason"], shown["from"]) == (200, "caller-hung-up", "+15550123")
            assert shown["transcript"][0]["text"].startswith("w0 w1 w2")
            # A word is there when it is heard: behind what is on its way to the caller.
            assert shown["transcript"][0]["at_ms"] >= shown["first_audio_ms"]
            assert {"at_ms", "kind", "text"} == set(shown["notes"][0])
            assert [n["text"] for n in shown["notes"] if n["kind"] == "digit"] == ["7"]
            assert shown["record"]["reason"] == "caller-hung-up"
            assert 4 < shown["cost"]["engine_seconds"] <= shown["cost"]["seconds"] + 0.1
            assert shown["depth_p50_ms"] > 0 and shown["engine"] == urls[0].removeprefix("ws://")
            for odd in ["' OR 1=1 --", "%25", "'; DELETE FROM calls; --"]:
                status, listed = await ask(bot, f"calls?search={odd}")
                assert (status, listed["total"]) == (200, 0), odd
            assert (await ask(bot, "calls?order=asc"))[0] == 400
            assert (await ask(bot, "calls/nobody"))[0] == 404

            listed = json.loads(voice_bot(tmp_path, "calls", "list", "--json", env=env))
            summary = listed["calls"][0]
            assert summary == {key: shown[key] for key in summary}
            printed = voice_bot(tmp_path, "calls", "show", call.sid, env=env)
            assert "bot: w0 w1 w2" in printed and "[digit] 7" in printed and "+15550123" in printed
            (line,) = voice_bot(tmp_path, "calls", "export", env=env).splitlines()
            assert json.loads(line) == shown
            voice_bot(tmp_path, "calls", "export", "--format=csv", "--out=calls.csv", env=env)
            (row,) = csv.DictReader(io.StringIO((tmp_path / "calls.csv").read_text()))
            assert row["id"] == call.sid and row["transcript"].startswith("w0 w1")
            assert (tmp_path / "calls.csv").stat().st_mode & 0o777 == 0o600

            assert "0 calls" in voice_bot(tmp_path, "calls", "delete", "--before=2020-01-01",
                                          env=env)
            assert "1 call" in voice_bot(tmp_path, "calls", "delete", call.sid, env=env)
            assert (await ask(bot, f"calls/{call.sid}", "DELETE"))[0] == 404
            assert (await ask(bot, "calls"))[1] == {"calls": [], "next": None, "total": 0}
        if kind == "sqlite":
            assert (tmp_path / "voice-bot.db").stat().st_mode & 0o777 == 0o600


async def test_a_store_that_is_newer_or_cannot_be_made_is_named_at_the_start(tmp_path):
    port = programs.free_port()
    (tmp_path / "voice-bot.toml").write_text('[store]\nurl = "sqlite:no/such/folder.db"\n')
    done = subprocess.run([programs.binary(), "serve", "--demo", "--port", str(port)],
                          cwd=tmp_path, capture_output=True, text=True, timeout=30,
                          env=programs.unset_settings())
    assert done.returncode == 2
    assert "no/such/folder.db: No such file" in done.stderr and "store.url" in done.stderr


@pytest.mark.limit(60)
async def test_calls_go_on_while_the_store_is_away(tmp_path):
    # Nobody listens there.
    nowhere = f"postgres://me@127.0.0.1:{programs.free_port()}/calls"
    port = programs.free_port()
    (tmp_path / "voice-bot.toml").write_text(CONFIG + f'[store]\nurl = "{nowhere}"\n')
    with engines(tmp_path, 1) as urls, server(tmp_path, port, urls, {}) as bot:
        async with Call(f"http://127.0.0.1:{port}") as call:
            await call.dial()
            await call.be_silent(3)
            assert call.closed is None and len(call.heard()) > 8000 and call.faults == []
            await call.hang_up()
        status, answer = await ask(bot, "calls")
        assert (status, answer["error"]["code"]) == (503, "store_down")
        assert "calls are kept once the store is there" in bot.log()
        assert "records of calls wait" in bot.log()
