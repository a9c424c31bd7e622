"""The browser's leg: a parrot that says what it heard one second later."""

import asyncio
import json

import numpy as np
from aiohttp import WSMsgType, web

from world import REASONS, now_ms

FRAME_BYTES = 960
DELAY_FRAMES = 50
MARK_FRAMES = 20
KEPT_FRAMES = 3000
LOUD = 600


class Talk:
    """One call and what it counted, which tests ask for."""

    def __init__(self, world, persona):
        self.world = world
        self.call = world.begin(now_ms(), "browser", "", persona)
        self.call |= {"from": "", "script": [], "phase": "live"}
        self.heard, self.spoken, self.queue = [], [], []
        self.counts = {"frames": 0, "wrong_size": 0, "loud": 0, "sent": 0, "marks": 0,
                       "played": [], "late_ms": [], "digits": "", "hangup": False, "words": 0}
        self.marked = {}

    def take(self, data):
        self.counts["frames"] += 1
        self.counts["wrong_size"] += len(data) != FRAME_BYTES
        self.heard = [*self.heard, data][-KEPT_FRAMES:]
        loud = rms(data)
        self.counts["loud"] += loud > LOUD
        self.call["caller_dbfs"] = dbfs(loud)
        self.queue.append(data)

    def next(self):
        """What is said now: what was heard a second ago."""
        frame = self.queue.pop(0) if len(self.queue) > DELAY_FRAMES else bytes(FRAME_BYTES)
        self.spoken = [*self.spoken, frame][-KEPT_FRAMES:]
        self.call["engine_dbfs"] = dbfs(rms(frame))
        return frame

    def finish(self, reason):
        call = self.world.end(self.call["id"], reason)
        sides = [np.frombuffer(b"".join(part), dtype="<i2").astype(np.float32) / 32768
                 for part in (self.heard, self.spoken)]
        length = max(map(len, sides), default=0)
        call["pcm"] = (*(np.pad(side, (0, length - len(side))) for side in sides), 24_000)
        call |= {"duration_ms": max(1, length // 24), "words": len(call["script"])}
        call["recording"] = {"bytes": 44 + 4 * length, "format": "wav"}


def rms(frame):
    samples = np.frombuffer(frame, dtype="<i2").astype(np.float64)
    return float(np.sqrt(np.mean(samples ** 2))) if len(samples) else 0.0


def dbfs(loud):
    return round(max(-100.0, 20 * np.log10(loud / 32768 + 1e-9)), 1)


async def refuse(request, error):
    """The reason comes a moment behind the head of the answer, as from far away."""
    answer = web.StreamResponse(status=503, headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    await asyncio.sleep(0.1)
    await answer.write(json.dumps({"error": error}).encode())
    return answer


async def talk(request):
    fault = request.app["faults"].pop("talk", None)
    if fault == "busy":
        return await refuse(request, {"code": "busy", "message": "no engine is free"})
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    if fault == "refused":
        error = {"code": "busy", "message": "All three engines are busy."}
        await socket.send_json({"error": error})
        await socket.close()
        return socket
    line = Talk(request.app["world"], request.query.get("persona", "assistant"))
    request.app["talks"][line.call["id"]] = line
    await socket.send_json({"type": "started", "call": line.call["id"], "rate": 24_000})
    speaking = asyncio.create_task(speak(request.app, socket, line, fault))
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                line.take(message.data)
            elif message.type == WSMsgType.TEXT and obey(line, json.loads(message.data)):
                await goodbye(socket, line)
                break
    finally:
        speaking.cancel()
        line.finish("caller-hung-up")
        ended = {"call": line.call["id"], "reason": "caller-hung-up",
                 "reason_text": REASONS["caller-hung-up"]}
        request.app["tell"]("ended", ended)
    return socket


def obey(line, message):
    """Takes one message in; True if it ends the call."""
    kind = message["type"]
    if kind == "played":
        number = message["number"]
        line.counts["played"].append(number)
        line.counts["late_ms"].append(now_ms() - line.marked.pop(number, now_ms()))
    elif kind == "digit":
        line.counts["digits"] += message["digit"]
        at = now_ms() - line.call["started_ms"]
        line.call["notes"].append({"at_ms": at, "kind": "digit", "text": message["digit"]})
    return kind == "hangup"


async def goodbye(socket, line):
    line.counts["hangup"] = True
    await socket.send_json({"type": "ended", "reason": "caller-hung-up", "call": line.call["id"],
                            "reason_text": REASONS["caller-hung-up"]})
    await socket.close(code=1000)


async def mark(socket, line):
    number = line.counts["marks"]
    line.marked[number] = now_ms()
    line.counts["marks"] += 1
    await socket.send_json({"type": "mark", "generation": 0, "number": number})


async def speak(app, socket, line, fault):
    """Sends 20 ms every 20 ms, words while it is loud, marks, and how it stands."""
    begun, sent, quiet = asyncio.get_running_loop().time(), 0, True
    words = "I heard you , and now I say it again .".split()
    while not socket.closed:
        await asyncio.sleep(max(0, begun + sent * 0.02 - asyncio.get_running_loop().time()))
        frame = line.next()
        await socket.send_bytes(frame)
        sent += 1
        line.counts["sent"] = sent
        if fault == "cut" and sent > 60:
            socket._req.transport.abort()
            return
        if fault == "clear" and sent == 100:
            for _ in range(50):
                await socket.send_bytes(frame)
            await mark(socket, line)
            await socket.send_json({"type": "clear"})
        if sent % MARK_FRAMES == 0:
            await mark(socket, line)
        if sent % 10 == 0:
            state = app["world"].live(line.call)
            keys = ("phase", "caller_dbfs", "engine_dbfs", "depth_ms", "target_ms")
            await socket.send_json({"type": "state"} | {key: state[key] for key in keys})
        if rms(frame) > LOUD and sent % 15 == 0 or (not quiet and sent % 15 == 0):
            quiet = rms(frame) <= LOUD
            count = line.counts["words"]
            line.counts["words"] += 1
            word = {"at_ms": sent * 20, "text": words[count % len(words)]}
            line.call["script"].append(word | {"until_ms": sent * 20 + 250, "who": "bot"})
            await socket.send_json({"type": "word"} | word)
            app["tell"]("word", {"call": line.call["id"], "who": "bot"} | word)
