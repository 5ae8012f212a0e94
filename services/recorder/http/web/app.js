// The page: reads the events, follows the stream of changes, and connects list, filters and detail.

import { SearchPanel } from "./search.js";
import { Detail } from "./detail.js";
import { byId, el } from "./dom.js";
import { bytes, count, plural, why } from "./format.js";
import { Health } from "./health.js";
import { EventList } from "./list.js";
import { Stars } from "./star.js";

const PAGE = 48;
const RETRY_MS = [1000, 2000, 5000, 10000];
const STATS_MS = 15000;
const AGAIN_MS = 5000;
const QUIET_MS = 45000; // the stream says something every 15 s; after this long it is taken for dead

const filters = { camera: "", label: "", all: false };
let next = null; // cursor of the older events
let loading = null;
let isBroken = false; // the events could not be read: what is shown may lack some
let failures = 0;
let again = 0; // the timer that reads the events again after a failure
let stream = null;
let heardAt = 0;
let refresh = 0;
let toasted = 0;

const stars = new Stars(kept, toast);
const detail = new Detail(byId("detail"), closed, stars);
const list = new EventList(byId("list"), open, stars);
new Health(byId("pipeline"), byId("health"));
const searchPanel = new SearchPanel(byId("results"), {
  scope: () => ({ camera: filters.camera }),
  onOpen: open,
  onShown: (isShown) => document.body.classList.toggle("is-asking", isShown),
});

// -- reading

async function ask(path, signal) {
  const answer = await fetch(path, { signal, headers: { accept: "application/json" } });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ? `${said.error.found}; ${said.error.do}` : `status ${answer.status}`);
  return said;
}

function query(before) {
  const wanted = new URLSearchParams({ limit: String(PAGE) });
  if (filters.camera) wanted.set("camera", filters.camera);
  if (filters.label) wanted.set("label", filters.label);
  if (filters.all) wanted.set("accepted_only", "false");
  if (before) wanted.set("before", before);
  return `api/events?${wanted}`;
}

async function load({ older = false, quietly = false } = {}) {
  if (older && (loading || !next)) return;
  loading?.abort();
  clearTimeout(again);
  const request = new AbortController();
  loading = request;
  if (!older && !quietly) list.showLoading();
  if (!quietly) notice(null);
  byId("more").disabled = true;
  try {
    const page = await ask(query(older ? next : null), request.signal);
    isBroken = false;
    notice(null);
    if (!older) list.clear();
    for (const event of page.events) list.put(event);
    next = page.next;
    byId("more").hidden = !next;
    if (detail.isOpen) list.mark(detail.id);
    emptiness();
    attribute(page.events);
  } catch (fault) {
    if (request.signal.aborted) return;
    isBroken = true;
    if (!older && !quietly) list.clear();
    notice(el("p", {}, `The events cannot be read: ${why(fault)}. The page keeps trying.`),
      el("button", { type: "button", onclick: () => load({ older }) }, "Try again"));
    again = setTimeout(() => load({ older, quietly: true }), AGAIN_MS);
  } finally {
    if (loading === request) loading = null;
    byId("more").disabled = false;
  }
}

function emptiness() {
  if (isBroken) return; // the notice says so, until they are read
  if (list.size) {
    notice(null);
  } else if (filters.camera || filters.label) {
    notice(el("p", {}, "No event fits these filters."), el("button", { type: "button", onclick: clear }, "Clear filters"));
  } else if (!filters.all) {
    notice(el("h2", {}, "Nothing recognised yet"),
      el("p", {}, "Events appear here by themselves as soon as a camera sees something that you named."),
      el("button", { type: "button", onclick: () => { filters.all = true; apply(); } }, "Show events without a label"));
  } else {
    notice(el("h2", {}, "Nothing has moved yet"), el("p", {}, "Events appear here by themselves as soon as a camera sees motion."));
  }
}

function notice(...parts) {
  const box = byId("notice");
  box.hidden = !parts[0];
  box.replaceChildren(...parts.filter(Boolean));
}

function attribute(events) {
  const sky = events.find((event) => event.weather)?.weather;
  if (sky) byId("attribution").replaceChildren(el("a", { href: sky.attribution_url, rel: "noreferrer" }, sky.attribution), " · ");
}

async function about() {
  try {
    const [cameras, labels, totals] = await Promise.all([ask("api/record/cameras"), ask("api/record/labels"), ask("api/stats")]);
    options(byId("camera"), "All cameras", cameras, filters.camera);
    options(byId("label"), "All labels", labels, filters.label);
    byId("totals").textContent = `${count(totals.accepted_events)} of ${plural(totals.events, "event")} labelled · ${bytes(totals.clip_bytes)} of clips`;
  } catch {
    byId("totals").textContent = ""; // the list says what is wrong
  }
}

function options(select, all, named, chosen) {
  const names = named.map((one) => one.name);
  if (chosen && !names.includes(chosen)) names.push(chosen);
  const wanted = ["", ...names];
  if (wanted.length === select.options.length && wanted.every((name, i) => select.options[i].value === name)) return;
  select.replaceChildren(...wanted.map((name) => el("option", { value: name, selected: name === chosen }, name || all)));
}

// -- the stream of changes

function fits(event) {
  if (filters.camera && event.camera !== filters.camera) return false;
  if (filters.label && !event.detections.some((found) => found.label === filters.label)) return false;
  return filters.all || filters.label || event.label !== null;
}

function follow() {
  stream?.close();
  state("connecting", failures ? "Reconnecting" : "Connecting");
  heardAt = Date.now();
  const source = new EventSource("api/stream");
  stream = source;
  source.addEventListener("hello", () => {
    heardAt = Date.now();
    state("live", "Live");
    if (failures) load({ quietly: true }); // what happened meanwhile
    failures = 0;
  });
  source.addEventListener("beat", () => { heardAt = Date.now(); });
  source.addEventListener("full", () => state("off", "Too many pages are open: reload to see new events"));
  source.addEventListener("event", (message) => {
    heardAt = Date.now();
    changed(JSON.parse(message.data));
  });
  source.onerror = () => {
    if (stream !== source) return;
    source.close();
    stream = null;
    state("off", "Reconnecting");
    setTimeout(follow, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  };
}

function changed(event) {
  const isNew = !list.has(event.id);
  if (event.id === detail.id) {
    clearTimeout(refresh);
    refresh = setTimeout(() => detail.load(), 300);
  }
  if (!fits(event)) {
    list.remove(event.id);
    emptiness();
    return;
  }
  if (isNew && next && olderThanShown(event)) return; // it comes with the older events
  list.put(event, true);
  emptiness();
  attribute([event]);
  if (isNew) {
    byId("announce").textContent = `New event: ${event.label ?? "motion"}, camera ${event.camera}`;
    about();
  }
}

function kept(id, isProtected) {
  list.keep(id, isProtected);
  if (id === detail.id) detail.keep(isProtected);
  byId("announce").textContent = isProtected ? "The event is kept for good" : "The event is no longer kept for good";
}

function toast(text) {
  const box = byId("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toasted);
  toasted = setTimeout(() => { box.hidden = true; }, 8000);
}

function olderThanShown(event) {
  const shown = [...list.items.values()].map((item) => item.event.started_at);
  return shown.length > 0 && shown.every((at) => at > event.started_at);
}

function state(name, text) {
  byId("state").dataset.state = name;
  byId("state-text").textContent = text;
}

// -- filters, in the address so that they can be shared

function readAddress() {
  const given = new URLSearchParams(location.search);
  filters.camera = given.get("camera") ?? "";
  filters.label = given.get("label") ?? "";
  filters.all = given.get("all") === "1";
}

function apply() {
  const given = new URLSearchParams();
  if (filters.camera) given.set("camera", filters.camera);
  if (filters.label) given.set("label", filters.label);
  if (filters.all) given.set("all", "1");
  history.replaceState(null, "", `${location.pathname}${given.size ? `?${given}` : ""}${location.hash}`);
  show();
  load();
}

function show() {
  byId("camera").value = filters.camera;
  byId("label").value = filters.label;
  byId("all").checked = filters.all;
  byId("reset").hidden = !(filters.camera || filters.label || filters.all);
}

function clear() {
  Object.assign(filters, { camera: "", label: "", all: false });
  apply();
}

// -- one event

function open(id) {
  if (location.hash !== `#${id}`) history.pushState(null, "", `#${id}`);
  byId("layout").classList.add("split");
  document.body.classList.add("has-detail");
  list.mark(id);
  detail.open(id);
}

function closed() {
  byId("layout").classList.remove("split");
  document.body.classList.remove("has-detail");
  const id = list.chosen;
  list.mark(null);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (id) list.focus(id);
}

function fromAddress() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (/^[0-9a-f-]{36}$/.test(id)) {
    if (id !== detail.id) open(id);
  } else {
    detail.close();
  }
}

// -- keyboard

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName;
  if (event.key === "Escape") {
    detail.close();
    return;
  }
  if (tag === "SELECT" || tag === "INPUT" || tag === "TEXTAREA") return;
  if (event.key === "/") {
    event.preventDefault();
    byId("words").focus();
    return;
  }
  if (event.key === "j" || event.key === "k") {
    const card = list.step(event.key === "j" ? 1 : -1);
    if (!card) return;
    event.preventDefault();
    if (detail.isOpen && isWide()) open(card.dataset.id);
    card.scrollIntoView({ block: "nearest" });
    card.querySelector("button").focus({ preventScroll: true });
    if (event.key === "j" && card === card.parentElement.lastElementChild) load({ older: true });
  } else if (event.key === "s") {
    const card = event.target.closest?.(".card[data-id]");
    const star = card ? card.querySelector(".star") : byId("detail").querySelector(".star");
    star?.click();
  } else if (event.key === " " && detail.isOpen && tag !== "VIDEO" && (tag !== "BUTTON" || event.target.closest(".card > button:not(.star)"))) {
    event.preventDefault();
    detail.toggle();
  }
}

const isWide = () => matchMedia("(min-width: 960px)").matches;

// -- start

readAddress();
show();
byId("filters").addEventListener("change", () => {
  Object.assign(filters, { camera: byId("camera").value, label: byId("label").value, all: byId("all").checked });
  apply();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (words) searchPanel.search(words);
  else searchPanel.close();
});
byId("hindsight").addEventListener("click", () => searchPanel.askHindsight());
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("reset").addEventListener("click", clear);
byId("more").addEventListener("click", () => load({ older: true }));
new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && load({ older: true }), { rootMargin: "600px" }).observe(byId("more"));
addEventListener("keydown", pressed);
addEventListener("popstate", fromAddress);
addEventListener("hashchange", fromAddress);
setInterval(about, STATS_MS);
setInterval(() => {
  if (stream && document.visibilityState === "visible" && Date.now() - heardAt > QUIET_MS) stream.onerror();
}, 5000);
about();
load().then(fromAddress);
follow();
