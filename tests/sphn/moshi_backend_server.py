"""A stand-in for Kyutai's moshi-backend (kyutai-labs/moshi at e6a55d2), as its source says.

Each connection is a session of its own. Metadata come first, then a handshake of nine bytes; packets
of 40 ms, each a page in a message of its own, the beginning of the stream in the first. After so many
steps it hangs up without a CLOSE. A message of a kind that is not known ends the session. The real
one speaks TLS alone.

    python moshi_backend_server.py --port 8998
"""

import json

import aiohttp
import numpy as np
from aiohttp import web

import moshi_server
from stand_in import WORDS, StandIn, arguments

METADATA = {"text_temperature": 0.8, "text_topk": 250, "audio_temperature": 0.8, "audio_topk": 250,
            "pad_mult": 0.0, "repetition_penalty_context": 32, "repetition_penalty": 1.0,
            "lm_model_file": "model.safetensors", "mimi_model_file": "mimi.safetensors",
            "build_info": {}, "instance_name": "foo"}
KINDS = range(7)


class Server(StandIn):
    """As many conversations as there are connections."""

    def busy(self):
        return False

    async def chat(self, request):
        if self.options.refuse:
            return web.Response(status=self.options.refuse)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        number, session = self.begin()
        talk = Talk(self, ws, session, request.transport)
        try:
            await ws.send_bytes(b"\x04" + json.dumps(METADATA).encode())
            if self.options.drop_before_handshake:
                talk.cut("dropped before the handshake")
            if await talk.until_ready(ws):
                session.ready = True
                await ws.send_bytes(bytes(9))
                await talk.run()
        finally:
            session.ended = session.ended or "closed"
            self.note(number, session.ended)
        return ws


class Talk(moshi_server.Talk):
    """One conversation; it counts its steps."""

    async def receive(self):
        async for message in self.ws:
            self.session.messages += 1
            if message.type != aiohttp.WSMsgType.BINARY or not message.data:
                continue
            self.session.bytes += len(message.data)
            if message.data[0] not in KINDS:
                raise ValueError(f"unexpected msg type {message.data[0]}")
            if message.data[0] == 1:
                self.reader.append_bytes(message.data[1:])

    async def fault(self):
        if self.session.frames_out >= self.server.options.steps:
            self.session.ended = "out of steps"
            return True
        return await super().fault()

    async def say(self, pcm, word):
        if word:
            await self.ws.send_bytes(b"\x02" + word.encode())
        for packet in self.coder.push(np.array(pcm)):
            await self.send_audio(self.beginning() + self.writer.page([packet]))


def main():
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=4500, help="of one session at most")
    server = Server(parser.parse_args())
    server.run("/api/chat", server.chat)


if __name__ == "__main__":
    main()
