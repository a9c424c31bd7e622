// Numbers, times and lists as people read them.

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayYear = new Intl.DateTimeFormat(undefined,
  { day: "numeric", month: "short", year: "numeric" });
const minute = new Intl.DateTimeFormat(undefined,
  { hour: "2-digit", minute: "2-digit", hour12: false });
const whole = new Intl.NumberFormat();

/** A length of time: 3:07, or 1:02:07. */
export function clock(ms) {
  const s = Math.max(0, Math.floor((ms ?? 0) / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** A place in a call, to the tenth of a second: 3:07.4. */
export const place = (ms) => `${clock(ms)}.${Math.floor((Math.max(0, ms) % 1000) / 100)}`;

/** A moment: 14:05 today, else 23 Nov 14:05. */
export function when(ms) {
  const date = new Date(ms);
  const now = new Date();
  if (date.toDateString() === now.toDateString()) return `today ${minute.format(date)}`;
  const form = date.getFullYear() === now.getFullYear() ? day : dayYear;
  return `${form.format(date)} ${minute.format(date)}`;
}

export const level = (dbfs) => (known(dbfs) && dbfs > -99 ? `${dash(Math.round(dbfs))} dB`
  : "silent");
export const millis = (ms) => (known(ms) ? `${whole.format(Math.round(ms))} ms` : "–");
export const seconds = (s) => (known(s)
  ? `${s < 10 && s % 1 ? s.toFixed(1) : Math.round(s)} s` : "–");
export const times = (x) => (known(x) ? `${x.toFixed(2)}×` : "–");
export const count = (n) => (known(n) ? whole.format(n) : "–");
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
export const dash = (n) => (n < 0 ? `−${-n}` : String(n));

function known(x) {
  return x !== null && x !== undefined && Number.isFinite(x);
}

/** 1234567 bytes as 1.2 MB. */
export function bytes(n) {
  if (!known(n)) return "–";
  if (n < 1000) return `${n} B`;
  return n < 1e6 ? `${Math.round(n / 1000)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

/** The other side of a call. */
export function who(call) {
  if (call.direction === "browser") return "Browser";
  return (call.direction === "outbound" ? call.to : call.from) || "unknown number";
}

/** How a call came about, in a word and with the other number. */
export function way(call) {
  if (call.direction === "browser") return "from a browser";
  return call.direction === "outbound"
    ? `outbound from ${call.from || "?"}` : `inbound to ${call.to || "?"}`;
}

export const DIRECTIONS = ["inbound", "outbound", "browser"];

/** Why calls end, as the server names it; those that are somebody's fault stand out. */
export const REASONS = {
  "caller-hung-up": "the caller hung up",
  "caller-lost": "the caller's connection broke",
  "caller-silent": "nothing came from the caller's side",
  "never-started": "the caller's stream never started",
  "engine-busy": "no engine was free in time",
  "engine-refused": "the engine refused the persona",
  "engine-unreachable": "no engine could be reached",
  "engine-protocol": "the engine broke its protocol",
  "engine-left": "the engine closed the session",
  "engine-lost": "the connection to the engine broke",
  "engine-stalled": "the engine stopped answering",
  "engine-slow": "the engine is slower than real time",
  codec: "audio could not be encoded or decoded",
  "time-limit": "the call reached its greatest length",
  "hung-up": "the bot hung up",
  transferred: "the caller was transferred",
  "shut-down": "the server is stopping",
  internal: "voice-bot itself failed",
  "cut-off": "voice-bot was stopped in the middle of the call",
};

const FAULTS = new Set(["engine-refused", "engine-unreachable", "engine-protocol", "engine-left",
  "engine-lost", "engine-stalled", "engine-slow", "codec", "internal", "cut-off"]);
const SHORTFALLS = new Set(["caller-lost", "never-started", "engine-busy", "shut-down",
  "caller-silent"]);

/** "bad", "warn" or "": how a call's end is to be marked. */
export function gravity(reason) {
  return FAULTS.has(reason) ? "bad" : SHORTFALLS.has(reason) ? "warn" : "";
}

/** "good", "warn" or "": how a running call's phase is to be marked. */
export function mood(phase) {
  return phase === "live" ? "good" : phase === "recovering" ? "warn" : "";
}
