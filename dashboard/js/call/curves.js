// How much sound waited for the caller, and how fast the engine was: uPlot, on the shared view.

import { fill, h, say } from "../dom.js";
import { onTheme, colour } from "../theme.js";

const HEIGHT = 96;
const DEPTH = [
  { name: "waiting", key: "depth_ms", colour: "--accent", width: 1.6 },
  { name: "target", key: "target_ms", colour: "--soft", width: 1.3, dash: [7, 4] },
  { name: "queued", key: "queued_ms", colour: "--third", width: 1.5, dash: [2, 3] },
];
const SPEED = [{ name: "engine speed", key: "real_time_factor", colour: "--accent", width: 1.6 }];

export const depthCurve = (view, gutter) => curve("Waiting sound", "ms", DEPTH, view, gutter,
  { digits: 0, range: (low, high) => [0, Math.max(200, (high ?? 0) * 1.1)] });
export const speedCurve = (view, gutter) => curve("Engine speed", "×", SPEED, view, gutter,
  { digits: 2, range: (low, high) => [Math.min(0.8, low ?? 0.8), Math.max(1.2, high ?? 1.2)] });

function curve(title, unit, lines, view, gutter, { digits, range }) {
  const values = lines.map(() => h("b", {}, "–"));
  const keys = lines.map(key);
  const legend = h("div", { class: "legend" }, h("strong", {}, title),
    ...lines.map((line, at) => h("span", {}, keys[at].element, ` ${line.name} `, values[at])));
  const plot = h("div", { class: "plot", role: "img", "aria-label": `${title} over the call` });
  const element = h("div", { class: "curve" }, legend, plot);
  let data = { every_ms: 1000 };
  let chart = null;

  function options() {
    const grid = { stroke: colour("--line"), width: 1 };
    return { width: plot.clientWidth, height: HEIGHT, padding: [6, 0, 6, 0],
      legend: { show: false }, cursor: { show: false }, select: { show: false },
      scales: { x: { time: false, range: () => [view.from / 1000, view.to / 1000] },
        y: { range: (_, low, high) => range(low, high) } },
      axes: [{ show: false }, { size: gutter(), stroke: colour("--soft"), grid, space: 26,
        ticks: { show: false }, font: `11px ${getComputedStyle(plot).fontFamily}` }],
      series: [{}, ...lines.map((line) => ({ stroke: colour(line.colour), width: line.width,
        dash: line.dash, points: { show: false }, spanGaps: false }))] };
  }

  function table() {
    const length = Math.max(0, ...lines.map(({ key: name }) => data[name]?.length ?? 0));
    const times = Array.from({ length }, (_, at) => (at * data.every_ms) / 1000);
    return [times, ...lines.map(({ key: name }) => times.map((_, at) => data[name]?.[at] ?? null))];
  }

  function build() {
    chart?.destroy();
    chart = null;
    if (plot.clientWidth) chart = new window.uPlot(options(), table(), plot);
  }

  function read() {
    const at = Math.floor((view.hover ?? view.at) / data.every_ms);
    lines.forEach(({ key: name }, one) => {
      const value = data[name]?.[at];
      say(values[one], value === null || value === undefined ? "–"
        : `${value.toFixed(digits)} ${unit}`);
    });
  }

  const ends = [onTheme(build), ...keys.map(({ end }) => end)];
  return {
    element,
    set(next) {
      data = next;
      if (chart) chart.setData(table());
      else build();
      read();
    },
    draw() {
      if (!chart) build();
      else if (chart.width !== plot.clientWidth) build();
      else chart.setScale("x", { min: view.from / 1000, max: view.to / 1000 });
    },
    read,
    close() {
      ends.forEach((end) => end());
      chart?.destroy();
      fill(plot);
    },
  };
}

/** How a line looks, for the legend, until `end` is called. */
function key(line) {
  const canvas = h("canvas", { width: 26, height: 8, "aria-hidden": "true" });
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, 26, 8);
    pen.strokeStyle = colour(line.colour);
    pen.lineWidth = 2;
    pen.setLineDash(line.dash ?? []);
    pen.beginPath();
    pen.moveTo(0, 4);
    pen.lineTo(26, 4);
    pen.stroke();
  };
  paint();
  return { element: canvas, end: onTheme(paint) };
}
