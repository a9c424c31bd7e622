// The door: asks for the token that VOICE_BOT_API_TOKEN names on the server.

import { ask, post } from "../api.js";
import { field, fill, h, icon } from "../dom.js";

/** Shows the sign-in page instead of everything; `done` is called once the cookie is there. */
export function signIn(root, done) {
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password",
    required: true, spellcheck: "false" });
  const fault = h("p", { class: "fault", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: "button main" }, "Sign in");
  const form = h("form", { class: "stack" }, h("h1", {}, icon("wave"), "voice-bot"),
    field("Token", token,
      "The server's VOICE_BOT_API_TOKEN. A cookie keeps you signed in on this browser."),
    h("div", { class: "field" }, fault), go);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    fault.hidden = true;
    try {
      await post("session", { token: token.value.trim() });
      await done();
      return;
    } catch (error) {
      fill(fault, error.status === 401 || error.status === 403
        ? "This is not the server's token. Look at VOICE_BOT_API_TOKEN where it was started."
        : error.message);
      fault.hidden = false;
      token.setAttribute("aria-invalid", "true");
    }
    go.disabled = false;
    token.select();
  });
  fill(root, h("main", { class: "gate" }, h("div", { class: "card" },
    h("div", { class: "body" }, form))));
  token.focus();
  tellWhereClosed(fault, go);
}

async function tellWhereClosed(fault, go) {
  const session = await ask("session").catch(() => null);
  if (!session?.closed) return;
  fill(fault, "This server has no token, so nobody can sign in from here. Set VOICE_BOT_API_TOKEN "
    + "where it is started; without one it answers only on its own machine, at http://localhost.");
  fault.hidden = false;
  go.disabled = true;
}
