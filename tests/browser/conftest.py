"""What the browser's tests talk to: the program itself, and a mock for what it does not do on
demand. Each is started once."""

import pytest

import dashboard_server as servers
from chromium import Visit, browser


@pytest.fixture(scope="session")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def mock():
    with servers.mock() as program:
        yield servers.Server(f"http://127.0.0.1:{program.port}", mock=True)


@pytest.fixture(scope="session")
def server(chromium, tmp_path_factory):
    """voice-bot with demo engines, or the one of DASHBOARD_URL; one call at least is over there."""
    given = servers.given()
    if given:
        yield prepared(given, chromium)
        return
    with servers.voice_bot(tmp_path_factory.mktemp("server")) as program:
        yield prepared(servers.Server(f"http://127.0.0.1:{program.port}", mock=False), chromium)


def prepared(server, chromium):
    if not server.recorded():
        with Visit(chromium, server) as visit:
            visit.talk(20)
            visit.hang_up()
        server.wait(server.recorded)
    return server


@pytest.fixture(scope="session")
def calling(server, tmp_path_factory):
    """The name of a call that goes on as long as the tests do."""
    with servers.dial(server, tmp_path_factory.mktemp("dial")):
        running = server.wait(lambda: server.api("calls?state=running&direction=inbound")["calls"])
        yield running[0]["id"]


@pytest.fixture(scope="session")
def locked(tmp_path_factory):
    """voice-bot that wants to be signed in to, and lets nobody change personas."""
    token = "open-sesame-open-sesame"
    with servers.voice_bot(tmp_path_factory.mktemp("locked"), token=token) as program:
        yield servers.Server(f"http://127.0.0.1:{program.port}", mock=False, token=token)
