// In the audio thread: what the microphone hears, as messages of 20 ms at 24 kHz.

import { Resampler } from "./resample.js";

const RATE = 24_000;
const FRAME = 480;

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = sampleRate === RATE ? null : new Resampler(sampleRate, RATE);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.power = 0;
    this.silence = new Float32Array(128);
    this.scratch = null;
  }

  process(inputs) {
    // A microphone that gives nothing is silent; time goes on.
    const heard = inputs[0]?.[0] ?? this.silence;
    if (!this.resampler) {
      this.take(heard, heard.length);
      return true;
    }
    this.scratch ??= new Float32Array(this.resampler.room(heard.length) + 8);
    this.take(this.scratch, this.resampler.push(heard, this.scratch));
    return true;
  }

  take(samples, count) {
    for (let at = 0; at < count; at += 1) {
      const sample = Math.max(-1, Math.min(1, samples[at]));
      this.frame[this.filled] = Math.round(sample * 32767);
      this.power += sample * sample;
      this.filled += 1;
      if (this.filled === FRAME) this.send();
    }
  }

  send() {
    const pcm = this.frame.buffer;
    const dbfs = Math.max(-100, 10 * Math.log10(this.power / FRAME + 1e-10));
    this.port.postMessage({ pcm, dbfs }, [pcm]);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.power = 0;
  }
}

registerProcessor("ear", Ear);
