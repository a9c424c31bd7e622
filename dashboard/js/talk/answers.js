// How long the bot takes to answer, from the levels on this side alone.

const SPEECH_DB = -45;
// A pause within a sentence is shorter, and what comes later is no answer.
const QUIET_MS = 200;
const LATEST_MS = 8000;

/** `last` is the milliseconds of the latest answer, or null. */
export class Answers {
  constructor() {
    this.last = null;
    this.spoke = null;
    this.botSpoke = -Infinity;
  }

  /** One moment: the time in ms, both levels in dBFS. */
  hear(now, caller, bot) {
    if (bot > SPEECH_DB) {
      const waited = this.spoke === null ? 0 : now - this.spoke;
      const answers = now - this.botSpoke > QUIET_MS && waited > QUIET_MS && waited < LATEST_MS;
      if (answers) this.last = waited;
      if (waited > QUIET_MS) this.spoke = null;
      this.botSpoke = now;
    }
    if (caller > SPEECH_DB) this.spoke = now;
  }
}
