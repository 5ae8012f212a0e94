// The page of events: reads them, follows the stream of changes, and connects address, list, search and detail.

import { addressOf, readAddress } from "./address.js";
import { at, idOf, read, stream as streamOf } from "./api.js";
import { Detail } from "./detail.js";
import { byId, el } from "./dom.js";
import { bytes, count, plural } from "./format.js";
import { pictures } from "./like.js";
import { EventList } from "./list.js";
import { nameOf } from "./names.js";
import { SearchPanel } from "./search.js";
import { begin, stillIn } from "./site.js";
import { Stars } from "./star.js";

const PAGE = 48;
const RETRY_MS = [1000, 2000, 5000, 10000];
const STATS_MS = 15000;
const AGAIN_MS = 5000;
const HIDDEN_MS = 60000;
const QUIET_MS = 45000; // the stream says something every 15 s; after this long it is taken for dead

let view = readAddress();
let next = null; // cursor of the older events
let loading = null;
let isBroken = false; // the events could not be read: what is shown may lack some
let failures = 0;
let again = 0; // the timer that reads the events again after a failure
let stream = null;
let resting = null; // the timer by which a page that nobody sees lets go of its stream; 0: it has
let heardAt = 0;
let refresh = 0;
let toasted = 0;
let sent = 0; // pictures that were searched by: each is another one

const stars = new Stars(kept, toast);
const detail = new Detail(byId("detail"), { onClose: close, onClosed: closed, onLike: likeIt, stars });
const list = new EventList(byId("list"), open, stars);
const searchPanel = new SearchPanel(byId("results"), {
  scope: () => ({ camera: view.camera }),
  onOpen: open,
  onShown: (isShown) => document.body.classList.toggle("is-asking", isShown),
  onLike: likeIt,
  onHindsight: (hindsight) => go({ ...NOTHING_SOUGHT, hindsight }),
  onClose: () => go(NOTHING_SOUGHT),
});

// -- reading

function query(before) {
  const wanted = new URLSearchParams({ limit: String(PAGE) });
  if (view.camera) wanted.set("camera", view.camera);
  if (view.label) wanted.set("label", view.label);
  if (view.all) wanted.set("accepted_only", "false");
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
    const page = await read(query(older ? next : null), { signal: request.signal });
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
    notice(el("p", {}, `The events cannot be read: ${fault.message}. The page keeps trying.`),
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
  } else if (view.camera || view.label) {
    notice(el("p", {}, "No event fits these filters."), el("button", { type: "button", onclick: () => go(NO_FILTERS) }, "Clear filters"));
  } else if (!view.all) {
    notice(el("h2", {}, "Nothing recognised yet"),
      el("p", {}, "Events appear here by themselves as soon as a camera sees something that you named."),
      el("button", { type: "button", onclick: () => go({ all: true }) }, "Show events without a label"));
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
    const [cameras, labels, totals] = await Promise.all([read("api/record/cameras"), read("api/record/labels"), read("api/stats")]);
    options(byId("camera"), "All cameras", cameras, view.camera, nameOf);
    options(byId("label"), "All labels", labels, view.label);
    byId("totals").textContent = `${count(totals.accepted_events)} of ${plural(totals.events, "event")} labelled · ${bytes(totals.clip_bytes)} of clips`;
  } catch {
    byId("totals").textContent = ""; // the list says what is wrong
  }
}

function options(select, all, known, chosen, said = (name) => name) {
  const names = known.map((one) => one.name);
  if (chosen && !names.includes(chosen)) names.push(chosen);
  const wanted = [["", all], ...names.map((name) => [name, said(name)])];
  if (JSON.stringify(wanted) === JSON.stringify([...select.options].map((option) => [option.value, option.text]))) return;
  select.replaceChildren(...wanted.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

// -- the stream of changes

function fits(event) {
  if (view.camera && event.camera !== view.camera) return false;
  if (view.label && !event.detections.some((found) => found.label === view.label)) return false;
  return view.all || view.label || event.label !== null;
}

function follow() {
  stream?.close();
  if (resting === 0) return;
  state("connecting", failures ? "Reconnecting" : "Connecting");
  heardAt = Date.now();
  const source = streamOf();
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
    stillIn(); // it does not say why it ended
    setTimeout(follow, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  };
}

// A user has so many streams, and may have more tabs: one that was hidden for a while follows again when it is seen.
function rest() {
  clearTimeout(resting);
  if (document.hidden) {
    resting = setTimeout(() => { resting = 0; stream?.close(); stream = null; }, HIDDEN_MS);
    return;
  }
  const hasLetGo = resting === 0;
  resting = null;
  if (!hasLetGo) return;
  failures = Math.max(failures, 1); // what happened meanwhile is read
  follow();
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
    byId("announce").textContent = `New event: ${event.label ?? "motion"}, camera ${nameOf(event.camera)}`;
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

// -- what is shown, in the address so that it survives a reload and can be shared

const NOTHING_SOUGHT = { q: "", like: null, hindsight: null };
const NO_FILTERS = { camera: "", label: "", all: false };

// Shows what was chosen; Back returns to what was shown before.
function go(changes, { isReplaced = false, state = null } = {}) {
  const before = view;
  view = { ...view, ...changes };
  history[isReplaced ? "replaceState" : "pushState"](isReplaced ? history.state : state, "", addressOf(view));
  render(before);
}

function fromAddress() {
  const before = view;
  view = readAddress();
  render(before);
}

const differ = (one, other, names) => JSON.stringify(names.map((name) => one?.[name])) !== JSON.stringify(names.map((name) => other[name]));

// Draws what differs from what was shown; without `before` everything.
function render(before = null) {
  const isFiltered = differ(before, view, ["camera", "label", "all"]);
  if (isFiltered) {
    showFilters();
    load();
  }
  if (differ(before, view, ["q", "like", "hindsight"]) || (before.camera !== view.camera && (view.q || view.like || view.hindsight))) look();
  if (before?.event !== view.event) {
    if (view.event) show(view.event);
    else detail.close();
  }
}

function showFilters() {
  for (const name of ["camera", "label"]) {
    if (view[name] && ![...byId(name).options].some((option) => option.value === view[name])) {
      byId(name).append(el("option", { value: view[name] }, name === "camera" ? nameOf(view[name]) : view[name]));
    }
    byId(name).value = view[name];
  }
  byId("all").checked = view.all;
  byId("reset").hidden = !(view.camera || view.label || view.all);
  Object.assign(byId("watch"), { hidden: !view.camera, href: at(`cameras/${idOf(view.camera)}`) });
}

// Searches for the words or the picture, looks back with the labels, or shows all events.
function look() {
  byId("words").value = view.q;
  if (view.hindsight?.labels.length) searchPanel.lookBack(view.hindsight);
  else if (view.hindsight) searchPanel.askHindsight(view.hindsight);
  else if (view.like) searchPanel.like(view.like);
  else if (view.q) searchPanel.search(view.q);
  else searchPanel.hide();
}

// `like`: an event or one of its pictures, or {file, number} for a picture that is sent.
function likeIt(like) {
  go({ ...NOTHING_SOUGHT, like, event: "" });
  scrollTo({ top: 0 });
}

// -- one event

function open(id) {
  if (id === view.event) return;
  go({ event: id }, { isReplaced: Boolean(view.event), state: { isOpened: true } });
}

function show(id) {
  byId("layout").classList.add("split");
  document.body.classList.add("has-detail");
  list.mark(id);
  detail.open(id);
}

// Closes the event: goes back to where it was opened, so that the phone's Back does not open it again.
function close() {
  if (!view.event) return;
  if (history.state?.isOpened) history.back();
  else go({ event: "" }, { isReplaced: true });
}

function closed() {
  byId("layout").classList.remove("split");
  document.body.classList.remove("has-detail");
  const id = list.chosen;
  list.mark(null);
  if (id) list.focus(id);
}

// -- keyboard

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName;
  if (event.key === "Escape") {
    close();
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
    const star = card ? card.querySelector("button.star") : byId("detail").querySelector("button.star");
    star?.click();
  } else if (event.key === "l") {
    const card = event.target.closest?.(".card");
    const id = card?.dataset.id ?? view.event;
    if (card?.querySelector(".like")) card.querySelector(".like").click();
    else if (id) likeIt({ event: id });
  } else if (detail.isOpen && !event.ctrlKey && !event.metaKey && !event.altKey && detail.press(event.key)) {
    event.preventDefault();
  } else if (event.key === " " && detail.isOpen && tag !== "VIDEO" && (tag !== "BUTTON" || event.target.closest(".card > button:not(.star, .like)"))) {
    event.preventDefault();
    detail.toggle();
  }
}

const isWide = () => matchMedia("(min-width: 960px)").matches;

// -- start

byId("filters").addEventListener("change", () =>
  go({ camera: byId("camera").value, label: byId("label").value, all: byId("all").checked }));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("reset").addEventListener("click", () => go(NO_FILTERS));
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const q = byId("words").value.trim();
  if (q === view.q && !view.hindsight && !view.like) look(); // asked again
  else go({ ...NOTHING_SOUGHT, q });
});
byId("hindsight").addEventListener("click", () => go({ ...NOTHING_SOUGHT, hindsight: { labels: [] } }));
pictures(byId("ask"), byId("picture"), (file) => likeIt({ file, number: ++sent }));
byId("more").addEventListener("click", () => load({ older: true }));
byId("filters").inert = byId("ask").inert = false; // what was chosen before anybody listened would be taken back

async function start() {
  await begin("");
  render();
  about();
  follow();
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && load({ older: true }), { rootMargin: "600px" }).observe(byId("more"));
  document.addEventListener("visibilitychange", rest);
  addEventListener("keydown", pressed);
  addEventListener("popstate", fromAddress);
  addEventListener("hashchange", fromAddress);
  setInterval(about, STATS_MS);
  setInterval(() => {
    if (stream && document.visibilityState === "visible" && Date.now() - heardAt > QUIET_MS) stream.onerror();
  }, 5000);
}

start();
