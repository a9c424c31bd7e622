// Talk to the bot from this browser: one button, and all that can be known meanwhile.

import { ask, part } from "../api.js";
import { toast } from "../dialog.js";
import { button, fill, h, icon, say } from "../dom.js";
import { clock, count, millis } from "../format.js";
import { key } from "../keys.js";
import { meter } from "../meter.js";
import { Answers } from "./answers.js";
import { conversation } from "./conversation.js";
import { Line } from "./line.js";
import { INSECURE, UNABLE } from "./troubles.js";

const PADS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];
const METER_MS = 80;

// The call goes on while one looks at other pages.
let kept = null;

export function show(page, { query }) {
  kept ??= make(query.get("persona"));
  const talk = kept;
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Talk")), talk.ui.element);
  const end = key("m", () => mute(talk));
  return () => {
    end();
    if (!talk.line) kept = null;
  };
}

addEventListener("beforeunload", (event) => {
  if (kept?.line?.call) event.preventDefault();
});
document.addEventListener("signed-out", () => {
  kept?.line?.say({ type: "hangup" });
  kept?.line?.end("signed out", null);
  kept = null;
});

function make(persona) {
  const ui = build();
  const talk = { line: null, ui, answers: new Answers(), muted: false, since: 0, painted: 0,
    server: null, timer: null };
  ui.start.addEventListener("click", () => (talk.line ? hangUp(talk) : start(talk)));
  ui.mute.addEventListener("click", () => mute(talk));
  for (const pad of ui.pads) {
    pad.addEventListener("click", () => talk.line?.digit(pad.dataset.digit));
  }
  rest(talk);
  if (!window.isSecureContext) complain(ui, INSECURE);
  else if (!window.AudioWorkletNode) complain(ui, UNABLE);
  choosePersona(ui, persona);
  return talk;
}

function build() {
  const persona = h("select", { id: "persona" });
  const about = h("p", { class: "about small soft" });
  const start = h("button", { type: "button", class: "big" });
  const status = h("p", { class: "status", role: "status" });
  const time = h("p", { class: "timer", "aria-label": "Time in the call", hidden: true });
  const notice = h("p", { class: "notice small", role: "status", hidden: true });
  const mute = h("button", { type: "button", class: "button slim", "aria-pressed": "false",
    title: "Mute (m)" });
  const caller = meter("caller", "You");
  const bot = meter("bot");
  const trouble = h("div", { class: "trouble", role: "alert", hidden: true });
  const after = h("div", { class: "after stack" });
  const pads = PADS.map((digit) => h("button", { type: "button", class: "button", data: { digit } },
    digit));
  const keypad = h("details", { class: "keypad" }, h("summary", {}, "Keypad"),
    h("div", { class: "pads" }, ...pads));
  const latency = h("div", { class: "latency" });
  const words = conversation();
  const levels = h("div", { class: "stack levels" }, caller.element, bot.element);
  const live = h("div", { class: "stack live" }, notice, h("div", { class: "row center" }, mute),
    levels, latency, keypad);
  const element = h("div", { class: "talk" },
    h("section", { class: "card console", "aria-label": "Call" }, h("div", { class: "body" },
      h("div", { class: "field" }, h("label", { class: "label", htmlFor: "persona" }, "Persona"),
        persona, about),
      h("div", { class: "middle" }, start, time, status), trouble, after, live)),
    words.element);
  return { element, persona, about, start, status, time, notice, mute, caller, bot, trouble, after,
    pads, keypad, latency, words, live };
}

async function choosePersona(ui, wanted) {
  let told;
  try {
    told = await ask("personas");
  } catch (error) {
    complain(ui, { title: "The personas are not known", text: error.message });
    return;
  }
  fill(ui.persona, ...told.personas.map(({ name }) => h("option", { value: name }, name)));
  const names = told.personas.map(({ name }) => name);
  ui.persona.value = names.includes(wanted) ? wanted : told.default;
  const describe = () => {
    const one = told.personas.find(({ name }) => name === ui.persona.value);
    fill(ui.about, one ? `Voice ${one.voice.replace(/\.pt$/, "")}. ${one.prompt}` : "");
    ui.about.title = one?.prompt ?? "";
  };
  ui.persona.addEventListener("change", describe);
  describe();
}

function rest({ ui }) {
  ui.start.className = "big";
  fill(ui.start, icon("mic"), h("span", {}, "Talk"));
  ui.persona.disabled = false;
  ui.live.hidden = true;
  ui.time.hidden = true;
  say(ui.status, "Your browser will ask for the microphone. Headphones sound best.");
}

function complain(ui, trouble) {
  ui.trouble.hidden = trouble === null;
  if (trouble) fill(ui.trouble, h("strong", {}, trouble.title), trouble.text);
}

async function start(talk) {
  const { ui } = talk;
  complain(ui, null);
  fill(ui.after);
  ui.words.clear();
  ui.persona.disabled = true;
  ui.start.className = "big busy";
  fill(ui.start, icon("hangup"), h("span", {}, "Cancel"));
  say(ui.status, "Opening the microphone …");
  talk.answers = new Answers();
  talk.server = null;
  const line = new Line(ui.persona.value, {
    started: (said) => started(talk, said),
    waiting: (ahead) => say(ui.status, ahead ? `Waiting: ${ahead} before you …`
      : "Waiting for an engine …"),
    word: (word) => ui.words.add(word),
    state: (state) => { talk.server = state; },
    levels: (ear, mouth) => levels(talk, ear, mouth),
    notice: (trouble) => complain(ui, trouble),
    ended: (how) => ended(talk, how),
  });
  talk.line = line;
  // Tests read it, and so may whoever looks for a fault in the browser's console.
  window.voiceBotLine = line;
  await line.open();
  if (!line.over && !line.call) say(ui.status, "Calling …");
}

function started(talk, { notice }) {
  const { ui } = talk;
  say(ui.notice, notice ?? "");
  ui.notice.hidden = !notice;
  talk.since = performance.now();
  talk.muted = false;
  paintMute(talk);
  ui.start.className = "big live";
  fill(ui.start, icon("hangup"), h("span", {}, "Hang up"));
  ui.live.hidden = false;
  ui.time.hidden = false;
  paint(talk);
  talk.timer = setInterval(() => paint(talk), 250);
  document.dispatchEvent(new CustomEvent("talking", { detail: true }));
}

function paint(talk) {
  const { ui, line, server } = talk;
  if (!line) return;
  const phases = { waiting: "Waiting for an engine", priming: "The bot reads its persona",
    live: "In a call", held: "On hold", recovering: "Another engine goes on",
    draining: "Saying goodbye" };
  say(ui.time, clock(performance.now() - talk.since));
  say(ui.status, talk.muted ? "Muted: the bot hears silence"
    : phases[server?.phase] ?? "Connected");
  const delay = line.delay(server?.depth_ms);
  const { mouth } = line;
  readout(ui.latency, [
    ["Mouth to ear", delay ? `≈ ${millis(delay.total)}` : "–", delay && Object.entries(delay.parts)
      .map(([name, ms]) => `${name} ${millis(ms)}`).join(" + ")
      + ", without the time that the model needs"],
    ["Answered in", talk.answers.last === null ? "–" : millis(talk.answers.last),
      "From the end of what you said to the bot's first sound"],
    ["Waiting", millis(server?.depth_ms), "Sound that is sent and not yet played"],
    ["Target", millis(server?.target_ms), "What the server aims at"],
    ["Buffered here", millis(mouth.queued_ms), `The browser's own buffer, aiming at ${
      millis(mouth.jitter_ms)}`],
    ["Gaps · lost", `${count(mouth.underruns)} · ${count(line.counts.unsent)}`,
      "Times that the buffer ran dry; messages of yours that the network did not take"],
  ]);
}

function readout(element, pairs) {
  if (!element.firstChild) {
    fill(element, h("dl", { class: "facts tight" }, ...pairs.map(([name, , title]) =>
      h("div", { title }, h("dt", {}, name), h("dd", {})))));
  }
  const cells = element.querySelectorAll("dl > div");
  pairs.forEach(([, value, title], at) => {
    say(cells[at].lastChild, value);
    if (title) cells[at].title = title;
  });
}

function levels(talk, ear, mouth) {
  const now = performance.now();
  talk.answers.hear(now, talk.muted ? -100 : ear, mouth);
  if (now - talk.painted < METER_MS) return;
  talk.painted = now;
  talk.ui.caller.show(ear);
  talk.ui.bot.show(mouth);
}

function mute(talk) {
  if (!talk.line?.call) return;
  talk.muted = !talk.muted;
  talk.line.mute(talk.muted);
  paintMute(talk);
  paint(talk);
}

function paintMute({ ui, muted }) {
  fill(ui.mute, icon(muted ? "muted" : "mic"), h("span", {}, muted ? "Unmute" : "Mute"));
  ui.mute.setAttribute("aria-pressed", String(muted));
}

function hangUp(talk) {
  say(talk.ui.status, "Hanging up …");
  talk.line.hangUp();
}

function ended(talk, { reason, trouble, call }) {
  const { ui } = talk;
  clearInterval(talk.timer);
  const length = call ? performance.now() - talk.since : 0;
  talk.line = null;
  rest(talk);
  complain(ui, trouble);
  if (!trouble) say(ui.status, call ? `Over after ${clock(length)}: ${reason}.` : "Not called.");
  if (call) {
    fill(ui.after, h("a", { class: "button main", href: `#/calls/${part(call)}` },
      "See and hear this call"));
  }
  document.dispatchEvent(new CustomEvent("talking", { detail: false }));
  if (ui.element.isConnected) ui.start.focus();
  else toast(trouble ? `${trouble.title}: ${trouble.text}` : "Your call is over", Boolean(trouble));
}
