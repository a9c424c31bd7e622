// The frame around the pages: who is signed in, where one is, and whether it is live.

import { ask, remove } from "./api.js";
import { attempt } from "./dialog.js";
import { fill, h, icon, say } from "./dom.js";
import { listen, live, start, stop } from "./live.js";
import { shortcuts, showKeys } from "./keys.js";
import { signIn } from "./pages/signin.js";
import { isDark, toggleTheme } from "./theme.js";

const PLACES = [
  { name: "talk", title: "Talk", glyph: "mic", load: () => import("./talk/page.js") },
  { name: "calls", title: "Now", long: "Calls now", glyph: "wave",
    load: () => import("./pages/calls.js"), one: () => import("./call/page.js") },
  { name: "history", title: "History", glyph: "history", load: () => import("./pages/history.js") },
  { name: "engines", title: "Engines", glyph: "engines", load: () => import("./pages/engines.js") },
  { name: "personas", title: "Personas", glyph: "personas",
    load: () => import("./pages/personas.js") },
  { name: "settings", title: "Settings", glyph: "settings",
    load: () => import("./pages/settings.js") },
];

const main = h("main", { id: "main", tabindex: "-1" });
let session = null;
let leave = null;
let turn = 0;
let ends = [];

/** Where one is: `#/calls/ID?search=x` as name, rest and query. */
function where() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name, rest: rest.map(decodeURIComponent), query: new URLSearchParams(query) };
}

async function show() {
  const { name, rest, query } = where();
  const place = PLACES.find((one) => one.name === name);
  if (!place) {
    location.replace(session.demo ? "#/talk" : "#/calls");
    return;
  }
  turn += 1;
  const mine = turn;
  leave?.();
  leave = null;
  mark(place);
  const single = rest.length > 0 && place.one;
  const page = h("div", { class: "page", data: { page: single ? "call" : name } });
  fill(main, page);
  scrollTo(0, 0);
  try {
    const module = await (single ? place.one() : place.load());
    if (mine !== turn) return;
    const here = (name_, title_) => mine === turn && mark(PLACES.find((one) =>
      one.name === name_), title_);
    leave = module.show(page, { rest, query, session, here }) ?? null;
  } catch (error) {
    fill(page, h("div", { class: "trouble", role: "alert" }, h("strong", {}, "This page failed"),
      error.message));
  }
}

function mark(place, called = place.long ?? place.title) {
  for (const link of document.querySelectorAll(".nav a")) {
    if (link.dataset.place === place.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  title(called);
}

let named = "";
function title(name = named) {
  named = name;
  const running = live.state?.calls.length ?? 0;
  document.title = `${running ? `(${running}) ` : ""}${name} · voice-bot`;
}

function frame() {
  const links = PLACES.map((place) => h("a", { href: `#/${place.name}`,
    data: { place: place.name } }, icon(place.glyph), h("span", {}, place.title),
    place.name === "calls" && h("span", { class: "count", hidden: true }),
    place.name === "talk" && h("span", { class: "count in-call", hidden: true }, "in call")));
  const pulse = h("div", { class: "pulse", role: "status", data: { state: live.link } });
  const theme = h("button", { type: "button", class: "icon-button", on: { click: () => {
    toggleTheme();
    paint();
  } } });
  const paint = () => {
    const next = isDark() ? "light" : "dark";
    fill(theme, icon(isDark() ? "sun" : "moon"));
    theme.setAttribute("aria-label", `Switch to the ${next} theme`);
    theme.title = `Switch to the ${next} theme`;
  };
  paint();
  const keys = h("button", { type: "button", class: "icon-button", "aria-label": "Shortcuts",
    title: "Shortcuts (?)", on: { click: showKeys } }, icon("keys"));
  const out = !session.open && h("button", { type: "button", class: "icon-button",
    "aria-label": "Sign out", title: "Sign out", on: { click: leaveSession } }, icon("out"));
  const skip = h("button", { type: "button", class: "button skip",
    on: { click: () => main.focus() } }, "Skip to content");
  const banner = h("div", { class: "banner", role: "status", hidden: true });
  const brand = h("a", { class: "brand", href: "#/" }, icon("wave"), h("span", {}, "voice-bot"));
  const rail = h("header", { class: "rail" }, brand,
    h("nav", { class: "nav", "aria-label": "Pages" }, ...links),
    h("div", { class: "foot" }, pulse, h("div", { class: "row" }, theme, keys, out),
      h("span", { class: "version" }, `Version ${session.version}`)));
  fill(document.body, skip, h("div", { class: "frame" }, rail, h("div", {}, banner, main)));
  keepLink(pulse, banner);
  const number = document.querySelector('[data-place="calls"] .count');
  const talking = ({ detail }) => {
    document.querySelector(".in-call").hidden = !detail;
  };
  document.addEventListener("talking", talking);
  ends.push(() => document.removeEventListener("talking", talking));
  ends.push(listen("state", (state) => {
    number.hidden = state.calls.length === 0;
    say(number, String(state.calls.length));
    title();
  }));
}

function keepLink(pulse, banner) {
  const names = { connecting: "Connecting", live: "Live", paused: "Paused", lost: "Not live" };
  const draw = () => {
    pulse.dataset.state = live.link;
    say(pulse, names[live.link]);
    banner.hidden = live.link !== "lost";
    if (banner.hidden) return;
    const left = Math.max(0, Math.ceil((live.retryAt - Date.now()) / 1000));
    say(banner, left
      ? `Not live: the connection to the server is lost. Trying again in ${left} s.`
      : "Not live: the connection to the server is lost. Trying again …");
  };
  draw();
  const ticking = setInterval(draw, 1000);
  ends.push(listen("link", draw), () => clearInterval(ticking));
}

async function leaveSession() {
  await attempt(() => remove("session"));
  document.dispatchEvent(new CustomEvent("signed-out"));
}

function signedOut() {
  stop();
  turn += 1;
  leave?.();
  leave = null;
  ends.forEach((end) => end());
  ends = [];
  removeEventListener("hashchange", show);
  document.title = "Sign in · voice-bot";
  signIn(document.body, begin);
}

async function begin() {
  try {
    session = await ask("session");
  } catch (error) {
    const again = h("button", { type: "button", class: "button main", on: { click: begin } },
      "Try again");
    fill(document.body, h("main", { class: "gate" }, h("div", { class: "card" },
      h("div", { class: "body stack" }, h("h1", {}, "No answer"), h("p", {}, error.message),
        again))));
    return;
  }
  if (!session.open && !session.signed_in) {
    signedOut();
    return;
  }
  frame();
  start();
  addEventListener("hashchange", show);
  await show();
}

document.addEventListener("signed-out", () => {
  if (!document.querySelector(".gate")) signedOut();
});
shortcuts();
begin();
