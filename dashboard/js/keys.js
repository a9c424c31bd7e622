// Shortcuts: single keys, which can be switched off, and never while one types.

import { button, fill, h } from "./dom.js";

const GO = { t: "talk", c: "calls", h: "history", e: "engines", p: "personas", s: "settings" };
const AFTER_G_MS = 1500;
const LISTED = [
  ["g then t c h e p s", "go to Talk, Calls now, History, Engines, Personas, Settings"],
  ["/", "search, on History and Settings"],
  ["m", "mute and unmute, on Talk"],
  ["Space", "play and pause, on a call"],
  ["← →", "five seconds back and on, on a call; with Shift one"],
  ["+ − 0", "zoom in, out, whole call"],
  ["?", "this list"],
];

const local = new Map();
let sinceG = 0;

/** Gives the page a key of its own until what it gives back is called. */
export function key(name, action) {
  local.set(name, action);
  return () => {
    if (local.get(name) === action) local.delete(name);
  };
}

function wanted() {
  try {
    return localStorage.getItem("shortcuts") !== "off";
  } catch {
    return true;
  }
}

function busy(target) {
  return document.querySelector("dialog[open]")
    || target.closest?.("input, textarea, select, [contenteditable]");
}

export function shortcuts() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || busy(event.target) || !wanted()) return;
    if (event.key === "?") {
      event.preventDefault();
      showKeys();
      return;
    }
    if (Date.now() - sinceG < AFTER_G_MS && GO[event.key]) {
      sinceG = 0;
      location.hash = `#/${GO[event.key]}`;
      return;
    }
    sinceG = event.key === "g" ? Date.now() : 0;
    const onButton = event.target.closest?.("button, a, summary, audio");
    if (event.key === " " && onButton) return;
    const action = local.get(event.key);
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

export function showKeys() {
  const list = h("div", { class: "keys" }, ...LISTED.flatMap(([keys, what]) => [
    h("span", {}, ...keys.split(" ").flatMap((one) => (one === "then"
      ? [" then "] : [h("kbd", {}, one), " "]))),
    h("span", {}, what)]));
  const box = h("input", { type: "checkbox", checked: wanted() });
  box.addEventListener("change", () => {
    try {
      if (box.checked) localStorage.removeItem("shortcuts");
      else localStorage.setItem("shortcuts", "off");
    } catch {
      // They stay as they are.
    }
  });
  const dialog = h("dialog", { "aria-label": "Shortcuts" });
  fill(dialog, h("div", { class: "stack" }, h("h2", {}, "Shortcuts"), list,
    h("label", { class: "row" }, box, "Use single-key shortcuts"),
    h("div", { class: "row" }, button("Close", { click: () => dialog.close() }))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
