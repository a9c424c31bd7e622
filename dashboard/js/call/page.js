// One call: what went on, heard and seen on one time line; steered while it runs.

import { address, ask, part, remove } from "../api.js";
import { attempt, question, toast } from "../dialog.js";
import { facts, fill, h } from "../dom.js";
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
// The record is written a moment after the call ended.
const SETTLE_MS = [300, 1000, 3000];
const LIVE_SPAN_MS = 30_000;

export function show(page, { rest: [id], here }) {
  const gone = new AbortController();
  let mounted = null;
  const load = async () => {
    // What is said while the answer is on its way is not lost.
    const early = [];
    const ends = ["word", "note"].map((kind) => listen(kind, (event) => {
      if (event.call === id) early.push([kind, event]);
    }));
    try {
      const call = await ask(`calls/${part(id)}`, { signal: gone.signal });
      mounted?.close();
      mounted = mount(page, call, load);
      here(call.reason ? "history" : "calls", `Call, ${who(call)}`);
      early.forEach(([kind, event]) => mounted.tell?.(kind, event));
    } catch (error) {
      if (error.name !== "AbortError") missing(page, error);
    } finally {
      ends.forEach((end) => end());
    }
  };
  fill(page, h("p", { class: "loading" }, "Asking the server …"));
  load();
  return () => {
    gone.abort();
    mounted?.close();
  };
}

function missing(page, error) {
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Call")),
    h("div", { class: "card empty" }, h("strong", {}, error.status === 404
      ? "There is no such call" : "The call cannot be shown"), error.message, " ",
    h("a", { href: "#/history" }, "To the history")));
}

function mount(page, call, reload) {
  const running = call.reason === null || call.reason === undefined;
  const course = new Course(call);
  const duration = () => (running ? Math.max(LIVE_SPAN_MS, course.length)
    : Math.max(1000, call.duration_ms));
  const view = new View(duration());
  view.live = running;
  let covers = duration();
  const line = timeline(view, () => covers);
  const said = transcript(view);
  const happened = events(view);
  const sound = !running && call.recording ? player(call, view) : null;
  const phase = h("span", { class: "chip" });
  const time = h("span", { class: "time" });
  const ends = [key("+", () => view.zoom(1 / 1.6)), key("=", () => view.zoom(1 / 1.6)),
    key("-", () => view.zoom(1.6)), key("0", () => view.show(0, view.duration))];
  const steer = running ? controls(call) : null;

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

  fill(page, heading(call, running, phase, time), summary(call, running), steer?.element,
    h("section", { class: "card", "aria-label": "Time line" },
      h("div", { class: "head" }, sound?.element ?? h("span", { class: "soft" }, running
        ? "The recording can be heard when the call is over." : "No recording was kept."),
      h("div", { class: "end" }, line.tools)), line.element, line.overview),
    h("div", { class: "below" }, said.element, happened.element), record(call, running));
  line.draw();
  drawn();
  curves();
  waves();

  function tell(kind, event) {
    if (kind === "word") course.word(event);
    else course.note(event);
    drawn();
  }
  function step(state) {
    const now = state.calls.find((one) => one.id === call.id);
    if (!now) return;
    course.step(now);
    phase.textContent = now.phase;
    phase.className = `chip ${mood(now.phase)}`;
    time.textContent = clock(now.elapsed_ms);
    covers = course.covers;
    view.now(course.length);
    if (duration() > view.duration) view.grow(duration());
    curves();
    waves();
  }
  if (running) {
    if (live.state) step(live.state);
    ends.push(listen("state", step), listen("missed", reload),
      listen("word", (event) => event.call === call.id && tell("word", event)),
      listen("note", (event) => event.call === call.id && tell("note", event)),
      listen("ended", (event) => {
        if (event.call !== call.id) return;
        toast(`Call over: ${event.reason_text}`);
        settle(call.id, reload);
      }));
  } else {
    peaks(call, course).then((found) => {
      covers = found.duration_ms;
      waves();
    }, () => {});
  }
  return { tell: running ? tell : null,
    close() {
      ends.forEach((end) => end());
      line.close();
      sound?.close();
    } };
}

async function settle(id, reload) {
  for (const ms of SETTLE_MS) {
    await new Promise((resolve) => { setTimeout(resolve, ms); });
    const call = await ask(`calls/${part(id)}`).catch(() => null);
    if (call?.reason) {
      if (location.hash.startsWith(`#/calls/${part(id)}`)) reload();
      return;
    }
  }
}

async function peaks(call, course) {
  const wish = Math.round((call.duration_ms / 1000) * PEAKS_PER_S);
  const points = Math.min(MOST_PEAKS, Math.max(LEAST_PEAKS, wish));
  if (!call.recording) return { duration_ms: course.covers };
  const found = await ask(`calls/${part(call.id)}/peaks`, { query: { points } });
  course.peaks = { caller: found.caller, bot: found.bot };
  return found;
}

function heading(call, running, phase, time) {
  const end = h("div", { class: "end" });
  if (running) end.append(h("span", { class: "row" }, phase, time));
  else {
    if (call.recording) {
      end.append(h("a", { class: "button", download: "",
        href: address(`calls/${part(call.id)}/recording`, { download: 1 }) },
      `Download ${call.recording.format}, ${bytes(call.recording.bytes)}`));
    }
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
