// Changes the rate of a stream by a windowed sinc, one exact filter for each phase of the ratio.

// Zero crossings on each side: 80 dB down within 8 % of the band's edge.
const ZEROS = 32;
const BETA = 8;
const BAND = 0.93;
const BLOCK = 4096;

/** From one whole rate to another, in Hz. Holds about 1.3 ms back at 24 kHz. */
export class Resampler {
  constructor(from, to) {
    const shared = divisor(from, to);
    this.up = to / shared;
    this.down = from / shared;
    const edge = Math.min(1, to / from);
    this.half = Math.ceil(ZEROS / edge);
    this.taps = 2 * this.half;
    this.filters = filters(this.up, this.half, edge * BAND);
    this.line = new Float32Array(this.taps + BLOCK);
    this.filled = this.half - 1;
    this.at = this.half - 1;
    this.phase = 0;
  }

  /** The most samples that `count` of them can become. */
  room(count) {
    return Math.ceil((count * this.up) / this.down) + 1;
  }

  /** Takes samples in, writes what they give to `output`, and returns how many that are. */
  push(input, output) {
    let written = 0;
    for (let start = 0; start < input.length; start += BLOCK) {
      const block = input.subarray(start, start + BLOCK);
      this.line.set(block, this.filled);
      this.filled += block.length;
      written = this.drain(output, written);
    }
    return written;
  }

  drain(output, written) {
    const { line, filters: all, taps, half, up, down } = this;
    while (this.at + half < this.filled) {
      const first = this.at - half + 1;
      const filter = this.phase * taps;
      let sum = 0;
      for (let tap = 0; tap < taps; tap += 1) sum += line[first + tap] * all[filter + tap];
      output[written] = sum;
      written += 1;
      this.phase += down;
      this.at += Math.floor(this.phase / up);
      this.phase %= up;
    }
    const done = Math.min(this.at - half + 1, this.filled);
    line.copyWithin(0, done, this.filled);
    this.filled -= done;
    this.at -= done;
    return written;
  }
}

function filters(up, half, edge) {
  const taps = 2 * half;
  const all = new Float32Array(up * taps);
  for (let phase = 0; phase < up; phase += 1) {
    let sum = 0;
    for (let tap = 0; tap < taps; tap += 1) {
      const time = tap - half + 1 - phase / up;
      const value = edge * sinc(edge * time) * kaiser(time / half);
      all[phase * taps + tap] = value;
      sum += value;
    }
    // Each phase passes a constant unchanged, or the ripple between phases is heard as a tone.
    for (let tap = 0; tap < taps; tap += 1) all[phase * taps + tap] /= sum;
  }
  return all;
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const kaiser = (x) => (Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA));

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; k < 40; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);
