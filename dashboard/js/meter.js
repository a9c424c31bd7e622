// A level meter: a bar, a number, and a value that a screen reader finds.

import { h, say } from "./dom.js";
import { level } from "./format.js";

const FLOOR_DB = -60;

/** `who` is "caller" or "bot". `show(dbfs)` moves it. */
export function meter(who, name = who === "bot" ? "Bot" : "Caller") {
  const bar = h("div", { class: "fill" });
  const value = h("span", { class: "value" }, "silent");
  const track = h("div", { class: "track", role: "meter", "aria-label": `${name} level`,
    "aria-valuemin": "-100", "aria-valuemax": "0", "aria-valuenow": "-100" }, bar);
  const element = h("div", { class: `meter ${who}` }, h("span", { class: "name" }, name), track,
    value);
  const show = (dbfs) => {
    const db = Number.isFinite(dbfs) ? dbfs : -100;
    const part = Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
    bar.style.transform = `scaleX(${part.toFixed(3)})`;
    const text = level(db);
    if (value.textContent === text) return;
    say(value, text);
    track.setAttribute("aria-valuenow", String(Math.round(db)));
    track.setAttribute("aria-valuetext", text);
  };
  return { element, show };
}
