"""`voice-bot check` dials its public address: Twilio's own library judges what it signs."""

import asyncio
import os
import urllib.parse

import aiohttp.web
import pytest
from twilio.request_validator import RequestValidator

import programs

TOKEN = "0123456789abcdef0123456789abcdef"


class Public:
    """Stands where the server should, and says of each request what Twilio's library thinks."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/"
        self.validator, self.verdicts = RequestValidator(TOKEN), []

    def judge(self, request, scheme, fields, nonce):
        url = f"{scheme}://{request.host}{request.raw_path}"
        right = self.validator.validate(url, fields, request.headers["X-Twilio-Signature"])
        self.verdicts.append((request.raw_path.split("check")[0], request.query_string, right))
        return {"version": "0", "nonce": nonce, "base": self.base,
                "signature": "right" if right else "wrong", "path": request.path,
                "query": request.query_string or None, "host": request.host}

    async def webhook(self, request):
        body = await request.text()
        fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        assert request.content_type == "application/x-www-form-urlencoded"
        assert "ö" in fields["Caller"] and TOKEN not in body
        return aiohttp.web.json_response(self.judge(request, "http", fields, fields["CheckNonce"]))

    async def socket(self, request):
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(self.judge(request, "ws", {}, request.match_info["nonce"]))
        await socket.send_str(await socket.receive_str())
        await socket.close()
        return socket

    def app(self):
        app = aiohttp.web.Application()
        app.router.add_post("/twiml/check", self.webhook)
        app.router.add_get("/media/check/{nonce}/{proof}", self.socket)
        return app


async def check(folder, **settings):
    """Exit status and words of the check with these variables."""
    unset = {name: "" for name in os.environ if name.startswith(programs.SETTINGS)}
    process = await asyncio.create_subprocess_exec(
        programs.binary(), "check", cwd=folder, env={**os.environ, **unset, **settings},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("token, right", [(TOKEN, True), ("f" * 32, False)])
async def test_twilios_library_accepts_what_the_check_signs(tmp_path, token, right):
    port = programs.free_port()
    public = Public(port)
    runner = aiohttp.web.AppRunner(public.app())
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        _, said = await check(tmp_path, TWILIO_AUTH_TOKEN=token, PUBLIC_URL=public.base.rstrip("/"))
    finally:
        await runner.cleanup()
    assert token not in said
    kinds = ["/twiml/", "/twiml/", "/media/"] if right else ["/twiml/", "/media/"]
    assert [kind for kind, _, _ in public.verdicts] == kinds, said
    assert all(verdict == right for _, _, verdict in public.verdicts), public.verdicts
    assert ("a signed webhook to" in said and "a signed audio socket opens" in said) == right, said
    if right:
        assert public.verdicts[1][1], "one webhook has a query string"
    else:
        assert "the webhook is changed on its way" in said
