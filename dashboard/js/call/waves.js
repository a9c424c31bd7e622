// Two waveforms from peaks, each a canvas: the caller's in bars, the bot's solid.

import { h } from "../dom.js";
import { colour } from "../theme.js";

const HEIGHT = 58;
const BAR = 3;
const LEAST_PEAK = 0.08;

/** A lane for "caller" or "bot". `peaks` are 0..1, spread evenly over `covers()` ms. */
export function wave(who, view, covers) {
  const canvas = h("canvas", { class: "wave", height: HEIGHT, role: "img",
    "aria-label": `Waveform of the ${who}` });
  let peaks = [];

  function draw() {
    const width = canvas.clientWidth;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(HEIGHT * scale);
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    paint.fillStyle = colour("--line");
    paint.fillRect(0, HEIGHT / 2, width, 1);
    if (!peaks.length) return;
    paint.fillStyle = colour(`--${who}`);
    const gain = 1 / Math.max(LEAST_PEAK, loudest(peaks));
    const step = who === "caller" ? BAR : 1;
    const drawn = who === "caller" ? BAR - 1 : 1;
    for (let x = 0; x < width; x += step) {
      const first = (view.ms(x, width) / covers()) * peaks.length;
      const last = (view.ms(x + step, width) / covers()) * peaks.length;
      const half = (highest(peaks, first, last) * gain * (HEIGHT - 4)) / 2;
      if (half > 0.4) paint.fillRect(x, HEIGHT / 2 - half, drawn, 2 * half);
    }
  }

  return { element: canvas, draw, set(next) { peaks = next; draw(); } };
}

function highest(peaks, first, last) {
  if (first >= peaks.length) return 0;
  let top = 0;
  const end = Math.max(Math.floor(first) + 1, Math.ceil(last));
  for (let at = Math.max(0, Math.floor(first)); at < end && at < peaks.length; at += 1) {
    if (peaks[at] > top) top = peaks[at];
  }
  return top;
}

function loudest(peaks) {
  let top = 0;
  for (const peak of peaks) if (peak > top) top = peak;
  return top;
}
