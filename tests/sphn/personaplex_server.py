"""A stand-in for NVIDIA's PersonaPlex server that stands on the real `sphn` and aiohttp.

Only the model is replaced: it says what it hears, one frame (80 ms) later, or a sound file, and a
few words. Lock, prompt phase, loops and codec work as in the real server, so broken input ends as
it ends there.

    python personaplex_server.py --port 8998
    GET /stats                  what was counted, as JSON
    GET /sessions/N/pcm         what session N heard: 16 bit, 24 kHz, little endian
    GET /sessions/N/pages       what session N said: all its Ogg pages
    POST /pause?ms=MS           makes the next step take that much longer
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
import wave
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import sphn
from aiohttp import web

RATE = 24_000
FRAME = 1920
SILENCE_STEPS = 6
POLL_S = 0.010
NAP_S = 0.001
VOICES = [f"{kind}{n}.pt" for kind, count in (("NATF", 4), ("NATM", 4), ("VARF", 5), ("VARM", 5))
          for n in range(count)]
PIECES = [" Hello", " there", ",", " how", " are", " you", "?", " Caf", "é", " ",
          "<0xE2>", "<0x82>", "<0xAC>"]


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


class Server:
    """The state that all connections share, as in the real server."""

    def __init__(self, options, voices):
        self.options, self.voices = options, voices
        self.lock = asyncio.Lock()
        self.sessions, self.log = [], []
        self.sound = read_frames(options.say) if options.say else None
        self.pause_s = 0.0
        # The model's prompts are shared: who connects last sets them for all who still wait.
        self.voice_path, self.voice_frames, self.text_tokens = None, 0, []

    # Query

    def take_voice(self, name):
        """Loads a voice file. The path is kept even if the load fails."""
        path = self.voices / name
        if not path.exists():
            raise FileNotFoundError(f"voice {name!r} is not in {self.voices}")
        if path == self.voice_path:
            return
        self.voice_path = path
        if path.suffix == ".wav":
            raise ModuleNotFoundError("no module named 'pyloudnorm'")
        if path.suffix != ".pt":
            raise ValueError(f"{name!r} is no sound file")
        self.voice_frames = int(path.read_text())

    def take_query(self, query, session):
        """Reads the query. Whatever is wrong with it raises, after the 101."""
        session.voice = query["voice_prompt"]
        self.take_voice(session.voice)
        session.text = query["text_prompt"]
        self.text_tokens = [0] * max(1, len(session.text) // 4) if session.text else None
        if "seed" in query:
            raise KeyError("seed")

    # Prompt phase

    def step(self, frame=None):
        """One step of the model; it blocks the whole server, as a GPU step does."""
        options = self.options
        slow = frame is not None and options.slow_from is not None and frame >= options.slow_from
        if frame is not None:
            time.sleep(self.pause_s)
            self.pause_s = 0.0
        if cost := options.slow_step_ms if slow else options.step_ms:
            time.sleep(cost / 1000)

    async def prime(self, alive):
        """Feeds voice, silence, text, silence, with a look at the socket before each step."""
        for part in (lambda: range(self.voice_frames), lambda: range(SILENCE_STEPS),
                     lambda: self.text_tokens, lambda: range(SILENCE_STEPS)):
            for _ in part():
                if not await alive():
                    break
                self.step()

    # Connection

    async def chat(self, request):
        if self.options.refuse:
            return web.Response(status=self.options.refuse)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        session = Session()
        self.sessions.append(session)
        number = len(self.sessions) - 1
        self.note(number, "connected")
        try:
            self.take_query(request.query, session)
            async with self.lock:
                await self.hold(ws, session, request.transport)
        except Exception as error:
            session.ended = session.ended or f"{type(error).__name__}: {error}"
            raise
        finally:
            session.ended = session.ended or "closed"
            self.note(number, session.ended)
        return ws

    async def hold(self, ws, session, transport):
        """One conversation, from the prompt phase on, with the lock held."""
        talk = Talk(self, ws, session, transport)

        async def alive():
            try:
                message = await asyncio.wait_for(ws.receive(), POLL_S)
            except asyncio.TimeoutError:
                return True
            over = message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED,
                                    aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)
            session.messages_before_handshake += not over
            return not over

        await self.prime(alive)
        if self.options.drop_before_handshake:
            talk.cut("dropped before the handshake")
            return
        while self.options.never_ready and await alive():
            pass
        if not await alive():
            return
        session.ready = True
        await ws.send_bytes(b"\x00")
        await talk.run()

    # HTTP

    async def stats(self, _request):
        return web.json_response({
            "connections": len(self.sessions),
            "busy": self.lock.locked(),
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

    async def pages(self, request):
        session = self.sessions[int(request.match_info["number"])]
        return web.Response(body=b"".join(session.said), content_type="audio/ogg")

    def note(self, number, text):
        line = f"session {number}: {text}"
        self.log.append(line)
        print(line, flush=True)


class Talk:
    """The three loops of a conversation. The first one to stop ends it."""

    def __init__(self, server, ws, session, transport):
        self.server, self.ws, self.session, self.transport = server, ws, session, transport
        self.writer, self.reader = sphn.OpusStreamWriter(RATE), sphn.OpusStreamReader(RATE)
        self.echo = deque([np.zeros(FRAME, np.float32)] * server.options.echo_frames)
        self.over = False

    async def run(self):
        tasks = [asyncio.create_task(loop()) for loop in (self.receive, self.think, self.send)]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:  # an error ends the session, but is only written down
            if error := task.exception():
                self.session.ended = f"{type(error).__name__}: {error}"
        for task in rest:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task  # a second error is not caught: then there is no CLOSE
        await self.ws.close()

    async def receive(self):
        try:
            async for message in self.ws:
                self.session.messages += 1
                if message.type == aiohttp.WSMsgType.ERROR:
                    break
                if message.type != aiohttp.WSMsgType.BINARY or not message.data:
                    continue
                self.session.bytes += len(message.data)
                if message.data[0] == 1:
                    self.reader.append_bytes(message.data[1:])
        finally:
            self.over = True

    async def think(self):
        held = np.zeros(0, np.float32)
        while not self.over:
            await asyncio.sleep(NAP_S)
            pcm = self.reader.read_pcm()  # one packet; None once the decoder has given up
            if pcm.shape[-1] == 0:
                continue
            self.session.samples_decoded += pcm.shape[-1]
            self.session.heard.append(pcm.copy())
            held = np.concatenate((held, pcm))
            while len(held) >= FRAME:
                frame, held = held[:FRAME], held[FRAME:]
                self.session.frames_in += 1
                if await self.fault():
                    return
                self.server.step(self.session.frames_out)
                self.writer.append_pcm(np.ascontiguousarray(self.answer(frame)))
                await self.say(self.session.frames_out)
                self.session.frames_out += 1

    def answer(self, frame):
        """The model's sound for this frame of the caller's."""
        if (sound := self.server.sound) is None:
            self.echo.append(frame)
            return self.echo.popleft()
        index = self.session.frames_out - self.server.options.say_from
        return sound[index] if 0 <= index < len(sound) else np.zeros(FRAME, np.float32)

    async def say(self, frame):
        every = self.server.options.text_every
        if every and frame % every == every - 1:
            piece = PIECES[frame // every % len(PIECES)]
            self.session.text_messages += 1
            await self.ws.send_bytes(b"\x02" + piece.encode())

    async def send(self):
        while not self.over:
            await asyncio.sleep(NAP_S)
            if data := self.writer.read_bytes():
                self.session.audio_messages += 1
                self.session.said.append(bytes(data))
                await self.ws.send_bytes(b"\x01" + bytes(data))

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


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8998)
    parser.add_argument("--voice", action="append", default=[], metavar="NAME",
                        help="one more voice beside the 18; may be given several times")
    parser.add_argument("--voice-frames", type=int, default=50, help="steps a voice takes")
    parser.add_argument("--step-ms", type=float, default=0, help="cost of a step of the model")
    parser.add_argument("--text-every", type=int, default=5, help="a piece of text every N frames")
    parser.add_argument("--echo-frames", type=int, default=1, help="its own delay, in frames")
    parser.add_argument("--say", type=Path, metavar="WAV", help="say this instead of an echo")
    parser.add_argument("--say-from", type=int, default=0, metavar="N", help="from that frame on")
    faults = parser.add_argument_group("faults", "N counts output frames from 0")
    faults.add_argument("--slow-from", type=int, metavar="N")
    faults.add_argument("--slow-step-ms", type=float, default=0, help="cost of a step from there")
    faults.add_argument("--stall-at", type=int, metavar="N", help="no more output, still open")
    faults.add_argument("--drop-at", type=int, metavar="N", help="cut the connection")
    faults.add_argument("--crash-at", type=int, metavar="N", help="close with 1000")
    faults.add_argument("--drop-before-handshake", action="store_true")
    faults.add_argument("--never-ready", action="store_true", help="no handshake, as if taken")
    faults.add_argument("--refuse", type=int, metavar="STATUS", help="answer that, not an upgrade")
    return parser.parse_args()


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="voices-") as folder:
        voices = Path(folder)
        for name in VOICES + options.voice:
            (voices / name).write_text(str(options.voice_frames))
        (voices / "clip.wav").write_bytes(b"RIFF")
        (voices / "broken.pt").write_text("not a voice")
        server = Server(options, voices)
        app = web.Application()
        app.router.add_get("/api/chat", server.chat)
        app.router.add_get("/stats", server.stats)
        app.router.add_get("/sessions/{number:\\d+}/pcm", server.pcm)
        app.router.add_get("/sessions/{number:\\d+}/pages", server.pages)
        app.router.add_post("/pause", server.pause)
        web.run_app(app, host=options.host, port=options.port, print=None)


if __name__ == "__main__":
    main()
