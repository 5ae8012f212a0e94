// The label sets that a camera had: since when, who changed them, and a button that brings one back into the fields.

import { read } from "./api.js";
import { differing } from "./camera_file.js";
import { byId, el } from "./dom.js";
import { clock, day, time } from "./format.js";
import { faultParts, may } from "./site.js";

const SETTINGS = ["labels", "background", "threshold", "leave_threshold", "margin", "window_s", "min_moments"];
const SHOWN = 50;

export class LabelHistory {
  // `onBack(settings, title, isAtOnce)`: somebody wants these settings again, or only to see them in the fields;
  // `title` says when they were set
  constructor(base, onBack) {
    Object.assign(this, { base, onBack });
  }

  // `now`: the settings in force
  async load(now) {
    const box = byId("label-history");
    try {
      const { changes } = await read(`${this.base}/label-history?limit=${SHOWN}`);
      box.replaceChildren(...(changes.length ? this.entries(changes, now) : [el("li", {}, el("p", { class: "hint" }, "Nothing yet: it begins with the next clip of this camera, or with a change here."))]));
    } catch (fault) {
      box.replaceChildren(el("li", {}, ...faultParts(fault), el("button", { type: "button", class: "quiet", onclick: () => this.load(now) }, "Try again")));
    }
  }

  entries(changes, now) {
    let isInForce = false; // of several alike the newest
    return changes.map((change) => {
      const settings = Object.fromEntries(SETTINGS.map((name) => [name, change[name]]));
      const isNow = !isInForce && isAlike(settings, now);
      isInForce ||= isNow;
      const title = `${day(change.changed_at)}, ${clock(change.changed_at)}`;
      return el("li", {},
        el("p", { class: "what" }, time(change.changed_at, true), ", ", change.changed_by ?? "in the file", isNow && el("span", { class: "tag" }, "in force")),
        el("p", {}, el("b", {}, change.labels.join(", ")), change.background.length > 0 && el("span", { class: "what" }, ` · always in view: ${change.background.join(", ")}`), el("span", { class: "what" }, ` · threshold ${change.threshold}`, others(change, changes[changes.indexOf(change) + 1]))),
        el("div", { class: "buttons" }, may("operate") && !isAlike(settings, now) && [
          button("See what would change", title, () => this.onBack(settings, title, false)), button("Back to this", title, () => this.onBack(settings, title, true))]));
    });
  }
}

const button = (text, title, onclick) => el("button", { type: "button", class: "quiet", "aria-label": `${text}: the labels of ${title}`, onclick }, text);

// What else decides, where it differs from the entry before.
function others(change, before) {
  const names = { leave_threshold: "end threshold", margin: "margin", window_s: "window", min_moments: "moments" };
  if (!before) return "";
  return Object.entries(names).filter(([name]) => change[name] !== before[name]).map(([name, said]) => ` · ${said} ${change[name] ?? "as usual"}`).join("");
}

// The order of labels says nothing.
function isAlike(one, other) {
  const sorted = (settings) => ({ ...settings, labels: [...settings.labels].sort(), background: [...settings.background].sort() });
  return Object.keys(differing(sorted(one), sorted(other))).length === 0;
}
