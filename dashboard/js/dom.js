// Elements without HTML text: whatever is untrusted ends as a text node.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. `on` holds listeners, `data` data attributes; `null` and `false` leave out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else if (name === "value" || name === "checked" || name === "htmlFor") {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces what is in an element. Strings become text; `null` and `false` nothing. */
export function fill(element, ...children) {
  const kept = children.flat().filter((child) => child !== null && child !== undefined
    && child !== false);
  element.replaceChildren(...kept);
  return element;
}

/** Sets an element's text if it is another one, so that a quiet page causes no layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Strokes on a 24 by 24 grid.
const ICONS = {
  mic: ["M12 3a3 3 0 0 1 3 3v6a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3z", "M5 11a7 7 0 0 0 14 0M12 18v3"],
  calls: ["M3 12h3l2.5-7 4 14 3-10 1.5 3h4"],
  history: ["M4 5v5h5", "M4.6 10A8 8 0 1 1 4 14", "M12 8v5l3 2"],
  engines: ["M4 5h16v6H4zM4 13h16v6H4z", "M8 8h.01M8 16h.01M12 8h5M12 16h5"],
  personas: ["M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8z", "M4 21c0-4 3.6-6 8-6s8 2 8 6"],
  settings: ["M4 7h9M17 7h3M4 17h3M11 17h9", "M15 9a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
    "M9 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z"],
  hangup: ["M3 14c0-2 4-4 9-4s9 2 9 4v2l-5 1-1-3c-2-.6-4-.6-6 0l-1 3-5-1z"],
  play: ["M7 4.5v15l12-7.5z"],
  pause: ["M8 5v14M16 5v14"],
  sun: ["M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z",
    "M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19"],
  moon: ["M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z"],
  keys: ["M3 6h18v12H3z", "M7 10h.01M11 10h.01M15 10h.01M7 14h10"],
  out: ["M14 4h5v16h-5M4 12h11M11 8l4 4-4 4"],
  plus: ["M12 5v14M5 12h14"],
  minus: ["M5 12h14"],
  whole: ["M4 4v16M20 4v16M8 12h8M10 9.5 7.5 12 10 14.5M14 9.5l2.5 2.5-2.5 2.5"],
  back: ["M15 5l-7 7 7 7"],
  muted: ["M4 4l16 16", "M9 9v3a3 3 0 0 0 4.6 2.5M15 11V6a3 3 0 0 0-5.8-1",
    "M5 11a7 7 0 0 0 11 5.7M19 11c0 1-.2 2-.6 2.8M12 18v3"],
  wave: ["M4 10v4M8 6v12M12 9v6M16 4v16M20 10v4"],
};

/** One of our icons, silent to screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor",
    "stroke-width": "1.8", "stroke-linecap": "round", "stroke-linejoin": "round",
    "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  for (const d of ICONS[name] ?? []) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** A button with a name, maybe an icon. */
export function button(name, { kind = "", glyph = null, click, ...rest } = {}) {
  return h("button", { type: "button", class: `button ${kind}`.trim(), on: { click }, ...rest },
    glyph && icon(glyph), h("span", {}, name));
}

/** A labelled form field; `control` gets an id of its own. */
let fields = 0;
export function field(label, control, hint = null) {
  fields += 1;
  control.id ||= `field-${fields}`;
  return h("div", { class: "field" },
    h("label", { class: "label", htmlFor: control.id }, label), control,
    hint && h("span", { class: "hint" }, hint));
}

/** A definition list of facts; pairs whose value is `null` are left out. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== null)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
