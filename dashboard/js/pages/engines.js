// Engines and their slots, as they are now.

import { part, post, remove } from "../api.js";
import { question, toast } from "../dialog.js";
import { button, facts, fill, h, say } from "../dom.js";
import { count, many, seconds, times } from "../format.js";
import { listen, live } from "../live.js";

const MOODS = { ready: "good", busy: "good", priming: "", slow: "warn", draining: "warn",
  down: "bad" };

export function show(page) {
  const cards = new Map();
  const total = h("span", { class: "soft" });
  const list = h("ul", { class: "engines" });
  const none = h("div", { class: "card empty", hidden: true }, h("strong", {}, "No engines"),
    "Callers cannot be answered. Add one, or list some under engine.urls.");
  const loading = h("p", { class: "loading" }, "Waiting for the server …");
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Engines"), total,
    h("div", { class: "end" }, button("Add engine", { kind: "main", glyph: "plus",
      click: add }))), loading, list, none);

  const draw = ({ engines }) => {
    loading.hidden = true;
    none.hidden = engines.length > 0;
    const slots = engines.flatMap((engine) => engine.slots);
    const free = slots.filter(({ state }) => state === "free" || state === "primed").length;
    say(total, `${many(engines.length, "engine")}, ${free} of ${many(slots.length, "slot")} free`);
    const names = new Set(engines.map(({ name }) => name));
    for (const [name, card] of cards) {
      if (names.has(name)) continue;
      card.element.remove();
      cards.delete(name);
    }
    for (const engine of engines) {
      if (!cards.has(engine.name)) {
        cards.set(engine.name, makeCard(engine.name));
        list.append(cards.get(engine.name).element);
      }
      cards.get(engine.name).show(engine);
    }
  };
  if (live.state) draw(live.state);
  const ends = [listen("state", draw)];
  return () => ends.forEach((end) => end());
}

function makeCard(name) {
  const state = h("span", { class: "chip" });
  const note = h("span", { class: "small soft" });
  const slots = h("ul", { class: "slots", "aria-label": `Slots of ${name}` });
  const figures = h("div");
  const element = h("li", { class: "card engine", data: { engine: name } },
    h("div", { class: "head" }, h("h2", { class: "mono" }, name), state, note,
      button("Remove", { kind: "danger slim end", "aria-label": `Remove ${name}`,
        click: () => drop(name) })),
    h("div", { class: "body stack" }, slots, figures));
  let drawn = "";
  const update = (engine) => {
    const seen = JSON.stringify(engine);
    if (seen === drawn) return;
    drawn = seen;
    say(state, engine.state);
    state.className = `chip ${MOODS[engine.state] ?? ""}`;
    const rests = engine.rests_s ? `rests ${seconds(engine.rests_s)} more` : "";
    say(note, [rests, engine.on_trial && "on trial"].filter(Boolean).join(", "));
    const focused = slots.contains(document.activeElement);
    if (!focused) fill(slots, ...engine.slots.map(slot));
    fill(figures, numbers(engine));
  };
  return { element, show: update };
}

function slot(one, at) {
  const about = [one.persona, Number.isFinite(one.age_s) && seconds(one.age_s)];
  return h("li", { class: `slot ${one.state}` },
    h("span", { class: "small soft" }, `Slot ${at + 1}`),
    h("strong", {}, one.state === "call" ? "in a call" : one.state),
    h("span", { class: "small" }, about.filter(Boolean).join(" · ")),
    one.call && h("a", { class: "small", href: `#/calls/${part(one.call)}` }, "see the call"));
}

function numbers(engine) {
  const spread = (value) => (Number.isFinite(value?.p50) && Number.isFinite(value?.p95)
    ? `${Math.round(value.p50)} / ${Math.round(value.p95)} ms` : "–");
  const faults = Object.entries(engine.faults ?? {}).map(([what, n]) => `${what} ${count(n)}`);
  return facts([["Served", count(engine.served)], ["Speed", times(engine.real_time_factor)],
    ["Opened, p50 / p95", spread(engine.opened_ms)],
    ["Primed, p50 / p95", spread(engine.primed_ms)],
    ["Faults", faults.length ? faults.join(", ") : "none"]]);
}

async function add() {
  const url = h("input", { type: "url", required: true, placeholder: "ws://gpu-box:8998",
    autocomplete: "off", spellcheck: "false" });
  const done = await question({ title: "Add an engine", yes: "Add",
    text: "It takes calls as soon as it answers, until the server is started again.",
    fields: [{ name: "url", label: "Address", control: url,
      hint: "As in engine.urls: ws://, wss://, vllm-omni+ws://, moshi+ws://, dns+ws://" }],
    send: (values) => post("engines", values) });
  if (done) toast(`Added ${done.url}`);
}

async function drop(name) {
  const done = await question({ title: "Remove this engine?", danger: true, yes: "Remove",
    text: `${name} finishes the call it has, and gets no other.`,
    send: () => remove(`engines/${part(name)}`) });
  if (done) toast(`${name} leaves`);
}
