"""Each page of the dashboard, as readers with wide and narrow windows, in the light and the dark,
have it; and what they do there."""

import pytest

from chromium import NARROW, WIDE, Visit

PAGES = ["talk", "calls", "history", "engines", "personas", "settings", "ended", "running"]
READY = {"talk": ".big", "calls": ".running .call, .empty:visible", "history": "table.history",
         "engines": ".engine", "personas": ".persona", "settings": "table.settings",
         "ended": ".turn", "running": ".steer"}
# How many pixels of a canvas have about the colour of a custom property.
PAINTED = """([selector, name]) => {
    const probe = document.createElement("i");
    probe.style.color = getComputedStyle(document.documentElement).getPropertyValue(name);
    document.body.append(probe);
    const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    probe.remove();
    const canvas = document.querySelector(selector);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
        count += data[at + 3] > 200 && wanted.every((value, i) =>
            Math.abs(data[at + i] - value) < 12);
    }
    return count;
}"""


def route(server, page, calling):
    """The address of a page; calls are named by those that there are."""
    names = {"ended": lambda: server.recorded()["id"], "running": lambda: calling}
    return f"calls/{names[page]()}" if page in names else page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(server, chromium, calling, page, size, theme):
    with Visit(chromium, server, size, theme) as visit:
        visit.go(route(server, page, calling))
        visit.find(READY[page]).first.wait_for()
        visit.find('.pulse[data-state="live"]').wait_for()
        visit.page.wait_for_timeout(700)
        assert visit.sideways() <= 0
        assert visit.page.evaluate("() => document.documentElement.dataset.theme") == theme
        unnamed = visit.page.evaluate("""() => [...document.querySelectorAll(
            "button, a[href], input, select, textarea")].filter((one) => one.checkVisibility()
            && !(one.innerText?.trim()
            || one.getAttribute("aria-label") || one.labels?.length)).map((one) =>
            one.outerHTML)""")
        assert unnamed == []
        assert visit.faults == []


def test_the_theme_can_be_switched_and_stays(server, chromium):
    with Visit(chromium, server) as visit:
        page = visit.go("settings")
        page.get_by_role("button", name="Switch to the dark theme").click()
        page.reload()
        page.get_by_role("button", name="Switch to the light theme").wait_for()
        assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_every_page_is_reached_by_keys_alone(server, chromium):
    with Visit(chromium, server) as visit:
        page = visit.go("settings")
        visit.find("table.settings").first.wait_for()
        for key, place in zip("tchep", ["talk", "calls", "history", "engines", "personas"]):
            page.keyboard.press("g")
            page.keyboard.press(key)
            visit.find(f'[data-page="{place}"] h1').wait_for()
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Shortcuts").wait_for()
        page.keyboard.press("Escape")
        page.reload()
        visit.find(".persona, .loading").first.wait_for()
        for _ in range(3):
            page.keyboard.press("Tab")
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_a_call_is_seen_heard_and_sought(server, chromium):
    call = server.recorded()
    with Visit(chromium, server) as visit:
        visit.go(f"calls/{call['id']}")
        visit.find(".turn").first.wait_for()
        for who in ("caller", "bot"):
            visit.until(f"(argument) => ({PAINTED})(argument) > 500",
                        [f".lane.{who} canvas", f"--{who}"])
        assert visit.find(".words.bot span").count() > 0
        assert visit.find(".curve .uplot").count() == 2
        visit.until("() => document.querySelector('audio').readyState > 0")
        over = visit.find(".over")
        box = over.bounding_box()
        over.click(position={"x": box["width"] / 2, "y": 40})
        middle = call["duration_ms"] / 2000
        assert visit.page.evaluate("() => document.querySelector('audio').currentTime") \
            == pytest.approx(middle, abs=0.5)
        assert int(over.get_attribute("aria-valuenow")) == pytest.approx(middle, abs=1)
        visit.page.keyboard.press("ArrowRight")
        assert int(over.get_attribute("aria-valuenow")) == pytest.approx(middle + 5, abs=1)
        visit.page.get_by_role("button", name="Play", exact=True).click()
        visit.until("(from) => document.querySelector('audio').currentTime > from", middle + 5.5)
        visit.page.get_by_role("button", name="Pause").click()
        assert int(over.get_attribute("aria-valuenow")) > middle + 4
        turn = visit.find(".below .turn").nth(1)
        turn.get_by_role("button").click()
        visit.find(".below .turn[aria-current]").wait_for()
        assert visit.faults == []


def test_the_time_line_zooms_to_single_words(server, chromium):
    with Visit(chromium, server) as visit:
        visit.go(f"calls/{server.recorded()['id']}")
        visit.find(".turn").first.wait_for()
        phrase = visit.find(".words.bot span").first.get_attribute("title")
        whole = visit.page.get_by_role("button", name="Whole call")
        assert whole.is_disabled()
        # One zooms in on where one is, and nobody speaks in the middle of some calls.
        visit.find(".below .turn.bot").first.get_by_role("button").click()
        for _ in range(9):
            visit.page.keyboard.press("+")
        visit.until("() => [...document.querySelectorAll('.words span')].some((one) =>"
                    " one.textContent && !one.textContent.includes(' '))")
        visit.page.keyboard.press("0")
        visit.until("(title) => document.querySelector('.words.bot span')?.title === title",
                    phrase)


def test_a_recording_is_downloaded_under_a_name(server, chromium):
    call = server.recorded()
    with Visit(chromium, server) as visit:
        visit.go(f"calls/{call['id']}")
        with visit.page.expect_download() as download:
            visit.page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename.endswith(call["recording"]["format"])


def test_the_history_is_searched_filtered_and_paged(mock, chromium):
    with Visit(chromium, mock) as visit:
        page = visit.go("history")
        rows = visit.find("table.history tbody tr")
        rows.first.wait_for()
        assert rows.count() == 50
        newest = rows.first.get_attribute("data-call")
        page.get_by_role("button", name="Older").click()
        visit.until("(id) => document.querySelector('tbody tr')?.dataset.call !== id", newest)
        page.get_by_role("button", name="Newer").click()
        visit.until("(id) => document.querySelector('tbody tr')?.dataset.call === id", newest)
        page.keyboard.press("/")
        page.keyboard.type("thursday at fifteen")
        page.get_by_label("Persona").select_option("storyteller")
        page.get_by_label("Direction").select_option("inbound")
        visit.until("() => [...document.querySelectorAll('tbody tr')].every((row) =>"
                    " row.innerText.includes('storyteller') && row.innerText.includes('inbound'))")
        found = rows.count()
        assert 0 < found < 50
        page.reload()
        visit.until("(n) => document.querySelectorAll('tbody tr').length === n", found)
        page.get_by_role("searchbox").fill("no such words were said")
        page.get_by_text("No call is like that").wait_for()
        page.get_by_role("button", name="Clear").click()
        visit.until("() => document.querySelectorAll('tbody tr').length === 50")
        assert visit.faults == []


def test_a_call_is_deleted_only_when_that_is_confirmed(mock, chromium):
    call = mock.recorded()["id"]
    with Visit(chromium, mock) as visit:
        page = visit.go(f"calls/{call}")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        assert mock.api(f"calls/{call}")["id"] == call
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        visit.find("table.history tbody tr").first.wait_for()
        assert visit.find(f'tr[data-call="{call}"]').count() == 0
        visit.go(f"calls/{call}")
        page.get_by_text("There is no such call").wait_for()


def test_running_calls_are_watched_and_steered(mock, chromium):
    with Visit(chromium, mock) as visit:
        page = visit.go("calls")
        page.get_by_role("button", name="New call").click()
        page.get_by_label("Number").fill("+49301234")
        page.get_by_role("button", name="Call", exact=True).click()
        page.get_by_role("dialog").get_by_text("outbound.allow lists nothing").wait_for()
        odd = "+1555<img src=x onerror='window.hacked=1'>"
        page.get_by_label("Number").fill(odd)
        page.get_by_role("button", name="Call", exact=True).click()
        card = visit.find(".running .call", has_text=odd)
        card.wait_for()
        # Its time and its words go on by themselves.
        first = card.locator(".time").inner_text()
        visit.until("(was) => [...document.querySelectorAll('.call .time')].at(-1).textContent"
                    " !== was", first)
        visit.until("() => [...document.querySelectorAll('.call .said')].at(-1).textContent"
                    ".includes('Willow')")
        card.get_by_role("link").click()
        visit.find(".steer").wait_for()
        page.get_by_label("Digits").fill("12x")
        page.get_by_role("button", name="Play", exact=True).click()
        assert page.get_by_label("Digits").get_attribute("aria-invalid") == "true"
        page.get_by_label("Digits").fill("12#")
        page.get_by_role("button", name="Play", exact=True).click()
        visit.find(".events").get_by_text("plays 12#").wait_for()
        page.get_by_role("button", name="Transfer").click()
        page.get_by_label("To", exact=True).fill("+15550199")
        page.get_by_role("dialog").get_by_role("button", name="Transfer").click()
        # The page becomes that of an ended call.
        page.get_by_role("button", name="Delete").wait_for()
        assert "transferred" in visit.find(".page-head").inner_text()
        assert page.evaluate("() => window.hacked") is None
        # 403, which the browser notes for itself, was asked for.
        assert [fault for fault in visit.faults if "403" not in fault] == []


def test_a_running_call_is_hung_up_from_the_list(mock, chromium):
    call = mock.api("calls?state=running")["calls"][0]["id"]
    with Visit(chromium, mock) as visit:
        visit.go("calls")
        visit.find(f'[data-call="{call}"]').get_by_role("button").click()
        visit.page.get_by_role("dialog").get_by_role("button", name="Hang up").click()
        visit.find(f'[data-call="{call}"]').wait_for(state="detached")
    assert mock.ended(call)["reason"] == "hung-up"


def test_engines_come_and_go(mock, chromium):
    with Visit(chromium, mock) as visit:
        page = visit.go("engines")
        page.get_by_role("button", name="Add engine").click()
        page.get_by_label("Address").fill("http://gpu-9:8998")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text("is no engine's address").wait_for()
        page.get_by_label("Address").fill("ws://gpu-9:8998")
        page.get_by_role("button", name="Add", exact=True).click()
        card = visit.find('[data-engine="ws://gpu-9:8998"]')
        card.wait_for()
        assert "0 ms" not in card.inner_text()
        card.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        card.wait_for(state="detached")


def test_a_persona_is_changed_and_a_bad_one_refused(mock, chromium):
    with Visit(chromium, mock) as visit:
        page = visit.go("personas")
        card = visit.find('[data-persona="storyteller"]')
        prompt = card.get_by_label("Prompt")
        save = card.get_by_role("button", name="Save")
        assert save.is_disabled()
        prompt.fill("x" * 1300)
        save.click()
        card.get_by_role("alert").get_by_text("shorten it to 1200").wait_for()
        assert prompt.get_attribute("aria-invalid") == "true"
        prompt.fill("You are Captain Orso, and brief.")
        card.get_by_label("Voice").select_option("VARM3.pt")
        save.click()
        page.get_by_text("storyteller is saved").wait_for()
        assert save.is_disabled()
    told = {one["name"]: one for one in mock.api("personas")["personas"]}
    assert told["storyteller"]["voice"] == "VARM3.pt"
    assert told["storyteller"]["prompt"] == "You are Captain Orso, and brief."


def test_settings_are_found(server, chromium):
    with Visit(chromium, server) as visit:
        page = visit.go("settings")
        visit.find("table.settings").first.wait_for()
        page.keyboard.press("/")
        page.keyboard.type("server.port")
        visit.until("() => document.querySelectorAll('table.settings tbody tr').length === 1")
        assert "server.port" in visit.find("table.settings").inner_text()
        assert visit.faults == []


def test_a_lost_stream_is_said_and_mended(mock, chromium):
    with Visit(chromium, mock) as visit:
        visit.go("calls")
        visit.find('.pulse[data-state="live"]').wait_for()
        mock.ask("mock/fault", {"live": "cut"})
        visit.find(".banner").get_by_text("Not live").wait_for()
        mock.ask("mock/fault", {"live": ""})
        visit.find('.pulse[data-state="live"]').wait_for()
        visit.find(".banner").wait_for(state="hidden")


def test_the_door_opens_to_the_token_alone(locked, chromium):
    with Visit(chromium, locked, signed_in=False) as visit:
        page = visit.go("calls")
        page.get_by_label("Token").fill("guess")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").get_by_text("not the server's token").wait_for()
        page.get_by_label("Token").fill(locked.token)
        page.keyboard.press("Enter")
        visit.find(READY["calls"]).first.wait_for()
        visit.go("personas")
        card = visit.find('[data-persona="assistant"]')
        assert card.get_by_label("Prompt").is_disabled()
        assert card.get_by_role("button", name="Save").count() == 0
        # A session that ends elsewhere leads back to the door.
        visit.context.clear_cookies()
        page.keyboard.press("g")
        page.keyboard.press("s")
        page.get_by_label("Token").fill(locked.token)
        page.keyboard.press("Enter")
        visit.find("table.settings").first.wait_for()
        # Whoever signs out does so on every page: what streams to them ends.
        other = visit.context.new_page()
        other.goto(f"{locked.url}/#/calls")
        other.locator('.pulse[data-state="live"]').wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Token").wait_for()
        other.get_by_label("Token").wait_for()
        assert [fault for fault in visit.faults if "401" not in fault] == []


def test_nothing_moves_for_who_does_not_want_it(server, chromium):
    with Visit(chromium, server, motion="reduce") as visit:
        visit.go("talk")
        visit.find(".big").wait_for()
        moving = visit.page.evaluate("""() => [...document.querySelectorAll("*")].filter((one) =>
            parseFloat(getComputedStyle(one).transitionDuration) > 0).length""")
        assert moving == 0
