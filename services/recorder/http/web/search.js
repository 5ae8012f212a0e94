// The search of the whole record: by words, and what other labels would have recorded.

import { Fault, file, read, values } from "./api.js";
import { el } from "./dom.js";
import { count, duration, percent, plural, time } from "./format.js";
import { chip } from "./list.js";
import { cameraName, nameOf } from "./names.js";
import { faultParts, may } from "./site.js";

const LIMIT = 24;
const LOADING_MS = 3000; // how soon a classifier that loads its model is asked again

export class SearchPanel {
  // `scope()` gives {camera}; `onOpen(id)` opens an event; `onShown(bool)` says whether the results take the place of the
  // list; `onHindsight(wish)` and `onClose()` change what is looked for.
  constructor(root, { scope, onOpen, onShown, onHindsight, onClose }) {
    Object.assign(this, { root, scope, onOpen, onShown, onHindsight, onClose });
    this.asking = null;
    this.again = 0;
  }

  hide() {
    this.asking?.abort();
    clearTimeout(this.again);
    this.root.hidden = true;
    this.root.replaceChildren();
    this.onShown(false);
  }

  show(title, ...parts) {
    this.root.hidden = false;
    this.root.replaceChildren(
      el("header", { class: "results-head" },
        el("h2", { tabindex: "-1" }, title),
        el("button", { type: "button", class: "quiet", onclick: () => this.onClose() }, "Back to all events")),
      ...parts);
    this.onShown(true);
  }

  begin() {
    this.asking?.abort();
    clearTimeout(this.again);
    this.asking = new AbortController();
    return this.asking.signal;
  }

  // -- search

  async search(words) {
    const signal = this.begin();
    const title = `“${words}”`;
    const ghosts = Array.from({ length: 6 }, () =>
      el("div", { class: "card ghost" }, el("div", { class: "shot" }), el("div", { class: "about" }, el("i"), el("i"))));
    this.show(title, el("p", { class: "said", role: "status" }, "Searching all pictures …"), el("div", { class: "grid", "aria-hidden": "true" }, ghosts));
    const wanted = new URLSearchParams({ q: words, limit: String(LIMIT) });
    const { camera } = this.scope();
    if (camera) wanted.set("camera", camera);
    try {
      this.found(title, await read(`api/search?${wanted}`, { signal }), camera);
    } catch (fault) {
      if (!signal.aborted) this.failed(title, fault, () => this.search(words));
    }
  }

  found(title, found, camera) {
    const where = camera ? ` of camera ${nameOf(camera)}` : "";
    const parts = [`${plural(found.results.length, "event")}, best first, from ${plural(found.searched, "picture")} in ${found.took_s.toFixed(2)} s.`];
    if (where) parts.push(`Only events${where} are shown.`);
    if (found.left_out) parts.push(`${plural(found.left_out, "picture was", "pictures were")} looked at by another model and left out.`);
    if (!found.is_complete) parts.push("The index is still being built: older events follow.");
    const said = el("p", { class: "said", role: "status" }, parts.join(" "));
    if (!found.results.length) {
      this.show(title, said, el("div", { class: "notice" }, el("h2", {}, "Nothing to search"),
        el("p", {}, `There is no picture${where} that this model has looked at yet.`)));
      return;
    }
    const best = found.results[0].similarity;
    this.show(title, said, el("div", { class: "grid" }, found.results.map((hit) => this.hit(hit, best))));
  }

  hit(hit, best) {
    const { event } = hit;
    const picture = hit.thumbnail_url
      ? el("img", { src: file(hit.thumbnail_url), alt: "", loading: "lazy", decoding: "async" })
      : el("span", { class: "blank" }, "no picture");
    const share = best > 0 ? Math.max(0, hit.similarity / best) : 0;
    return el("article", { class: "card" },
      el("button", { type: "button", onclick: () => this.onOpen(event.id) },
        el("span", { class: "shot" }, picture, el("span", { class: "length" }, `at ${duration(hit.offset_s)} of clip ${hit.snippet + 1}`)),
        el("span", { class: "about" },
          el("span", { class: "labels" }, event.detections.length ? event.detections.map(chip) : el("span", { class: "chip none" }, "no label")),
          el("span", { class: "line" }, cameraName(event.camera), time(hit.captured_at, true),
            el("span", { class: "sky", title: "cosine of picture and words" }, `fit ${hit.similarity.toFixed(3)} (${percent(share)} of the best)`)))));
  }

  // -- labels in hindsight

  form(kept = {}) {
    this.begin();
    const area = (name, rows, hint) => el("textarea", { name, rows, placeholder: hint, spellcheck: "false" });
    const labels = area("labels", 3, "a fox");
    const background = area("background", 2, "as it was then");
    labels.value = kept.labels?.join("\n") ?? "";
    background.value = kept.background?.join("\n") ?? "";
    const days = el("select", { name: "days" }, [[1, "last 24 hours"], [7, "last 7 days"], [30, "last 30 days"], [365, "last year"]].map(
      ([value, text]) => el("option", { value, selected: value === (kept.days ?? 7) }, text)));
    const mode = el("select", { name: "mode" }, [["replace", "instead of the labels of then"], ["add", "beside the labels of then"]].map(
      ([value, text]) => el("option", { value, selected: value === kept.mode }, text)));
    const threshold = el("input", { type: "number", name: "threshold", min: "0.01", max: "0.99", step: "0.01", placeholder: "as then", value: kept.threshold ?? null });
    const form = el("form", { class: "hindsight", "aria-label": "Labels in hindsight" },
      el("label", {}, el("span", {}, "Labels, one a line"), labels),
      el("label", {}, el("span", {}, "Always in view, one a line"), background),
      el("label", {}, el("span", {}, "How"), mode),
      el("label", {}, el("span", {}, "Threshold, 0 to 1"), threshold),
      el("label", {}, el("span", {}, "Events of the"), days),
      el("button", { type: "submit", class: "main" }, "Look back"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
      const wish = { labels: lines(labels.value), background: lines(background.value), mode: mode.value, days: Number(days.value), threshold: threshold.value ? Number(threshold.value) : null };
      if (!wish.labels.length) {
        labels.setCustomValidity("Name at least one label, such as: a fox");
        labels.reportValidity();
        return;
      }
      this.onHindsight(wish);
    });
    labels.addEventListener("input", () => labels.setCustomValidity(""));
    return form;
  }

  askHindsight(kept) {
    this.show("Labels in hindsight",
      el("p", { class: "said" }, "See what the last days would have recorded with other labels. Nothing changes until you apply it."),
      this.form(kept));
    this.root.querySelector("textarea").focus();
  }

  async lookBack(wish, isApplied = false, until = null) {
    const form = this.form(wish);
    const signal = this.begin();
    const bar = el("progress", { max: "1", "aria-label": "Progress" });
    this.show("Labels in hindsight", form, el("p", { class: "said", role: "status" }, isApplied ? "Writing …" : "Looking back …"), bar);
    const ends = until ?? new Date();
    const question = {
      labels: wish.labels, background: wish.background.length ? wish.background : null, threshold: wish.threshold, mode: wish.mode,
      camera: this.scope().camera || null, apply: isApplied, until: ends.toISOString(),
      since: new Date(ends.getTime() - wish.days * 86400000).toISOString(),
    };
    try {
      for await (const said of values("api/hindsight", { method: "POST", json: question, signal })) {
        if (said.error) throw new Fault(500, [said.error]);
        if (said.result) this.compared(wish, said.result, ends);
        else bar.value = said.of ? said.done / said.of : 1;
      }
    } catch (fault) {
      if (!signal.aborted) this.failed("Labels in hindsight", fault, () => this.lookBack(wish, isApplied, until), this.form(wish));
    }
  }

  compared(wish, result, ends) {
    const told = result.applied
      ? `Applied: ${plural(result.written, "clip has", "clips have")} new labels. The old answers are kept in the table past_answers.`
      : `${count(result.changed)} of ${plural(result.events, "event")} would have other labels.`;
    const left = result.left_out ? ` ${plural(result.left_out, "clip was", "clips were")} looked at by another model: nothing changes there.` : "";
    const counts = result.labels.length > 0 && el("table", { class: "counts" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Events with"), el("th", { scope: "col" }, "recorded"), el("th", { scope: "col" }, "in hindsight"))),
      el("tbody", {}, result.labels.map((row) => el("tr", {}, el("th", { scope: "row" }, row.label), el("td", {}, count(row.recorded)), el("td", {}, count(row.hindsight))))));
    const rows = result.shown.map((one) => el("li", { class: "pair" },
      el("button", { type: "button", onclick: () => this.onOpen(one.event_id) },
        one.thumbnail_url ? el("img", { src: file(one.thumbnail_url), alt: "", loading: "lazy" }) : el("span", { class: "blank" }, "no picture"),
        el("span", { class: "line" }, cameraName(one.camera), time(one.started_at, true))),
      side("Recorded", one.recorded), side(result.applied ? "Now" : "In hindsight", one.hindsight)));
    const more = result.changed > result.shown.length && el("p", { class: "said" }, `The newest ${result.shown.length} are shown.`);
    const apply = !result.applied && may("operate") && result.events > result.left_out && el("div", { class: "apply" });
    if (apply) this.offer(apply, wish, result, ends);
    this.show("Labels in hindsight", this.form(wish), el("p", { class: "said", role: "status" }, told + left), ...[counts, apply, rows.length > 0 && el("ul", { class: "pairs" }, rows), more].filter(Boolean));
  }

  // Applying takes two presses: the second names what is replaced.
  offer(box, wish, result, ends) {
    const ask = el("button", { type: "button", class: "main" }, "Apply to the record …");
    ask.addEventListener("click", () => {
      const sure = el("button", { type: "button", class: "danger", onclick: () => this.lookBack(wish, true, ends) }, "Replace the labels");
      box.replaceChildren(
        el("p", {}, `This replaces the labels of ${plural(result.snippets - result.left_out, "clip")} in ${plural(result.events, "event")}. The old answers are kept.`),
        sure, el("button", { type: "button", class: "quiet", onclick: () => this.offer(box, wish, result, ends) }, "Cancel"));
      sure.focus();
    });
    box.replaceChildren(ask);
  }

  failed(title, fault, again, ...above) {
    const isLoading = fault.status === 503 && fault.lines[0]?.found.includes("loading");
    const heading = isLoading ? "The model is still loading" : fault.status === 503 ? "No classifier answers" : "This did not work";
    this.show(title, ...above, el("div", { class: "notice", role: "alert" },
      el("h2", {}, heading), ...faultParts(fault),
      isLoading ? el("p", {}, "The page asks again by itself.") : el("button", { type: "button", onclick: again }, "Try again")));
    if (isLoading) this.again = setTimeout(again, LOADING_MS);
  }
}

function side(title, said) {
  return el("div", { class: "side" }, el("h3", {}, title),
    el("span", { class: "labels" }, said.length ? said.map(chip) : el("span", { class: "chip none" }, "no label")));
}
