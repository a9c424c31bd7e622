// Calls that ended, or all: found by words and filters, a page at a time. The address holds them.

import { ask, part } from "../api.js";
import { button, field, fill, h } from "../dom.js";
import { DIRECTIONS, REASONS, bytes, clock, count, gravity, many, millis, way, when, who }
  from "../format.js";
import { key } from "../keys.js";
import { listen } from "../live.js";

const ROWS = 50;
const TYPING_MS = 250;

export function show(page, { query }) {
  const inputs = filters(query);
  const results = h("div", { class: "card" });
  const total = h("span", { class: "soft", role: "status" });
  const newer = button("Newer", { click: () => turn(-1) });
  const older = button("Older", { click: () => turn(1) });
  const fresh = button("New calls ended: show them", { kind: "slim", click: () => load() });
  fresh.hidden = true;
  const form = h("form", { class: "filters", role: "search", "aria-label": "Find calls" },
    ...Object.values(inputs).map((input) => input.box),
    button("Clear", { kind: "slim clear", click: clear }));
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "History"), total, fresh), form, results,
    h("div", { class: "row pager" }, newer, older));

  let cursors = [null];
  let following = null;
  let asking = null;
  let timer = null;

  function values() {
    const set = Object.entries(inputs).map(([name, { control }]) => [name, control.value.trim()]);
    return Object.fromEntries(set.filter(([, value]) => value));
  }

  async function load() {
    asking?.abort();
    asking = new AbortController();
    fresh.hidden = true;
    const { since, until, ...rest } = values();
    const wanted = { state: "ended", limit: ROWS, before: cursors.at(-1), ...rest,
      since_ms: midnight(since, 0), until_ms: midnight(until, 1) };
    try {
      const found = await ask("calls", { query: wanted, signal: asking.signal });
      following = found.next;
      total.textContent = many(found.total, "call");
      fill(results, found.calls.length ? table(found.calls) : nothing());
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(results, h("div", { class: "trouble", role: "alert" }, error.message));
      following = null;
    }
    newer.disabled = cursors.length === 1;
    older.disabled = !following;
  }

  function turn(step) {
    if (step > 0) cursors.push(following);
    else cursors.pop();
    load();
    page.scrollIntoView();
  }

  function changed() {
    cursors = [null];
    const text = new URLSearchParams(values()).toString();
    history.replaceState(null, "", text ? `#/history?${text}` : "#/history");
    load();
  }

  function clear() {
    for (const { control } of Object.values(inputs)) control.value = "";
    changed();
  }

  function nothing() {
    const narrowed = Object.keys(values()).length > 0;
    return h("div", { class: "empty" }, h("strong", {}, narrowed ? "No call is like that"
      : "No call has ended yet"), narrowed ? "Fewer filters may find more."
      : "Calls are listed here when they are over.");
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(changed, TYPING_MS);
  });
  load();
  people(inputs.persona.control);
  const ends = [key("/", () => inputs.search.control.focus()),
    listen("ended", () => { fresh.hidden = false; })];
  return () => {
    ends.forEach((end) => end());
    clearTimeout(timer);
    asking?.abort();
  };
}

function filters(query) {
  const select = (every, options) => h("select", {}, h("option", { value: "" }, every),
    ...options.map(([value, text]) => h("option", { value }, text)));
  const controls = {
    search: ["Search", h("input", { type: "search", placeholder: "Number, persona or words" })],
    // The rest comes from the server, and maybe this one is no longer among them.
    persona: ["Persona", select("Any", [query.get("persona")].filter(Boolean)
      .map((one) => [one, one]))],
    reason: ["Ended because", select("Any reason", Object.entries(REASONS))],
    direction: ["Direction", select("Any", DIRECTIONS.map((one) => [one, one]))],
    since: ["From", h("input", { type: "date" })],
    until: ["To", h("input", { type: "date" })],
  };
  return Object.fromEntries(Object.entries(controls).map(([name, [label, control]]) => {
    control.value = query.get(name) ?? "";
    return [name, { control, box: field(label, control) }];
  }));
}

async function people(select) {
  const told = await ask("personas").catch(() => ({ personas: [] }));
  const others = told.personas.filter(({ name }) => name !== select.value);
  select.append(...others.map(({ name }) => h("option", { value: name }, name)));
}

/** The start of a day here, or of the one after it, in ms since 1970. */
function midnight(date, after) {
  if (!date) return null;
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day + after).getTime();
}

function table(calls) {
  const head = (name, wide = false, number = false) => h("th", { scope: "col",
    class: [wide && "wide", number && "number"].filter(Boolean).join(" ") || null }, name);
  return h("table", { class: "history" },
    h("thead", {}, h("tr", {}, head("When"), head("Who"), head("Persona", true),
      head("Length", false, true), head("Words", true, true), head("First audio", true, true),
      head("Waiting", true, true), head("End", true), head("Recording", true, true))),
    h("tbody", {}, ...calls.map(line)));
}

function line(call) {
  const end = call.reason === null ? h("span", { class: "chip good" }, "running")
    : h("span", { class: `chip ${gravity(call.reason)}`, title: call.reason }, call.reason_text);
  const cell = (value) => h("td", { class: "wide number" }, value);
  return h("tr", { data: { call: call.id } },
    h("td", { class: "nowrap" }, when(call.started_ms)),
    h("td", {}, h("a", { class: "who", href: `#/calls/${part(call.id)}` }, who(call)),
      h("div", { class: "small soft wide nowrap" }, way(call)),
      h("div", { class: "narrow small" }, `${way(call)} · ${call.persona} `, end.cloneNode(true))),
    h("td", { class: "wide" }, call.persona, h("div", { class: "small soft cut",
      title: call.engine }, call.engine ?? "")),
    h("td", { class: "number" }, clock(call.duration_ms)),
    cell(count(call.words)), cell(millis(call.first_audio_ms)), cell(millis(call.depth_p50_ms)),
    h("td", { class: "wide" }, end),
    cell(call.recording ? `${call.recording.format} ${bytes(call.recording.bytes)}` : "–"));
}
