"""Twilio's side of a whole account: its REST API for calls, and the calls that follow from it."""

import asyncio
import contextlib
import urllib.parse

import aiohttp
from aiohttp import web

from twilio_caller import Call

ACCOUNT, TOKEN = "AC" + "0" * 32, "0123456789abcdef0123456789abcdef"
PUBLIC = "https://bot.example.com"
SETTINGS = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN, "PUBLIC_URL": PUBLIC}
CALLS = f"/2010-04-01/Accounts/{ACCOUNT}/Calls"


class FakeTwilio:
    """Listens on a free port of this machine. `async with FakeTwilio(bot_base) as twilio`.

    `base` is where the bot is in truth; it may be set once the port is known. A call that the bot
    has made is answered at once, by `answered_by` if the bot wants to know.
    """

    def __init__(self, base=None, answered_by="human"):
        self.base, self.answered_by = base, answered_by
        self.calls, self.updates, self.made = {}, [], asyncio.Queue()
        self.refuse_updates = None  # (status, code) instead of an update
        self.lose_answers = False  # updates are carried out, and nobody is told so
        self._tasks = set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post(CALLS + ".json", self._create)
        app.router.add_post(CALLS + "/{sid}.json", self._update)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        for call in self.calls.values():
            with contextlib.suppress(aiohttp.ClientError):
                await call.__aexit__()
        await self._runner.cleanup()

    async def incoming(self, **fields):
        """A call from somebody, not dialled yet."""
        return await self._call(fields)

    async def status(self, call, status, **fields):
        """Reports how a call goes, where the bot asked for it; the answer must be empty."""
        await self.report(call.status_callback, call, CallStatus=status, **fields)

    async def report(self, url, call, **fields):
        form = {"CallSid": call.sid, "AccountSid": ACCOUNT, **call.fields, **fields}
        async with call.http.post(call.here(url), data=form,
                                  headers=call.signed(url, form)) as response:
            assert response.status == 204, (response.status, await response.text())

    async def _call(self, fields):
        call = await Call(self.base, public=PUBLIC, token=TOKEN, fields=fields).__aenter__()
        self.calls[call.sid] = call
        return call

    async def _create(self, request):
        form = await self._form(request)
        call = await self._call({"From": form["From"], "To": form["To"],
                                 "Direction": "outbound-api"})
        call.status_callback, call.order = form.get("StatusCallback"), form
        self._spawn(self._run(call, form))
        return web.json_response({"sid": call.sid, "status": "queued"}, status=201)

    async def _run(self, call, form):
        for status in ("initiated", "ringing", "in-progress"):
            await self.status(call, status)
        await call.dial(form["Url"])
        if "AsyncAmdStatusCallback" in form:
            await self.report(form["AsyncAmdStatusCallback"], call, AnsweredBy=self.answered_by,
                              MachineDetectionDuration="1200")
        await self.made.put(call)

    async def _update(self, request):
        form = await self._form(request)
        self.updates.append(form)
        if self.refuse_updates is not None:
            status, code = self.refuse_updates
            return web.json_response({"code": code, "message": "no", "status": status},
                                     status=status)
        call = self.calls.get(request.match_info["sid"])
        if call is None or call.over:
            return web.json_response({"code": 20404, "message": "not found", "status": 404},
                                     status=404)
        if form.get("Status") == "completed":
            call.over = True
            self._spawn(call.hang_up())
        else:
            self._spawn(call.redirect(form["Twiml"]))
        if self.lose_answers:
            return web.json_response({}, status=502)
        return web.json_response({"sid": call.sid, "status": "in-progress"})

    async def _form(self, request):
        assert request.headers["Authorization"] == aiohttp.BasicAuth(ACCOUNT, TOKEN).encode()
        assert request.content_type == "application/x-www-form-urlencoded"
        return dict(urllib.parse.parse_qsl(await request.text(), keep_blank_values=True))

    def _spawn(self, work):
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
