"""A real browser, headless, that hears a WAV file as its microphone and is watched all along."""

import contextlib
import os
import shutil
import tempfile
import wave
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

ASSETS = Path(__file__).resolve().parents[2] / "assets"
WAIT_MS = 10_000
# Of the speech's length: the parrot needs a moment, and says it all again.
PAUSE = 1.6
WIDE, NARROW = (1280, 900), (390, 844)


def program():
    """The browser under test: $CHROMIUM, or Debian's."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        raise FileNotFoundError("chromium: install it (apt-get install chromium), or set CHROMIUM")
    return path


def with_pauses(folder, speech=ASSETS / "caller.wav"):
    """A file of that speech, and of as long a pause, in which the parrot answers."""
    with wave.open(str(speech)) as read:
        sound, frames = read.readframes(read.getnframes()), read.getparams()
    path = Path(folder) / "microphone.wav"
    with wave.open(str(path), "wb") as written:
        written.setparams(frames)
        written.writeframes(sound + bytes(int(len(sound) * PAUSE) // 2 * 2))
    return path


@contextlib.contextmanager
def browser(microphone=None):
    """Chromium whose microphone plays a file over and over; speech and pauses, if none is given."""
    with tempfile.TemporaryDirectory() as folder:
        with opened(microphone or with_pauses(folder)) as running:
            yield running


@contextlib.contextmanager
def opened(microphone):
    arguments = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--disable-dev-shm-usage",
                 "--use-fake-device-for-media-stream",
                 f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program(), args=arguments)
        try:
            yield running
        finally:
            running.close()


class Visit:
    """One reader's look at the dashboard: `page` is Playwright's, `faults` what must not be."""

    def __init__(self, browser_, server, size=WIDE, theme="light", script=None,
                 motion="no-preference", signed_in=True):
        self.url, self.faults = server.url, []
        self.context = browser_.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme,
            permissions=["microphone"], reduced_motion=motion)
        self.context.set_default_timeout(WAIT_MS)
        if server.token and signed_in:
            self.context.request.post(f"{self.url}/api/v1/session", data={"token": server.token},
                                      headers={"X-Voice-Bot": "1"})
        if script:
            self.context.add_init_script(script)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._request)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request):
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.faults.append(f"asks another host: {request.url}")

    def go(self, route=""):
        self.page.goto(f"{self.url}/#/{route}")
        return self.page

    def find(self, selector, **having):
        return self.page.locator(selector, **having)

    def until(self, condition, argument=None, ms=WAIT_MS):
        """Waits until a JavaScript expression is true, and gives its value."""
        return self.page.wait_for_function(condition, arg=argument, timeout=ms).json_value()

    def talk(self, seconds):
        """Calls from the page, and talks for a while; gives the call's id."""
        self.go("talk").get_by_role("button", name="Talk", exact=True).click()
        call = self.until("() => window.voiceBotLine?.call")
        self.until("() => voiceBotLine.counts.sent > 0")
        self.until("(least) => voiceBotLine.mouth.played_ms > least", seconds * 1000,
                   ms=seconds * 1000 + WAIT_MS)
        return call

    def hang_up(self):
        self.page.get_by_role("button", name="Hang up").click()
        self.page.get_by_role("link", name="See and hear this call").wait_for()

    def sideways(self):
        """How many pixels the page is wider than the window."""
        return self.page.evaluate("() => document.documentElement.scrollWidth"
                                  " - document.documentElement.clientWidth")
