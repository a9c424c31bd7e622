// What is said, as it is said, in turns. It keeps the last of it, and follows while one looks at
// its end.

import { fill, h } from "../dom.js";
import { clock } from "../format.js";
import { join } from "../words.js";

const TURNS_KEPT = 200;
const GAP_MS = 2500;
const NEAR_PX = 60;

export function conversation() {
  const list = h("ol");
  const log = h("div", { class: "turns", role: "log", "aria-label": "What is said",
    "aria-live": "polite", tabindex: "0" }, list);
  const empty = h("div", { class: "empty" }, h("strong", {}, "Nothing said yet"),
    "The bot's words appear here as it says them; yours, where the server understands speech.");
  const element = h("section", { class: "card conversation", "aria-label": "Conversation" },
    h("div", { class: "head" }, h("h2", {}, "Words")), empty, log);
  let turn = null;

  function clear() {
    turn = null;
    fill(list);
    empty.hidden = false;
    log.hidden = true;
  }

  function add(word) {
    const near = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
    empty.hidden = true;
    log.hidden = false;
    if (turn && turn.who === word.who && word.at_ms - turn.last < GAP_MS) {
      turn.text.data = join(turn.text.data, word.text);
    } else {
      const text = document.createTextNode(word.text.trim());
      list.append(h("li", { class: `turn ${word.who}` },
        h("span", { class: "by" }, word.who === "bot" ? "Bot" : "You"),
        h("time", { class: "small soft" }, clock(word.at_ms)), h("p", {}, text)));
      turn = { who: word.who, text };
      while (list.children.length > TURNS_KEPT) list.firstChild.remove();
    }
    turn.last = word.at_ms;
    if (near) log.scrollTop = log.scrollHeight;
  }

  clear();
  return { element, add, clear };
}
