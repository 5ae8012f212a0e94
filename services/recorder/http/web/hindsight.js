// Labels in hindsight: what other labels would have recorded, by camera and with pictures; applying it; undoing that.

import { Fault, file, idOf, read, values } from "./api.js";
import { el } from "./dom.js";
import { count, day, plural, time } from "./format.js";
import { chip } from "./list.js";
import { cameraName, nameOf, named } from "./names.js";
import { faultParts, may, sentence } from "./site.js";

const TITLE = "Labels in hindsight";
const SHOTS = 6; // of the events of a camera that gain, or lose, a label
const LISTED = 8; // changes of the past; older ones on demand

export class HindsightPanel {
  // `panel`: shows parts in the place of the list of events (search.js).
  constructor(panel) {
    this.panel = panel;
  }

  form(kept = {}) {
    const area = (name, rows, hint) => el("textarea", { name, rows, placeholder: hint, spellcheck: "false" });
    const labels = area("labels", 3, "a fox");
    const background = area("background", 2, "as it was then");
    labels.value = kept.labels?.join("\n") ?? "";
    background.value = kept.background?.join("\n") ?? "";
    const days = el("select", { name: "days" }, [[1, "last 24 hours"], [7, "last 7 days"], [30, "last 30 days"], [365, "last year"]].map(
      ([value, text]) => el("option", { value, selected: value === (kept.days ?? 7) }, text)));
    const mode = el("select", { name: "mode" }, [["add", "beside the labels of then"], ["replace", "instead of the labels of then"]].map(
      ([value, text]) => el("option", { value, selected: value === kept.mode }, text)));
    const threshold = el("input", { type: "number", name: "threshold", min: "0.01", max: "0.99", step: "0.01", placeholder: "as then", value: kept.threshold ?? null });
    const form = el("form", { class: "hindsight", "aria-label": TITLE },
      el("label", {}, el("span", {}, "Labels, one a line"), labels),
      el("label", {}, el("span", {}, "Always in view, one a line"), background),
      el("label", {}, el("span", {}, "How"), mode),
      el("label", {}, el("span", {}, "Threshold, 0 to 1"), threshold),
      el("label", {}, el("span", {}, "Events of the"), days),
      el("button", { type: "submit", class: "main" }, "Look back"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
      const wanted = { labels: lines(labels.value), background: lines(background.value), mode: mode.value, days: Number(days.value), threshold: threshold.value ? Number(threshold.value) : null };
      if (!wanted.labels.length) {
        labels.setCustomValidity("Name at least one label, such as: a fox");
        labels.reportValidity();
        return;
      }
      this.panel.onHindsight(wanted);
    });
    labels.addEventListener("input", () => labels.setCustomValidity(""));
    return form;
  }

  ask(kept) {
    this.panel.begin();
    this.panel.show(TITLE,
      el("p", { class: "said" }, "See what the last days would have recorded with other labels. Nothing changes until you apply it."),
      this.form(kept), new PastChanges().box);
    this.panel.root.querySelector("textarea").focus();
  }

  async lookBack(wanted, isApplied = false, until = null) {
    const signal = this.panel.begin();
    const bar = el("progress", { max: "1", "aria-label": "Progress" });
    this.panel.show(TITLE, this.form(wanted), el("p", { class: "said", role: "status" }, isApplied ? "Writing …" : "Looking back …"), bar);
    const ends = until ?? new Date();
    const question = {
      labels: wanted.labels, background: wanted.background.length ? wanted.background : null, threshold: wanted.threshold, mode: wanted.mode,
      camera: this.panel.scope().camera || null, apply: isApplied, until: ends.toISOString(),
      since: new Date(ends.getTime() - wanted.days * 86400000).toISOString(),
    };
    try {
      for await (const said of values("api/hindsight", { method: "POST", json: question, signal })) {
        if (said.error) throw new Fault(500, [said.error]);
        if (said.result) this.compared(wanted, said.result, ends);
        else bar.value = said.of ? said.done / said.of : 1;
      }
    } catch (fault) {
      if (!signal.aborted) this.panel.failed(TITLE, fault, () => this.lookBack(wanted, isApplied, until), this.form(wanted));
    }
  }

  compared(wanted, result, ends) {
    const told = result.applied
      ? `Applied: ${sentence(result.summary)}`
      : `${count(result.changed)} of ${plural(result.events, "event")} would have other labels${result.changed ? `: ${sentence(result.summary)}` : "."}`;
    const left = result.left_out ? ` ${plural(result.left_out, "clip was", "clips were")} looked at by another model: nothing changes there.` : "";
    const changed = result.cameras.filter((one) => one.changed);
    const others = result.cameras.length - changed.length;
    const still = changed.length > 0 && others > 0 && el("p", { class: "said" }, `Nothing changes on ${plural(others, "other camera")}.`);
    const rows = result.shown.map((one) => el("li", { class: "pair" },
      el("button", { type: "button", onclick: () => this.panel.onOpen(one.event_id) },
        one.thumbnail_url ? el("img", { src: file(one.thumbnail_url), alt: "", loading: "lazy" }) : el("span", { class: "blank" }, "no picture"),
        el("span", { class: "line" }, cameraName(one.camera), time(one.started_at, true))),
      side("Recorded", one.recorded), side(result.applied ? "Now" : "In hindsight", one.hindsight)));
    const more = result.changed > result.shown.length && el("p", { class: "said" }, `${result.shown.length} of them are shown.`);
    const apply = !result.applied && may("operate") && result.changed > 0 && el("div", { class: "apply" });
    if (apply) this.offer(apply, wanted, result, ends);
    this.panel.show(TITLE, this.form(wanted), el("p", { class: "said", role: "status" }, told + left),
      ...[...changed.map((one) => this.ofCamera(one, result)), still, apply, rows.length > 0 && el("ul", { class: "pairs" }, rows), more].filter(Boolean),
      new PastChanges().box);
  }

  // What changes on one camera: numbers by label, and pictures of the events.
  ofCamera(of, result) {
    const shown = result.shown.filter((one) => one.camera === of.camera);
    const heads = ["Events with", "recorded", result.applied ? "now" : "in hindsight", "gain it", "lose it"];
    const changes = of.labels.filter((row) => row.gained || row.lost);
    const same = of.labels.filter((row) => !row.gained && !row.lost);
    return el("section", { class: "change", "aria-label": `Changes on camera ${nameOf(of.camera)}` },
      el("h3", {}, named(of.camera), `: ${count(of.changed)} of ${plural(of.events, "event")}`),
      el("table", { class: "counts" },
        el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, [...changes, ...same].flatMap((row) => [
          el("tr", {}, el("th", { scope: "row" }, row.label), [row.recorded, row.hindsight, row.gained, row.lost].map((n) => el("td", {}, n ? count(n) : "–"))),
          (row.gained > 0 || row.lost > 0) && el("tr", { class: "shots" }, el("td", { colspan: heads.length }, this.shots(shown, row, "gained"), this.shots(shown, row, "lost"))),
        ]))));
  }

  shots(shown, row, what) {
    const has = (labels) => labels.some((one) => one.label === row.label);
    const events = shown.filter((one) => (what === "gained" ? has(one.hindsight) && !has(one.recorded) : has(one.recorded) && !has(one.hindsight))).slice(0, SHOTS);
    if (!events.length) return null;
    const verb = what === "gained" ? "gain" : "lose";
    return el("div", {},
      el("p", {}, row[what] > events.length ? `${events.length} of ${count(row[what])} that ${verb} it` : `${plural(events.length, "event")} that ${verb}${events.length === 1 ? "s" : ""} it`),
      el("div", { class: "thumbs" }, events.map((one) => el("button", { type: "button", onclick: () => this.panel.onOpen(one.event_id) },
        one.thumbnail_url ? el("img", { src: file(one.thumbnail_url), alt: "", loading: "lazy" }) : el("span", { class: "blank" }, "no picture"),
        el("span", { class: "unseen" }, `Open the event of ${day(one.started_at)} that ${verb}s ${row.label}`)))));
  }

  // Applying takes two presses: the second one says what changes.
  offer(box, wanted, result, ends) {
    const ask = el("button", { type: "button", class: "main" }, "Apply to the record …");
    ask.addEventListener("click", () => {
      const sure = el("button", { type: "button", class: "danger", onclick: () => this.lookBack(wanted, true, ends) }, "Change the labels");
      box.replaceChildren(
        el("p", {}, `${sentence(result.summary)} You can undo it as a whole.`),
        sure, el("button", { type: "button", class: "quiet", onclick: () => this.offer(box, wanted, result, ends) }, "Cancel"));
      sure.focus();
    });
    box.replaceChildren(ask);
  }
}

function side(title, said) {
  return el("div", { class: "side" }, el("h3", {}, title),
    el("span", { class: "labels" }, said.length ? said.map(chip) : el("span", { class: "chip none" }, "no label")));
}

// -- changes of the past

class PastChanges {
  constructor() {
    this.list = el("div", {});
    this.said = el("p", { class: "hint", role: "status" });
    this.box = el("section", { class: "past-changes panel", "aria-label": "Changes of the past", hidden: true }, el("h3", {}, "Changes of the past"), this.said, this.list);
    this.load();
  }

  async load() {
    try {
      const { relabels } = await read("api/relabels");
      this.box.hidden = !relabels.length;
      const items = relabels.map((change) => this.item(change));
      const older = items.length > LISTED && el("details", {}, el("summary", {}, `${plural(items.length - LISTED, "older change")}`), el("ul", { class: "entries" }, items.splice(LISTED)));
      this.list.replaceChildren(...[el("ul", { class: "entries" }, items), older].filter(Boolean));
    } catch (fault) {
      this.box.hidden = false;
      this.list.replaceChildren(...faultParts(fault));
    }
  }

  item(change) {
    const isDone = change.undone_at && !change.unfinished;
    const undo = may("operate") && !isDone && el("button", { type: "button", class: "quiet", onclick: () => this.undo(change, undo) }, change.unfinished ? "Undo the rest" : "Undo",
      el("span", { class: "unseen" }, `: ${asked(change)}`));
    return el("li", {},
      el("span", { class: "who" }, asked(change), isDone && el("span", { class: "tag" }, "undone")),
      el("span", { class: "what" }, `${plural(change.events, "event")} changed on ${where(change.asked.cameras)}. Applied by ${change.made_by}, `, time(change.made_at, true),
        change.undone_at && [`; undone by ${change.undone_by}, `, time(change.undone_at, true)], "."),
      el("span", { class: "buttons" }, undo));
  }

  async undo(change, button) {
    button.disabled = true;
    try {
      for await (const said of values(`api/relabels/${idOf(change.id)}/undo`, { method: "POST", json: {} })) {
        if (said.error) throw new Fault(500, [said.error]);
        if (said.result) this.undone(said.result);
        else this.said.textContent = `Undoing: ${count(said.done)} of ${plural(said.of, "event")} …`;
      }
      await this.load();
    } catch (fault) {
      button.disabled = false;
      this.said.replaceChildren(...faultParts(fault));
    }
  }

  undone(result) {
    const left = result.left ? ` ${plural(result.left, "clip was", "clips were")} changed again since, and left alone.` : "";
    this.said.textContent = `Undone: ${plural(result.events, "event has its labels", "events have their labels")} of before.${left}`;
  }
}

const where = (cameras) => (cameras === null ? "all cameras" : cameras.length > 3 ? plural(cameras.length, "camera") : `camera ${cameras.map(nameOf).join(", ")}`);

function asked(change) {
  const { labels, mode, threshold } = change.asked;
  const named = labels.map((label) => `“${label}”`).join(", ");
  const what = change.kind === "verdicts" ? "Verdicts" : mode === "replace" ? `${named} instead of the labels of then` : `${named || "The same labels"}${named ? " added" : ""}`;
  return threshold === null ? what : `${what}, threshold ${threshold}`;
}
