// A camera's labels, background, threshold and what else decides: the fields, saving them, and the way back to earlier
// ones. What they would change is shown beside them before anything is saved (label_preview.js).

import { differing } from "./camera_file.js";
import { byId, el } from "./dom.js";
import { LabelHistory } from "./label_history.js";
import { LabelPreview } from "./label_preview.js";
import { faultParts, may } from "./site.js";

const LISTS = { labels: "label", background: "background" }; // setting: start of the ids of its elements
const NUMBERS = { threshold: "label-threshold", leave_threshold: "label-leave", margin: "label-margin", window_s: "label-window", min_moments: "label-moments" };
const SETTINGS = [...Object.keys(LISTS), ...Object.keys(NUMBERS)];
const NOT_FOUND = "Name at least one label: without one, nothing can be found.";
const NO_NUMBER = "Write a number: one is missing, or cannot be read.";

export class LabelEditor {
  // `seen`: { source(), size(), boxes() } of the picture before the camera
  constructor(file, base, seen) {
    Object.assign(this, { file, texts: { labels: [], background: [] } });
    this.preview = new LabelPreview(base, seen);
    this.history = new LabelHistory(base, (settings, title, isAtOnce) => this.goBack(settings, title, isAtOnce));
    for (const [name, start] of Object.entries(LISTS)) {
      byId(`${start}-add`).addEventListener("click", () => this.add(name));
      byId(`${start}-new`).addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.isComposing) return;
        event.preventDefault();
        this.add(name);
      });
    }
    for (const id of Object.values(NUMBERS)) byId(id).addEventListener("input", () => this.changed());
    byId("label-threshold-range").addEventListener("input", () => {
      byId("label-threshold").value = byId("label-threshold-range").value;
      this.changed();
    });
    byId("label-undo").addEventListener("click", () => {
      this.fill(this.file.settings);
      this.say("");
      byId("labels-name").focus(); // the button is disabled now
    });
    byId("label-form").addEventListener("submit", (event) => { event.preventDefault(); this.save(); });
  }

  start() {
    if (!may("operate")) for (const part of document.querySelectorAll("#labels .editing")) part.hidden = true;
    for (const id of [...Object.values(NUMBERS), "label-threshold-range"]) byId(id).disabled = !may("operate");
    this.history.load(this.file.settings);
  }

  // What the camera file says now takes the place of what it said.
  reread(settings) {
    this.fill(settings);
    this.history.load(settings);
  }

  // -- the fields

  fill(settings) {
    for (const name of Object.keys(LISTS)) this.texts[name] = [...settings[name]];
    for (const [name, id] of Object.entries(NUMBERS)) byId(id).value = settings[name] ?? "";
    for (const start of Object.values(LISTS)) byId(`${start}-new`).value = "";
    this.changed();
  }

  get wanted() {
    const numbers = Object.entries(NUMBERS).map(([name, id]) => [name, byId(id).value === "" ? null : Number(byId(id).value)]);
    return { ...this.texts, ...Object.fromEntries(numbers) };
  }

  get differences() {
    return differing(this.wanted, this.file.settings);
  }

  get isChanged() {
    const isTyped = Object.values(LISTS).some((start) => byId(`${start}-new`).value.trim());
    return isTyped || Object.keys(this.differences).length > 0;
  }

  // Takes what was typed; returns whether it could.
  add(name) {
    const input = byId(`${LISTS[name]}-new`);
    const typed = input.value.trim();
    const isKnown = [...this.texts.labels, ...this.texts.background].some((text) => text.toLowerCase() === typed.toLowerCase());
    input.focus();
    if (isKnown) {
      this.say(`“${typed}” is named already.`, "bad");
      return false;
    }
    if (typed) this.texts[name].push(typed);
    input.value = "";
    this.say("");
    this.changed();
    return true;
  }

  remove(name, text) {
    this.texts[name] = this.texts[name].filter((other) => other !== text);
    this.say("");
    this.changed();
    byId(`${LISTS[name]}-new`).focus();
  }

  changed() {
    byId("label-threshold-range").value = byId("label-threshold").value;
    const fixed = this.file.settings;
    for (const [name, start] of Object.entries(LISTS)) {
      const items = this.texts[name].map((text) => el("li", { class: `chip ${fixed[name].includes(text) ? "" : "fresh"}` }, el("b", {}, text),
        may("operate") && el("button", { type: "button", class: "remove", "aria-label": `Remove ${text}`, title: "Remove", onclick: () => this.remove(name, text) }, el("span", { "aria-hidden": "true" }, "×"))));
      byId(`${start}-list`).replaceChildren(...items);
      byId(`${start}-none`).hidden = items.length > 0;
    }
    const isChanged = Object.keys(this.differences).length > 0;
    const fault = this.fault;
    byId("label-save").disabled = !isChanged || Boolean(fault);
    byId("label-undo").disabled = !isChanged;
    if (fault) this.say(fault, "bad");
    else if ([NOT_FOUND, NO_NUMBER].includes(byId("label-said").textContent) || (isChanged && byId("label-said").dataset.kind === "good")) this.say("");
    if (may("operate")) this.preview.show(isChanged && !fault ? this.wanted : null);
  }

  // What has to be mended before anything can be asked or saved; only the threshold to go on may be left empty.
  get fault() {
    if (!this.texts.labels.length) return NOT_FOUND;
    const isRead = ([name, id]) => !byId(id).validity.badInput && (byId(id).value !== "" || name === "leave_threshold");
    return Object.entries(NUMBERS).every(isRead) ? "" : NO_NUMBER;
  }

  say(text, kind = "") {
    byId("label-said").textContent = text;
    byId("label-said").dataset.kind = kind;
  }

  // -- saving, and the way back

  async save() {
    for (const [name, start] of Object.entries(LISTS)) if (byId(`${start}-new`).value.trim() && !this.add(name)) return;
    if (this.fault || !this.isChanged) return;
    const before = this.settings;
    byId("label-save").disabled = true;
    this.say("Saving");
    try {
      const camera = await this.file.change(this.differences, () => this.say("The motion service does not answer. Trying again"));
      this.fill(camera.settings);
      this.say("Saved to the camera file. The next clip is asked for these labels.", "good");
      byId("labels-name").focus(); // the button is disabled now
    } catch (fault) {
      this.changed();
      if (fault.status === 412) this.say(changedMeanwhile(before, this.settings), "bad");
      else {
        byId("label-said").dataset.kind = "bad";
        byId("label-said").replaceChildren(...faultParts(fault));
      }
    }
    this.history.load(this.file.settings);
  }

  // Earlier settings again: in force at once, or in the fields, where their preview is seen first.
  async goBack(settings, title, isAtOnce) {
    this.fill(settings);
    byId("labels").scrollIntoView({ block: "start" });
    if (isAtOnce) return this.save();
    this.say(`The labels of before (${title}) are in the fields. Nothing is saved yet.`);
    byId("label-save").focus();
  }

  // What the file says of labels.
  get settings() {
    return Object.fromEntries(SETTINGS.map((name) => [name, this.file.settings[name]]));
  }
}

function changedMeanwhile(before, now) {
  const kept = "Your labels are kept in the fields; save again to replace the others.";
  if (!Object.keys(differing(now, before)).length) return "The camera file has changed meanwhile, but not its labels. Save again.";
  const named = [now.labels.join(", "), now.background.length && `always in view: ${now.background.join(", ")}`, `threshold ${now.threshold}`].filter(Boolean);
  return `Somebody else has changed the labels meanwhile. Now they are: ${named.join("; ")}. ${kept}`;
}
