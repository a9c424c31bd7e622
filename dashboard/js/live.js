// What the server tells of its own accord, for every page: one stream of events, kept open.

import { address, ask } from "./api.js";

const RETRY_MS = [1000, 2000, 4000, 8000, 15_000, 30_000];
// The server speaks twice a second.
const SILENCE_MS = 6000;
const HIDDEN_MS = 60_000;
const WORDS_KEPT = 40;
const KINDS = ["state", "word", "note", "ended", "missed"];

const listeners = new Map();
const words = new Map();
let source = null;
let failures = 0;
let timer = null;
let watch = null;
let hidden = null;
let wanted = false;

/** `state` is the last one heard, or null; `link` is connecting, live, lost or paused. */
export const live = { state: null, link: "connecting", retryAt: 0 };

/** Calls `listener` for each event of a kind, "link" among them; gives back what ends that. */
export function listen(kind, listener) {
  const all = listeners.get(kind) ?? new Set();
  listeners.set(kind, all.add(listener));
  return () => all.delete(listener);
}

/** The last words of a running call, oldest first. */
export const lastWords = (call) => words.get(call) ?? [];

export function start() {
  if (wanted) return;
  wanted = true;
  open();
}

export function stop() {
  wanted = false;
  close();
  clearTimeout(timer);
  Object.assign(live, { state: null, link: "connecting", retryAt: 0 });
}

function tell(kind, value) {
  for (const listener of listeners.get(kind) ?? []) listener(value);
}

function link(state, retryAt = 0) {
  if (live.link === state && live.retryAt === retryAt) return;
  Object.assign(live, { link: state, retryAt });
  tell("link", live);
}

function open() {
  close();
  source = new EventSource(address("live"));
  source.addEventListener("error", failed);
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => heard(kind, event));
  }
  attend();
}

function close() {
  clearTimeout(watch);
  source?.close();
  source = null;
}

function attend() {
  clearTimeout(watch);
  watch = setTimeout(failed, SILENCE_MS);
}

// An EventSource tries again at a fixed pace, or never where the answer was an error.
async function failed() {
  close();
  if (!wanted) return;
  const pause = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] * (0.8 + Math.random() * 0.4);
  failures += 1;
  link("lost", Date.now() + pause);
  clearTimeout(timer);
  timer = setTimeout(open, pause);
  const session = await ask("session").catch(() => null);
  if (session && !session.open && !session.signed_in) {
    document.dispatchEvent(new CustomEvent("signed-out"));
  }
}

function heard(kind, event) {
  attend();
  failures = 0;
  link("live");
  let value;
  try {
    value = JSON.parse(event.data);
  } catch {
    return;
  }
  if (kind === "state") {
    live.state = value;
    const running = new Set(value.calls.map((call) => call.id));
    for (const call of words.keys()) if (!running.has(call)) words.delete(call);
  }
  if (kind === "word") {
    const kept = words.get(value.call) ?? [];
    kept.push(value);
    if (kept.length > WORDS_KEPT) kept.shift();
    words.set(value.call, kept);
  }
  tell(kind, value);
}

// A browser opens few connections to one server: a page that nobody looks at gives its own back.
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (!wanted) return;
  if (document.hidden) {
    hidden = setTimeout(() => {
      close();
      clearTimeout(timer);
      link("paused");
    }, HIDDEN_MS);
  } else if (live.link === "paused") {
    open();
  }
});
