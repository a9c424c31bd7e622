"""What the stand-ins for engines' servers share: a model that says what it hears, one step (80 ms)
later, or a sound file; faults on demand; and what was counted.

    GET /stats                  what was counted, as JSON
    GET /sessions/N/pcm         what session N heard: 16 bit, 24 kHz, little endian
    POST /pause?ms=MS           makes the next step take that much longer
"""

import argparse
import asyncio
import time
import wave
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

RATE = 24_000
FRAME = 1920
NAP_S = 0.001
POLL_S = 0.010
PIECES = [" Hello", " there", ",", " how", " are", " you", "?", " Caf", "é", " ",
          "<0xE2>", "<0x82>", "<0xAC>"]
WORDS = PIECES[:9]  # as a server sends them that spells no characters


@dataclass
class Session:
    """What one connection did, as GET /stats shows it."""

    voice: str = ""
    text: str = ""
    ready: bool = False
    messages_before_handshake: int = 0
    messages: int = 0
    bytes: int = 0
    samples_decoded: int = 0
    frames_in: int = 0
    frames_out: int = 0
    audio_messages: int = 0
    text_messages: int = 0
    ended: str = ""
    heard: list = field(default_factory=list, repr=False)
    said: list = field(default_factory=list, repr=False)

    def shown(self):
        return {key: value for key, value in vars(self).items() if key not in ("heard", "said")}


class StandIn:
    """The state that all connections to a server share."""

    def __init__(self, options):
        self.options = options
        self.sessions, self.log = [], []
        self.sound = read_frames(options.say) if options.say else None
        self.pause_s = 0.0

    def step(self, frame=None):
        """One step of the model; it blocks the whole server, as a GPU step does."""
        options = self.options
        slow = frame is not None and options.slow_from is not None and frame >= options.slow_from
        if frame is not None:
            time.sleep(self.pause_s)
            self.pause_s = 0.0
        if cost := options.slow_step_ms if slow else options.step_ms:
            time.sleep(cost / 1000)

    def begin(self):
        """A new session, and its number."""
        session = Session()
        self.sessions.append(session)
        number = len(self.sessions) - 1
        self.note(number, "connected")
        return number, session

    def note(self, number, text):
        line = f"session {number}: {text}"
        self.log.append(line)
        print(line, flush=True)

    def busy(self):
        """Whether no session more is taken."""
        raise NotImplementedError

    async def stats(self, _request):
        return web.json_response({
            "connections": len(self.sessions),
            "busy": self.busy(),
            "sessions": [session.shown() for session in self.sessions],
            "log": self.log,
        })

    async def pcm(self, request):
        session = self.sessions[int(request.match_info["number"])]
        heard = np.concatenate([np.zeros(0, np.float32), *session.heard])
        data = np.clip(np.round(heard * 32768), -32768, 32767).astype("<i2").tobytes()
        return web.Response(body=data, content_type="application/octet-stream")

    async def pause(self, request):
        self.pause_s = float(request.query["ms"]) / 1000
        return web.Response()

    def run(self, path, handler, *more):
        """Serves until it is ended. `more` are further routes."""
        app = web.Application()
        app.router.add_get(path, handler)
        app.router.add_get("/stats", self.stats)
        app.router.add_get(r"/sessions/{number:\d+}/pcm", self.pcm)
        app.router.add_post("/pause", self.pause)
        app.router.add_routes(more)
        web.run_app(app, host=self.options.host, port=self.options.port, print=None)


class Model:
    """What one session thinks of what it hears."""

    def __init__(self, server, session, transport):
        self.server, self.session, self.transport = server, session, transport
        self.echo = deque([np.zeros(FRAME, np.float32)] * server.options.echo_frames)
        self.held = np.zeros(0, np.float32)
        self.over = False

    async def until_ready(self, ws):
        """Waits as the flags ask, and counts what comes too early. False if the client leaves."""
        options = self.server.options
        ready_at = time.monotonic() + options.ready_after_ms / 1000
        while options.never_ready or time.monotonic() < ready_at:
            try:
                message = await asyncio.wait_for(ws.receive(), POLL_S)
            except asyncio.TimeoutError:
                continue
            if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                return False
            self.session.messages_before_handshake += 1
        return not self.over

    def hear(self, pcm):
        """Takes in sound of any length. Gives the whole frames that there are then."""
        self.session.samples_decoded += pcm.shape[-1]
        self.session.heard.append(pcm.copy())
        self.held = np.concatenate((self.held, pcm))
        while len(self.held) >= FRAME:
            frame, self.held = self.held[:FRAME], self.held[FRAME:]
            self.session.frames_in += 1
            yield frame

    def answer(self, frame):
        """The model's sound for this frame of the caller's."""
        if (sound := self.server.sound) is None:
            self.echo.append(frame)
            return self.echo.popleft()
        index = self.session.frames_out - self.server.options.say_from
        return sound[index] if 0 <= index < len(sound) else np.zeros(FRAME, np.float32)

    def word(self, pieces):
        """The text of this frame, if it has any."""
        every, frame = self.server.options.text_every, self.session.frames_out
        if not every or frame % every != every - 1:
            return None
        self.session.text_messages += 1
        return pieces[frame // every % len(pieces)]

    async def fault(self):
        """Does what the flags ask for at this frame; True ends the session."""
        options, frame = self.server.options, self.session.frames_out
        if frame == options.crash_at:
            self.session.ended = "RuntimeError: crashed in a step"
            return True
        if frame == options.drop_at:
            self.cut("dropped in the conversation")
            return True
        if frame == options.stall_at:
            self.session.ended = "stalled"
            while not self.over:
                await asyncio.sleep(0.01)
            return True
        return False

    def cut(self, why):
        self.session.ended = why
        self.over = True
        self.transport.abort()


def read_frames(path):
    """The whole frames of a WAV file: mono, 16 bit, 24 kHz."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise ValueError(f"{path} is not mono, 16 bit, {RATE} Hz")
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return pcm[:len(pcm) // FRAME * FRAME].reshape(-1, FRAME)


def arguments(description):
    """A parser with the flags that all stand-ins have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8998)
    parser.add_argument("--step-ms", type=float, default=0, help="cost of a step of the model")
    parser.add_argument("--text-every", type=int, default=5, help="a piece of text every N frames")
    parser.add_argument("--echo-frames", type=int, default=1, help="its own delay, in frames")
    parser.add_argument("--say", type=Path, metavar="WAV", help="say this instead of an echo")
    parser.add_argument("--say-from", type=int, default=0, metavar="N", help="from that frame on")
    parser.add_argument("--ready-after-ms", type=float, default=0, help="before the handshake")
    faults = parser.add_argument_group("faults", "N counts output frames from 0")
    faults.add_argument("--slow-from", type=int, metavar="N")
    faults.add_argument("--slow-step-ms", type=float, default=0, help="cost of a step from there")
    faults.add_argument("--stall-at", type=int, metavar="N", help="no more output, still open")
    faults.add_argument("--drop-at", type=int, metavar="N", help="cut the connection")
    faults.add_argument("--crash-at", type=int, metavar="N", help="end as an error in a step does")
    faults.add_argument("--drop-before-handshake", action="store_true")
    faults.add_argument("--never-ready", action="store_true", help="no handshake, as if taken")
    faults.add_argument("--refuse", type=int, metavar="STATUS", help="answer that, not an upgrade")
    return parser
