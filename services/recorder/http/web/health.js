// How the pipeline is: a lamp in the head, and a panel with cameras, services, queue and disk. Asks again and again.

import { read } from "./api.js";
import { el } from "./dom.js";
import { bytes, clock, count, day, duration } from "./format.js";
import { learn, named } from "./names.js";

const OPEN_MS = 3000;
const SHUT_MS = 15000;
const DEADLINE_MS = 8000;
const GAPS = { "camera.away": "away", "motion.gone": "gone", "classifier.gone": "gone", "disk.full": "full", "recorder.unready": "not ready", "target.away": "not told" };
const STATES = { ready: "there", loading: "loading its model" };
const STREAMS = { "snippets.v1": "for the classifier", "labels.v1": "for the recorder", "media.v1": "clips of both" };

export class Health {
  constructor(button, panel) {
    this.button = button;
    this.panel = panel;
    this.said = null; // the last answer
    this.gaps = null; // the newest, read while the panel is shown
    this.fault = ""; // why there is no newer one
    this.drawn = ""; // what is on the page: only news is drawn, and said by screen readers
    this.timer = 0;
    button.addEventListener("click", () => this.show(panel.hidden));
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.show(false);
    });
    this.draw();
    this.ask();
  }

  show(isShown) {
    this.panel.hidden = !isShown;
    this.button.setAttribute("aria-expanded", String(isShown));
    if (isShown) this.ask();
    else this.button.focus();
  }

  async ask() {
    clearTimeout(this.timer);
    try {
      this.said = await read("api/health", { deadline_ms: DEADLINE_MS });
      learn(this.said.cameras);
      if (!this.panel.hidden) this.gaps = (await newestGaps()) ?? this.gaps;
      this.fault = "";
    } catch (fault) {
      this.fault = fault.message;
      learn([]);
    }
    this.draw();
    clearTimeout(this.timer);
    // what was wrong at the start is soon over: that must not stand there for long
    const isWatched = !this.panel.hidden || this.fault || this.said.problems.length;
    this.timer = setTimeout(() => this.ask(), isWatched ? OPEN_MS : SHUT_MS);
  }

  // -- what is drawn

  summary() {
    if (this.fault) return ["off", "Recorder does not answer"];
    if (!this.said) return ["connecting", "Looking"];
    const { problems } = this.said;
    if (!problems.length) return ["live", "All well"];
    const state = problems.some((one) => one.severity === "bad") ? "off" : "connecting";
    return [state, problems.length === 1 ? "1 problem" : `${problems.length} problems`];
  }

  draw() {
    const [state, text] = this.summary();
    const drawn = JSON.stringify([this.said, this.fault, this.gaps]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.button.dataset.state = state;
    this.button.querySelector(".said").textContent = text;
    this.button.setAttribute("aria-label", `Pipeline: ${text}`);
    const hadFocus = this.panel.contains(document.activeElement);
    this.panel.replaceChildren(
      el("div", { class: "health-head" }, el("h2", {}, "Pipeline"),
        el("button", { type: "button", class: "close", "aria-label": "Close the pipeline's health (Esc)", onclick: () => this.show(false) }, "✕")),
      ...this.body());
    if (hadFocus) this.panel.querySelector(".close").focus();
  }

  body() {
    if (!this.said) {
      return [this.fault
        ? el("p", { class: "problem bad", role: "alert" }, `The pipeline's state cannot be read: ${this.fault}. The page keeps trying.`)
        : el("p", { class: "soft" }, "Looking at cameras, services and disk …")];
    }
    const { problems, cameras, services, queues, disk } = this.said;
    return [
      this.fault && el("p", { class: "problem bad", role: "alert" }, `No news: ${this.fault}. Below is the last known state; the page keeps trying.`),
      problems.length
        ? el("ul", { class: "problems", "aria-label": "Problems" }, problems.map((one) => el("li", { class: `problem ${one.severity}` }, one.text)))
        : el("p", { class: "fine" }, "Everything runs and keeps up."),
      el("div", { class: "tiles" },
        tile("Cameras", cameras.length ? cameras.map((one) => row(named(one.id), one.state, cameraLamp(one.state), one.message)) : [none("No camera is known.")]),
        tile("Services", [
          row("recorder", this.fault ? "no answer" : this.said.is_ready ? "ready" : "not ready", !this.fault && this.said.is_ready ? "good" : "bad"),
          ...services.map((one) => row(one.service, one.is_silent ? `silent for ${Math.round(one.age_s)} s` : STATES[one.state] ?? one.state, one.is_silent ? "bad" : one.state === "loading" ? "warn" : "good", [one.name, one.about].filter(Boolean).join(": "))),
        ]),
        tile("Queue", queues.length ? queues.map((one) => row(STREAMS[one.stream] ?? one.stream, `${count(one.waiting)} waiting`, one.dead ? "warn" : "good", one.dead ? `${count(one.dead)} could not be handled` : one.oldest_s >= 1 ? `oldest ${Math.round(one.oldest_s)} s` : "")) : [none("The queue has not been read yet.")]),
        tile("Disk", disk ? [
          row("free", bytes(disk.free_bytes), problems.some((one) => one.text.startsWith("The disk")) ? "bad" : "good", `of ${bytes(disk.total_bytes)}`),
          el("meter", { min: "0", max: String(disk.total_bytes), value: String(disk.total_bytes - disk.free_bytes), "aria-label": "Used of the clips' disk" }),
          ...lost(this.said.dropped_clips),
        ] : [none("The disk cannot be read.")]),
        tile("Latest gaps", this.gaps?.length ? this.gaps.map(gapRow) : [none(this.gaps ? "Nothing was missed." : "Not read yet.")])),
    ].filter(Boolean);
  }
}

const cameraLamp = (state) => ({ running: "good", ended: "good", connecting: "warn", disabled: "warn" })[state] ?? "bad";
const tile = (name, parts) => el("section", { class: "tile", "aria-label": name }, el("h3", {}, name), parts);
const none = (text) => el("p", { class: "soft" }, text);

function row(name, said, lamp, more = "") {
  return el("div", { class: "row" }, el("span", { class: `lamp ${lamp}`, "aria-hidden": "true" }),
    el("span", { class: "name" }, name), el("span", { class: "what" }, said), more && el("span", { class: "more-said" }, more));
}

async function newestGaps() {
  return read("api/gaps?limit=8", { deadline_ms: DEADLINE_MS }).then((said) => said.gaps, () => null);
}

function gapRow(gap) {
  const length = gap.duration_s === null ? "lasts" : `for ${duration(gap.duration_s)}`;
  return row(gap.camera ? named(gap.camera) : gap.subject, `${GAPS[gap.kind] ?? gap.kind} ${length}`, gap.duration_s === null ? "bad" : "warn",
    `${day(gap.started_at)}, ${clock(gap.started_at)}: ${gap.reason}`);
}

function lost(dropped) {
  return Object.entries(dropped).filter(([reason, n]) => n && reason !== "none")
    .map(([reason, n]) => row("clips lost", count(n), "warn", { full: "no room, and the queue was full", gone: "gone from the queue", broken: "could not be read", refused: "refused where clips are kept" }[reason] ?? reason));
}
