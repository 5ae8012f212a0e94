// How good the answers are, camera by camera and label by label, and the way to a check of ten events.

import { read } from "./api.js";
import { Check } from "./check.js";
import { byId, el } from "./dom.js";
import { colour, count, day, percent, plural } from "./format.js";
import { named, nameOf } from "./names.js";
import { begin, may, refuse } from "./site.js";
import { thresholdsOf } from "./thresholds.js";

const wanted = new URLSearchParams(location.search);
let camera = wanted.get("camera") ?? "";

const between = ({ low, high }) => `${percent(low)} to ${percent(high)}`;

async function show() {
  try {
    const quality = await read(`api/quality${camera ? `?camera=${encodeURIComponent(camera)}` : ""}`);
    byId("notice").hidden = true;
    byId("overall").replaceChildren(...overall(quality));
    byId("pairs").replaceChildren(...quality.pairs.map((pair) => shown(pair, quality)));
  } catch (fault) {
    refuse(fault, show);
  }
}

function overall({ together, pairs, since }) {
  if (!pairs.length) return [`No event with a label since ${day(since)}. Quality appears here once there are some.`];
  if (!together) return ["Nobody was asked yet whether the labels are right. ", may("operate") ? "Check ten events, and the first shares appear here." : "Who may change labels can check ten events."];
  return [el("b", {}, percent(together.share)), ` of the labels since ${day(since)} are right (95% sure: ${between(together)}), by what people said of events that were drawn for a check.`];
}

function shown(pair, { missed_since }) {
  return el("li", {},
    el("div", {}, el("h2", {}, named(pair.camera)), el("span", { class: `chip ${colour(pair.label)}` }, el("b", {}, pair.label))),
    el("div", { class: "what" }, ...precision(pair)),
    el("div", { class: "what" }, ...missed(pair, missed_since)),
    curve(pair));
}

function precision({ precision: found, events, judged, drawn, known_wrong }) {
  const of = el("span", { class: "hint" }, `${plural(events, "event")}, ${count(judged)} judged, ${count(drawn)} of them in a check`);
  if (!found) return [known_wrong ? `${plural(known_wrong, "event")} known to be wrong` : "Not asked yet", of];
  return [`${percent(found.share)} right (${between(found)})`, interval(found), of];
}

function interval({ share, low, high }) {
  const [range, mark] = [el("i"), el("b")];
  range.style.left = `${100 * low}%`;
  range.style.right = `${100 - 100 * high}%`;
  mark.style.left = `${100 * share}%`;
  return el("span", { class: "interval", "aria-hidden": "true" }, range, mark);
}

function missed({ missed: found }, since) {
  if (!found) return ["Missed: not asked yet"];
  const events = (n) => (n < 0.5 ? "0" : n < 9.5 ? n.toFixed(n < 1.95 ? 1 : 0) : count(Math.round(n)));
  return [`Missed: about ${events(found.events)} (${events(found.low)} to ${events(found.high)})`,
    el("span", { class: "hint" }, `of ${plural(found.of, "event")} without a label since ${day(since)}, ${count(found.drawn)} looked at in a check`)];
}

function curve({ camera: id, label }) {
  const details = el("details", {}, el("summary", {}, `Threshold for ${label}`));
  details.addEventListener("toggle", async () => {
    if (!details.open || details.childElementCount > 1) return;
    const box = el("div", { class: "thresholds", role: "status" }, "Looking");
    details.append(box);
    try {
      box.replaceChildren(...thresholdsOf(await read(`api/quality/threshold?camera=${encodeURIComponent(id)}&label=${encodeURIComponent(label)}`), label));
    } catch (fault) {
      box.replaceChildren(fault.message);
    }
  });
  return details;
}

async function choices() {
  const cameras = await read("api/record/cameras");
  const select = el("select", { "aria-label": "Camera" }, el("option", { value: "" }, "All cameras"),
    cameras.map(({ name }) => el("option", { value: name, "data-camera": name, selected: name === camera }, nameOf(name))));
  select.addEventListener("change", () => {
    camera = select.value;
    history.replaceState(null, "", camera ? `?camera=${encodeURIComponent(camera)}` : location.pathname);
    show();
  });
  const check = may("operate") && el("button", { type: "button", class: "main", id: "check", onclick: () => checking.begin(camera) }, "Check ten");
  byId("head").append(el("div", { class: "end" }, select, check || null));
}

const checking = new Check(byId("checking"), show);

begin("quality").then(choices).then(show).then(() => {
  if (location.hash === "#check" && may("operate")) checking.begin(camera);
}).catch((fault) => refuse(fault, null));
