// One call from this browser: the socket to the server, and the sound on this side.

import { address, ask } from "../api.js";
import { openSound } from "./sound.js";
import * as troubles from "./troubles.js";

const START_MS = 30_000;
// The server speaks five times a second.
const SILENCE_MS = 8000;
const GOODBYE_MS = 3000;
// What the network does not take is too old to be of use: 250 ms of sound.
const BACKLOG_BYTES = 12_000;
const PROBE_MS = 5000;
const PROBES_KEPT = 5;

/** Places a call. `told` has started, word, state, levels, ended(reason, trouble). */
export class Line {
  constructor(persona, told) {
    this.told = told;
    this.persona = persona;
    this.call = null;
    this.over = false;
    this.sound = null;
    this.life = new AbortController();
    this.socket = null;
    this.timers = {};
    this.trips = [];
    this.ear = -100;
    this.mouth = { dbfs: -100, queued_ms: 0, jitter_ms: 0, underruns: 0, played_ms: 0,
      dropped_ms: 0, cleared: 0 };
    this.counts = { sent: 0, unsent: 0, received: 0, marks: 0, played: 0 };
  }

  async open() {
    try {
      this.sound = await openSound({
        // A browser's question waits for its reader, and nothing is heard meanwhile.
        allowed: () => this.startBy(troubles.STUCK),
        frame: (frame) => this.heard(frame),
        report: (report) => { this.mouth = report; },
        played: (mark) => this.answer(mark),
        muted: () => this.told.notice(troubles.MUTE),
      }, this.life.signal);
      if (this.over) return;
    } catch (error) {
      this.end(null, error.trouble ?? { title: "The call failed", text: error.message });
      return;
    }
    const url = new URL("../../talk", address(""));
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.persona) url.searchParams.set("persona", this.persona);
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.message(data);
    this.socket.onclose = (event) => this.closed(event);
    this.startBy();
  }

  startBy(trouble = troubles.SLOW) {
    clearTimeout(this.timers.start);
    this.timers.start = setTimeout(() => this.end(null, trouble), START_MS);
  }

  message(data) {
    this.attend();
    if (typeof data !== "string") {
      this.counts.received += 1;
      this.sound?.play(data);
      return;
    }
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return;
    }
    if (said.error) this.end(null, troubles.refused(said.error.message));
    else this.obey(said);
  }

  obey(said) {
    switch (said.type) {
      case "started":
        clearTimeout(this.timers.start);
        this.call = said.call;
        this.probe();
        this.told.started(said);
        break;
      case "waiting":
        // Who waits is told so every few seconds.
        this.startBy();
        this.told.waiting(said.ahead ?? null);
        break;
      case "mark":
        this.counts.marks += 1;
        this.sound?.mark({ generation: said.generation, number: said.number });
        break;
      case "clear":
        this.sound?.clear();
        break;
      case "word":
        this.told.word({ who: said.who ?? "bot", at_ms: said.at_ms, text: said.text });
        break;
      case "state":
        this.told.state(said);
        break;
      case "ended": {
        const own = said.reason === "caller-hung-up" && "you hung up";
        this.end(own || said.reason_text || said.reason, this.call ? null
          : troubles.refused(`${said.reason_text || said.reason}.`), said.call);
        break;
      }
      default:
        // A newer server may say more.
        break;
    }
  }

  heard({ pcm, dbfs }) {
    this.ear = dbfs;
    if (this.call && !this.over) {
      if (this.socket.bufferedAmount > BACKLOG_BYTES) this.counts.unsent += 1;
      else {
        this.socket.send(pcm);
        this.counts.sent += 1;
      }
    }
    this.told.levels(dbfs, this.mouth.dbfs);
  }

  answer(mark) {
    if (this.say({ type: "played", ...mark })) this.counts.played += 1;
  }

  say(message) {
    if (this.over || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  digit(digit) {
    this.say({ type: "digit", digit });
  }

  mute(muted) {
    this.sound?.mute(muted);
  }

  hangUp() {
    if (!this.call) {
      this.end("hung up", null);
      return;
    }
    this.say({ type: "hangup" });
    this.sound?.clear();
    this.timers.goodbye = setTimeout(() => this.end("you hung up", null), GOODBYE_MS);
  }

  attend() {
    clearTimeout(this.timers.silence);
    if (!this.call || this.over) return;
    this.timers.silence = setTimeout(() => this.end(null, troubles.LOST), SILENCE_MS);
  }

  async closed({ reason }) {
    if (this.over) return;
    if (this.call) {
      this.end(null, reason ? { title: troubles.LOST.title, text: reason } : troubles.LOST);
      return;
    }
    // A browser is not told why a socket was refused; the rest of the server may know.
    const session = await ask("session").catch(() => null);
    if (session && !session.open && !session.signed_in) {
      document.dispatchEvent(new CustomEvent("signed-out"));
    }
    this.end(null, !session ? troubles.UNREACHABLE
      : reason ? troubles.refused(reason) : troubles.BUSY);
  }

  /** Takes how long the network needs there and back, as no message of the call is answered. */
  probe() {
    const take = async () => {
      const before = performance.now();
      const answer = await ask("session").catch(() => null);
      if (answer) this.trips = [...this.trips, performance.now() - before].slice(-PROBES_KEPT);
    };
    take();
    this.timers.probe = setInterval(take, PROBE_MS);
  }

  /** Milliseconds that sound takes through everything but the model, by part; null: not known. */
  delay(depth) {
    if (!this.sound || !this.trips.length) return null;
    const { input, output } = this.sound.delays();
    const parts = { microphone: input * 1000, "20 ms message": 20,
      network: Math.min(...this.trips), waiting: Math.max(depth ?? 0, this.mouth.queued_ms),
      loudspeaker: output * 1000 };
    return { parts, total: Object.values(parts).reduce((a, b) => a + b, 0) };
  }

  end(reason, trouble, call = this.call) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.timers.probe);
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.life.abort();
    if (this.socket) {
      this.socket.onmessage = this.socket.onclose = null;
      this.socket.close(1000);
    }
    this.told.ended({ reason, trouble, call });
  }
}
