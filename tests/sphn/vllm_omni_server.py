"""A stand-in for vLLM-Omni with PersonaPlex (vllm-project/vllm-omni), as its documents say.

OpenAI's Realtime events with its extensions: docs/serving/realtime_duplex_api.md at 09c32f1, the
server's duplex/serving.py and PersonaPlex' duplex/plugin.py at 0e61742, deploy/personaplex.yaml at
0e4a9cf: the first frame is answered alone, then five at a time. No codec, no sphn.

    python vllm_omni_server.py --port 8099
"""

import base64
import binascii
import json
import re

import aiohttp
import numpy as np
from aiohttp import web

from stand_in import FRAME, RATE, WORDS, Model, StandIn, arguments

VOICE = re.compile(r"[^/\\]+\.pt")
CAPABILITIES = {"implementation_level": "model_native_duplex", "supports_input_append": True,
                "supports_barge_in": False, "supports_session_resume": False,
                "chunk_period_ms": 80, "input_modes": ["append_audio_chunk"]}


class Refused(Exception):
    """An error that the client is told: a code, and a sentence."""

    def __init__(self, code, message, kind="invalid_request_error"):
        super().__init__(message)
        self.event = {"type": "error", "error": {"type": kind, "code": code, "message": message}}


class Server(StandIn):
    """So many conversations at once; one more is refused."""

    def __init__(self, options):
        super().__init__(options)
        self.open = 0

    def busy(self):
        return self.open >= self.options.max_sessions

    async def realtime(self, request):
        if self.options.refuse:
            return web.Response(status=self.options.refuse)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        number, session = self.begin()
        talk = Talk(self, ws, session, request.transport)
        try:
            if request.query.get("duplex") != "1":
                raise Refused("not_available", "Realtime API is not available")
            await talk.handshake()
            self.open += 1
            try:
                await talk.run()
            finally:
                self.open -= 1
        except Refused as refused:
            session.ended = refused.event["error"]["code"]
            await talk.tell(refused.event)
        except Exception as error:
            session.ended = session.ended or f"{type(error).__name__}: {error}"
        finally:
            session.ended = session.ended or "closed"
            self.note(number, session.ended)
        return ws


class Talk(Model):
    """One conversation."""

    def __init__(self, server, ws, session, transport):
        super().__init__(server, session, transport)
        self.ws, self.sequence = ws, 0
        self.spoken, self.words, self.pieces = [], "", 0
        self.config = {}

    async def tell(self, event):
        self.sequence += 1
        if not self.ws.closed:
            await self.ws.send_str(json.dumps({**event, "server_event_seq": self.sequence}))

    async def handshake(self):
        """Any other event than session.update opens a session that has not been described."""
        event = await self.ws.receive_json()
        update = event.get("type") == "session.update"
        self.session.messages_before_handshake += not update
        self.config = event.get("session", {}) if update else {}
        self.session.voice = self.config.get("voice") or "NATF2.pt"
        self.session.text = self.config.get("instructions") or ""
        options = self.server.options
        if options.drop_before_handshake:
            self.cut("dropped before the handshake")
        if not await self.until_ready(self.ws):
            raise ConnectionError("the client left before the handshake")
        if self.server.busy():
            limit = options.max_sessions
            raise Refused("resource_exhausted", f"duplex_session_capacity_exhausted: limit={limit}",
                          "rate_limit_error")
        if not VOICE.fullmatch(self.session.voice):
            raise Refused("invalid_voice", "PersonaPlex voice must be a bundled .pt basename")
        shown = {"object": "realtime.session", "id": f"duplex-{id(self):x}",
                 "capabilities": CAPABILITIES, **self.config}
        await self.tell({"type": "session.created", "session": shown})
        await self.tell({"type": "session.updated", "session": shown})
        self.session.ready = True

    async def run(self):
        async for message in self.ws:
            self.session.messages += 1
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            self.session.bytes += len(message.data)
            try:
                if await self.take(json.loads(message.data)):
                    break
            except Refused as refused:
                await self.tell(refused.event)
        if not self.over and not self.ws.closed:
            await self.tell({"type": "session.closed", "reason": "failed"})
            await self.ws.close()

    async def take(self, event):
        """Does what a client event asks for; True ends the session."""
        kind = event.get("type")
        if kind == "session.heartbeat":
            await self.tell({"type": "session.heartbeat_ack"})
        elif kind == "input_audio_buffer.append":
            for frame in self.hear(self.pcm(event)):
                if await self.fault():
                    return True
                self.server.step(self.session.frames_out)
                await self.say(self.answer(frame), self.word(WORDS) or "")
                self.session.frames_out += 1
        elif kind != "session.close":
            raise Refused("unsupported_event", f"Unsupported realtime event: {kind}")
        return kind == "session.close"

    async def fault(self):
        if self.session.frames_out == self.server.options.stall_at:
            self.session.ended = "stalled"
            self.held = self.held[:0]
            async for _ in self.ws:  # a server that is stuck still has its connections
                pass
            return True
        return await super().fault()

    def pcm(self, event):
        if self.config.get("input_audio_format") != "pcm_f32le":
            raise Refused("runtime_append_failed", "PersonaPlex input format must be pcm_f32le")
        if self.config.get("sample_rate_hz") != RATE:
            raise Refused("runtime_append_failed", f"PersonaPlex sample_rate_hz must be {RATE}")
        try:
            raw = base64.b64decode(event["audio"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise Refused("runtime_append_failed", "audio is not valid base64") from error
        if len(raw) % 4:
            raise Refused("runtime_append_failed", "byte length must be divisible by four")
        pcm = np.frombuffer(raw, "<f4")
        if not np.isfinite(pcm).all():
            raise Refused("runtime_append_failed", "samples must be finite")
        return pcm

    async def say(self, pcm, word):
        """The first frame alone, then so many at a time."""
        self.spoken.append(pcm)
        self.words += word
        if self.pieces and len(self.spoken) < self.server.options.chunk_frames:
            return
        where = {"response_id": "resp_01", "item_id": "item_resp_01", "output_index": 0,
                 "content_index": 0}
        if not self.pieces:
            item = {"id": "item_resp_01", "type": "message", "role": "assistant", "content": []}
            await self.tell({"type": "response.created", "response": {"id": "resp_01"}})
            await self.tell({"type": "conversation.item.added", "item": item})
            await self.tell({"type": "response.output_item.added", **where, "item": item})
            await self.tell({"type": "response.content_part.added", **where,
                             "part": {"type": "audio", "transcript": ""}})
            await self.tell({"type": "response.speak", **where})
        samples = np.clip(np.round(np.concatenate(self.spoken) * 32768), -32768, 32767)
        delta = base64.b64encode(samples.astype("<i2").tobytes()).decode()
        self.pieces += 1
        self.session.audio_messages += 1
        await self.tell({"type": "response.output_audio.delta", **where, "delta": delta,
                         "format": "pcm16", "sample_rate_hz": RATE,
                         "metadata": {"audio_duration_ms": len(samples) * 1000 // RATE}})
        await self.tell({"type": "response.output_audio_transcript.delta", **where,
                         "delta": self.words})
        self.spoken, self.words = [], ""


def main():
    parser = arguments(__doc__)
    parser.add_argument("--max-sessions", type=int, default=2)
    parser.add_argument("--chunk-frames", type=int, default=5, help=f"of {FRAME} samples")
    server = Server(parser.parse_args())
    server.run("/v1/realtime", server.realtime)


if __name__ == "__main__":
    main()
