"""The control API against its own description: a foreign tester makes up requests, right and wrong,
and looks whether each answer is one that the description has."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import programs

TOKEN = "let-me-in-let-me-in"
EXAMPLES = 25
SECONDS = 240
# Without an end; it is watched in tests/browser.rs.
ENDLESS = "/api/v1/live"
CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method")


# A call that is there, for what else would never be found.
KNOWN = """
[[operations]]
include-path-regex = "^/api/v1/calls/{{call}}(/peaks|/recording)?$"
include-method = "GET"
parameters = {{ call = "{call}" }}
"""


def place(folder, port):
    """Has a recorded call made; gives its name."""
    command = [programs.binary(), "dial", "--webhook", f"http://127.0.0.1:{port}/twiml", "--tail",
               "1", "--wav", programs.ROOT / "assets/caller.wav"]
    subprocess.run([str(part) for part in command], cwd=folder, check=True, capture_output=True,
                   env=programs.unset_settings(), timeout=60)
    for _ in range(50):
        calls = get(port, "/api/v1/calls?state=ended")["calls"]
        if calls and calls[0]["recording"]:
            return calls[0]["id"]
        time.sleep(0.1)
    raise AssertionError(f"the call is not kept with its recording: {calls}")


def get(port, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}",
                                     headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_every_answer_is_one_that_the_description_has(tmp_path):
    port = programs.free_port()
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas/assistant.toml").write_text(
        'name = "assistant"\nvoice = "NATF2.pt"\nprompt = "Be brief."\nrecord = true\n')
    server = programs.voice_bot("serve", "--demo", "--port", port, port=port, cwd=tmp_path,
                                env={"VOICE_BOT_API_TOKEN": TOKEN})
    with server:
        described = get(port, "/api/v1/openapi.json")
        assert described == json.loads((programs.ROOT / "openapi.json").read_text())
        (tmp_path / "schemathesis.toml").write_text(KNOWN.format(call=place(tmp_path, port)))
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file",
            str(tmp_path / "schemathesis.toml"), "run", str(programs.ROOT / "openapi.json"),
            "--url", f"http://127.0.0.1:{port}", "--header", f"Authorization: Bearer {TOKEN}",
            "--exclude-path", ENDLESS, "--checks", CHECKS, "--max-examples", str(EXAMPLES),
            "--phases", "examples,coverage,fuzzing", "--seed", "7", "--no-color",
            "--generation-database", "none", "--request-timeout", "10",
        ]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "NO_COLOR": "1"}, timeout=SECONDS)
        assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
        assert server.alive() and "panicked" not in server.log()
