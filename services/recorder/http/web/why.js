// Why an event's labels were accepted or not: the sentence, the numbers of each label, and the moments that decided.

import { file, idOf, read } from "./api.js";
import { cut } from "./crops.js";
import { el } from "./dom.js";
import { clock, colour, percent } from "./format.js";

const FEW = 5; // labels that are listed at first

export class Why {
  // `onSeek(ms)`: the reader wants to see this time; `onSaid(pictures)`: pictures by snippet, null: not known.
  constructor({ onSeek, onSaid }) {
    Object.assign(this, { onSeek, onSaid, said: null, chosen: null, showsAll: false });
    this.sentence = el("p", { class: "reason", role: "status" });
    this.panel = el("section", { class: "why", "aria-label": "Why", hidden: true });
  }

  async load(id) {
    this.close();
    const request = new AbortController();
    this.request = request;
    try {
      this.said = await read(`api/events/${idOf(id)}/why`, { signal: request.signal });
    } catch (fault) {
      if (request.signal.aborted) return;
      this.sentence.textContent = `Why cannot be said now: ${fault.message}`;
      return;
    }
    this.onSaid(this.said.snippets);
    this.show();
  }

  close() {
    this.request?.abort();
    this.cutting?.abort();
  }

  show() {
    const { said } = this;
    if (this.sentence.textContent !== said.sentence) this.sentence.textContent = said.sentence;
    this.panel.hidden = !said.labels.length;
    if (!said.labels.some((one) => one.label === this.chosen)) this.chosen = said.labels[0]?.label ?? null;
    const focused = [...this.panel.querySelectorAll("button")].indexOf(document.activeElement);
    this.moments = el("div", { class: "moments" });
    this.panel.replaceChildren(this.table(), this.moments, ...said.missing.map((text) => el("p", { class: "hint" }, text)));
    this.cut();
    if (focused >= 0) this.panel.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
  }

  choose(label) {
    this.chosen = label;
    this.show();
  }

  table() {
    const { labels } = this.said;
    const listed = this.showsAll ? labels : labels.filter((one, index) => index < FEW || one.is_accepted || one.label === this.chosen);
    const rows = listed.map((one) => el("tr", { class: one.is_accepted ? "accepted" : "" },
      el("th", { scope: "row" }, el("button", {
        type: "button", "aria-pressed": String(one.label === this.chosen), title: one.sentence, onclick: () => this.choose(one.label),
      }, el("i", { class: `swatch ${colour(one.label)}` }), one.label)),
      el("td", {}, percent(one.peak)),
      el("td", { title: one.threshold_reason || null }, percent(one.threshold), one.threshold_reason && "*"),
      el("td", {}, one.background === null ? "" : percent(one.background)),
      el("td", {}, ranFor(one)),
      el("td", { class: "against" }, against(one.rival))));
    const reason = listed.find((one) => one.threshold_reason)?.threshold_reason;
    const more = labels.length - listed.length;
    return el("div", {},
      el("table", { class: "reasons" },
        el("caption", { class: "unseen" }, "Labels, with what was compared"),
        el("thead", {}, el("tr", {}, ["Label", "Score", "Wanted", "Background", "Held", "Fitted beside it"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, rows)),
      reason && el("p", { class: "hint" }, `* ${reason}`),
      more > 0 && el("button", { type: "button", class: "quiet", onclick: () => { this.showsAll = true; this.show(); } }, `Show ${more} more`));
  }

  // The pictures of the chosen label's moments, and under each the label's score there.
  cut() {
    this.cutting?.abort();
    const one = this.said.labels.find((label) => label.label === this.chosen);
    if (!one?.moments.length) return;
    this.cutting = new AbortController();
    const wanted = [];
    const buttons = one.moments.map((moment) => {
      const canvas = el("canvas", { width: 144, height: 144, "aria-hidden": "true" });
      wanted.push({ second: moment.offset_s, box: moment.box, canvas });
      const score = moment.own_score ?? moment.score;
      return el("button", {
        type: "button", onclick: () => this.onSeek(Date.parse(moment.at)),
        title: [clock(moment.at), moment.rival && `beside it: ${against(moment.rival)}`].filter(Boolean).join(", "),
      }, canvas, el("span", {}, score === null ? clock(moment.at) : percent(score), " ", el("span", { class: "unseen" }, `${one.label} at ${clock(moment.at)}`)));
    });
    this.moments.replaceChildren(
      el("h3", {}, one.is_accepted ? "What decided: " : "What came nearest: ", one.label),
      el("div", { class: "crops", role: "group", "aria-label": "Moments that decided" }, buttons));
    const clip = this.said.snippets.find((part) => part.snippet === one.snippet)?.clip_url;
    const missing = (canvas) => canvas.replaceWith(el("span", { class: "blank" }, "no picture"));
    if (clip) cut(file(clip), wanted, { signal: this.cutting.signal, missing });
    else for (const { canvas } of wanted) missing(canvas);
  }
}

function ranFor({ run }) {
  if (!run) return "";
  return run.n_moments === 1 ? "1 moment" : `${run.duration_s.toFixed(1)} s`;
}

function against(rival) {
  if (!rival) return "";
  const name = rival.name || (rival.kind === "background" ? "the background" : "something else");
  if (rival.took === null) return `${name}, by share`;
  return rival.is_better ? `${name}, took ${percent(rival.took)}` : name;
}
