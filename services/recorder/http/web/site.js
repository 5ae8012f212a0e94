// What all pages share: who looks at them, the navigation, and the lamp of the pipeline.

import { ask, at, Fault, read, send, toLogin } from "./api.js";
import { byId, el, svg } from "./dom.js";
import { Health } from "./health.js";
import { namesKnown } from "./names.js";

const PAGES = [["", "Events", "look"], ["cameras", "Cameras", "look"], ["verdicts", "Verdicts", "look"], ["quality", "Quality", "look"], ["users", "Users", "admin"]];
const NAMES_MS = 1500; // longest that a page waits for the cameras' names before it shows ids

let who = null;

// Whether the reader may; what they may not is not shown.
export const may = (permission) => Boolean(who?.permissions.includes(permission));
export const me = () => who;

// Asks who is looking; sends whoever may not look at anything to the login page.
export async function whoAmI() {
  who = await read("api/me");
  return who;
}

// Begins a page: builds its head, and resolves once it is known who looks. `current`: its address on the site.
export async function begin(current) {
  const top = byId("top");
  top.replaceChildren(brand());
  for (;;) {
    try {
      await whoAmI();
      break;
    } catch (fault) {
      if (fault.status === 401) return new Promise(() => {}); // the login page comes
      top.replaceChildren(brand(), el("p", { class: "away", role: "alert" }, `${fault.message}. The page keeps trying.`));
      await new Promise((done) => setTimeout(done, 3000));
    }
  }
  if (!may("look")) {
    toLogin();
    return new Promise(() => {});
  }
  const lamp = el("button", { type: "button", class: "state pipeline", id: "pipeline", "aria-expanded": "false", "aria-controls": "health", "data-state": "connecting" },
    el("span", { class: "lamp", "aria-hidden": "true" }), el("span", { class: "said" }, "Looking"));
  top.replaceChildren(brand(),
    el("nav", { "aria-label": "Pages" }, PAGES.filter(([, , permission]) => may(permission)).map(([path, name]) =>
      el("a", { href: at(path), "aria-current": path === current ? "page" : null }, name))),
    el("div", { class: "end" }, lamp, account()));
  const panel = el("section", { class: "health", id: "health", "aria-label": "Pipeline", hidden: true });
  top.after(panel);
  const known = namesKnown();
  new Health(lamp, panel);
  await Promise.race([known, new Promise((done) => setTimeout(done, NAMES_MS))]);
  return who;
}

export function brand() {
  return el("a", { class: "brand", href: at(""), "aria-label": "clipwatch, all events" },
    svg("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" }, svg("rect", { width: 32, height: 32, rx: 8 }),
      svg("circle", { class: "ring", cx: 16, cy: 16, r: 8 }), svg("circle", { class: "dot", cx: 16, cy: 16, r: 3 })),
    el("span", {}, "clipwatch"));
}

// Who is logged in, and the way out; without logins there is nobody to show.
function account() {
  if (!who.signed_in) return null;
  const menu = el("details", { class: "account" },
    el("summary", { "aria-label": `${who.name}: your account` },
      svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("circle", { cx: 12, cy: 8, r: 4 }), svg("path", { d: "M4 21c0-4.5 3.6-7 8-7s8 2.5 8 7" })),
      el("span", {}, who.name)),
    el("div", { class: "menu" },
      el("p", {}, el("b", {}, who.name), who.role && el("span", { class: "hint" }, who.role)),
      el("a", { href: at("users#own") }, "Your account"),
      el("button", { type: "button", class: "quiet", onclick: logOut }, "Log out")));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  addEventListener("pointerdown", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  return menu;
}

export async function logOut() {
  try {
    await send("POST", "api/logout", {}, { mayLogIn: false });
  } catch (fault) {
    if (fault.status !== 401) return refuse(fault, null);
  }
  location.assign(at("login"));
}

// -- what went wrong

// A fault as people read it: what was found, what was wanted, and what to do.
export function faultParts(fault) {
  if (!(fault instanceof Fault) || !fault.lines.length) return [el("p", {}, sentence(fault.message))];
  return fault.lines.map(({ found, wanted, do: action }) => el("div", { class: "fault-said" },
    el("p", {}, el("b", {}, sentence(found))), el("p", {}, `Wanted: ${sentence(wanted)}`), el("p", {}, `What to do: ${sentence(action)}`)));
}

export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

const AGAIN_MS = 3000;

// Says in the page's notice why nothing can be shown, and calls `again`: by itself where nobody answered.
export function refuse(fault, again) {
  const box = byId("notice");
  box.hidden = false;
  box.replaceChildren(...faultParts(fault));
  if (!again) return;
  if (fault.status === 0 || fault.status >= 502) setTimeout(again, AGAIN_MS); // it hides the notice once it can
  else box.append(el("button", { type: "button", class: "quiet", onclick: () => { box.hidden = true; again(); } }, "Try again"));
}

// Whether the login still holds, for streams that end without saying why.
export const stillIn = () => ask("api/me").then((answer) => answer.json()).then((now) => { if (!now.permissions.includes("look")) toLogin(); }).catch(() => {});
