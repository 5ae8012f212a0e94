// One event: its clips one after the other, the probabilities below with a cursor that follows, and the facts.

import { Boxes } from "./boxes.js";
import { Chart } from "./chart.js";
import { at, file, idOf, read } from "./api.js";
import { el } from "./dom.js";
import { bytes, clock, colour, duration, percent, time, weatherFacts } from "./format.js";
import { labelChanges } from "./label_changes.js";
import { likeButton } from "./like.js";
import { chip } from "./list.js";
import { nameOf, named } from "./names.js";
import { sharing } from "./share.js";
import { faultParts } from "./site.js";
import { judging } from "./verdict.js";
import { Why } from "./why.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const AGAIN_MS = 5000;

export class Detail {
  // `onClose()`: the reader wants it closed; `onClosed()`: it is; `onLike(like)`: what looks like it is wanted.
  constructor(root, { onClose, onClosed, onLike, stars }) {
    Object.assign(this, { root, onClose, onClosed, onLike, stars, id: null, fetching: null });
  }

  get isOpen() {
    return this.id !== null;
  }

  async open(id) {
    this.stop();
    this.id = id;
    this.root.hidden = false;
    this.root.replaceChildren(this.head("Loading"), el("div", { class: "stage ghost" }));
    this.root.scrollTop = 0;
    await this.load(true);
  }

  // Reads the event again; the video goes on when its clips are the same.
  async load(isFirst = false) {
    this.fetching?.abort();
    const request = new AbortController();
    this.fetching = request;
    try {
      const said = await read(`api/events/${idOf(this.id)}`, { signal: request.signal });
      if (isFirst || !this.event) this.show(said);
      else this.update(said);
    } catch (fault) {
      if (request.signal.aborted) return;
      if (isFirst) this.fail(fault);
    }
  }

  close() {
    if (!this.isOpen) return;
    this.stop();
    this.id = null;
    this.root.hidden = true;
    this.root.replaceChildren();
    this.onClosed();
  }

  toggle() {
    if (!this.video) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  // Whether a key says something of the event.
  press(key) {
    return this.judge?.press(key) ?? false;
  }

  stop() {
    this.fetching?.abort();
    this.judge?.close();
    this.chart?.close();
    this.why?.close();
    this.boxes?.close();
    cancelAnimationFrame(this.frame);
    if (this.video) {
      this.video.pause();
      this.video.removeAttribute("src");
      this.video.load();
    }
    this.video = this.chart = this.event = null;
  }

  fail(fault) {
    this.root.replaceChildren(this.head("Event"), el("div", { class: "notice" },
      el("h2", {}, "This event cannot be shown"), ...faultParts(fault),
      el("button", { type: "button", onclick: () => this.open(this.id) }, "Try again")));
    if (fault.status === 0) this.retry(this.id);
  }

  // Nobody answered: asks again by itself, as long as this event is wanted.
  retry(id) {
    setTimeout(() => { if (this.id === id && !this.event) this.load(true); }, AGAIN_MS);
  }

  head(title, event = null) {
    return el("header", { class: "detail-head" },
      el("h2", { tabindex: "-1" }, title, event && time(event.started_at, true)),
      event && this.stars.button(event),
      el("button", { type: "button", class: "close", "aria-label": "Close the event (Esc)", title: "Close (Esc)", onclick: () => this.onClose() }, "✕"));
  }

  show(event) {
    this.event = event;
    this.clips = event.snippets.filter((part) => part.clip_url);
    this.playing = 0;
    this.stage = el("div", { class: "stage" });
    this.strip = el("div", { class: "strip", role: "group", "aria-label": "Clips of this event" });
    this.plot = el("div", { class: "plot" });
    this.legend = el("ul", { class: "legend", "aria-label": "Values at the cursor" });
    this.measure = el("p", { class: "measure" });
    this.facts = el("div", { class: "facts" });
    this.share = sharing(event.id);
    this.judge = judging(event);
    this.chips = el("div", { class: "labels" });
    this.boxes = new Boxes();
    this.seen = [];
    this.why = new Why({ onSeek: (ms) => this.seek(ms), onSaid: (snippets) => this.saw(snippets) });
    this.root.replaceChildren(this.head(el("a", { href: at(`cameras/${idOf(event.camera)}`), title: "The camera, live" }, named(event.camera)), event), this.why.sentence, this.stage, this.measure, this.plot, this.legend, this.strip, this.why.panel, this.chips, ...(this.judge ? [this.judge.root] : []), this.facts, ...(this.share ? [this.share] : []));
    this.chart = new Chart(this.plot, { onSeek: (ms) => this.seek(ms), onPoint: (values) => this.say(values), onHover: (ms) => this.hover(ms) });
    this.player();
    this.describe();
    this.why.load(event.id);
    this.root.querySelector("h2").focus({ preventScroll: true });
  }

  update(event) {
    const clips = event.snippets.filter((part) => part.clip_url);
    const isSame = clips.length >= this.clips.length && this.clips.every((part, i) => part.clip_url === clips[i].clip_url);
    if (!isSame) {
      this.stop();
      this.show(event);
      return;
    }
    const hadNone = !this.clips.length;
    if (event.updated_at !== this.event.updated_at) this.why.load(event.id);
    this.event = event;
    this.clips = clips;
    if (hadNone && clips.length) this.player();
    this.describe();
  }

  player() {
    if (!this.clips.length) {
      this.stage.replaceChildren(el("p", { class: "blank" }, "The clip of this event could not be kept."));
      return;
    }
    this.video = el("video", { controls: true, playsinline: true, preload: "auto", "aria-label": `Clip of camera ${nameOf(this.event.camera)}` });
    this.video.muted = true;
    this.video.addEventListener("ended", () => this.play(this.playing + 1));
    this.video.addEventListener("play", () => this.follow());
    this.video.addEventListener("seeked", () => this.follow());
    this.video.addEventListener("error", () => this.unplayable());
    this.boxes.over(this.video);
    this.stage.replaceChildren(this.video, this.boxes.layer);
    const best = this.clips.findIndex((part) => part.clip_url === this.event.clip_url);
    this.loadClip(this.event.is_open ? this.clips.length - 1 : Math.max(this.event.n_snippets > 1 ? 0 : best, 0), !STILL.matches);
  }

  play(index) {
    if (index < this.clips.length) this.loadClip(index, true);
  }

  loadClip(index, andPlay, second = 0) {
    this.playing = index;
    const part = this.clips[index];
    this.video.poster = file(part.thumbnail_url) ?? "";
    this.video.src = file(part.clip_url);
    if (second) this.video.currentTime = second;
    this.look();
    if (andPlay) this.video.play().catch(() => {});
    this.buttons();
    this.chart?.follow(Date.parse(part.started_at) + second * 1000);
  }

  unplayable() {
    if (!this.video?.getAttribute("src")) return;
    this.stage.querySelector(".fault")?.remove();
    this.stage.append(el("p", { class: "fault", role: "alert" }, "This clip cannot be played. ", el("a", { href: file(this.clips[this.playing].clip_url), download: true }, "Save it"), " to look at it elsewhere."));
  }

  follow() {
    cancelAnimationFrame(this.frame);
    const step = () => {
      if (!this.video) return;
      this.chart.follow(Date.parse(this.clips[this.playing].started_at) + this.video.currentTime * 1000);
      this.boxes.follow(this.video.currentTime);
      if (!this.video.paused) this.frame = requestAnimationFrame(step);
    };
    step();
  }

  // Takes the pictures that were looked at, by snippet.
  saw(snippets) {
    this.seen = snippets;
    this.look();
  }

  // Shows the boxes of the clip that plays.
  look() {
    const part = this.clips[this.playing];
    this.boxes.show(this.seen.find((one) => one.snippet === part?.snippet)?.pictures ?? []);
    this.boxes.follow(this.video?.currentTime);
  }

  // Shows where the things were at the time that the pointer is on, if it is in the clip that plays.
  hover(ms) {
    if (!this.video) return;
    const part = this.clips[this.playing];
    const isInside = ms !== null && ms >= Date.parse(part.started_at) && ms <= Date.parse(part.ended_at);
    if (isInside) this.boxes.follow((ms - Date.parse(part.started_at)) / 1000, true);
    else this.boxes.follow(this.video.currentTime);
  }

  seek(ms) {
    const within = (part) => ms >= Date.parse(part.started_at) && ms <= Date.parse(part.ended_at);
    const index = this.clips.findIndex(within);
    if (index < 0) return;
    const second = (ms - Date.parse(this.clips[index].started_at)) / 1000;
    if (index === this.playing) this.video.currentTime = second;
    else this.loadClip(index, !this.video.paused, second);
  }

  buttons() {
    this.strip.hidden = this.event.snippets.length < 2;
    this.strip.replaceChildren(...this.event.snippets.map((part) => {
      const index = this.clips.indexOf(part);
      return el("button", {
        type: "button", disabled: index < 0, "aria-pressed": String(index === this.playing),
        title: `${clock(part.started_at)}${part.accepted.length ? `: ${part.accepted.join(", ")}` : ""}`,
        onclick: () => this.play(index),
      }, part.thumbnail_url ? el("img", { src: file(part.thumbnail_url), alt: "", loading: "lazy" }) : null,
      el("span", {}, index < 0 ? `Clip ${part.snippet + 1} lost` : `Clip ${part.snippet + 1}`));
    }));
  }

  // Shows whether the event is kept; the button keeps the focus.
  keep(isProtected) {
    if (!this.event) return;
    this.event = { ...this.event, is_protected: isProtected };
    const before = this.root.querySelector(".detail-head .star");
    const hadFocus = before === document.activeElement;
    const button = this.stars.button(this.event);
    before?.replaceWith(button);
    if (hadFocus) button.focus();
  }

  describe() {
    const event = this.event;
    this.keep(event.is_protected);
    this.buttons();
    this.chips.replaceChildren(...(event.detections.length ? event.detections.map(chip) : [el("span", { class: "chip none" }, "no label")]),
      likeButton({ event: event.id }, this.onLike, "this event"));
    const hasFrames = event.frames.some((part) => part.moments.length);
    this.measure.hidden = this.plot.hidden = this.legend.hidden = !hasFrames;
    if (hasFrames) this.draw();
    this.facts.replaceChildren(...this.about());
  }

  draw() {
    this.chart.show(this.event);
    this.key();
    const isShare = this.chart.measure === "share";
    const said = isShare
      ? "Shares: all texts of a moment sum to 100%."
      : "Averaged scores: a label is accepted from the dotted line.";
    const older = "The scores of this event were not kept. ";
    const toggle = this.chart.hasScores && el("button", {
      type: "button", class: "quiet", onclick: () => {
        this.chart.showsShares = !this.chart.showsShares;
        this.draw();
        this.measure.querySelector("button").focus();
      },
    }, isShare ? "Show scores" : "Show shares");
    this.measure.replaceChildren(...[this.chart.hasScores ? said : older + said, " ", toggle].filter(Boolean));
  }

  key() {
    this.values = new Map();
    this.legend.replaceChildren(...this.chart.lines.map((line) => {
      const value = el("span", { class: "share" }, "");
      this.values.set(line.key, value);
      const name = line.kind === "other" ? "something else" : line.label;
      return el("li", {}, el("i", { class: `swatch ${line.kind === "target" ? colour(line.label) : line.kind}` }), name, " ", value);
    }));
    this.chart.follow(this.chart.at);
  }

  say(values) {
    for (const [key, share] of values) this.values?.get(key)?.replaceChildren(percent(share));
  }

  about() {
    const event = this.event;
    const rows = [
      ["Camera", [named(event.camera), " · ", el("a", { href: at(`cameras/${idOf(event.camera)}`) }, "live and settings")]],
      ["Started", time(event.started_at, true)],
      ["Lasted", event.is_open ? `${duration(event.duration_s)} so far` : duration(event.duration_s)],
      ...event.detections.map((found) => [found.label, [`${percent(found.probability)}, `, time(found.started_at), " to ", time(found.ended_at)]]),
      ["Motion", percent(event.motion_peak)],
      ["Model", [...new Set(event.snippets.map((part) => part.model))].join(", ")],
      event.latitude !== null && ["Place", `${event.latitude.toFixed(4)}, ${event.longitude.toFixed(4)}`],
      ["Clips", this.clips.length ? this.clips.map((part, i) => [i ? ", " : "", el("a", { href: file(part.clip_url), download: `${event.camera}-${event.started_at.slice(0, 19).replaceAll(":", "")}-${part.snippet}.mp4` }, `save ${part.snippet + 1} (${bytes(part.clip_bytes)})`)]).flat() : "none"],
    ].filter(Boolean);
    const parts = [el("dl", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))))];
    if (event.label_changes.length) parts.push(labelChanges(event.label_changes));
    if (event.weather) {
      const sky = event.weather;
      parts.push(el("section", { class: "weather", "aria-label": "Weather" },
        el("h3", {}, el("span", { class: "icon", "aria-hidden": "true" }, sky.icon), " ", sky.words),
        el("dl", {}, weatherFacts(sky).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
        el("p", { class: "source" }, "Observed ", time(sky.observed_at), ". ", sky.attribution_url ? el("a", { href: sky.attribution_url, rel: "noreferrer" }, sky.attribution) : sky.attribution)));
    }
    return parts;
  }
}
