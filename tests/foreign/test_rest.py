"""Twilio's REST API as two independent mocks have it: `emulate`, which keeps calls and numbers and
sends signed webhooks, and Prism, which holds each request against Twilio's own OpenAPI file."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack

import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

import programs
from between import Between

SID, TOKEN = "AC" + "0123456789abcdef" * 2, "0123456789abcdef0123456789abcdef"
WRONG = "fedcba9876543210fedcba9876543210"
API_TOKEN = "let-me-in-let-me-in"
PUBLIC, STRANGE = "https://bot.example.com", "https://strange.example.com"
OWN, SPARE, SOMEONE = "+15550199", "+15550188", "+15550100"
NOBODY = "CA" + "0" * 32
SPEC = "mocks/node_modules/@twilio-alpha/mcp/twilio-oai/spec/json/twilio_api_v2010.json"
PATHS = ("Calls.json", "Calls/{Sid}.json", "IncomingPhoneNumbers.json",
         "IncomingPhoneNumbers/{Sid}.json")
FIXTURES = programs.ROOT / "fixtures/twilio/rest"
COMMAND_S = 60


class Mended(TwilioHttpClient):
    """Twilio's own client, led to a mock."""

    def __init__(self, port):
        super().__init__(timeout=10)
        self.port = port

    def request(self, method, url, *args, **kwargs):
        url = url.replace("https://api.twilio.com", f"http://127.0.0.1:{self.port}")
        return super().request(method, url, *args, **kwargs)


class Site:
    """voice-bot, something between it and the API, and something between Twilio and it."""

    def __init__(self, stack, folder, mock, door, public=PUBLIC, token=TOKEN, outbound=""):
        port = programs.free_port()
        self.folder, self.token, self.public = folder, token, public
        self.api = stack.enter_context(Between(programs.free_port(), mock))
        self.door = stack.enter_context(Between(door, port))
        (folder / "voice-bot.toml").write_text(
            f'[server]\nport = {port}\npublic_url = "{public}"\n'
            f'[twilio]\napi_url = "{self.api.url}"\n'
            f'[outbound]\nfrom = "{OWN}"\nallow = ["+1555"]\nmax_calls = 50\n{outbound}\n')
        self.bot = stack.enter_context(programs.voice_bot(
            "serve", "--demo", "2", port=port, cwd=folder, env=self.env()))

    def env(self):
        return {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": self.token,
                "VOICE_BOT_API_TOKEN": API_TOKEN}

    def ask(self, path="", body=None, method="POST", below="calls"):
        """Status and body of what the control API answers."""
        url = f"http://127.0.0.1:{self.bot.port}/api/v1/{below}{path}"
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {API_TOKEN}"},
                                         method=method)
        return reply(request)

    def call(self):
        """The name of a call that is made."""
        status, made = self.ask(body={"to": SOMEONE})
        assert status == 201, made
        return made["call"]

    def order(self):
        """The last order that the API was given."""
        return self.api.seen("POST", "/Calls.json")[-1]

    def twilio(self, url, **form):
        """Status and body of our answer to a webhook that Twilio's own library signed."""
        signature = RequestValidator(self.token).compute_signature(url, form)
        data = urllib.parse.urlencode(form).encode()
        url = url.replace(self.public, self.door.url)
        return reply(urllib.request.Request(url, data, {"X-Twilio-Signature": signature}))

    def command(self, *words):
        """Exit status and output of the program, with the server's configuration."""
        done = subprocess.run(
            [programs.binary(), *words], cwd=self.folder, stdin=subprocess.DEVNULL,
            env={**programs.unset_settings(), **self.env()}, timeout=COMMAND_S, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def commands_agree(self, *words):
        status, said = self.command(*words)
        assert status == 0, said
        return said


def reply(request):
    try:
        with urllib.request.urlopen(request, timeout=COMMAND_S) as response:
            status, body = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read().decode()
    return status, json.loads(body) if body.startswith(("{", "[")) else body


def within(seconds, what):
    """Waits until `what()` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def doors():
    """The ports at which what is public is really found."""
    return {PUBLIC: programs.free_port(), STRANGE: programs.free_port()}


@pytest.fixture(scope="module")
def mock(stack, doors, tmp_path_factory):
    """The port of a stateful Twilio with one account and two numbers."""
    numbers = [{"phone_number": OWN, "friendly_name": "Front desk", "voice_url": "https://old/"},
               {"phone_number": SPARE, "friendly_name": "Spare"}]
    account = {"sid": SID, "auth_token": TOKEN, "friendly_name": "Test"}
    seed = tmp_path_factory.mktemp("emulate") / "seed.json"
    seed.write_text(json.dumps({"twilio": {"account": account, "phone_numbers": numbers}}))
    lead = {public: f"http://127.0.0.1:{port}" for public, port in doors.items()}
    return stack.enter_context(programs.emulate(seed, programs.free_port(), lead)).port


@pytest.fixture(scope="module")
def theirs(mock):
    """The mock's state, through Twilio's own client."""
    return Client(SID, TOKEN, http_client=Mended(mock))


@pytest.fixture(scope="module")
def site(stack, mock, doors, tmp_path_factory):
    return Site(stack, tmp_path_factory.mktemp("site"), mock, doors[PUBLIC])


@pytest.fixture(scope="module")
def stranger(stack, mock, doors, tmp_path_factory):
    """A voice-bot with another auth token than the account's."""
    folder = tmp_path_factory.mktemp("stranger")
    return Site(stack, folder, mock, doors[STRANGE], public=STRANGE, token=WRONG)


def test_a_call_is_made_reported_and_hung_up(site, theirs):
    sid = site.call()
    call = theirs.calls(sid).fetch()
    assert (call.to, call._from, call.status) == (SOMEONE, OWN, "ringing")
    order = site.order()
    assert order.status == 201
    assert order.fields("StatusCallbackEvent") == ["initiated", "ringing", "answered", "completed"]
    (status_url,) = order.fields("StatusCallback")
    (url,) = order.fields("Url")
    assert status_url.startswith(PUBLIC + "/twiml/status/")

    # The mock has reported there, signed, before it answered the order.
    report = site.door.seen("POST", status_url.removeprefix(PUBLIC))
    assert [(one.status, one.fields("CallStatus")) for one in report] == [(204, ["ringing"])]
    status, twiml = site.twilio(url, CallSid=sid, From=OWN, To=SOMEONE, CallStatus="in-progress")
    assert status == 200
    assert ElementTree.fromstring(twiml).find("Connect/Stream") is not None

    assert site.ask(f"/{sid}/hangup")[0] == 202
    assert theirs.calls(sid).fetch().status == "completed"
    listed = site.ask(method="GET", below="orders")[1]["orders"]
    (own,) = [order for order in listed if order["call"] == sid]
    assert own["statuses"] == ["ringing", "completed"]


def test_a_call_that_is_over_or_unknown_is_hung_up_already(site):
    assert site.ask(f"/{NOBODY}/hangup")[0] == 202
    answer = site.api.noted[-1]
    assert (answer.status, json.loads(answer.body)["code"]) == (404, 20404)
    # The mock hangs up as often as it is asked to; Twilio refuses a call that is over.
    site.api.refuse(400, (FIXTURES / "21220.json").read_bytes())
    assert site.ask(f"/{NOBODY}/hangup")[0] == 202
    assert site.api.tricks == []
    assert site.ask(f"/{NOBODY}/transfer", {"to": SOMEONE})[0] == 404


def test_the_command_calls(site, theirs):
    before = len(theirs.calls.list(to=SOMEONE))
    sid, status = site.commands_agree("call", SOMEONE, "--server",
                                      f"http://127.0.0.1:{site.bot.port}").split()
    assert theirs.calls(sid).fetch().to == SOMEONE
    assert (status, len(theirs.calls.list(to=SOMEONE))) == ("ringing", before + 1)


def test_a_call_is_asked_for_again_when_twilio_has_no_time_for_it(site, theirs):
    before = len(theirs.calls.list())
    for _ in range(2):
        site.api.refuse(429, (FIXTURES / "20429.json").read_bytes())
    sid = site.call()
    assert [one.status for one in site.api.seen("POST", "/Calls.json")[-3:]] == [429, 429, 201]
    assert theirs.calls(sid).fetch().status == "ringing"
    assert len(theirs.calls.list()) == before + 1


@pytest.mark.parametrize("hang", [False, True], ids=["cut", "timed out"])
def test_a_call_whose_order_is_not_answered_is_found(site, theirs, hang):
    """Reported by its name before: the report must not make it somebody else's."""
    before = {call.sid for call in theirs.calls.list()}
    site.api.lose(hang=hang)
    sid = site.call()
    after = {call.sid for call in theirs.calls.list()}
    assert after - before == {sid}
    assert site.ask(f"/{sid}/hangup")[0] == 202


def test_an_order_that_twilio_never_had_makes_no_call(site, theirs):
    before = len(theirs.calls.list())
    for sid in [call.sid for call in theirs.calls.list(to=SOMEONE) if call.status == "ringing"]:
        assert site.ask(f"/{sid}/hangup")[0] == 202
    site.api.lose(answer=False)
    status, answer = site.ask(body={"to": SOMEONE})
    assert (status, answer["error"]["code"]) == (504, "unknown")
    assert len(theirs.calls.list()) == before


def test_a_wrong_token_is_told_with_its_cure(stranger, theirs):
    before = len(theirs.calls.list())
    status, answer = stranger.ask(body={"to": SOMEONE})
    assert (status, answer["error"]["code"]) == (502, "refused")
    for said in (answer["error"]["message"], stranger.command("number", "list")[1]):
        assert "20003" in said and "TWILIO_AUTH_TOKEN" in said and WRONG not in said
    assert stranger.command("number", "list")[0] == 2
    assert len(theirs.calls.list()) == before


def test_a_number_is_shown_and_pointed_here(site, theirs):
    listed = site.commands_agree("number", "list")
    assert re.search(rf"{re.escape(OWN)}  Front desk\n  https://old/", listed), listed
    assert re.search(rf"{re.escape(SPARE)}  Spare\n  nowhere", listed), listed
    own = lambda: theirs.incoming_phone_numbers.list(phone_number=OWN)[0]
    assert "Nothing was changed" in site.commands_agree("number", "set", OWN)
    assert own().voice_url == "https://old/"
    site.commands_agree("number", "set", OWN, "--yes")
    assert (own().voice_url, own().voice_method) == (PUBLIC + "/twiml", "POST")
    status, said = site.command("number", "set", "+15550177", "--yes")
    assert status == 2 and "no number of this account" in said


@pytest.mark.parametrize("who", ["site", "stranger"])
def test_a_caller_whom_the_mock_announces(request, site, mock, theirs, who):
    """Its webhook is signed with the account's token: one of two servers knows that token."""
    here = request.getfixturevalue(who)
    (number,) = theirs.incoming_phone_numbers.list(phone_number=SPARE)
    number.update(voice_url=here.public + "/twiml", voice_method="POST")
    http = Mended(mock)
    made = http.request("POST", "https://api.twilio.com/_twilio/simulate/inbound-call",
                        data={"To": SPARE, "From": SOMEONE}, auth=(SID, TOKEN))
    assert made.status_code == 201
    within(5, lambda: any(one.status for one in here.door.seen("POST", "/twiml")))
    answer = here.door.seen("POST", "/twiml")[-1]
    assert answer.fields("CallSid") == [json.loads(made.text)["sid"]]
    if who == "stranger":
        assert answer.status == 403
        return
    assert answer.status == 200
    twiml = ElementTree.fromstring(answer.body)
    if (again := twiml.find("Redirect")) is not None:  # It rings: the engine is not ready yet.
        assert (twiml[0].tag, again.text) == ("Pause", f"{PUBLIC}/twiml/wait")
    else:
        assert twiml.find("Connect/Stream").get("url").startswith("wss://bot.example.com/media/")


def openapi(folder):
    """Twilio's OpenAPI file, cut to the paths that we use. It leaves out that a list in a form is
    one field for each value, as Twilio has it."""
    spec = json.loads((programs.HERE / SPEC).read_text())
    prefix = "/2010-04-01/Accounts/{AccountSid}/"
    spec["paths"] = {prefix + path: spec["paths"][prefix + path] for path in PATHS}
    create = spec["paths"][prefix + PATHS[0]]["post"]["requestBody"]["content"]
    create["application/x-www-form-urlencoded"]["encoding"] = {
        "StatusCallbackEvent": {"style": "form", "explode": True}}
    document = folder / "twilio.json"
    document.write_text(json.dumps(spec))
    return document


@pytest.fixture(scope="module")
def schema(stack, tmp_path_factory):
    """The port of a Prism that has Twilio's OpenAPI file."""
    document = openapi(tmp_path_factory.mktemp("prism"))
    return stack.enter_context(programs.prism(document, programs.free_port())).port


def test_every_request_is_as_the_openapi_file_has_it(stack, schema, tmp_path):
    machine = 'machine = "message"\nmessage = "Please call back."'
    site = Site(stack, tmp_path, schema, programs.free_port(), outbound=machine)
    sid = site.call()
    assert re.fullmatch("CA[0-9a-f]{32}", sid), "the file's example"
    (url,) = site.order().fields("AsyncAmdStatusCallback")
    assert site.twilio(url, CallSid=sid, AnsweredBy="machine_end_beep")[0] == 204
    within(5, lambda: site.api.seen("POST", f"/{sid}.json"))
    assert site.ask(f"/{sid}/hangup")[0] == 202
    listed = site.commands_agree("number", "list")
    number = re.match(r"\+\d+", listed)[0]
    site.commands_agree("number", "set", number, "--fallback", "https://else.example/x", "--yes")

    within(5, lambda: all(one.status for one in site.api.noted))
    seen = [(one.method, one.path.rpartition("/")[2], one.status) for one in site.api.noted]
    numbers = ("GET", "IncomingPhoneNumbers.json", 200)
    assert seen[:5] == [("POST", "Calls.json", 201), ("POST", f"{sid}.json", 200),
                        ("POST", f"{sid}.json", 200), numbers, numbers]
    assert seen[5][0] == "POST" and seen[5][1].startswith("PN") and seen[5][2] == 200
    said, hung_up, changed = (site.api.noted[at] for at in (1, 2, 5))
    assert "Please call back.</Say><Hangup/>" in said.fields("Twiml")[0]
    assert hung_up.form == [("Status", "completed")]
    assert changed.fields("VoiceFallbackUrl") == ["https://else.example/x"]


def test_prism_refuses_what_the_openapi_file_does_not_have(schema):
    """Else the test above would show nothing."""
    def status(path, auth=(SID, TOKEN), **form):
        url = f"https://api.twilio.com/2010-04-01/Accounts/{SID}/{path}"
        return Mended(schema).request("POST", url, data=form, auth=auth).status_code

    order = {"To": SOMEONE, "From": OWN, "Url": "https://bot.example.com/"}
    assert status("Calls.json", **order) == 201
    assert status("Calls.json", **order, StatusCallbackEvent=["initiated", "ringing"]) == 201
    assert status("Calls.json", auth=None, **order) == 401
    assert status("Calls.json", To=SOMEONE) == 422
    assert status("Calls.json", **order, Timeout="soon") == 422
    assert status(f"Calls/{NOBODY}.json", Status="gone") == 422
    assert status("Calls/CA1.json", Status="completed") == 422
