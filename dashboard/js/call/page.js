// One call: what went on, heard and seen on one time line; steered while it runs.

import { address, ask, part, remove } from "../api.js";
import { attempt, question, toast } from "../dialog.js";
import { facts, fill, h, say } from "../dom.js";
import { bytes, clock, count, gravity, millis, mood, seconds, way, when, who }
  from "../format.js";
import { key } from "../keys.js";
import { listen, live } from "../live.js";
import { phrases } from "../words.js";
import { controls } from "./controls.js";
import { Course } from "./course.js";
import { player } from "./player.js";
import { events, transcript } from "./said.js";
import { timeline } from "./timeline.js";
import { View } from "./view.js";

const LEAST_PEAKS = 1000;
const MOST_PEAKS = 8000;
const PEAKS_PER_S = 25;
// The record is written a moment after the call ended, or later; what is not there yet is asked for
// at these pauses, and then at the last of them while the page is open.
const AGAIN_MS = [300, 1000, 2000, 4000, 8000, 15_000, 30_000];
// What was said just now may not be written when one asks.
const LAG_MS = 1000;
// A recording is noted when it is complete: for how long one waits for it, and after which calls.
const RECORDING_MS = 30_000;
const RECENT_MS = 120_000;
const LIVE_SPAN_MS = 30_000;

export function show(page, { rest: [id], here }) {
  let asking = null;
  let mounted = null;
  let timer = null;
  let tries = 0;
  let twice = true;
  // What is said while the answer is on its way is not lost.
  const early = [];

  async function load() {
    clearTimeout(timer);
    timer = null;
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    try {
      shown(await ask(`calls/${part(id)}`, { signal: mine.signal }));
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    }
    if (asking === mine) asking = null;
  }

  function shown(call) {
    if (!mounted?.renew(call)) {
      mounted?.close();
      tries = 0;
      mounted = mount(page, call, again);
      here(call.reason ? "history" : "calls", `Call, ${who(call)}`);
    }
    for (const [kind, event] of early.splice(0)) mounted.tell(kind, event);
    if (twice && mounted.running) again(LAG_MS);
    twice = false;
  }

  function failed(error) {
    if (mounted && error.status !== 404) {
      again();
      return;
    }
    mounted?.close();
    mounted = null;
    missing(page, error);
  }

  /** Asks after a pause, which grows until there is a reason to begin anew. */
  function again(ms = AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)]) {
    if (timer !== null) return;
    timer = setTimeout(load, ms);
    tries += 1;
  }

  // What happened while nothing came is not told again. What has ended stays as it is.
  function afresh() {
    if (mounted && !mounted.running) return;
    tries = 0;
    twice = true;
    load();
  }

  function over(event) {
    if (event.call !== id || !mounted?.running) return;
    toast(`Call over: ${event.reason_text}`);
    clearTimeout(timer);
    timer = null;
    tries = 0;
    again();
  }

  const told = (kind) => listen(kind, (event) => {
    if (event.call !== id) return;
    if (asking) early.push([kind, event]);
    mounted?.tell(kind, event);
  });
  const ends = [told("word"), told("note"), listen("ended", over), listen("missed", afresh),
    listen("link", ({ link }) => link === "live" && afresh())];
  fill(page, h("p", { class: "loading" }, "Asking the server …"));
  load();
  return () => {
    ends.forEach((end) => end());
    asking?.abort();
    clearTimeout(timer);
    mounted?.close();
  };
}

function missing(page, error) {
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Call")),
    h("div", { class: "card empty" }, h("strong", {}, error.status === 404
      ? "There is no such call" : "The call cannot be shown"), error.message, " ",
    h("a", { href: "#/history" }, "To the history")));
}

/** Shows a call, and calls `again` to have it after a pause. What comes then is for `renew`, which
 * is false where the page must be another one. */
function mount(page, first, again) {
  let call = first;
  const running = isRunning(call);
  const course = new Course(call);
  const duration = () => (running ? Math.max(LIVE_SPAN_MS, course.length)
    : Math.max(1000, call.duration_ms));
  const view = new View(duration());
  view.live = running;
  let covers = course.covers;
  const line = timeline(view, () => covers);
  const said = transcript(view);
  const happened = events(view);
  const since = performance.now();
  let sound = null;
  const noSound = h("span", { class: "soft", role: "status" },
    running && "The recording can be heard when the call is over.");
  const phase = h("span", { class: "chip" });
  const time = h("span", { class: "time" });
  const ends = [key("+", () => view.zoom(1 / 1.6)), key("=", () => view.zoom(1 / 1.6)),
    key("-", () => view.zoom(1.6)), key("0", () => view.show(0, view.duration))];
  const steer = running ? controls(call) : null;
  const top = heading(call, running, phase, time);
  let about = summary(call, running);

  const drawn = () => {
    const parts = phrases(course.words);
    line.lanes.callerWords.set(parts.filter((phrase) => phrase.who === "caller"));
    line.lanes.botWords.set(parts.filter((phrase) => phrase.who === "bot"));
    said.set(parts);
    line.lanes.notes.set(course.notes);
    happened.set(course.notes);
  };
  const curves = () => {
    line.lanes.depth.set(course.curve);
    line.lanes.speed.set(course.curve);
  };
  const waves = () => {
    line.lanes.caller.set(course.peaks.caller);
    line.lanes.bot.set(course.peaks.bot);
  };

  fill(page, top, about, steer?.element,
    h("section", { class: "card", "aria-label": "Time line" },
      h("div", { class: "head" }, noSound, h("div", { class: "end" }, line.tools)), line.element,
      line.overview),
    h("div", { class: "below" }, said.element, happened.element), record(call, running));
  line.draw();
  drawn();
  curves();
  waves();

  function tell(kind, event) {
    if (!running) return;
    if (kind === "word") course.word(event);
    else course.note(event);
    drawn();
  }
  function grown() {
    covers = course.covers;
    view.now(course.length);
    if (duration() > view.duration) view.grow(duration());
    curves();
    waves();
  }
  function step(state) {
    const now = state.calls.find((one) => one.id === call.id);
    if (!now) {
      again();
      return;
    }
    course.step(now);
    phase.textContent = now.phase;
    phase.className = `chip ${mood(now.phase)}`;
    time.textContent = clock(now.elapsed_ms);
    grown();
  }
  if (running) {
    if (live.state) step(live.state);
    ends.push(listen("state", step));
  } else hear();

  function hear() {
    if (sound) return;
    if (!call.recording) {
      const awaited = isAwaited(call, since);
      say(noSound, awaited ? "The recording is being written …" : "No recording was kept.");
      if (awaited) again();
      return;
    }
    sound = player(call, view);
    noSound.replaceWith(sound.element);
    top.querySelector(".end").prepend(download(call));
    peaks(call).then((found) => {
      course.peaks = { caller: found.caller, bot: found.bot };
      covers = found.duration_ms;
      waves();
    }, () => {});
  }

  return { running, tell,
    renew(next) {
      if (isRunning(next) !== running) return false;
      call = next;
      const now = summary(call, running);
      about.replaceWith(now);
      about = now;
      if (running) {
        course.renew(call);
        drawn();
        grown();
      } else hear();
      return true;
    },
    close() {
      ends.forEach((end) => end());
      line.close();
      sound?.close();
    } };
}

const isRunning = (call) => call.reason === null || call.reason === undefined;

/** Whether a recording may come yet: the call was recorded, and ended a moment ago. */
function isAwaited({ record: kept, ended_ms: ended }, since) {
  const now = live.state?.now_ms ?? ended;
  return Boolean(kept?.recording) && performance.now() - since < RECORDING_MS
    && now - ended < RECENT_MS;
}

function peaks(call) {
  const wish = Math.round((call.duration_ms / 1000) * PEAKS_PER_S);
  const points = Math.min(MOST_PEAKS, Math.max(LEAST_PEAKS, wish));
  return ask(`calls/${part(call.id)}/peaks`, { query: { points } });
}

const download = (call) => h("a", { class: "button", download: "",
  href: address(`calls/${part(call.id)}/recording`, { download: 1 }) },
`Download ${call.recording.format}, ${bytes(call.recording.bytes)}`);

function heading(call, running, phase, time) {
  const end = h("div", { class: "end" });
  if (running) end.append(h("span", { class: "row" }, phase, time));
  else {
    end.append(h("button", { type: "button", class: "button danger",
      on: { click: () => erase(call) } }, "Delete"));
  }
  return h("div", { class: "page-head" }, h("h1", {}, who(call)),
    running ? h("span", { class: "chip good" }, "running")
      : h("span", { class: `chip ${gravity(call.reason)}`, title: call.reason },
        call.reason_text), end);
}

function summary(call, running) {
  return h("section", { class: "card", "aria-label": "Summary" }, h("div", { class: "body" },
    facts([["Persona", call.persona], ["Engine", call.engine ?? "none"], ["How", way(call)],
      ["Began", when(call.started_ms)],
      ["Length", running ? null : clock(call.duration_ms)],
      ["First audio after", millis(call.first_audio_ms)],
      ["Waiting, median", running ? null : millis(call.depth_p50_ms)],
      ["Words", running ? null : count(call.words)],
      ["Recording announced", running ? null : call.announced ? "yes" : "no"],
      ["Engine time", call.cost && !running ? seconds(call.cost.engine_seconds) : null]])));
}

function record(call, running) {
  if (running || !call.record) return null;
  return h("details", { class: "card record" }, h("summary", {}, "Record"),
    h("pre", { tabindex: "0" }, JSON.stringify(call.record, null, 2)));
}

async function erase(call) {
  const done = await question({ title: "Delete this call?", danger: true, yes: "Delete",
    text: `Its record, its ${count(call.words)} words and its recording are removed from the `
      + "server. Nobody can bring them back.",
    send: () => remove(`calls/${part(call.id)}`) });
  if (!done) return;
  toast("The call is deleted");
  await attempt(async () => { location.hash = "#/history"; });
}
