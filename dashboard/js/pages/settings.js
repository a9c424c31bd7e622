// What the running server goes by, and where each value is from.

import { ask } from "../api.js";
import { field, fill, h } from "../dom.js";
import { many } from "../format.js";
import { key } from "../keys.js";

export function show(page) {
  const search = h("input", { type: "search", placeholder: "Key or value" });
  const changed = h("input", { type: "checkbox" });
  const total = h("span", { class: "soft", role: "status" });
  const body = h("div", { class: "stack" }, h("p", { class: "loading" }, "Asking the server …"));
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Settings"), total),
    h("form", { class: "filters", role: "search" }, field("Search", search),
      h("label", { class: "row" }, changed, "Only what is not the default")), body);
  let all = [];
  const draw = () => {
    const text = search.value.trim().toLowerCase();
    const found = all.filter((one) => (!changed.checked || one.source !== "default")
      && `${one.key} ${one.value}`.toLowerCase().includes(text));
    total.textContent = many(found.length, "setting");
    const sections = Map.groupBy
      ? Map.groupBy(found, section) : grouped(found);
    fill(body, ...[...sections].map(([name, settings]) => table(name, settings)),
      found.length === 0 && h("div", { class: "card empty" }, "No setting is like that."));
  };
  page.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  page.querySelector("form").addEventListener("input", draw);
  ask("settings").then((told) => {
    all = told.settings;
    draw();
  }, (error) => fill(body, h("div", { class: "trouble", role: "alert" }, error.message)));
  return key("/", () => search.focus());
}

const section = (one) => one.key.split(".")[0];

function grouped(settings) {
  const sections = new Map();
  for (const one of settings) {
    sections.set(section(one), [...(sections.get(section(one)) ?? []), one]);
  }
  return sections;
}

function table(name, settings) {
  return h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, name)),
    h("table", { class: "settings" },
      h("thead", { class: "aside" }, h("tr", {}, h("th", { scope: "col" }, "Key"),
        h("th", { scope: "col" }, "Value"), h("th", { scope: "col" }, "Source"))),
      h("tbody", {}, ...settings.map((one) => h("tr", {},
        h("th", { scope: "row" }, h("code", {}, one.key)),
        h("td", {}, one.value === "" ? h("span", { class: "soft" }, "empty")
          : h("code", {}, one.value)),
        h("td", {}, one.source === "default" ? h("span", { class: "soft" }, "default")
          : h("span", { class: "chip good" }, one.source)))))));
}
