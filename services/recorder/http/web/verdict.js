// What somebody says of an event: asked in the event's panel, shown what it would change, kept, and taken back.

import { at, Fault, file, idOf, read, send, values } from "./api.js";
import { CameraFile } from "./camera_file.js";
import { el } from "./dom.js";
import { count, plural, time } from "./format.js";
import { faultParts, may } from "./site.js";

const SHOWN_MAX = 24;
const KEYS = { r: "right", w: "wrong", i: "is", n: "nothing", m: "missed" };
const SAYS = {
  right: (one) => (one.recorded.length ? `right${one.label ? `: ${one.label}` : ""}` : "rightly without a label"),
  wrong: (one) => `not ${one.label ?? one.recorded.join(", ")}`,
  is: (one) => `it is ${one.label}`,
  nothing: () => "nothing at all",
  missed: (one) => `it shows ${one.label} as well`,
};

export const inWords = (verdict) => SAYS[verdict.kind](verdict);

export class VerdictPanel {
  constructor(event) {
    this.event = event;
    this.asking = null;
    this.unasked = []; // labels that the camera is not asked for: {label, box, text}
    this.said = el("div", { class: "verdicts-said" });
    this.box = el("div", { class: "verdict-box", "aria-live": "polite" });
    this.root = el("section", { class: "verdict", "aria-label": "Is that right?" }, this.buttons(), this.box, this.said);
    this.list();
  }

  close() {
    this.asking?.abort();
  }

  buttons() {
    const has = this.event.detections.length > 0;
    const choices = [
      ["right", has ? "Right" : "Right, none of it"],
      ...(has ? [["wrong", "Wrong"], ["is", "Something else …"], ["nothing", "Nothing at all"]] : []),
      ["missed", "It misses …"],
    ];
    return el("div", { class: "buttons" }, el("h3", {}, "Is that right?"), choices.map(([kind, text]) =>
      el("button", { type: "button", class: "quiet", "data-kind": kind, title: `Key ${Object.keys(KEYS).find((key) => KEYS[key] === kind)}`, onclick: () => this.choose(kind) }, text)));
  }

  // Whether the key means something here.
  press(key) {
    const button = this.root.querySelector(`[data-kind="${KEYS[key]}"]`);
    button?.click();
    return Boolean(button);
  }

  choose(kind) {
    this.close();
    if (kind === "is" || kind === "missed") this.name(kind);
    else if (kind === "wrong" && this.event.detections.length > 1) this.which(kind);
    else this.preview({ kind });
  }

  // Of several labels: which one is wrong.
  which(kind) {
    this.box.replaceChildren(el("p", {}, "Which one?"), el("div", { class: "buttons" },
      this.event.detections.map(({ label }) => el("button", { type: "button", class: "quiet", onclick: () => this.preview({ kind, label }) }, label)),
      el("button", { type: "button", class: "quiet", onclick: () => this.preview({ kind }) }, "All of them"), this.cancel()));
    this.box.querySelector("button").focus();
  }

  name(kind) {
    const input = el("input", { type: "text", name: "label", maxlength: "200", required: true, autocomplete: "off", placeholder: "a fox", "aria-label": kind === "is" ? "What it is" : "What it shows as well" });
    const form = el("form", { class: "buttons" }, el("label", {}, kind === "is" ? "It is " : "It shows ", input),
      el("button", { type: "submit", class: "quiet" }, "See what changes"), this.cancel());
    form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      if (input.value.trim()) this.preview({ kind, label: input.value.trim() });
    });
    this.box.replaceChildren(form);
    input.focus();
  }

  cancel() {
    return el("button", { type: "button", class: "quiet", onclick: () => this.clear() }, "Cancel");
  }

  clear() {
    this.close();
    this.box.replaceChildren();
    this.root.querySelector("button").focus();
  }

  async preview(said) {
    this.unasked = [];
    const request = new AbortController();
    this.asking = request;
    const bar = el("progress", { max: "1", "aria-label": "Progress" });
    this.box.replaceChildren(el("p", { role: "status" }, "Looking at the last 7 days with this …"), bar, el("div", { class: "buttons" }, this.cancel()));
    try {
      for await (const line of values(`api/events/${idOf(this.event.id)}/verdicts/preview`, { method: "POST", json: said, signal: request.signal })) {
        if (line.error) throw new Fault(500, [line.error]);
        if (line.result) this.offer(said, line.result);
        else bar.value = line.of ? line.done / line.of : 1;
      }
    } catch (fault) {
      if (request.signal.aborted) return;
      const still = fault.status === 503 && this.keep(said, "future", "Keep it: it is learned once a classifier answers");
      this.box.replaceChildren(...faultParts(fault), el("div", { class: "buttons" }, ...[still, this.cancel()].filter(Boolean)));
    }
  }

  offer(said, result) {
    const main = this.keep(said, "future", "From now on", "main");
    const past = el("button", { type: "button", class: "quiet", onclick: () => this.applyToPast(said) }, "Also to the past 7 days");
    const nothing = result.is_followed === null && "Its pictures were looked at by another model, or are gone: it can be counted, but teaches nothing.";
    const unable = result.is_followed === false && "Even so the event itself would not be decided like that: other verdicts on pictures that look the same say otherwise.";
    const shown = result.past.shown.slice(0, SHOWN_MAX).map((one) => el("li", {}, el("a", { href: at(`#${one.event_id}`), title: changeOf(one) },
      one.thumbnail_url ? el("img", { src: file(one.thumbnail_url), alt: changeOf(one), loading: "lazy" }) : el("span", { class: "blank" }, "no picture"))));
    this.unasked = result.not_asked_for.map((label) => {
      const box = el("input", { type: "checkbox", checked: true });
      return { label, box, text: el("label", {}, box, ` “${label}” is not among this camera's labels: look for it from now on`) };
    });
    this.box.replaceChildren(...[
      ...[...changes(result.past), nothing, unable, ...this.unasked.map(({ text }) => text)].filter(Boolean).map((text) => el("p", {}, text)),
      shown.length > 0 && el("ul", { class: "strip shots" }, shown),
      el("div", { class: "buttons" }, ...[!nothing && main, !nothing && result.past.changed > 0 && past, this.keep(said, "none", "Only count it"), this.cancel()].filter(Boolean)),
    ].filter(Boolean));
    this.box.querySelector("button.main, .buttons button").focus();
  }

  keep(said, effect, text, kind = "quiet") {
    return el("button", { type: "button", class: kind, onclick: () => this.run(() => this.say(said, effect)) }, text);
  }

  // Keeps it; where decisions follow it, they are asked for the labels that it names.
  async say(said, effect) {
    const made = await send("POST", `api/events/${idOf(this.event.id)}/verdicts`, { ...said, effect });
    const wanted = this.unasked.filter(({ box }) => box.checked).map(({ label }) => label);
    if (effect === "future" && wanted.length) await lookFor(this.event.camera, wanted);
    return made;
  }

  // Kept from now on, then the past is decided with it.
  applyToPast(said) {
    return this.run(async () => {
      const made = await this.say(said, "future");
      await this.follow(`api/verdicts/${idOf(made.id)}/apply`, {}, "Changing the labels of the last 7 days …");
    });
  }

  // Shows how far the lines of an answer are, and returns its result.
  follow(path, json, text) {
    const bar = el("progress", { max: "1", "aria-label": "Progress" });
    this.box.replaceChildren(el("p", { role: "status" }, text), bar);
    return resultOf(path, json, (share) => { bar.value = share; });
  }

  async run(work) {
    try {
      await work();
      this.box.replaceChildren();
      await this.list();
      this.said.querySelector("button")?.focus();
    } catch (fault) {
      this.box.replaceChildren(...faultParts(fault), el("div", { class: "buttons" }, this.cancel()));
      await this.list(); // what was kept before the fault
    }
  }

  async list() {
    try {
      const { verdicts } = await read(`api/events/${idOf(this.event.id)}/verdicts`);
      const standing = verdicts.filter((one) => !one.undone_at).reverse();
      this.said.replaceChildren(...standing.map((one) => el("p", {}, `${one.made_by}: ${inWords(one)}, `, time(one.made_at, true), waiting(one), " ",
        el("button", { type: "button", class: "quiet", onclick: () => this.run(() => takeBack(one)) }, "Take it back"))));
    } catch (fault) {
      this.said.replaceChildren(...faultParts(fault));
    }
  }
}

// Adds labels to those that a camera is asked for.
async function lookFor(camera, labels) {
  const settings = new CameraFile(`api/cameras/${idOf(camera)}`);
  await settings.read();
  const missing = labels.filter((label) => !settings.settings.labels.includes(label));
  if (missing.length) await settings.change({ labels: [...settings.settings.labels, ...missing] }, () => {});
}

async function resultOf(path, json, progress = () => {}) {
  for await (const line of values(path, { method: "POST", json })) {
    if (line.error) throw new Fault(500, [line.error]);
    if (line.result) return line.result;
    progress(line.of ? line.done / line.of : 1);
  }
  throw new Fault(500, [{ found: "the answer broke off", wanted: "all of it", do: "try again" }]);
}

// Puts back what a verdict changed of the past, then takes it back; returns it as it is then.
export async function takeBack({ id, event_id }) {
  const { verdicts } = await read(`api/events/${idOf(event_id)}/verdicts`);
  const change = verdicts.find((one) => one.id === id)?.relabel_id;
  if (change) await resultOf(`api/relabels/${idOf(change)}/undo`, {});
  return send("POST", `api/verdicts/${idOf(id)}/undo`, {});
}
export const judging = (event) => (may("operate") ? new VerdictPanel(event) : null);

function waiting(verdict) {
  if (verdict.effect === "none") return " (only counted)";
  if (verdict.is_followed === null) return " (not learned yet: no classifier answered)";
  if (!verdict.n_examples) return " (counted, but not learned: its pictures were gone)";
  return verdict.is_followed ? "" : " (learned, but the event itself would not be decided so)";
}

const changeOf = ({ recorded, hindsight }) => {
  const names = [recorded, hindsight].map((labels) => labels.map(({ label }) => label));
  const lost = names[0].filter((label) => !names[1].includes(label));
  const gained = names[1].filter((label) => !names[0].includes(label));
  return [lost.length && `loses ${lost.join(", ")}`, gained.length && `gains ${gained.join(", ")}`].filter(Boolean).join("; ");
};

// "Of the 40 events of this camera in the last 7 days, 11 would lose “a dog”, 0 of those that somebody called right."
function changes({ labels, events }) {
  const lines = [
    ...labels.filter(({ lost }) => lost).map((one) => `${count(one.lost)} would lose “${one.label}”, ${count(one.lost_right)} of those that somebody called right.`),
    ...labels.filter(({ gained }) => gained).map((one) => `${count(one.gained)} would gain “${one.label}”.`),
  ];
  const of = `Of the ${plural(events, "event")} of this camera in the last 7 days, `;
  return lines.length ? [of + lines[0], ...lines.slice(1)] : [`${of}none would have other labels.`];
}
