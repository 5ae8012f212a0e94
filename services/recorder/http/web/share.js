// Links that show one event to somebody without a login: made, copied and ended in the event's panel.

import { at, idOf, read, send } from "./api.js";
import { copied } from "./copy.js";
import { el } from "./dom.js";
import { plural, time } from "./format.js";
import { faultParts, may } from "./site.js";

const ENDS = [[24, "in a day"], [168, "in a week"], [720, "in 30 days"]];

// An address of this machine means another one to everybody else.
const HERE_ONLY = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)
  ? " It opens on this machine only: for others, make it on the page's address in your network." : "";

// Null for whoever may not share.
export function sharing(id) {
  if (!may("operate")) return null;
  const body = el("div", { class: "stacked" });
  const box = el("details", { class: "sharing" }, el("summary", {}, "Share"), body);
  box.addEventListener("toggle", () => box.open && show(id, body));
  return box;
}

async function show(id, body, made = null) {
  const said = el("p", { class: "hint", role: "status" });
  const run = (work) => async () => {
    try {
      await show(id, body, await work());
    } catch (fault) {
      said.replaceChildren(...faultParts(fault));
    }
  };
  try {
    const links = await read(`api/events/${idOf(id)}/links`);
    const hours = el("select", { "aria-label": "The link ends" }, ENDS.map(([value, text]) => el("option", { value, selected: value === 168 }, text)));
    if (made) said.textContent = `Whoever has this link sees the event until it ends, without a login.${HERE_ONLY}`;
    body.replaceChildren(
      el("div", { class: "buttons" }, hours,
        el("button", { type: "button", class: "quiet", onclick: run(() => send("POST", `api/events/${idOf(id)}/links`, { hours: Number(hours.value) })) }, "Make a link"),
        links.length > 0 && el("button", { type: "button", class: "quiet", onclick: run(async () => { await send("DELETE", `api/events/${idOf(id)}/links`); }) }, "End all links")),
      ...(made ? [copied(at(made.url.slice(made.url.indexOf("shared/"))), said)] : []), said,
      ...(links.length ? [el("p", { class: "hint" }, `${plural(links.length, "link opens", "links open")} this event; the last ends `, time(lastEnd(links), true), ".")] : []));
    if (made) body.querySelector(".secret button").focus();
  } catch (fault) {
    body.replaceChildren(...faultParts(fault));
  }
}

const lastEnd = (links) => links.map((link) => link.ends_at).sort().at(-1);
