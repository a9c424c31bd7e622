// In the audio thread: plays what the server sends, through a small jitter buffer that grows when
// it runs dry. A mark is reported when the sound before it has left the loudspeaker.

import { Resampler } from "./resample.js";

const RATE = 24_000;
const LEAST_MS = 40;
const MOST_MS = 200;
const STEP_MS = 20;
// Without a gap for this long the buffer shrinks by a step.
const CALM_S = 20;
// A server that sends more ahead of time than this loses the oldest.
const BOUND_S = 60;
const REPORT_S = 0.1;
// How fast a broken-off sound fades, for each sample: a few ms.
const FADE = 0.985;

class Mouth extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = sampleRate === RATE ? null : new Resampler(RATE, sampleRate);
    this.queue = [];
    this.queued = 0;
    this.offset = 0;
    this.playing = false;
    this.idleSince = 0;
    this.targetMs = LEAST_MS;
    this.calmSince = 0;
    this.held = [];
    this.latency = 0;
    this.last = 0;
    this.rise = 1;
    this.counts = { underruns: 0, dropped_ms: 0, played_ms: 0, cleared: 0 };
    this.power = 0;
    this.heard = 0;
    this.port.onmessage = ({ data }) => this.told(data);
  }

  told(message) {
    if (message.pcm) this.add(new Int16Array(message.pcm));
    else if (message.mark) this.queue.push({ mark: message.mark });
    else if (message.clear) this.clear();
    else if (message.latency !== undefined) this.latency = message.latency * sampleRate;
  }

  add(pcm) {
    const floats = new Float32Array(pcm.length);
    for (let at = 0; at < pcm.length; at += 1) floats[at] = pcm[at] / 32768;
    let samples = floats;
    if (this.resampler) {
      const room = new Float32Array(this.resampler.room(floats.length) + 8);
      samples = room.subarray(0, this.resampler.push(floats, room));
    }
    if (samples.length === 0) return;
    if (this.queued === 0) this.idleSince = currentFrame;
    this.queue.push({ samples });
    this.queued += samples.length;
    while (this.queued > BOUND_S * sampleRate) this.dropOldest();
  }

  dropOldest() {
    const at = this.queue.findIndex((item) => item.samples);
    const left = this.queue[at].samples.length - (at === 0 ? this.offset : 0);
    if (at === 0) this.offset = 0;
    this.queue.splice(at, 1);
    this.queued -= left;
    this.counts.dropped_ms += (left / sampleRate) * 1000;
  }

  clear() {
    const marks = [...this.held, ...this.queue].filter((item) => item.mark);
    this.queue = [];
    this.queued = 0;
    this.offset = 0;
    this.held = [];
    this.playing = false;
    this.counts.cleared += 1;
    for (const { mark } of marks) this.port.postMessage({ played: mark });
  }

  process(_, outputs) {
    const output = outputs[0][0];
    for (let at = 0; at < output.length; at += 1) {
      const sample = this.next(at);
      output[at] = sample;
      this.power += sample * sample;
      this.heard += 1;
    }
    while (this.held.length && this.held[0].due <= currentFrame) {
      this.port.postMessage({ played: this.held.shift().mark });
    }
    if (this.heard >= REPORT_S * sampleRate) this.report();
    return true;
  }

  next(at) {
    this.passMarks(at);
    if (!this.playing && this.mayStart(at)) {
      this.playing = true;
      this.rise = 0;
    }
    if (!this.playing) {
      this.last *= FADE;
      return this.last;
    }
    if (this.queued === 0) {
      this.ranDry();
      this.last *= FADE;
      return this.last;
    }
    const { samples } = this.queue[0];
    this.rise = Math.min(1, this.rise + 0.01);
    this.last = samples[this.offset] * this.rise;
    this.offset += 1;
    this.queued -= 1;
    this.counts.played_ms += 1000 / sampleRate;
    if (this.offset === samples.length) {
      this.queue.shift();
      this.offset = 0;
    }
    return this.last;
  }

  /** What comes last may be shorter than the buffer; it starts when it has waited as long. */
  mayStart(at) {
    if (this.queued === 0) return false;
    const target = (this.targetMs / 1000) * sampleRate;
    return this.queued >= target || currentFrame + at - this.idleSince >= target;
  }

  passMarks(at) {
    while (this.queue.length && this.queue[0].mark && this.offset === 0) {
      const { mark } = this.queue.shift();
      this.held.push({ mark, due: currentFrame + at + this.latency });
    }
  }

  ranDry() {
    this.playing = false;
    this.counts.underruns += 1;
    this.targetMs = Math.min(MOST_MS, this.targetMs + STEP_MS);
    this.calmSince = currentTime;
  }

  report() {
    if (currentTime - this.calmSince > CALM_S && this.targetMs > LEAST_MS) {
      this.targetMs -= STEP_MS;
      this.calmSince = currentTime;
    }
    const dbfs = Math.max(-100, 10 * Math.log10(this.power / this.heard + 1e-10));
    const queued = (this.queued / sampleRate) * 1000;
    this.port.postMessage({ dbfs, queued_ms: queued, jitter_ms: this.targetMs, ...this.counts });
    this.power = 0;
    this.heard = 0;
  }
}

registerProcessor("mouth", Mouth);
