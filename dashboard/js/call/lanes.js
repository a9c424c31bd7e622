// The lanes that are not waveforms: the ruler, words at their times, and what happened.

import { fill, h } from "../dom.js";
import { clock, place } from "../format.js";
import { colour } from "../theme.js";

const STEPS_MS = [200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
  600_000, 1_800_000, 3_600_000];
const TICK_PX = 76;
const WORD_PX_PER_S = 110;
// The least that a block is wide, with the gap behind it, and what a sign takes.
const BLOCK_PX = 3;
const SIGN_PX = 10;

export function ruler(view) {
  const canvas = h("canvas", { class: "ruler", "aria-hidden": "true" });
  function draw() {
    const width = canvas.clientWidth;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(20 * scale);
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const step = STEPS_MS.find((ms) => (ms / view.span) * width >= TICK_PX) ?? STEPS_MS.at(-1);
    paint.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    paint.textBaseline = "middle";
    for (let ms = Math.ceil(view.from / step) * step; ms <= view.to; ms += step) {
      const x = view.x(ms, width);
      paint.fillStyle = colour("--line-strong");
      paint.fillRect(Math.round(x), 12, 1, 8);
      paint.fillStyle = colour("--soft");
      const text = step < 1000 ? place(ms) : clock(ms);
      if (x + paint.measureText(text).width < width) paint.fillText(text, x + 4, 10);
    }
  }
  return { element: canvas, draw };
}

const pen = document.createElement("canvas").getContext("2d");

/** One side's words: phrases as blocks, and single words where there is room for them. What falls
 * on a block already there is left out: one zooms in to see it. */
export function wordLane(who, view) {
  const element = h("div", { class: `words ${who}`, "aria-hidden": "true" });
  let all = [];
  function draw() {
    const width = element.clientWidth;
    if (!width) return;
    pen.font = `12px ${getComputedStyle(element).fontFamily}`;
    const single = (1000 / view.span) * width > WORD_PX_PER_S;
    const items = single ? all.flatMap((phrase) => phrase.words) : all;
    const blocks = [];
    let taken = -Infinity;
    for (let at = 0; at < items.length; at += 1) {
      const item = items[at];
      const left = view.x(item.at_ms, width);
      if (left > width) break;
      const next = at + 1 < items.length ? view.x(items[at + 1].at_ms, width) : Infinity;
      if (left < taken || next < 0) continue;
      const own = view.x(item.until_ms ?? item.at_ms, width) - left;
      const wish = Math.max(own, pen.measureText(item.text).width + 10);
      const wide = Math.max(BLOCK_PX - 1, Math.min(wish, next - left - 2));
      taken = left + wide + 1;
      if (taken < 0) continue;
      const block = h("span", { title: `${place(item.at_ms)} ${item.text.trim()}` },
        wide > 16 ? item.text.trim() : "");
      block.style.left = `${left.toFixed(1)}px`;
      block.style.width = `${wide.toFixed(1)}px`;
      blocks.push(block);
    }
    fill(element, ...blocks);
  }
  return { element, draw, set(phrases) { all = phrases; draw(); } };
}

const SIGNS = { phase: "◆", digit: "#", action: "▶", turn: "↔", speed: "≈", cleared: "✕",
  succeeded: "↻" };

export const sign = (kind) => SIGNS[kind] ?? "•";

/** What happened, as signs at their times; the list below says it in words. A sign that would fall
 * on another is left out, a turn before all else: one zooms in to see it. */
export function noteLane(view) {
  const element = h("div", { class: "notes", "aria-hidden": "true" });
  let notes = [];
  function draw() {
    const width = element.clientWidth;
    if (!width) return;
    const shown = notes.filter(({ at_ms: at }) => at >= view.from && at <= view.to);
    const marks = [];
    const taken = new Uint8Array(Math.ceil(width) + SIGN_PX);
    const isTurn = ({ kind }) => kind === "turn";
    for (const note of [...shown.filter((one) => !isTurn(one)), ...shown.filter(isTurn)]) {
      const x = Math.min(width - 6, Math.max(6, view.x(note.at_ms, width)));
      const left = Math.max(0, Math.round(x - SIGN_PX / 2));
      if (taken[left] || taken[left + SIGN_PX - 1]) continue;
      taken.fill(1, left, left + SIGN_PX);
      const mark = h("span", { class: note.kind,
        title: `${place(note.at_ms)} ${note.kind}: ${note.text}` }, sign(note.kind));
      mark.style.left = `${x.toFixed(1)}px`;
      marks.push(mark);
    }
    fill(element, ...marks);
  }
  return { element, draw, set(next) { notes = next; draw(); } };
}
