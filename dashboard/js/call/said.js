// What was said and what happened, as lists: each line leads to its moment.

import { fill, h } from "../dom.js";
import { clock, place } from "../format.js";
import { sign } from "./lanes.js";

const NEAR_PX = 60;

/** The turns of a call; the one that is played stands out. */
export function transcript(view) {
  const list = h("ol", { class: "turns", "aria-label": "Transcript", tabindex: "0" });
  const none = h("p", { class: "empty" }, "No words were kept.");
  const element = h("section", { class: "card" }, h("div", { class: "head" },
    h("h2", {}, "Transcript")), none, list);
  let phrases = [];
  let lit = null;

  function set(next) {
    const near = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
    // A phrase that only grew is changed where it stands.
    const same = next.findIndex((phrase, at) => phrase.text !== phrases[at]?.text);
    phrases = next;
    none.hidden = phrases.length > 0;
    if (same < 0 && list.children.length === phrases.length) return;
    const from = Math.max(0, same);
    while (list.children.length > from) list.lastChild.remove();
    list.append(...phrases.slice(from).map(turn));
    lit = null;
    if (near && view.live) list.scrollTop = list.scrollHeight;
    follow();
  }

  function turn(phrase) {
    return h("li", { class: `turn ${phrase.who}` },
      h("span", { class: "by" }, phrase.who === "bot" ? "Bot" : "Caller"),
      h("button", { type: "button", class: "to small", title: "Play from here",
        on: { click: () => view.seek(phrase.at_ms) } }, clock(phrase.at_ms)),
      h("p", {}, phrase.text));
  }

  function follow() {
    const at = phrases.findLastIndex((phrase) => phrase.at_ms <= view.at
      && view.at <= phrase.until_ms + 400);
    const now = at < 0 || view.at === 0 ? null : list.children[at];
    if (now === lit) return;
    lit?.removeAttribute("aria-current");
    now?.setAttribute("aria-current", "true");
    lit = now;
    if (now && !list.contains(document.activeElement)) {
      const middle = now.offsetTop - list.offsetTop - list.clientHeight / 2;
      if (list.scrollHeight > list.clientHeight) list.scrollTop = middle;
    }
  }

  view.on("at", follow);
  return { element, set };
}

/** What happened. */
export function events(view) {
  const list = h("ol", { class: "events" });
  const none = h("p", { class: "empty" }, "Nothing out of the ordinary.");
  const element = h("section", { class: "card" }, h("div", { class: "head" },
    h("h2", {}, "Events")), none, list);
  return { element,
    set(notes) {
      none.hidden = notes.length > 0;
      fill(list, ...notes.map((note) => h("li", {},
        h("button", { type: "button", class: "to small", title: "Go there",
          on: { click: () => view.seek(note.at_ms) } }, place(note.at_ms)),
        h("span", { class: "sign", "aria-hidden": "true" }, sign(note.kind)),
        h("span", {}, h("b", {}, note.kind), ` ${note.text}`))));
    } };
}
