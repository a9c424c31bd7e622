// Who answers: voice and prompt, changed here where the server lets them be.

import { ask, part } from "../api.js";
import { toast } from "../dialog.js";
import { button, facts, field, fill, h } from "../dom.js";
import { count, seconds } from "../format.js";

export function show(page) {
  const body = h("div", { class: "personas" },
    h("p", { class: "loading" }, "Asking the server …"));
  fill(page, h("div", { class: "page-head" }, h("h1", {}, "Personas")), body);
  const gone = new AbortController();
  let unsaved = new Set();
  ask("personas", { signal: gone.signal }).then((told) => {
    if (!told.editable) {
      page.querySelector(".page-head").append(h("span", { class: "soft" },
        "Read only: this server does not let them be changed from here."));
    }
    fill(body, ...told.personas.map((persona) => card(persona, told, unsaved)));
  }, (error) => {
    if (error.name !== "AbortError") {
      fill(body, h("div", { class: "trouble", role: "alert" }, error.message));
    }
  });
  const warn = (event) => {
    if (unsaved.size) event.preventDefault();
  };
  addEventListener("beforeunload", warn);
  return () => {
    gone.abort();
    removeEventListener("beforeunload", warn);
    if (unsaved.size) toast(`Not saved: ${[...unsaved].join(", ")}`, true);
  };
}

function card(first, told, unsaved) {
  let persona = first;
  const editable = told.editable && first.file !== null;
  const voice = h("select", { disabled: !editable });
  const voices = told.voices.includes(persona.voice) ? told.voices
    : [persona.voice, ...told.voices];
  voice.append(...voices.map((name) => h("option", { value: name }, name)));
  const prompt = h("textarea", { rows: "7", disabled: !editable, spellcheck: "true" });
  const figures = h("div");
  const fault = h("p", { class: "fault", role: "alert", hidden: true });
  const length = h("span", { class: "small soft" });
  const save = h("button", { type: "submit", class: "button main slim" }, "Save");
  const undo = button("Undo", { kind: "slim", click: () => reset() });

  function reset() {
    voice.value = persona.voice;
    prompt.value = persona.prompt;
    fill(figures, facts([["Tokens", count(persona.prompt_tokens)],
      ["Reads it in", seconds(persona.primes_s)],
      ["Remembers for", seconds(persona.horizon_s)],
      ["Numbers", persona.numbers.length ? persona.numbers.join(", ") : "none of its own"],
      ["File", persona.file ?? "built in"]]));
    blame(null);
    touched();
  }

  function touched() {
    const changed = voice.value !== persona.voice || prompt.value !== persona.prompt;
    save.disabled = undo.disabled = !changed;
    if (changed) unsaved.add(persona.name);
    else unsaved.delete(persona.name);
    length.textContent = changed ? `${count(prompt.value.length)} characters, not saved`
      : `${count(prompt.value.length)} characters`;
  }

  function blame(message) {
    fault.hidden = message === null;
    fill(fault, message);
    const about = message && /voice/i.test(message) ? voice : prompt;
    for (const control of [voice, prompt]) {
      control.removeAttribute("aria-invalid");
    }
    if (message) {
      about.setAttribute("aria-invalid", "true");
      about.focus();
    }
  }

  async function put(event) {
    event.preventDefault();
    save.disabled = true;
    try {
      const body = { voice: voice.value, prompt: prompt.value };
      persona = await ask(`personas/${part(persona.name)}`, { method: "PUT", body });
      reset();
      toast(`${persona.name} is saved; new calls have it`);
    } catch (error) {
      save.disabled = false;
      blame(error.message);
    }
  }

  const form = h("form", { class: "card persona", data: { persona: persona.name },
    on: { submit: put, input: () => { blame(null); touched(); } } },
  h("div", { class: "head" }, h("h2", {}, persona.name),
    persona.name === told.default && h("span", { class: "chip" }, "default"),
    h("a", { class: "small end", href: `#/talk?persona=${part(persona.name)}` }, "Talk to it")),
  h("div", { class: "body stack" }, figures, field("Voice", voice), field("Prompt", prompt),
    h("div", { class: "field" }, fault),
    h("div", { class: "row" }, length, editable && h("div", { class: "row end" }, undo,
      save))));
  reset();
  return form;
}
