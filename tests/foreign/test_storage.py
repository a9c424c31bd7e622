"""Recordings in S3, encrypted, and read again, by whoever asks the API or the command line."""

import asyncio
import base64
import io
import random
import signal
import socket
import subprocess
import time
import wave

import aiohttp
import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import programs
from bot_and_twilio import API_TOKEN, bot_program, site
from s3 import BUCKET, REGION, s3
from twilio_caller import RATE, to_mulaw

KEY = base64.b64encode(bytes(range(32))).decode()
RECORD = "record = true\n"
SCRIPT = "0 tone 700 400\n"
STARTED_S = 1.0  # the bot's first sound may come so late


def config(endpoint, form="ogg", more=""):
    return (f'[recording]\nformat = "{form}"\ns3 = "s3://{BUCKET}/of/bots"\n'
            f's3_endpoint = "{endpoint}"\ns3_region = "{REGION}"\n{more}')


def bursts(seconds):
    """A tone in the first half of each second."""
    at = np.arange(int(seconds * RATE)) / RATE
    return np.where(at % 1 < 0.5, 0.3 * np.sin(2 * np.pi * 400 * at), 0.0)


async def ask(bot, path, method="GET", **headers):
    headers["Authorization"] = f"Bearer {API_TOKEN}"
    async with aiohttp.ClientSession() as http, http.request(
            method, f"{bot.base}/api/v1/calls/{path}", headers=headers) as response:
        return response.status, response.headers, await response.read()


def voice_bot(folder, *flags, env=()):
    return subprocess.run([programs.binary(), *flags], cwd=folder, capture_output=True, text=True,
                          env=programs.unset_settings() | dict(env), timeout=60)


async def until(happened, seconds=15):
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.05)


async def talk(twilio, seconds=4):
    call = await twilio.incoming()
    await call.dial()
    await call.speak(to_mulaw(bursts(seconds)))
    return call


def opened(sealed):
    """What SECURITY.md says of an encrypted recording, done by another library: its chunks."""
    head, body = sealed[:56], sealed[56:]
    assert head[:8] == b"vb-rec-1"
    key = HKDF(hashes.SHA256(), 32, head, b"voice-bot recording").derive(base64.b64decode(KEY))
    cipher, size = ChaCha20Poly1305(key), int.from_bytes(head[8:10], "little") + 16
    chunks = [body[at:at + size] for at in range(0, len(body), size)]
    nonces = [number.to_bytes(11, "big") + bytes([number == len(chunks) - 1])
              for number in range(len(chunks))]
    return b"".join(cipher.decrypt(nonce, chunk, None) for nonce, chunk in zip(nonces, chunks))


def files(folder):
    return sorted(path.name for path in (folder / "recordings").iterdir())


async def test_a_recording_is_heard_by_whoever_may_in_any_part(tmp_path):
    env = {"VOICE_BOT_RECORDING_KEY": KEY}
    form = '[recording]\nformat = "wav"\n'
    async with site(tmp_path, SCRIPT, RECORD, form, env=env) as (bot, twilio):
        call = await talk(twilio)
        path = f"{call.sid}/recording"
        status, _, body = await ask(bot, path)
        assert (status, b'"running"' in body) == (409, True)
        await call.hang_up()
        await until(lambda: "the call is recorded" in bot.log())
        await asyncio.sleep(1)
        status, headers, whole = await ask(bot, path)
        assert (status, headers["Content-Type"]) == (200, "audio/wav")
        assert headers["Accept-Ranges"] == "bytes" and "Content-Disposition" not in headers
        with wave.open(io.BytesIO(whole)) as file:
            assert (file.getframerate(), file.getnchannels()) == (RATE, 2)
            assert abs(file.getnframes() / RATE - 4) < 0.2
        # What lies on the disk is not it.
        (name,) = files(tmp_path)
        assert name == f"{call.sid}.wav.enc"
        sealed = (tmp_path / "recordings" / name).read_bytes()
        assert whole[5000:5032] not in sealed
        # A WAV file's head follows from the rest.
        assert opened(sealed) == whole[44:]

        size = len(whole)
        for asked, first, last in (("0-0", 0, 0), ("40-99", 40, 99), ("100000-", 100_000, size - 1),
                                   ("-7", size - 7, size - 1), (f"9-{2 * size}", 9, size - 1)):
            status, headers, part = await ask(bot, path, Range=f"bytes={asked}")
            assert (status, part == whole[first:last + 1]) == (206, True), asked
            assert headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        status, headers, _ = await ask(bot, path, Range=f"bytes={size}-")
        assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
        status, headers, none = await ask(bot, path, "HEAD", Range="bytes=1-8")
        assert (status, headers["Content-Length"], none) == (206, "8", b"")
        status, headers, none = await ask(bot, path, "HEAD")
        assert (status, headers["Content-Length"], none) == (200, str(size), b"")
        _, headers, _ = await ask(bot, path + "?download=1")
        assert headers["Content-Disposition"] == f'attachment; filename="{call.sid}.wav"'

        await check_peaks(bot, call)
        for wrong in ("nobody/recording", "nobody/peaks"):
            status, _, body = await ask(bot, wrong)
            assert (status, b'"no_call"' in body) == (404, True)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{bot.base}/api/v1/calls/{path}") as response:
                assert response.status == 401

        done = voice_bot(tmp_path, "calls", "recording", call.sid, "-o", "a.wav", env=env)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "a.wav").read_bytes() == whole
        assert (tmp_path / "a.wav").stat().st_mode & 0o777 == 0o600
        done = voice_bot(tmp_path, "calls", "recording", call.sid, "-o", "b.wav")
        assert done.returncode != 0 and "encrypted with another key" in done.stderr
        file = tmp_path / "recordings" / name
        sealed = bytearray(file.read_bytes())
        sealed[50_000] ^= 1
        file.write_bytes(sealed)
        done = voice_bot(tmp_path, "calls", "recording", call.sid, "-o", "c.wav", env=env)
        assert done.returncode != 0 and "are sound" in done.stderr and "damaged" in done.stderr
        sound = (tmp_path / "c.wav").read_bytes()
        assert len(sound) < 50_000 and whole.startswith(sound)


async def check_peaks(bot, call):
    for asked, points in (("", 401), ("?points=40", 40), ("?points=8000", 401)):
        async with aiohttp.ClientSession() as http, http.get(
                f"{bot.base}/api/v1/calls/{call.sid}/peaks{asked}",
                headers={"Authorization": f"Bearer {API_TOKEN}"}) as response:
            assert response.status == 200
            peaks = await response.json()
        assert abs(peaks["duration_ms"] - 4000) < 200
        assert abs(len(peaks["caller"]) - points) < 20 and len(peaks["bot"]) == len(peaks["caller"])
        caller = np.array(peaks["caller"])
        at = (np.arange(len(caller)) + 0.5) * peaks["duration_ms"] / len(caller) / 1000
        loud, quiet = (at % 1 > 0.1) & (at % 1 < 0.4), (at % 1 > 0.6) & (at % 1 < 0.9)
        assert 0.2 < caller[loud].min() and caller[loud].max() < 0.4
        assert caller[quiet].max() < 0.02
        # The last packet of an Ogg file is filled up with silence.
        talks = (at > STARTED_S + 1) & (at < peaks["duration_ms"] / 1000 - 0.1)
        assert np.array(peaks["bot"])[talks].min() > 0.05
    for wrong in ("0", "8001", "many"):
        status, _, body = await ask(bot, f"{call.sid}/peaks?points={wrong}")
        assert (status, b"use 1 to 8000" in body) == (400, True)


async def test_who_was_not_recorded_has_no_recording(tmp_path):
    async with site(tmp_path, SCRIPT) as (bot, twilio):
        call = await talk(twilio, 1)
        await call.hang_up()
        await asyncio.sleep(1.5)
        for what in ("recording", "peaks"):
            status, _, body = await ask(bot, f"{call.sid}/{what}")
            assert (status, b'"no_recording"' in body) == (404, True)


@pytest.mark.limit(90)
@pytest.mark.parametrize("key", [None, KEY])
async def test_a_recording_is_moved_to_s3_read_there_and_deleted(tmp_path, key):
    with s3() as storage:
        env = storage.env | ({"VOICE_BOT_RECORDING_KEY": key} if key else {})
        async with site(tmp_path, SCRIPT, RECORD, config(storage.url), env=env) as (bot, twilio):
            call = await talk(twilio)
            assert files(tmp_path) != [] and storage.objects() == {}
            await call.hang_up()
            await until(lambda: "the recording is in S3" in bot.log())
            await until(lambda: files(tmp_path) == [])
            name = f"of/bots/{call.sid}.ogg" + (".enc" if key else "")
            (found,) = storage.objects().items()
            assert found[0] == name and (found[1][:4] == b"OggS") == (key is None)
            await asyncio.sleep(1)
            status, headers, whole = await ask(bot, f"{call.sid}/recording")
            assert (status, headers["Content-Type"], whole[:4]) == (200, "audio/ogg", b"OggS")
            assert whole == (opened(found[1]) if key else found[1])
            status, _, part = await ask(bot, f"{call.sid}/recording", Range="bytes=3000-4999")
            assert (status, part == whole[3000:5000]) == (206, True)
            await check_peaks(bot, call)
            shown = voice_bot(tmp_path, "calls", "show", call.sid, env=env).stdout
            assert f"s3://{BUCKET}/{name}" in shown
            done = voice_bot(tmp_path, "calls", "recording", call.sid, env=env)
            assert done.returncode == 0, done.stderr
            assert (tmp_path / f"{call.sid}.ogg").read_bytes() == whole

            done = voice_bot(tmp_path, "calls", "delete", call.sid, env=env)
            assert done.returncode == 0, done.stderr
            assert storage.objects() == {}
            assert (await ask(bot, f"{call.sid}/recording"))[0] == 404


@pytest.mark.limit(90)
async def test_an_s3_that_is_down_costs_no_call_and_no_recording(tmp_path):
    port, figures = programs.free_port(), programs.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    env = {"VOICE_BOT_S3_ACCESS_KEY_ID": "me", "VOICE_BOT_S3_SECRET_ACCESS_KEY": "hunter2"}
    metrics = f'[metrics]\nlisten = "127.0.0.1:{figures}"\n'
    async with site(tmp_path, SCRIPT, RECORD, config(endpoint, more=metrics), env=env) as (
            bot, twilio):
        call = await talk(twilio, 2)
        await call.hang_up()
        assert call.faults == []
        await until(lambda: "it is tried again" in bot.log())
        assert "hunter2" not in bot.log()
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{figures}/metrics") as response:
                text = await response.text()
        assert "\nvoice_bot_recordings_waiting 1" in text
        assert "\nvoice_bot_recordings_uploaded_total 0" in text
        assert "\nvoice_bot_recording_upload_failures_total 0" not in text
        assert files(tmp_path) == [f"{call.sid}.ogg"]
        # It can be heard all the same.
        status, _, whole = await ask(bot, f"{call.sid}/recording")
        assert status == 200
        bot.process.send_signal(signal.SIGTERM)
        assert bot.process.wait(15) == 0
        with s3(port) as storage:
            # What was left there is moved by the next start.
            with bot_program(tmp_path, bot.engine_port, storage.env):
                await until(lambda: files(tmp_path) == [])
                assert storage.objects() == {f"of/bots/{call.sid}.ogg": whole}


@pytest.mark.limit(90)
async def test_an_s3_that_does_not_answer_holds_nothing_up(tmp_path):
    env = {"VOICE_BOT_S3_ACCESS_KEY_ID": "me", "VOICE_BOT_S3_SECRET_ACCESS_KEY": "hunter2"}
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with site(tmp_path, SCRIPT, RECORD, config(endpoint), env=env) as (bot, twilio):
            for _ in range(2):
                call = await talk(twilio, 2)
                await call.hang_up()
                assert call.faults == []
                await asyncio.sleep(1)
                assert (await ask(bot, f"{call.sid}/recording"))[0] == 200
            asked = time.monotonic()
            bot.process.send_signal(signal.SIGTERM)
            assert bot.process.wait(20) == 0
            assert time.monotonic() - asked < 10
        assert len(files(tmp_path)) == 2


@pytest.mark.limit(90)
async def test_a_long_recording_goes_in_parts(tmp_path):
    name, whole = "CA" + "7" * 32 + ".wav", random.Random(1).randbytes(20_000_000)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / name).write_bytes(whole)
    with s3() as storage:
        async with site(tmp_path, SCRIPT, "", config(storage.url), env=storage.env):
            await until(lambda: files(tmp_path) == [])
            (found,) = storage.objects().items()
            assert found[0] == f"of/bots/{name}" and found[1] == whole


@pytest.mark.limit(90)
async def test_a_kill_costs_a_second_of_a_sealed_recording_which_then_is_moved(tmp_path):
    with s3() as storage:
        env = storage.env | {"VOICE_BOT_RECORDING_KEY": KEY}
        async with site(tmp_path, SCRIPT, RECORD, config(storage.url), env=env) as (bot, twilio):
            call = await talk(twilio, 5)
            bot.process.send_signal(signal.SIGKILL)
            bot.process.wait(5)
            assert files(tmp_path) == [f"{call.sid}.ogg.enc.part"]
            with bot_program(tmp_path, bot.engine_port, env) as again:
                await until(lambda: files(tmp_path) == [])
                assert list(storage.objects()) == [f"of/bots/{call.sid}.ogg.enc"]
                await asyncio.sleep(1)
                status, _, whole = await ask(again, f"{call.sid}/recording")
                assert (status, whole[:4]) == (200, b"OggS")
                status, _, peaks = await ask(again, f"{call.sid}/peaks")
                assert status == 200 and b'"duration_ms":4' in peaks, peaks[:100]
                done = voice_bot(tmp_path, "calls", "recording", call.sid, env=env)
                assert "it was cut off before its end" in done.stdout


@pytest.mark.limit(90)
async def test_check_says_whether_the_bucket_can_be_used(tmp_path):
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas/assistant.toml").write_text(
        'name = "assistant"\nvoice = "NATF2.pt"\nprompt = "Be brief."\nrecord = true\n')

    def check(text, env):
        (tmp_path / "voice-bot.toml").write_text(text)
        out = voice_bot(tmp_path, "check", "--timeout", "1",
                        env={**env, "VOICE_BOT_RECORDING_KEY": KEY}).stdout
        assert env["VOICE_BOT_S3_SECRET_ACCESS_KEY"] not in out and KEY not in out
        return out.split("\nRecordings\n")[1]

    with s3() as storage:
        place = f"s3://{BUCKET}/of/bots/"
        said = check(config(storage.url), storage.env)
        assert f"OK    {place} can be written to, read and cleared" in said
        assert "OK    recordings are encrypted with the key " in said
        assert storage.objects() == {}
        wrong = {**storage.env, "VOICE_BOT_S3_SECRET_ACCESS_KEY": "hunter2"}
        said = check(config(storage.url), wrong)
        assert f"FAIL  {place}: it cannot be written to: " in said and "403" in said
        said = check(config(storage.url).replace(BUCKET, "nobodys"), storage.env)
        assert "FAIL  s3://nobodys/of/bots/: " in said and "no such bucket" in said.lower()
    said = check(config(storage.url), storage.env)
    assert f"FAIL  {place}: it cannot be written to: " in said
