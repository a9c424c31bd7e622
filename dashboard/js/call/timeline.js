// All lanes of a call on one time line: pointed at, dragged, zoomed together.

import { button, h, icon } from "../dom.js";
import { clock, place } from "../format.js";
import { onTheme } from "../theme.js";
import { depthCurve, speedCurve } from "./curves.js";
import { noteLane, ruler, wordLane } from "./lanes.js";
import { wave } from "./waves.js";

const ZOOM = 1.6;

/** `covers()` is how many ms the waveforms span. */
export function timeline(view, covers) {
  const gutter = () => parseFloat(getComputedStyle(element).getPropertyValue("--gutter"));
  const lanes = { ruler: ruler(view), caller: wave("caller", view, covers),
    callerWords: wordLane("caller", view), bot: wave("bot", view, covers),
    botWords: wordLane("bot", view), notes: noteLane(view),
    depth: depthCurve(view, gutter), speed: speedCurve(view, gutter) };
  const row = (name, lane, kind = "") => h("div", { class: `lane ${kind}` },
    h("span", { class: "lane-name" }, name), lane.element);
  const head = h("div", { class: "playhead" });
  const hair = h("div", { class: "hair", hidden: true }, h("span"));
  const over = h("div", { class: "over", role: "slider", tabindex: "0",
    "aria-label": "Place in the call", "aria-valuemin": "0" }, hair, head);
  const element = h("div", { class: "timeline" }, row("", lanes.ruler),
    row("Caller", lanes.caller, "caller"), row("", lanes.callerWords),
    row("Bot", lanes.bot, "bot"), row("", lanes.botWords), row("Events", lanes.notes),
    lanes.depth.element, lanes.speed.element, over);
  const bar = overview(view);
  const tools = zoomTools(view);

  let due = 0;
  const draw = () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(() => {
      for (const lane of Object.values(lanes)) lane.draw();
      bar.draw();
      tools.draw();
      moved();
    });
  };
  const moved = () => {
    const width = over.clientWidth;
    head.style.transform = `translateX(${view.x(view.at, width).toFixed(1)}px)`;
    head.hidden = view.at < view.from || view.at > view.to;
    hair.hidden = view.hover === null;
    if (view.hover !== null) {
      hair.style.transform = `translateX(${view.x(view.hover, width).toFixed(1)}px)`;
      hair.firstChild.textContent = place(view.hover);
      hair.classList.toggle("left", view.x(view.hover, width) > width - 70);
    }
    over.setAttribute("aria-valuemax", String(Math.round(view.duration / 1000)));
    over.setAttribute("aria-valuenow", String(Math.round(view.at / 1000)));
    over.setAttribute("aria-valuetext", `${place(view.at)} of ${clock(view.duration)}`);
    lanes.depth.read();
    lanes.speed.read();
  };
  view.on("range", draw);
  view.on("at", moved);
  pointing(over, view);
  const size = new ResizeObserver(draw);
  size.observe(element);
  const themed = onTheme(draw);
  return { element, lanes, tools: tools.element, overview: bar.element, draw,
    close() {
      size.disconnect();
      themed();
      cancelAnimationFrame(due);
      lanes.depth.close();
      lanes.speed.close();
    } };
}

function pointing(over, view) {
  const at = (event) => {
    const box = over.getBoundingClientRect();
    return Math.max(0, Math.min(view.duration, view.ms(event.clientX - box.left, box.width)));
  };
  let held = false;
  over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = true;
    over.setPointerCapture(event.pointerId);
    view.seek(at(event));
  });
  over.addEventListener("pointermove", (event) => {
    view.point(event.pointerType === "touch" ? null : at(event));
    if (held) view.seek(at(event));
  });
  over.addEventListener("pointerup", () => { held = false; });
  over.addEventListener("pointercancel", () => { held = false; });
  over.addEventListener("pointerleave", () => view.point(null));
  over.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      view.zoom(ZOOM ** (Math.sign(event.deltaY) * 0.5), at(event));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      view.pan(((event.deltaX || event.deltaY) / over.clientWidth) * view.span);
    }
  }, { passive: false });
  over.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: 6,
      PageDown: -6 };
    const by = event.shiftKey ? 1000 : 5000;
    const goal = event.key === "Home" ? 0 : event.key === "End" ? view.duration
      : steps[event.key] ? view.at + steps[event.key] * by : null;
    if (goal === null) return;
    event.preventDefault();
    event.stopPropagation();
    view.seek(goal);
  });
}

function zoomTools(view) {
  const tool = (glyph, name, click) => h("button", { type: "button", class: "icon-button",
    "aria-label": name, title: name, on: { click } }, icon(glyph));
  const less = tool("minus", "Zoom out (−)", () => view.zoom(ZOOM));
  const more = tool("plus", "Zoom in (+)", () => view.zoom(1 / ZOOM));
  const whole = button("Whole call", { kind: "slim", title: "Whole call (0)",
    click: () => view.show(0, view.duration) });
  return { element: h("div", { class: "row" }, less, more, whole),
    draw() {
      less.disabled = whole.disabled = view.whole;
    } };
}

/** A bar that says which part of the call is seen, and moves it; the lanes' wheel does so too. */
function overview(view) {
  const thumb = h("div", { class: "thumb" });
  const element = h("div", { class: "overview", "aria-hidden": "true" }, thumb);
  const go = (event) => {
    const box = element.getBoundingClientRect();
    const centre = ((event.clientX - box.left) / box.width) * view.duration;
    view.show(centre - view.span / 2, centre + view.span / 2);
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    go(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) go(event);
  });
  return { element,
    draw() {
      thumb.style.left = `${(view.from / view.duration) * 100}%`;
      thumb.style.width = `${(view.span / view.duration) * 100}%`;
    } };
}
