// What is known of a call's course, kept within bounds while it grows. Times are in ms.

const LEVEL_MS = 500;
// Two hours of levels, four of curves; what comes then is not drawn.
const MOST_POINTS = 14_400;
const MOST_WORDS = 20_000;
const MOST_NOTES = 5000;
const KEYS = ["depth_ms", "target_ms", "queued_ms", "real_time_factor"];

export class Course {
  constructor(call) {
    this.words = [...(call.transcript ?? [])];
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
    put(this.peaks.caller, Math.floor(now.elapsed_ms / this.levelMs), amplitude(now.caller_dbfs));
    put(this.peaks.bot, Math.floor(now.elapsed_ms / this.levelMs), amplitude(now.engine_dbfs));
    const at = Math.floor(now.elapsed_ms / this.curve.every_ms);
    for (const key of KEYS) {
      this.curve[key] ??= [];
      put(this.curve[key], at, now[key] ?? null);
    }
  }
}

const amplitude = (dbfs) => (dbfs > -99 ? 10 ** (dbfs / 20) : 0);

function put(list, at, value) {
  if (at >= MOST_POINTS) return;
  while (list.length < at) list.push(list.at(-1) ?? null);
  list[at] = value;
}
