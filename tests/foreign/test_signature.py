"""Requests signed by Twilio's own library, against the running server."""

import re
import urllib.error
import urllib.parse
import urllib.request

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

import programs

PUBLIC = "https://Bot.Example.com"
TOKEN = "0123456789abcdef0123456789abcdef"
FIELDS = {"CallSid": "CA" + "1" * 32, "From": "+15550100", "To": "+15550199", "CallerCity": "",
          "CallToken": "%7B%22parentCallInfoToken%22%3A%22e+J%22%7D", "Caller": "José & Söhne 🙂"}


@pytest.fixture(scope="module")
def bot(tmp_path_factory):
    port = programs.free_port()
    with programs.voice_bot("serve", "--demo", "3", "--port", port, "--public-url", PUBLIC,
                            port=port, cwd=tmp_path_factory.mktemp("signed"),
                            env={"TWILIO_AUTH_TOKEN": TOKEN}) as program:
        yield program


def post(bot, path, fields, signed_url, token=TOKEN):
    """Status and body of the answer to a form that Twilio's library signed for this URL."""
    signature = RequestValidator(token).compute_signature(signed_url, fields)
    request = urllib.request.Request(f"http://127.0.0.1:{bot.port}{path}",
                                     urllib.parse.urlencode(fields).encode(),
                                     {"X-Twilio-Signature": signature})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def connected(bot, fields):
    """The TwiML that connects this caller, who hears ringing until an engine is ready."""
    url = f"{PUBLIC.lower()}/twiml"
    for _ in range(10):
        status, twiml = post(bot, urllib.parse.urlsplit(url).path, fields, url)
        assert status == 200
        again = re.search(r"<Redirect[^>]*>([^<]+)</Redirect>", twiml)
        if again is None:
            return twiml
        url = again.group(1)
    raise AssertionError(f"no engine becomes ready: {twiml}")


async def opening(bot, url, signed_url):
    """The status with which the socket is refused; 101 if it opens."""
    path = urllib.parse.urlsplit(url).path
    signature = RequestValidator(TOKEN).compute_signature(signed_url, {})
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(f"ws://127.0.0.1:{bot.port}{path}",
                                       headers={"x-twilio-signature": signature}):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


def test_what_twilios_library_signs_is_answered(bot):
    assert "<Connect" in connected(bot, FIELDS)
    assert post(bot, "/twiml/after", FIELDS, "https://bot.example.com/twiml/after")[0] == 200


def test_what_it_signs_for_others_is_not(bot):
    url = "https://bot.example.com/twiml"
    assert post(bot, "/twiml", FIELDS, url, token="f" * 32)[0] == 403
    assert post(bot, "/twiml", FIELDS, f"http://127.0.0.1:{bot.port}/twiml")[0] == 403
    signature = RequestValidator(TOKEN).compute_signature(url, FIELDS)
    changed = urllib.parse.urlencode(FIELDS | {"To": "+15550198"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{bot.port}/twiml", changed,
                                     {"X-Twilio-Signature": signature})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)


async def test_the_stream_that_the_webhook_names_opens_once(bot):
    fields = FIELDS | {"CallSid": "CA" + "2" * 32}
    url = re.search(r'<Stream url="([^"]+)"', connected(bot, fields)).group(1)
    assert re.fullmatch(r"wss://bot\.example\.com/media/[\w-]{32}", url)
    assert await opening(bot, url, url.replace("wss:", "https:")) == 403
    assert await opening(bot, url, url) == 101
    assert await opening(bot, url, url) == 403
