// What is known of a call's course, kept within bounds while it grows. Times are in ms.

import { single } from "../words.js";

const LEVEL_MS = 500;
// Two hours of levels, four of curves; what comes then is not drawn.
const MOST_POINTS = 14_400;
const MOST_WORDS = 20_000;
const MOST_NOTES = 5000;
// The server speaks twice a second, not to the millisecond; of a longer silence nothing is known.
const BRIDGED_MS = 1500;
const KEYS = ["depth_ms", "target_ms", "queued_ms", "real_time_factor"];

export class Course {
  constructor(call) {
    this.words = (call.transcript ?? []).flatMap(single);
    this.notes = [...(call.notes ?? [])];
    this.curve = { every_ms: 1000, ...call.curve };
    this.length = call.duration_ms ?? 0;
    this.levelMs = LEVEL_MS;
    this.peaks = { caller: this.levels("caller_dbfs"), bot: this.levels("engine_dbfs") };
  }

  /** Until there is a recording, levels stand for peaks. */
  levels(name) {
    const every = Math.max(1, Math.round(this.curve.every_ms / this.levelMs));
    return (this.curve[name] ?? []).flatMap((dbfs) => Array(every).fill(amplitude(dbfs)));
  }

  /** How many ms the peaks span. */
  get covers() {
    return Math.max(1, this.peaks.caller.length * this.levelMs);
  }

  word({ at_ms: at, until_ms: until, who, text }) {
    const known = this.words.some((word) => word.at_ms === at && word.who === who
      && word.text === text);
    if (!known && this.words.length < MOST_WORDS) {
      this.words.push({ at_ms: at, until_ms: until, who, text });
    }
  }

  note({ at_ms: at, kind, text }) {
    const known = this.notes.some((note) => note.at_ms === at && note.kind === kind
      && note.text === text);
    if (!known && this.notes.length < MOST_NOTES) this.notes.push({ at_ms: at, kind, text });
  }

  /** What the server says of the running call, twice a second. */
  step(now) {
    this.length = now.elapsed_ms;
    put(this.peaks.caller, now.elapsed_ms, this.levelMs, amplitude(now.caller_dbfs));
    put(this.peaks.bot, now.elapsed_ms, this.levelMs, amplitude(now.engine_dbfs));
    for (const key of KEYS) {
      this.curve[key] ??= [];
      put(this.curve[key], now.elapsed_ms, this.curve.every_ms, now[key] ?? null);
    }
  }

  /** Takes in what the server has kept, where this page was not told. */
  renew(call) {
    const kept = new Course(call);
    this.words = united(kept.words, this.words, MOST_WORDS);
    this.notes = united(kept.notes, this.notes, MOST_NOTES);
    this.length = Math.max(this.length, kept.length);
    for (const who of Object.keys(this.peaks)) mend(this.peaks[who], kept.peaks[who]);
    for (const key of KEYS) mend(this.curve[key] ??= [], kept.curve[key] ?? []);
  }
}

/** 0..1; null where no level is known, which is not drawn. */
function amplitude(dbfs) {
  if (dbfs === null || dbfs === undefined) return null;
  return dbfs > -99 ? 10 ** (dbfs / 20) : 0;
}

function put(list, ms, every, value) {
  const at = Math.floor(ms / every);
  if (at >= MOST_POINTS) return;
  const between = (at - list.length) * every < BRIDGED_MS ? list.at(-1) ?? null : null;
  while (list.length < at) list.push(between);
  list[at] = value;
}

function mend(list, kept) {
  for (let at = 0; at < kept.length && at < MOST_POINTS; at += 1) list[at] ??= kept[at] ?? null;
}

/** Each word or note once. */
function united(kept, own, most) {
  const name = ({ at_ms: at, who, kind, text }) => `${at} ${who ?? kind} ${text}`;
  const known = new Set(kept.map(name));
  return [...kept, ...own.filter((one) => !known.has(name(one)))]
    .sort((a, b) => a.at_ms - b.at_ms).slice(0, most);
}
