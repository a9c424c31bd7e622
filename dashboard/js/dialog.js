// Questions before what cannot be undone, and short news in the corner.

import { button, field, fill, h } from "./dom.js";

/** Asks; resolves to the form's values, or null. `send(values)` may throw: the sentence is shown
 * and the question stays. */
export function question({ title, text, fields = [], yes, danger = false, send = async () => {} }) {
  return new Promise((resolve) => {
    const fault = h("p", { class: "fault", role: "alert", hidden: true });
    const go = h("button", { type: "submit", class: `button ${danger ? "danger full" : "main"}` },
      yes);
    const cancel = button("Cancel", { click: () => dialog.close() });
    const form = h("form", { method: "dialog" }, h("h2", {}, title), text && h("p", {}, text),
      ...fields.map((entry) => field(entry.label, entry.control, entry.hint)),
      h("div", { class: "field" }, fault), h("div", { class: "row" }, cancel, go));
    const dialog = h("dialog", { "aria-label": title }, form);
    let answer = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      const values = Object.fromEntries(fields.map((entry) => [entry.name,
        entry.control.value.trim()]));
      try {
        await send(values);
        answer = values;
        dialog.close();
      } catch (error) {
        fill(fault, error.message);
        fault.hidden = false;
      }
      go.disabled = false;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (fields[0]?.control ?? (danger ? cancel : go)).focus();
  });
}

const SHOWN_MS = 5000;
const AT_ONCE = 3;

/** Says something for a while. */
export function toast(text, bad = false) {
  let shelf = document.querySelector(".toasts");
  if (!shelf) {
    shelf = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(shelf);
  }
  const note = h("div", { class: bad ? "toast bad" : "toast" }, text);
  shelf.append(note);
  while (shelf.children.length > AT_ONCE) shelf.firstChild.remove();
  setTimeout(() => note.remove(), SHOWN_MS);
}

/** Does it, and says what went wrong if it does. */
export async function attempt(what) {
  try {
    return await what();
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, true);
    return undefined;
  }
}
