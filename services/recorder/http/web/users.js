// Users, their sessions, the tokens of programs, and links to events. Who is no admin sees the own password and
// sessions, and who may share the links.

import { at, idOf, read, send } from "./api.js";
import { copied } from "./copy.js";
import { byId, el } from "./dom.js";
import { plural, time } from "./format.js";
import { nameOf } from "./names.js";
import { begin, faultParts, may, me, refuse } from "./site.js";

const ROLES = { viewer: "Viewer: looks", operator: "Operator: also changes", admin: "Admin: everything" };
const SCOPES = { look: "look and search", operate: "change labels, stars and settings", admin: "users, retention, deleting", metrics: "numbers for Prometheus" };
const DAYS = [["", "no end"], ["1", "in a day"], ["30", "in 30 days"], ["365", "in a year"]];
const PASSWORD_MIN = 10;

let cameras = []; // ids of all cameras, for choosing some

// -- parts of the page

function section(id, title, hint, ...parts) {
  const made = el("section", { class: "panel", id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title), hint && el("p", { class: "hint" }, hint), ...parts);
  byId(id)?.replaceWith(made);
  if (!made.isConnected) byId("content").append(made);
  return made;
}

const field = (label, input, ...more) => el("label", { class: more[0] }, label, input);
const button = (text, kind, onclick) => el("button", { type: "button", class: kind, onclick }, text);
const told = () => el("p", { class: "told", role: "status" });

// A form that says below itself what came of it; `work()` sends it and returns what to say.
function form(name, fields, submit, work, ...more) {
  const said = told();
  const made = el("form", { class: "fields", "aria-label": name },
    ...fields, el("div", { class: "buttons" }, el("button", { type: "submit", class: "main" }, submit), ...more), el("div", { class: "wide" }, said));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const main = made.querySelector("[type=submit]");
    main.disabled = true;
    said.replaceChildren();
    try {
      const done = await work();
      said.dataset.kind = "good";
      said.textContent = done ?? "";
    } catch (fault) {
      said.dataset.kind = "bad";
      said.replaceChildren(...faultParts(fault));
    } finally {
      main.disabled = false;
    }
  });
  return made;
}

const password = (autocomplete = "new-password") =>
  el("input", { type: "password", autocomplete, required: true, minlength: autocomplete === "new-password" ? PASSWORD_MIN : null, maxlength: "1024" });
const nameInput = () => el("input", { type: "text", required: true, maxlength: "64", autocapitalize: "none", autocomplete: "off", spellcheck: "false" });
const choice = (options, chosen) => el("select", {}, Object.entries(options).map(([value, text]) => el("option", { value, selected: value === chosen }, text)));

// All cameras, or some of them; `value` is null for all.
function cameraChoice(chosen) {
  const boxes = [...new Set([...cameras, ...(chosen ?? [])])].map((id) => [id, el("input", { type: "checkbox", checked: chosen?.includes(id) })]);
  const kind = choice({ all: "all cameras", some: "only these:" }, chosen ? "some" : "all");
  const list = el("div", { class: "choices", role: "group", "aria-label": "Cameras", hidden: !chosen },
    boxes.length ? boxes.map(([id, box]) => el("label", {}, box, nameOf(id))) : el("span", { class: "hint" }, "No camera is known yet."));
  kind.addEventListener("change", () => { list.hidden = kind.value === "all"; });
  return {
    parts: [field("Sees", kind), el("div", { class: "wide" }, list)],
    get value() { return kind.value === "all" ? null : boxes.filter(([, box]) => box.checked).map(([id]) => id); },
  };
}

const camerasSaid = (ids) => ids === null ? "all cameras" : ids.length ? `only ${ids.map(nameOf).join(", ")}` : "no camera";
const when = (iso) => (iso ? time(iso, true) : "never");

// A button that asks once more, in words, before it does something that cannot be undone.
function twice(text, sure, work) {
  const first = button(text, "quiet", () => {
    const second = button(sure, "danger", async () => {
      second.disabled = true;
      try {
        await work();
      } catch (fault) {
        first.closest("li").querySelector(".what").replaceChildren(...faultParts(fault));
        box.replaceChildren(first);
      }
    });
    box.replaceChildren(second, button("Cancel", "quiet", () => { box.replaceChildren(first); first.focus(); }));
    second.focus();
  });
  const box = el("span", { class: "buttons" }, first);
  return box;
}

// -- the first admin

function showSetup() {
  const name = nameInput(), secret = password();
  section("setup", "Make the first admin",
    "Until there is a user, clipwatch is open to whoever sits at this machine, and to nobody else. With a first admin everybody logs in, also here. Then you can add users and tokens, and let phones and other machines in by settings.listen.",
    form("First admin", [field("Name", name), field(`Password, at least ${PASSWORD_MIN} characters`, secret)], "Make the admin", async () => {
      await send("POST", "api/setup", { name: name.value.trim(), password: secret.value });
      location.reload();
    }));
}

// -- the reader's own login

function showOwn() {
  const before = password("current-password"), secret = password();
  section("own", "Your password", `You are logged in as ${me().name}.`,
    form("Your password", [field("Password until now", before), field(`New password, at least ${PASSWORD_MIN} characters`, secret)], "Change the password", async () => {
      await send("POST", "api/me/password", { old_password: before.value, new_password: secret.value });
      before.value = secret.value = "";
      return "The password is changed. Other sessions have ended.";
    }));
}

async function showSessions() {
  const sessions = await read(may("admin") ? "api/sessions?all=true" : "api/sessions");
  section("sessions", "Sessions", "Each is a browser that is logged in.",
    el("ul", { class: "entries" }, sessions.map((session) => el("li", {},
      el("span", { class: "who" }, session.user, session.is_own && el("span", { class: "tag" }, "this one")),
      el("span", { class: "what" }, `${browser(session.agent)}, ${session.address}. Logged in: `, when(session.created_at), ". Last used: ", when(session.seen_at), "."),
      twice("End", "End this session", async () => {
        await send("DELETE", `api/sessions/${idOf(session.id)}`);
        if (session.is_own) location.assign(at("login"));
        else await showSessions();
      })))));
}

// A browser by its own words, as far as people know it.
function browser(agent) {
  const name = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([mark]) => agent.includes(mark))?.[1];
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["Linux", "Linux"]].find(([mark]) => agent.includes(mark))?.[1];
  return name ? `${name}${system ? ` on ${system}` : ""}` : agent.slice(0, 60) || "unknown browser";
}

// -- users

async function showUsers() {
  const users = await read("api/users");
  section("users", "Users", "Viewers look and search. Operators also change labels, stars and settings. Admins also manage users and what is deleted.",
    el("ul", { class: "entries" }, users.map(userEntry)), el("details", {}, el("summary", {}, "Add a user"), newUser()));
}

function userEntry(user) {
  const isOwn = user.name === me().name;
  const entry = el("li", {},
    el("span", { class: "who" }, user.name, el("span", { class: "tag" }, user.role), isOwn && el("span", { class: "tag" }, "you")),
    el("span", { class: "what" }, `Sees ${camerasSaid(user.cameras)}. Last here: `, when(user.seen_at), "."),
    el("span", { class: "buttons" }, button("Change", "quiet", () => entry.querySelector(".editing") ?? entry.append(editUser(user))),
      twice("Remove", `Remove ${user.name}`, async () => {
        await send("DELETE", `api/users/${idOf(user.name)}`);
        if (isOwn) location.assign(at("login"));
        else await show();
      })));
  return entry;
}

function newUser() {
  const name = nameInput(), secret = password(), role = choice(ROLES, "viewer"), sees = cameraChoice(null);
  return form("Add a user", [field("Name", name), field(`Password, at least ${PASSWORD_MIN} characters`, secret), field("Role", role), ...sees.parts], "Add", async () => {
    await send("POST", "api/users", { name: name.value.trim(), password: secret.value, role: role.value, cameras: sees.value });
    await show();
  });
}

function editUser(user) {
  const role = choice(ROLES, user.role), sees = cameraChoice(user.cameras), secret = password();
  secret.required = false;
  secret.placeholder = "as it is";
  const box = el("div", { class: "editing" }, form(`Change ${user.name}`, [field("Role", role), field("New password", secret), ...sees.parts], "Save", async () => {
    const changes = {
      ...(role.value !== user.role && { role: role.value }),
      ...(JSON.stringify(sees.value) !== JSON.stringify(user.cameras) && { cameras: sees.value }),
      ...(secret.value && { password: secret.value }),
    };
    if (Object.keys(changes).length) await send("PATCH", `api/users/${idOf(user.name)}`, changes); // ends the sessions
    await show();
  }, button("Cancel", "quiet", () => box.remove())));
  return box;
}

// -- tokens

async function showTokens(made = null) {
  const tokens = await read("api/tokens");
  section("tokens", "API tokens", "For programs: Home Assistant, Grafana, scripts. Each gets its own, so that one can be ended without the others.",
    made && secretBox(made),
    tokens.length > 0 && el("ul", { class: "entries" }, tokens.map((token) => el("li", {},
      el("span", { class: "who" }, token.name),
      el("span", { class: "what" }, `May ${token.scopes.map((scope) => SCOPES[scope] ?? scope).join("; ")}. Sees ${camerasSaid(token.cameras)}. Last used: `, when(token.used_at),
        token.ends_at ? [". Ends: ", when(token.ends_at), "."] : ". It has no end."),
      twice("End", `End ${token.name}`, async () => {
        await send("DELETE", `api/tokens/${idOf(token.id)}`);
        await showTokens();
      })))),
    el("details", {}, el("summary", {}, "Make a token"), newToken()));
}

function newToken() {
  const name = nameInput(), sees = cameraChoice(null), end = el("select", {}, DAYS.map(([value, text]) => el("option", { value }, text)));
  const boxes = Object.entries(SCOPES).map(([scope, text]) => [scope, text, el("input", { type: "checkbox", checked: scope === "look" })]);
  const scopes = el("div", { class: "wide choices", role: "group", "aria-label": "It may" }, boxes.map(([, text, box]) => el("label", {}, box, text)));
  return form("Make a token", [field("Name of the program", name), field("Ends", end), ...sees.parts, scopes], "Make", async () => {
    const ends = end.value ? new Date(Date.now() + Number(end.value) * 86400000).toISOString() : null;
    const chosen = boxes.filter(([, , box]) => box.checked).map(([scope]) => scope);
    await showTokens(await send("POST", "api/tokens", { name: name.value.trim(), scopes: chosen, cameras: sees.value, ends_at: ends }));
    byId("tokens").querySelector(".secret button").focus();
  });
}

// The secret itself, which nobody can show again.
function secretBox({ name, token }) {
  const said = el("p", { class: "hint", role: "status" }, `The token of ${name}. It is shown this once: copy it now.`);
  return el("div", {}, said, copied(token, said));
}

// -- links to events

async function showLinks() {
  const { links, sent_to_targets: sent } = await read("api/links");
  section("links", "Links to events", "Whoever has one sees its event without a login, until it ends. They are made in an event, under Share.",
    links.length > 0 && el("ul", { class: "entries" }, links.map((link) => el("li", {},
      el("a", { class: "who", href: at(`#${link.event_id}`) }, `${link.label ?? "motion"}, ${nameOf(link.camera)}`),
      el("span", { class: "what" }, `Event: `, when(link.started_at), `. Made by ${link.made_by}${link.note && ` for ${link.note}`}: `, when(link.made_at), ". Ends: ", when(link.ends_at), "."),
      twice("End", "End this link", async () => {
        await send("DELETE", `api/links/${idOf(link.id)}`);
        await showLinks();
      })))),
    el("p", { class: "hint" }, [
      !links.length && "No link is open.",
      sent > 0 && `${plural(sent, "more was", "more were")} sent by notifications; links_for in the notify file says for how long they open.`,
    ].filter(Boolean).join(" ")));
}

// -- all

async function show() {
  if (me().setup) showSetup(); // first of all: a token or a viewer alone would lock the reader out
  else if (may("admin")) {
    await showUsers();
    await showTokens();
  }
  if (may("operate")) await showLinks();
  if (me().signed_in) {
    showOwn();
    await showSessions();
  }
}

async function start() {
  try {
    await begin("users");
    byId("title").textContent = may("admin") ? "Users" : "Your account";
    cameras = (await read("api/record/cameras").catch(() => [])).map((one) => one.name);
    await show();
    byId("notice").hidden = true;
    if (location.hash === "#own") byId("own")?.scrollIntoView();
  } catch (fault) {
    refuse(fault, start);
  }
}

start();
