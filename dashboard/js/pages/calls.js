// The calls that run now, each a row that is kept and changed, so that nothing jumps.

import { ask, part, post } from "../api.js";
import { attempt, question, toast } from "../dialog.js";
import { button, fill, h, say } from "../dom.js";
import { clock, many, millis, mood, times, way, who } from "../format.js";
import { lastWords, listen, live } from "../live.js";
import { meter } from "../meter.js";
import { tail } from "../words.js";

export function show(page) {
  const rows = new Map();
  const list = h("ul", { class: "running", "aria-label": "Running calls" });
  const total = h("span", { class: "soft" });
  const none = h("div", { class: "card empty" }, h("strong", {}, "Nobody is calling"),
    "A call shows here the moment it comes in. ", h("a", { href: "#/talk" }, "Talk yourself"),
    ", or look at the ", h("a", { href: "#/history" }, "calls that ended"), ".");
  const loading = h("p", { class: "loading" }, "Waiting for the server …");
  const call = button("New call", { kind: "main", glyph: "plus", click: place });
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Calls now"), total,
    h("div", { class: "end" }, call)), loading, list, none);
  none.hidden = true;

  const draw = (state) => {
    loading.hidden = true;
    none.hidden = state.calls.length > 0;
    say(total, many(state.calls.length, "call"));
    const calls = [...state.calls].sort((a, b) => a.started_ms - b.started_ms);
    const there = new Set(calls.map((one) => one.id));
    for (const [id, row] of rows) {
      if (there.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    for (const one of calls) {
      if (!rows.has(one.id)) {
        rows.set(one.id, makeRow(one));
        list.append(rows.get(one.id).element);
      }
      rows.get(one.id).show(one);
    }
  };
  if (live.state) draw(live.state);
  const ends = [
    listen("state", draw),
    listen("word", ({ call: id }) => rows.get(id)?.words()),
    listen("ended", ({ call: id, reason_text: text }) => {
      if (rows.has(id)) toast(`Call over: ${text}`);
    }),
  ];
  return () => ends.forEach((end) => end());
}

function makeRow(call) {
  const caller = meter("caller");
  const bot = meter("bot");
  const phase = h("span", { class: "chip" });
  const time = h("span", { class: "time" });
  const depth = h("dd");
  const target = h("dd");
  const speed = h("dd");
  const said = h("p", { class: "said" });
  const end = button("Hang up", { kind: "danger slim", glyph: "hangup",
    "aria-label": `Hang up ${who(call)}`, click: () => hangUp(call) });
  const fact = (name, dd) => h("div", {}, h("dt", {}, name), dd);
  const element = h("li", { class: "card call", data: { call: call.id } },
    h("div", { class: "top" }, time,
      h("a", { class: "who", href: `#/calls/${part(call.id)}` }, who(call)), phase,
      h("span", { class: "soft" }, `${call.persona} · ${way(call)}`, call.engine
        ? ` · ${call.engine}` : ""), end),
    h("div", { class: "levels" }, caller.element, bot.element),
    h("dl", { class: "facts tight" }, fact("Waiting", depth), fact("Target", target),
      fact("Engine", speed)),
    said);
  const words = () => {
    const last = tail(lastWords(call.id));
    fill(said, ...(last ? [h("span", { class: `by ${last.who}` },
      last.who === "bot" ? "Bot" : "Caller"), ` ${last.text}`]
      : [h("span", { class: "soft" }, "No words yet")]));
  };
  const update = (now) => {
    say(time, clock(now.elapsed_ms));
    say(phase, now.phase);
    phase.className = `chip ${mood(now.phase)}`;
    caller.show(now.caller_dbfs);
    bot.show(now.engine_dbfs);
    say(depth, millis(now.depth_ms));
    say(target, millis(now.target_ms));
    say(speed, times(now.real_time_factor));
  };
  words();
  return { element, show: update, words };
}

/** Asks whether to, and ends a call. */
export function hangUp(call) {
  return question({ title: "Hang up?", danger: true, yes: "Hang up",
    text: `${who(call)} is talking to ${call.persona}. The call ends for both at once.`,
    send: () => post(`calls/${part(call.id)}/hangup`) });
}

async function place() {
  const told = await attempt(() => ask("personas"));
  if (!told) return;
  const to = h("input", { type: "tel", autocomplete: "off", placeholder: "+15551234567",
    required: true });
  const persona = h("select", {}, ...told.personas.map(({ name }) =>
    h("option", { value: name }, name)));
  persona.value = told.default;
  const done = await question({ title: "New call", yes: "Call",
    text: "The server calls a number that outbound.allow lists.",
    fields: [{ name: "to", label: "Number", control: to },
      { name: "persona", label: "Persona", control: persona }],
    send: (values) => post("calls", values) });
  if (done) toast(`Calling ${done.to}`);
}
