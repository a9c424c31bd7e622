"""A stand-in for NVIDIA's PersonaPlex server that stands on the real `sphn` and aiohttp.

Only the model is replaced, see stand_in.py. Lock, prompt phase, loops and codec work as in the real
server, so broken input ends as it ends there.

    python personaplex_server.py --port 8998
    GET /sessions/N/pages       what session N said: all its Ogg pages
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import aiohttp
import numpy as np
import sphn
from aiohttp import web

from stand_in import NAP_S, PIECES, POLL_S, RATE, Model, StandIn, arguments

SILENCE_STEPS = 6
VOICES = [f"{kind}{n}.pt" for kind, count in (("NATF", 4), ("NATM", 4), ("VARF", 5), ("VARM", 5))
          for n in range(count)]


class Server(StandIn):
    """The state that all connections share, as in the real server."""

    def __init__(self, options, voices):
        super().__init__(options)
        self.voices, self.lock = voices, asyncio.Lock()
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
        number, session = self.begin()
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

    def busy(self):
        return self.lock.locked()

    async def pages(self, request):
        session = self.sessions[int(request.match_info["number"])]
        return web.Response(body=b"".join(session.said), content_type="audio/ogg")


class Talk(Model):
    """The three loops of a conversation. The first one to stop ends it."""

    def __init__(self, server, ws, session, transport):
        super().__init__(server, session, transport)
        self.ws = ws
        self.writer, self.reader = sphn.OpusStreamWriter(RATE), sphn.OpusStreamReader(RATE)

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
        while not self.over:
            await asyncio.sleep(NAP_S)
            pcm = self.reader.read_pcm()  # one packet; None once the decoder has given up
            if pcm.shape[-1] == 0:
                continue
            for frame in self.hear(pcm):
                if await self.fault():
                    return
                self.server.step(self.session.frames_out)
                self.writer.append_pcm(np.ascontiguousarray(self.answer(frame)))
                if piece := self.word(PIECES):
                    await self.ws.send_bytes(b"\x02" + piece.encode())
                self.session.frames_out += 1

    async def send(self):
        while not self.over:
            await asyncio.sleep(NAP_S)
            if data := self.writer.read_bytes():
                self.session.audio_messages += 1
                self.session.said.append(bytes(data))
                await self.ws.send_bytes(b"\x01" + bytes(data))


def main():
    parser = arguments(__doc__)
    parser.add_argument("--voice", action="append", default=[], metavar="NAME",
                        help="one more voice beside the 18; may be given several times")
    parser.add_argument("--voice-frames", type=int, default=50, help="steps a voice takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="voices-") as folder:
        voices = Path(folder)
        for name in VOICES + options.voice:
            (voices / name).write_text(str(options.voice_frames))
        (voices / "clip.wav").write_bytes(b"RIFF")
        (voices / "broken.pt").write_text("not a voice")
        server = Server(options, voices)
        pages = web.get(r"/sessions/{number:\d+}/pages", server.pages)
        server.run("/api/chat", server.chat, pages)


if __name__ == "__main__":
    main()
