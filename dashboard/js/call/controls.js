// Steers a running call: ends it, hands it over, plays digits into it.

import { part, post } from "../api.js";
import { attempt, question, toast } from "../dialog.js";
import { button, field, h } from "../dom.js";
import { hangUp } from "../pages/calls.js";

const DIGITS = /^[0-9*#A-Dw]{1,32}$/;

export function controls(call) {
  const path = `calls/${part(call.id)}`;
  const digits = h("input", { type: "text", inputmode: "tel", size: "10", autocomplete: "off",
    placeholder: "1234#", maxlength: "32" });
  const send = h("form", { class: "row" }, field("Digits to the caller's side", digits),
    h("button", { type: "submit", class: "button" }, "Play"));
  send.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = digits.value.trim();
    const good = DIGITS.test(text);
    digits.setAttribute("aria-invalid", String(!good));
    if (!good) {
      toast("Digits are 0 to 9, *, # and A to D; w waits half a second.", true);
      digits.focus();
      return;
    }
    await attempt(async () => {
      await post(`${path}/digits`, { digits: text });
      toast(`Playing ${text}`);
      digits.value = "";
    });
  });
  const element = h("section", { class: "card steer", "aria-label": "Steer the call" },
    h("div", { class: "body row" }, button("Hang up", { kind: "danger", glyph: "hangup",
      click: () => hangUp(call) }), button("Transfer", { click: () => transfer(path) }), send));
  return { element };
}

async function transfer(path) {
  const to = h("input", { type: "tel", required: true, autocomplete: "off",
    placeholder: "+15551234567" });
  const say = h("input", { type: "text", placeholder: "One moment, please." });
  const done = await question({ title: "Transfer the call", yes: "Transfer",
    fields: [{ name: "to", label: "To", control: to,
      hint: "A number or SIP address that outbound.allow lists" },
    { name: "say", label: "Said first, if anything", control: say }],
    send: (values) => post(`${path}/transfer`, { to: values.to, ...(values.say
      && { say: values.say }) }) });
  if (done) toast(`Handing over to ${done.to}`);
}
