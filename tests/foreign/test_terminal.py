"""`voice-bot top` and `voice-bot talk` against the dashboard's mock, which speaks the same API."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import wave

import numpy as np
import programs
import pytest
from terminal import Terminal

MOCK = programs.ROOT / "dashboard/mock/server.py"
# Any colour but the terminal's own.
COLOURS = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3|4|9|10)[0-8](?:;[0-9;]*)?m")
SAID = re.compile(r" +\d+:\d\d\.\d  (?:bot|caller) +(.+)")
TOKEN = "open-sesame-open-sesame"


class Mock(programs.Program):
    def __init__(self):
        port = programs.free_port()
        super().__init__([sys.executable, MOCK, "--port", port, "--token", TOKEN], port)
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def running(self):
        return {call["id"] for call in self.ask("api/v1/calls?state=running")["calls"]}


@pytest.fixture
def mock():
    with Mock() as server:
        yield server


def run(mock, *arguments, token=TOKEN):
    return subprocess.run([programs.binary(), *map(str, arguments), "--url", mock.url],
                          env={"VOICE_BOT_API_TOKEN": token}, capture_output=True, text=True,
                          timeout=60, check=False)


def top(mock, **env):
    return Terminal("top", "--url", mock.url, env={"VOICE_BOT_API_TOKEN": TOKEN, **env})


def test_once_for_scripts(mock):
    shown = run(mock, "top")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    assert shown.stdout.count("+15550142") == len(mock.running())
    state = json.loads(run(mock, "top", "--json").stdout)
    assert {call["id"] for call in state["calls"]} == mock.running()
    refused = run(mock, "top", token="not-the-right-token")
    assert refused.returncode == 2
    assert "401" in refused.stderr and "VOICE_BOT_API_TOKEN" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_terminal_obeys_nothing_of_what_is_printed(mock):
    odd = "+1555\x9b31m\x85\u202edrowssap"
    mock.ask("api/v1/calls", {"to": odd})
    with Terminal("top", "--json", "--url", mock.url, env={"VOICE_BOT_API_TOKEN": TOKEN}) as one:
        assert one.ends() == 0
    assert not re.search("[\x7f-\x9f\u202e]", one.raw)
    assert odd in {call["to"] for call in json.loads(one.raw)["calls"]}
    # A program is given it as it is.
    assert odd in run(mock, "top", "--json").stdout


@pytest.mark.parametrize("arguments", [["top"], ["top", "--json"]])
def test_who_does_not_read_is_no_fault(mock, arguments):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([programs.binary(), *arguments, "--url", mock.url], stdout=writes,
                          env={"VOICE_BOT_API_TOKEN": TOKEN}, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_call_is_watched_and_hung_up(mock):
    with top(mock) as terminal:
        terminal.shows("> ")
        before = mock.running()
        terminal.press("\r")
        # What was said before we looked is asked for.
        terminal.shows("  bot  ")
        terminal.press("\x1b[H")
        terminal.shows("0:01.2  bot       Willow Street Dental")
        terminal.press("h")
        terminal.shows("y: yes, n: no")
        assert mock.running() == before
        terminal.press("y")
        terminal.shows("OVER: the bot hung up")
        assert len(before - mock.running()) == 1
        terminal.press("\x1b")
        terminal.shows("FROM → TO                    PERSONA     ENGINE")
        terminal.resize(40, 120)
        terminal.shows("FROM → TO                          PERSONA                  ENGINE")
        terminal.press("q")
        assert terminal.ends() == 0
        assert terminal.given_back()


def test_words_that_are_told_and_asked_for_stand_there_once(mock):
    with top(mock) as terminal:
        terminal.resize(120, 300)
        terminal.shows("> ")
        calls = mock.ask("api/v1/calls?state=running")["calls"]
        call = min(calls, key=lambda call: call["started_ms"])

        def words(lines):
            single = [word for line in lines for word in line.get("words", [line])]
            single.sort(key=lambda word: word["at_ms"])
            return " ".join(word["text"] for word in single).split()

        def said(until):
            """The transcript, once that is so."""
            for _ in range(300):
                lines = mock.ask(f"api/v1/calls/{call['id']}")["transcript"]
                if until(lines):
                    return lines
                time.sleep(0.1)
            pytest.fail("nobody speaks")

        begun = time.time() * 1000 - call["started_ms"]
        before = said(lambda lines: len(lines[-1].get("words", [])) > 4
                      and lines[-1]["words"][-4]["at_ms"] > begun)
        terminal.press("\r")
        terminal.shows("0:01.2  bot       Willow Street Dental")
        after = words(said(lambda lines: len(lines) > len(before) + 1))
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            terminal.read()
        shown = [match[1] for match in map(SAID.match, terminal.screen().splitlines()) if match]
        # The last ones may be on their way, or follow what the caller is about to have said.
        certain = len(after) - 8
        assert " ".join(shown).split()[:certain] == after[:certain]


def test_a_lost_connection_is_told_and_made_again(mock):
    with top(mock, NO_COLOR="1") as terminal:
        terminal.shows("> ")
        mock.ask("mock/fault", {"live": "cut"})
        terminal.shows("LOST")
        mock.ask("mock/fault", {"live": ""})
        terminal.shows("connected")
        assert not COLOURS.search(terminal.raw)
        terminal.program.send_signal(signal.SIGTERM)
        assert terminal.ends() == 0
        assert terminal.given_back()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGHUP])
def test_every_signal_gives_the_terminal_back(mock, which):
    with top(mock) as terminal:
        terminal.shows("connected")
        terminal.program.send_signal(which)
        assert terminal.ends() == 0
        assert terminal.given_back()


def talk(mock, tmp_path, *arguments, **options):
    """A call by files; what the mock says again is in `heard.wav`."""
    said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
    tone = 9000 * np.sin(2 * np.pi * 440 * np.arange(16_000 * 2) / 16_000)
    with wave.open(str(said), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    return run(mock, "talk", "--microphone", said, "--speaker", heard, *arguments, **options), heard


def test_the_parrot_is_heard_and_its_marks_are_answered(mock, tmp_path):
    done, heard = talk(mock, tmp_path, "--for", 2, "--persona", "storyteller")
    assert done.returncode == 0, done.stderr
    assert "I heard you" in done.stdout and "the caller hung up" in done.stderr
    [(call, counts)] = mock.ask("mock/talks").items()
    assert mock.ask(f"api/v1/calls/{call}")["persona"] == "storyteller"
    assert counts["hangup"] and counts["wrong_size"] == 0
    # 4 s, 2 s of it loud; a busy machine loses some.
    assert 180 <= counts["frames"] <= 202 and 85 <= counts["loud"] <= 103, counts
    assert len(counts["played"]) >= counts["marks"] - 1 >= 8
    assert counts["played"] == sorted(counts["played"])
    with wave.open(str(heard)) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
        samples = np.frombuffer(file.readframes(10**9), "<i2").astype(float)
    assert abs(len(samples) / 24_000 - 4) < 0.5
    blocks = np.sqrt(np.mean(samples[: len(samples) // 480 * 480].reshape(-1, 480) ** 2, axis=1))
    loud = np.flatnonzero(blocks > 3000)
    # It says what it hears a second later, for as long.
    assert 0.9 < loud[0] / 50 < 1.6 and abs(len(loud) - 100) < 16
    spectrum = np.abs(np.fft.rfft(samples[loud[10] * 480 : loud[60] * 480]))
    assert abs(np.argmax(spectrum) / len(spectrum) * 12_000 - 440) < 3


def test_what_was_heard_can_be_read_after_a_kill(mock, tmp_path):
    heard = tmp_path / "heard.wav"
    talk(mock, tmp_path, token="wrong-wrong-wrong-wrong")
    with Terminal("talk", "--url", mock.url, "--microphone", tmp_path / "said.wav",
                  "--speaker", heard, env={"VOICE_BOT_API_TOKEN": TOKEN}) as terminal:
        terminal.shows("live ")
        time.sleep(3)
        terminal.program.kill()
        terminal.program.wait()
    with wave.open(str(heard)) as file:
        assert file.getnframes() >= 24_000


@pytest.mark.parametrize(("fault", "words"), [
    ("busy", "no engine is free"), ("refused", "All three engines are busy."),
    ("cut", "the connection broke"),
])
def test_a_call_that_fails_says_why(mock, tmp_path, fault, words):
    mock.ask("mock/fault", {"talk": fault})
    done, _ = talk(mock, tmp_path)
    assert done.returncode == 2
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert words in error and mock.url in error, error


def test_a_clear_passes_its_marks_at_once(mock, tmp_path):
    mock.ask("mock/fault", {"talk": "clear"})
    done, _ = talk(mock, tmp_path, "--for", 2)
    assert done.returncode == 0, done.stderr
    [counts] = mock.ask("mock/talks").values()
    assert len(counts["played"]) >= counts["marks"] - 1


def test_ctrl_c_hangs_up_politely(mock, tmp_path):
    talk(mock, tmp_path, token="wrong-wrong-wrong-wrong")
    with Terminal("talk", "--url", mock.url, "--microphone", tmp_path / "said.wav",
                  env={"VOICE_BOT_API_TOKEN": TOKEN}) as terminal:
        terminal.shows("live ")
        terminal.resize(24, 40)
        terminal.read(1)
        before = len(terminal.raw)
        terminal.shows("live ")
        time.sleep(1)
        terminal.read()
        lines = terminal.raw[before:].split("\r\x1b[K")[1:-1]
        assert lines and all(len(line) < 40 for line in lines), lines
        terminal.press("\x03")
        assert terminal.ends() == 0
        assert "the caller hung up" in terminal.raw
    [counts] = mock.ask("mock/talks").values()
    assert counts["hangup"]
