// What was changed about an event's labels since it was recorded: when, by whom, from what to what.

import { el } from "./dom.js";
import { time } from "./format.js";

const WHY = { words: "labels in hindsight", verdicts: "after a verdict" };

export function labelChanges(changes) {
  return el("section", { class: "label-changes", "aria-label": "Changes of the labels" },
    el("h3", {}, "Its labels were changed"),
    el("ul", {}, changes.map((change) => el("li", {},
      el("b", {}, names(change.before)), " became ", el("b", {}, names(change.after)),
      el("span", { class: "hint" }, time(change.changed_at, true), change.made_by && ` by ${change.made_by}`, WHY[change.kind] && `, ${WHY[change.kind]}`)))));
}

const names = (labels) => labels.join(", ") || "no label";
