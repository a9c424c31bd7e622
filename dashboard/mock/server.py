"""A stand-in for voice-bot's dashboard API, to build and test the pages without the server.

    python dashboard/mock/server.py --port 8090 [--token SECRET] [--read-only] [--not-demo]

`POST /mock/fault {"talk": "busy|refused|cut|clear"}` makes the next call fail, `{"live": "cut"}`
ends all event streams and refuses new ones, `{"live": ""}` lets them in again;
`{"recording_ms": 4000}` notes recordings so long after their calls. `GET /mock/talks` says what
each browser's call counted.
"""

import argparse
import asyncio
import json
from pathlib import Path

from aiohttp import web

import sound
from talk import talk
from world import REASONS, VOICES, World, now_ms, persona, told_ms

PAGES = Path(__file__).resolve().parent.parent
POLICY = ("default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
          "frame-ancestors 'none'")
HIDDEN = ("mock", "README.md")
routes = web.RouteTableDef()


def fail(status, code, message):
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


@web.middleware
async def guard(request, handler):
    """Who may: everybody reads the pages, the rest needs the token where there is one."""
    token, path = request.app["token"], request.path
    open_to_all = not (path.startswith("/api/") or path == "/talk") or path == "/api/v1/session"
    cookie = request.cookies.get("session")
    bearer = request.headers.get("Authorization") == f"Bearer {token}"
    if token and not open_to_all and cookie != token and not bearer:
        return fail(401, "unauthorized", "sign in, or send the token as a bearer")
    if request.method in ("POST", "PUT", "DELETE") and path.startswith("/api/") and not bearer \
            and request.headers.get("X-Voice-Bot") != "1":
        return fail(403, "header", "requests that change something need X-Voice-Bot: 1")
    return await handler(request)


async def secure(request, response):
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"


@routes.get("/api/v1/session")
async def session(request):
    token = request.app["token"]
    return web.json_response({"open": not token, "demo": request.app["demo"], "version": "0.1.0",
                              "signed_in": bool(token) and request.cookies.get("session") == token})


@routes.post("/api/v1/session")
async def sign_in(request):
    token = request.app["token"]
    if (await request.json()).get("token") != token:
        return fail(401, "unauthorized", "this is not the token")
    response = web.Response(status=204)
    response.set_cookie("session", token, httponly=True, samesite="Strict")
    return response


@routes.delete("/api/v1/session")
async def sign_out(request):
    response = web.Response(status=204)
    response.del_cookie("session")
    return response


@routes.get("/api/v1/live")
async def live(request):
    if request.app["faults"].get("live") == "cut":
        return fail(503, "away", "not now")
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream",
                                         "Cache-Control": "no-store"})
    await stream.prepare(request)
    queue = asyncio.Queue(1000)
    request.app["streams"].add(queue)
    try:
        while True:
            kind, value = await queue.get()
            if kind == "cut":
                return stream
            await stream.write(f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode())
    except (ConnectionResetError, asyncio.CancelledError):
        return stream
    finally:
        request.app["streams"].discard(queue)


@routes.get("/api/v1/calls")
async def calls(request):
    world, query = request.app["world"], request.query
    state = query.get("state")
    found = [] if state == "ended" else list(world.running.values())
    found += [] if state == "running" else list(world.ended.values())
    found = [call for call in found if matches(world, call, query)]
    found.sort(key=lambda call: -call["started_ms"])
    total, limit = len(found), int(query.get("limit", 50))
    if "before" in query:
        found = [call for call in found if call["started_ms"] < int(query["before"])]
    hidden = ("script", "told_ms", "pcm", "notes", "phase", "caller_dbfs", "engine_dbfs")
    page = [{key: value for key, value in call.items() if key not in hidden}
            | {"recording": world.recording(call)} for call in found[:limit]]
    cursor = str(page[-1]["started_ms"]) if len(found) > limit else None
    return web.json_response({"calls": page, "next": cursor, "total": total})


def matches(world, call, query):
    if any(query.get(key) and call[key] != query[key]
           for key in ("persona", "reason", "direction")):
        return False
    if not int(query.get("since_ms", 0)) <= call["started_ms"] < int(query.get("until_ms", 10**15)):
        return False
    text = query.get("search", "").lower()
    if not text:
        return True
    said = " ".join(line["text"] for line in world.detail(call["id"])["transcript"])
    return text in f"{call['from']} {call['to']} {call['persona']} {said}".lower()


@routes.post("/api/v1/calls")
async def place(request):
    body, world = await request.json(), request.app["world"]
    if not body["to"].startswith("+1555"):
        return fail(403, "denied", f"outbound.allow lists nothing that {body['to']} begins with")
    call = world.begin(now_ms(), "outbound", body["to"], body.get("persona") or "assistant")
    return web.json_response({"id": call["id"]}, status=201)


@routes.get("/api/v1/calls/{id}")
async def one(request):
    detail = request.app["world"].detail(request.match_info["id"])
    return web.json_response(detail) if detail else no_call(request)


def no_call(request):
    return fail(404, "no_call", f"there is no call {request.match_info['id']}")


@routes.delete("/api/v1/calls/{id}")
async def erase(request):
    if not request.app["world"].ended.pop(request.match_info["id"], None):
        return no_call(request)
    return web.Response(status=204)


@routes.get("/api/v1/calls/{id}/peaks")
async def peaks(request):
    world, call_id = request.app["world"], request.match_info["id"]
    if call_id not in world.ended:
        return no_call(request)
    left, right, rate = sound.sides(call_id, world)
    points = int(request.query.get("points", 1000))
    return web.json_response({"duration_ms": len(left) * 1000 // rate,
                              "caller": sound.peaks(left, points),
                              "bot": sound.peaks(right, points)})


@routes.get("/api/v1/calls/{id}/recording")
async def recording(request):
    world, call_id = request.app["world"], request.match_info["id"]
    if call_id not in world.ended:
        return no_call(request)
    data = sound.wav(*sound.sides(call_id, world))
    headers = {"Accept-Ranges": "bytes", "Content-Type": "audio/wav"}
    if request.query.get("download"):
        headers["Content-Disposition"] = f'attachment; filename="{call_id}.wav"'
    wanted = request.http_range
    if wanted.start is None and wanted.stop is None:
        return web.Response(body=data, headers=headers)
    first = wanted.start or 0
    last = min(len(data), wanted.stop or len(data))
    headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(data)}"
    return web.Response(status=206, body=data[first:last], headers=headers)


@routes.post("/api/v1/calls/{id}/{what:hangup|transfer|digits}")
async def steer(request):
    world, call_id = request.app["world"], request.match_info["id"]
    if call_id not in world.running:
        return no_call(request)
    what, call = request.match_info["what"], world.running[call_id]
    body = await request.json() if request.can_read_body else {}
    if what == "digits":
        note = {"at_ms": now_ms() - call["started_ms"], "kind": "action",
                "text": f"plays {body['digits']}"}
        call["notes"].append(note)
        request.app["tell"]("note", {"call": call_id} | note)
    elif what == "transfer" and not body["to"].startswith("+1555"):
        return fail(403, "denied", f"outbound.allow lists nothing that {body['to']} begins with")
    else:
        end(request.app, call_id, "hung-up" if what == "hangup" else "transferred")
    return web.Response(status=202)


def end(app, call_id, reason):
    app["world"].end(call_id, reason)
    app["tell"]("ended", {"call": call_id, "reason": reason, "reason_text": REASONS[reason]})


@routes.get("/api/v1/engines")
async def engines(request):
    return web.json_response({"engines": request.app["world"].engine_list()})


@routes.post("/api/v1/engines")
async def add_engine(request):
    url = (await request.json())["url"]
    if "ws://" not in url and "wss://" not in url:
        return fail(422, "invalid", f"{url} is no engine's address: it begins with ws:// or wss://")
    request.app["world"].engines[url] = {
        "name": url, "state": "ready", "rests_s": None, "on_trial": True,
        "opened_ms": {"p50": None, "p95": None}, "primed_ms": {"p50": None, "p95": None},
        "real_time_factor": None, "served": 0, "faults": {},
        "slots": [{"state": "free", "call": None, "persona": None, "age_s": None}]}
    return web.Response(status=201)


@routes.delete("/api/v1/engines/{name:.+}")
async def drop_engine(request):
    if not request.app["world"].engines.pop(request.match_info["name"], None):
        return fail(404, "no_engine", f"there is no engine {request.match_info['name']}")
    return web.Response(status=204)


@routes.get("/api/v1/personas")
async def personas(request):
    return web.json_response({"personas": list(request.app["world"].personas.values()),
                              "default": "assistant", "voices": VOICES,
                              "editable": request.app["editable"]})


@routes.put("/api/v1/personas/{name}")
async def put_persona(request):
    body, all_ = await request.json(), request.app["world"].personas
    old = all_[request.match_info["name"]]
    if len(body["prompt"]) > 1200:
        return fail(422, "invalid", f"the prompt has {len(body['prompt'])} characters: the model "
                    "would read for 11 s; shorten it to 1200")
    if not body["prompt"].strip():
        return fail(422, "invalid", "the prompt is empty: say who the model is")
    new = persona(old["name"], body["voice"], body["prompt"], old["numbers"], old["file"])
    all_[old["name"]] = new
    return web.json_response(new)


@routes.get("/api/v1/settings")
async def settings(request):
    text = (PAGES.parent / "voice-bot.example.toml").read_text()
    found, section = [], ""
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in bare and bare.split(" = ")[0].isidentifier():
            key, value = bare.split(" = ", 1)
            source = ["voice-bot.toml", "environment", "flag"][len(found) % 7 // 2 % 3] \
                if len(found) % 5 == 1 else "default"
            found.append({"key": f"{section}.{key}", "value": value.strip('"'), "source": source})
    found.append({"key": "twilio.auth_token", "value": "set", "source": "environment"})
    return web.json_response({"settings": found})


@routes.post("/mock/fault")
async def fault(request):
    request.app["faults"].update(await request.json())
    request.app["world"].late_ms = request.app["faults"].get("recording_ms", 0)
    if request.app["faults"].get("live") == "cut":
        request.app["tell"]("cut", None)
    return web.Response(status=204)


@routes.get("/mock/talks")
async def talks(request):
    return web.json_response({call: line.counts for call, line in request.app["talks"].items()})


@routes.get("/{path:.*}")
async def page(request):
    path = (PAGES / (request.match_info["path"] or "index.html")).resolve()
    inside = path.is_relative_to(PAGES) and path.relative_to(PAGES).parts[0] not in HIDDEN
    if not inside or not path.is_file():
        return fail(404, "no_page", f"there is no {request.path}")
    return web.FileResponse(path, headers={"Cache-Control": "no-cache"})


async def tick(app):
    """Says the state twice a second, and each word at its time."""
    world = app["world"]
    while True:
        await asyncio.sleep(0.5)
        for call in list(world.running.values()):
            at = now_ms() - call["started_ms"]
            due = [one for one in call["script"] if call["told_ms"] <= told_ms(one) < at]
            call["told_ms"] = at
            for one in due if call["direction"] != "browser" else []:
                word = {key: one[key] for key in ("at_ms", "who", "text")}
                app["tell"]("word", {"call": call["id"]} | word)
            if at > call["duration_ms"] and call["id"] not in app["talks"]:
                end(app, call["id"], "caller-hung-up")
                world.begin(now_ms())
        app["tell"]("state", {"now_ms": now_ms(), "engines": world.engine_list(),
                              "calls": [world.live(call) for call in world.running.values()]})


def make(token="", editable=True, demo=True):
    app = web.Application(middlewares=[guard])
    def tell(kind, value):
        for queue in list(app["streams"]):
            if not queue.full():
                queue.put_nowait((kind, value))
    app["token"], app["editable"], app["demo"], app["tell"] = token, editable, demo, tell
    app["world"], app["faults"], app["streams"], app["talks"] = World(), {}, set(), {}
    app.router.add_get("/talk", talk)
    app.add_routes(routes)
    app.on_response_prepare.append(secure)
    async def start(_):
        app["ticking"] = asyncio.create_task(tick(app))
    app.on_startup.append(start)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--token", default="")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--not-demo", action="store_true")
    options = parser.parse_args()
    web.run_app(make(options.token, not options.read_only, not options.not_demo),
                host="127.0.0.1", port=options.port)
