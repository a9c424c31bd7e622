"""A foreign Media Streams client, `streamdouble`, calls `voice-bot serve --demo`."""

import json
import subprocess
import sys
import wave

import numpy as np
import pytest

import oggopus
import programs

CALL_S = 45


@pytest.fixture(scope="module")
def bot(tmp_path_factory):
    port = programs.free_port()
    folder = tmp_path_factory.mktemp("demo")
    # It asks no webhook, so nobody can give it a ticket.
    (folder / "voice-bot.toml").write_text('[twilio]\nstream_token = "off"\n')
    with programs.voice_bot("serve", "--demo", "--port", port, port=port, cwd=folder) as program:
        yield program


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "caller.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        # Longer than the demo engine takes to read its prompts: `call` falls silent after it.
        file.writeframes((oggopus.voice(4, 8000) * 32767).astype("<i2").tobytes())
    return path


def streamdouble(*arguments):
    """Runs it and returns its JSON report; status 1 is a missed expectation, 3 a violation."""
    argv = [sys.executable, "-m", "streamdouble.cli", *map(str, arguments), "--json"]
    done = subprocess.run(argv, timeout=CALL_S, capture_output=True, text=True)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    return done.returncode, report


def test_a_scripted_call_with_keys(bot, speech, tmp_path):
    scenario = tmp_path / "call.yaml"
    scenario.write_text(f"""
name: greeting, a key, an answer
steps:
  - wait_for: audio
  - wait: 0.5
  - dtmf: "5#"
  - say: {speech}
  - wait: 0.5
  - expect: audio
  - expect: no_violations
""")
    reply = tmp_path / "reply.wav"
    status, report = streamdouble("scenario", scenario, f"ws://127.0.0.1:{bot.port}/media",
                                  "--out", reply, "--max-drain", 4)
    assert report["violations"] == []
    assert status == 0, report
    with wave.open(str(reply)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(heard) > 8000 and np.abs(heard).max() > 1000


def test_an_abrupt_hang_up_leaves_the_bot_answering(bot, speech, tmp_path):
    scenario = tmp_path / "drop.yaml"
    scenario.write_text("steps:\n  - wait_for: audio\n  - hangup\n")
    url = f"ws://127.0.0.1:{bot.port}/media"
    _, report = streamdouble("scenario", scenario, url)
    assert report["violations"] == []
    status, report = streamdouble("call", url, "--audio", speech, "--max-drain", 3,
                                  "--packet-loss", 0.05, "--jitter", 20)
    assert report["violations"] == []
    assert status == 0, report
