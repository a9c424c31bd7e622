"""A stand-in for Kyutai's moshi.server (PyPI moshi 0.2.13), as its own code was seen to behave.

The handshake, one byte, comes at once, and nothing follows it unasked. A second client waits in
silence. The first frame is not answered; each later one with one message of two packets of 40 ms, a
page each, and then its text. The beginning of the stream is in the first such message. What cannot
be decoded cuts the connection. The query is not looked at.

    python moshi_server.py --port 8998
"""

import asyncio
import contextlib

import aiohttp
import numpy as np
import sphn
from aiohttp import web

import oggopus
from encoders import Encoder
from stand_in import NAP_S, RATE, WORDS, Model, StandIn, arguments

SERIAL = 42
PACKET_MS = 40


class Server(StandIn):
    """One conversation at a time; who comes next waits."""

    def __init__(self, options):
        super().__init__(options)
        self.lock = asyncio.Lock()

    def busy(self):
        return self.lock.locked()

    async def chat(self, request):
        if self.options.refuse:
            return web.Response(status=self.options.refuse)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        number, session = self.begin()
        talk = Talk(self, ws, session, request.transport)
        try:
            async with self.lock:
                if self.options.drop_before_handshake:
                    talk.cut("dropped before the handshake")
                if await talk.until_ready(ws):
                    session.ready = True
                    await ws.send_bytes(b"\x00")
                    await talk.run()
        finally:
            session.ended = session.ended or "closed"
            self.note(number, session.ended)
        return ws


class Talk(Model):
    """One conversation on Moshi's wire."""

    def __init__(self, server, ws, session, transport):
        super().__init__(server, session, transport)
        self.ws = ws
        self.reader, self.coder = sphn.OpusStreamReader(RATE), Encoder(RATE, PACKET_MS)
        self.writer = oggopus.Writer(SERIAL)

    async def run(self):
        """Until the client leaves, or anything fails: then there is no CLOSE."""
        tasks = [asyncio.create_task(loop()) for loop in (self.receive, self.think)]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.over = True
        for task in rest:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        failed = [task.exception() for task in done if task.exception()]
        if failed or tasks[1] in done:
            self.cut(self.session.ended or f"{type(failed[0]).__name__}: {failed[0]}")

    async def receive(self):
        async for message in self.ws:
            self.session.messages += 1
            if message.type != aiohttp.WSMsgType.BINARY or not message.data:
                continue
            self.session.bytes += len(message.data)
            if message.data[0] == 1:
                self.reader.append_bytes(message.data[1:])

    async def think(self):
        while not self.over:
            await asyncio.sleep(NAP_S)
            pcm = self.reader.read_pcm()
            if pcm.shape[-1] == 0:
                continue
            for frame in self.hear(pcm):
                if self.session.frames_in == 1:
                    continue
                if await self.fault():
                    return
                self.server.step(self.session.frames_out)
                await self.say(self.answer(frame), self.word(WORDS))
                self.session.frames_out += 1

    async def say(self, pcm, word):
        pages = self.beginning()
        pages += b"".join(self.writer.page([packet]) for packet in self.coder.push(np.array(pcm)))
        await self.send_audio(pages)
        if word:
            await self.ws.send_bytes(b"\x02" + word.encode())

    def beginning(self):
        """The pages that begin the stream, once."""
        return b"" if self.writer.sequence else self.writer.head() + self.writer.tags()

    async def send_audio(self, pages):
        self.session.audio_messages += 1
        await self.ws.send_bytes(b"\x01" + pages)


def main():
    server = Server(arguments(__doc__).parse_args())
    server.run("/api/chat", server.chat)


if __name__ == "__main__":
    main()
