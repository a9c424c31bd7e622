// The stretch of a call that all lanes show, and the moment that is played. Times are in ms.

const LEAST_MS = 1500;

export class View {
  constructor(duration) {
    this.duration = Math.max(1, duration);
    this.from = 0;
    this.to = this.duration;
    this.at = 0;
    this.hover = null;
    this.watchers = { range: new Set(), at: new Set(), seek: new Set() };
  }

  on(what, watcher) {
    this.watchers[what].add(watcher);
  }

  tell(what) {
    for (const watcher of this.watchers[what]) watcher(this);
  }

  get span() {
    return this.to - this.from;
  }

  get whole() {
    return this.from <= 0 && this.to >= this.duration;
  }

  /** Where a time lies, in a lane of `width`. */
  x(ms, width) {
    return ((ms - this.from) / this.span) * width;
  }

  ms(x, width) {
    return this.from + (x / width) * this.span;
  }

  show(from, to) {
    const span = Math.min(this.duration, Math.max(LEAST_MS, to - from));
    const start = Math.max(0, Math.min(this.duration - span, from));
    if (start === this.from && start + span === this.to) return;
    this.from = start;
    this.to = start + span;
    this.tell("range");
  }

  zoom(factor, around = this.centre()) {
    const part = (around - this.from) / this.span;
    const span = Math.max(LEAST_MS, this.span * factor);
    this.show(around - span * part, around + span * (1 - part));
  }

  centre() {
    return this.at >= this.from && this.at <= this.to ? this.at : (this.from + this.to) / 2;
  }

  pan(ms) {
    this.show(this.from + ms, this.to + ms);
  }

  /** Goes somewhere, as a reader wishes: the player follows. */
  seek(ms) {
    this.move(ms);
    this.tell("seek");
  }

  /** Is somewhere, as the player says: the lanes follow. */
  move(ms) {
    this.at = Math.max(0, Math.min(this.duration, ms));
    if (this.at < this.from || this.at > this.to) {
      this.show(this.at - this.span * 0.1, this.at + this.span * 0.9);
    }
    this.tell("at");
  }

  /** A running call is at its end; nothing moves there. */
  now(ms) {
    this.at = ms;
    this.tell("at");
  }

  point(ms) {
    this.hover = ms;
    this.tell("at");
  }

  /** A running call grows; who sees all of it goes on to. */
  grow(duration) {
    const { whole } = this;
    const atEnd = this.to >= this.duration - 1;
    const more = duration - this.duration;
    this.duration = duration;
    if (whole) this.show(0, duration);
    else if (atEnd) this.pan(more);
    this.tell("range");
  }
}
