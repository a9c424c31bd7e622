"""What the dashboard's tests talk to: its mock, or, with DASHBOARD_URL, a running voice-bot."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import programs

MOCK = programs.ROOT / "dashboard/mock/server.py"


class Server:
    """Asks the API past the browser. `mock` is False for a real server."""

    def __init__(self, url, mock, token=""):
        self.url, self.mock, self.token = url.rstrip("/"), mock, token

    def ask(self, path, body=None, method=None):
        headers = {"X-Voice-Bot": "1", "Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def api(self, path, body=None, method=None):
        return self.ask(f"api/v1/{path}", body, method)

    def wait(self, what, seconds=10):
        """Asks `what()` until it gives something true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = what()
            except urllib.error.HTTPError:
                value = None
            if value:
                return value
            assert time.monotonic() < deadline, "what was waited for did not come"
            time.sleep(0.1)

    def ended(self, call):
        """The whole of a call, once it is over."""
        def look():
            found = self.api(f"calls/{call}")
            return found if found["reason"] else None
        return self.wait(look)

    def recorded(self):
        """A call that is over, with words and a recording, if there is one: of a minute or two."""
        calls = self.api("calls?state=ended&limit=50")["calls"]
        calls = [call for call in calls if call["recording"] and call["words"]]
        return min(calls, key=lambda call: abs(call["duration_ms"] - 90_000), default=None)


def mock(*flags):
    """The mock as a program; use it in `with`."""
    port = programs.free_port()
    return programs.Program([sys.executable, MOCK, "--port", port, *flags], port)


PERSONA = """name = "{name}"
voice = "NATF2.pt"
prompt = "You are a friendly assistant, and brief."
record = true
"""


def voice_bot(folder, token=""):
    """voice-bot with three demo engines; its calls are recorded. Use it in `with`."""
    (folder / "personas").mkdir()
    for name in ("assistant", "storyteller"):
        (folder / f"personas/{name}.toml").write_text(PERSONA.format(name=name))
    (folder / "voice-bot.toml").write_text(f"[personas]\nedit = {'false' if token else 'true'}\n")
    env = {"VOICE_BOT_API_TOKEN": token} if token else {}
    port = programs.free_port()
    return programs.voice_bot("serve", "--demo", "3", "--port", port, port=port, cwd=folder,
                              env=env)


@contextlib.contextmanager
def dial(server, folder):
    """A caller who says a sentence, and then stays on the line."""
    command = [programs.binary(), "dial", "--webhook", f"{server.url}/twiml", "--tail", "500",
               "--wav", programs.ROOT / "assets/caller.wav"]
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(programs.SETTINGS)}
    with open(folder / "dial.log", "w") as log:
        running = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=env)
        try:
            yield
        finally:
            running.terminate()
            running.wait(10)


def given():
    """The running server that DASHBOARD_URL names, or None."""
    url = os.environ.get("DASHBOARD_URL")
    return Server(url, mock=False, token=os.environ.get("DASHBOARD_TOKEN", "")) if url else None
