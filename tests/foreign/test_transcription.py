"""What callers say, as a server of transcriptions is sent it, and where its words end up."""

import asyncio
import contextlib
import io
import json
import subprocess
import wave

import aiohttp
import numpy as np
import pytest
import soxr
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

import programs
from bot_and_twilio import API_TOKEN, site
from twilio_caller import RATE, to_mulaw
from webhook_receiver import SECRET, WebhookReceiver

HZ = 16_000
CLOSE_S = 0.3  # how far a time may be off
KEY = "sk-let-me-in"
SPEECH = [programs.ROOT / "assets/caller.wav",
          *sorted((programs.ROOT / "../shared/audio").glob("*.wav"))]
ANNOUNCED = "What you say in this call is written down."


class Scribe:
    """A server that takes what OpenAI's takes, read by aiohttp and by Python's `wave`. Its words are
    the number of the request, from 0. `answer`, which may be changed, is a status, or a wait in
    seconds before it is 200. Use it in `async with`."""

    def __init__(self, answer=200):
        self.answer, self.files, self.faults = answer, [], []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/audio/transcriptions", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def until(self, count):
        async with asyncio.timeout(10):
            while len(self.files) < count:
                await asyncio.sleep(0.02)

    async def _take(self, request):
        try:
            fields = {}
            assert request.headers["Authorization"] == f"Bearer {KEY}"
            assert int(request.headers["Content-Length"]) > 0
            async for part in await request.multipart():
                fields[part.name] = (part.filename, part.headers.get("Content-Type"),
                                     await part.read())
            sent = {name: body.decode() for name, (_, _, body) in fields.items() if name != "file"}
            assert sent == {"model": "tiny", "response_format": "json", "language": "en"}, sent
            name, kind, body = fields["file"]
            assert name.endswith(".wav") and kind == "audio/wav", (name, kind)
            with wave.open(io.BytesIO(body)) as file:
                assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (HZ, 1, 2)
                samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
            assert len(body) == 44 + 2 * len(samples)
        except (AssertionError, KeyError, ValueError, wave.Error) as error:
            self.faults.append(repr(error))
            return web.json_response({"error": {"message": "no"}}, status=400)
        self.files.append(samples)
        number = len(self.files) - 1
        if self.answer not in (200, 401, 503):
            await asyncio.sleep(self.answer)
        elif self.answer != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.answer)
        return web.json_response({"text": f" Words {number}.\n", "usage": {"type": "tokens"}})


def config(url, more=""):
    return f'[transcription]\nurl = "{url}"\nmodel = "tiny"\nlanguage = "en"\n{more}\n'


def env(**more):
    # To this machine nothing goes by a proxy, nor would it be there.
    return {"VOICE_BOT_TRANSCRIPTION_KEY": KEY, "HTTP_PROXY": "http://127.0.0.1:9", **more}


def speech(path, seconds, since=0.0):
    """A part of a recording at the telephone's rate, from its first sound on, and what is between."""
    with wave.open(str(path)) as file:
        hz = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
    samples = soxr.resample(samples, hz, RATE)
    at = np.flatnonzero(np.abs(samples) > 0.01)[0] + int(since * RATE)
    return samples[at:at + int(seconds * RATE)]


def silence(seconds):
    return np.zeros(int(seconds * RATE))


async def shown(bot, call, is_there=lambda lines: lines):
    """The caller's lines in the API's answer."""
    url = f"{bot.base}/api/v1/calls/{call.sid}"
    async with asyncio.timeout(10), aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {API_TOKEN}"}) as http:
        while True:
            async with http.get(url) as response:
                if response.status == 200:
                    answer = await response.json()
                    lines = [it for it in answer["transcript"] if it["who"] == "caller"]
                    if is_there(lines):
                        return answer, lines
            await asyncio.sleep(0.1)


async def figures(port):
    async with aiohttp.ClientSession() as http, \
            http.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    return {(sample.name, sample.labels.get("outcome")): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def place(sound, track):
    """Where a sound is in a track, in seconds, and how alike they are, from 0 to 1."""
    size = 1 << (len(track) + len(sound)).bit_length()
    at = np.fft.irfft(np.fft.rfft(track, size) * np.conj(np.fft.rfft(sound, size)), size)
    best = int(np.argmax(at[:len(track)]))
    there = track[best:best + len(sound)]
    sound = sound[:len(there)]
    return best / RATE, float(sound @ there / np.sqrt((sound @ sound) * (there @ there)))


def onset(sound):
    """When it is first heard, in seconds."""
    blocks = sound[:len(sound) // 160 * 160].reshape(-1, 160)
    return np.flatnonzero(np.sqrt((blocks ** 2).mean(axis=1)) > 0.003)[0] * 0.02


@pytest.mark.limit(90)
@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
async def test_what_was_said_is_sent_and_kept_with_its_time(tmp_path, path):
    said = np.concatenate([silence(1.5), speech(path, 1.8), silence(1.2),
                           speech(path, 8, since=1.8), silence(1.2)])
    async with Scribe() as scribe:
        async with site(tmp_path, "0 tone 700 400\n", "transcribe = true\n", config(scribe.url),
                        env()) as (bot, twilio):
            call = await twilio.incoming()
            await call.dial()
            assert call.announced == [ANNOUNCED]
            began = call.now()
            await call.speak(to_mulaw(said))
            # The last but one was written down while the call went on.
            assert len(scribe.files) >= 1
            await call.hang_up()
            await scribe.until(1)
            count = len(scribe.files)
            answer, lines = await shown(bot, call, lambda lines: len(lines) == len(scribe.files))
            assert (answer["announced"], answer["words"]) == (True, 0)
            printed = subprocess.run([programs.binary(), "calls", "show", call.sid], cwd=tmp_path,
                                     env=programs.unset_settings(), capture_output=True, text=True)
            exported = subprocess.run([programs.binary(), "calls", "export"], cwd=tmp_path,
                                      env=programs.unset_settings(), capture_output=True, text=True)
            log = bot.log()
        assert scribe.faults == [] and count == len(scribe.files) >= 2
    assert all(f"caller: Words {number}." in printed.stdout for number in range(count)), printed
    assert json.loads(exported.stdout)["transcript"] == answer["transcript"]
    assert "Words 0" not in log, "what was said stays out of logs"
    track = call.said_track()
    by_text = {line["text"]: line for line in lines}
    energy = 0.0
    for number, sound in enumerate(scribe.files):
        sound = soxr.resample(sound, HZ, RATE)
        assert 0.5 < len(sound) / RATE < 28.1
        at, alike = place(sound, track)
        assert alike > 0.98, (number, alike)
        there = track[round(at * RATE):][:len(sound)]
        level = 10 * np.log10((sound @ sound) / (there @ there))
        assert abs(level) < 0.5, "it is as loud as it was"
        energy += sound @ sound
        line = by_text[f"Words {number}."]
        spoken = at + onset(sound) - began
        assert abs(line["at_ms"] / 1000 - spoken) < CLOSE_S, (line, spoken)
        end = at + len(sound) / RATE - began
        assert -0.45 < line["until_ms"] / 1000 - end < 0.1, (line, end)
    assert energy > 0.97 * (track @ track), "little of what was said is missing"


async def test_after_the_call_words_are_there_too_and_are_told(tmp_path):
    said = np.concatenate([silence(0.5), speech(SPEECH[0], 2.5), silence(1)])
    async with Scribe() as scribe, WebhookReceiver() as receiver:
        more = f'when = "after"\n[webhooks]\nurl = "{receiver.url}"\n'
        async with site(tmp_path, "0 say One.\n", "transcribe = true\nrecord = true\n",
                        config(scribe.url, more), env(VOICE_BOT_WEBHOOK_SECRET=SECRET),
                        ) as (bot, twilio):
            call = await twilio.incoming()
            await call.dial()
            assert call.announced == [f"This call is recorded. {ANNOUNCED}"]
            scribe.answer = 1.0
            await call.speak(to_mulaw(said))
            assert scribe.files == [], "the call is not over"
            await call.hang_up()
            answer, lines = await shown(bot, call)
            assert answer["ended_ms"] is not None and lines[0]["text"] == "Words 0."
            async with aiohttp.ClientSession(
                    headers={"Authorization": f"Bearer {API_TOKEN}"}) as http:
                for wanted, total in (("words 0", 1), ("words 77", 0)):
                    url = f"{bot.base}/api/v1/calls?state=ended&search={wanted}"
                    async with http.get(url) as response:
                        assert (await response.json())["total"] == total, wanted

            def is_told(events):
                return [line for event in events if event["type"] == "transcript"
                        for line in event["data"]["lines"] if line["who"] == "caller"]

            told = is_told(await receiver.until(is_told))
            assert told[0] == lines[0] and receiver.faults == scribe.faults == []


@pytest.mark.limit(90)
@pytest.mark.parametrize("how", ["well", "down", "hangs", "busy"])
async def test_no_call_is_touched_by_a_server_that_fails(tmp_path, how):
    said = np.concatenate([speech(SPEECH[0], 2), silence(0.8)] * 3)
    port = programs.free_port()
    async with contextlib.AsyncExitStack() as stack:
        scribe = await stack.enter_async_context(Scribe({"hangs": 60, "busy": 503}.get(how, 200)))
        url = f"http://127.0.0.1:{programs.free_port()}" if how == "down" else scribe.url
        more = f'timeout_s = 1\n[metrics]\nlisten = "127.0.0.1:{port}"\n'
        bot, twilio = await stack.enter_async_context(site(
            tmp_path, "0 tone 700 4000\n", "transcribe = true\n", config(url, more), env()))
        call = await twilio.incoming()
        await call.dial()
        await call.speak(to_mulaw(said))
        heard = call.heard_track()
        await call.hang_up()
        outcome = "written" if how == "well" else "failed"
        name = "voice_bot_transcription_utterances"
        async with asyncio.timeout(40):
            while (found := await figures(port)).get((f"{name}_total", outcome), 0) < 3 \
                    or found[f"{name}_waiting", None]:
                await asyncio.sleep(0.2)
        assert found[f"{name}_total", "lost"] == 0
        assert found["voice_bot_transcription_retries_total", None] == 3 * found[
            f"{name}_total", "failed"]
        assert (found["voice_bot_transcription_seconds_count", None] >= 3) == (how == "well")
        assert (found["voice_bot_transcription_audio_seconds_total", None] > 4) == (how == "well")
        answer, _ = await shown(bot, call, lambda lines: True)
        async with asyncio.timeout(5):
            while answer["record"] is None:
                answer, _ = await shown(bot, call, lambda lines: True)
    record = answer["record"]
    assert record["inbound"]["undecodable"] == 0 and record["unsent"] == {"caller": 0, "engine": 0}
    # From its first sound on the tone never stops.
    blocks = np.abs(heard[:len(heard) // 800 * 800]).reshape(-1, 800).max(axis=1)
    first = int(np.flatnonzero(blocks > 0.05)[0])
    assert len(blocks) - first > 50 and blocks[first + 1:-5].min() > 0.05, blocks
    assert call.faults == []


async def test_nothing_is_sent_of_who_does_not_want_it(tmp_path):
    said = np.concatenate([speech(SPEECH[0], 2), silence(1)])
    async with Scribe() as scribe:
        async with site(tmp_path, "0 say One.\n", "", config(scribe.url), env()) as (bot, twilio):
            call = await twilio.incoming()
            await call.dial()
            assert call.announced == []
            await call.speak(to_mulaw(said))
            await call.hang_up()
            await shown(bot, call, lambda lines: not lines)
        assert scribe.files == scribe.faults == []


async def test_who_is_told_of_one_thing_alone_counts_as_not_told(tmp_path):
    async with Scribe() as scribe:
        async with site(tmp_path, "0 say One.\n", "transcribe = true\nrecord = true\n",
                        config(scribe.url, '[say]\nrecorded = ""\n'), env()) as (bot, twilio):
            call = await twilio.incoming()
            await call.dial()
            assert call.announced == [ANNOUNCED]
            await call.hang_up()
            answer, _ = await shown(bot, call, lambda lines: True)
            assert answer["announced"] is False


async def test_without_a_server_nothing_is_announced_and_the_log_says_so(tmp_path):
    async with site(tmp_path, "0 say One.\n", "transcribe = true\n") as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        assert call.announced == []
        await call.hang_up()
        assert "nobody writes down what callers say" in bot.log()


@pytest.mark.parametrize("answer,state", [(200, "ok"), (401, "failure"), (503, "failure")])
async def test_check_sends_a_tone_and_says_what_came_back(tmp_path, answer, state):
    async with Scribe(answer) as scribe:
        (tmp_path / "voice-bot.toml").write_text(config(scribe.url))
        process = await asyncio.create_subprocess_exec(
            programs.binary(), "check", "--json", cwd=tmp_path, stdout=subprocess.PIPE,
            env={**programs.unset_settings(), **env(), "PATH": ""})
        out, _ = await process.communicate()
        section = json.loads(out)["sections"][-1]
        assert section["name"] == "Transcription" and scribe.faults == []
        finding = section["findings"][0]
        assert finding["state"] == state and scribe.url in finding["what"], finding
        assert (answer == 401) == ("VOICE_BOT_TRANSCRIPTION_KEY" in (finding["fix"] or ""))
        assert KEY not in out.decode() and len(scribe.files[0]) == HZ
