// Draws an event's moments as lines over time, with a cursor that follows the video: the scores that decided, with the
// background they had to exceed and the threshold they had to reach; or, on request, the model's softmax shares.

import { svg } from "./dom.js";
import { clock, colour, percent } from "./format.js";

const HEIGHT = 190;
const EDGE = { top: 10, right: 8, bottom: 22, left: 36 };
const MOMENT_GAP_MS = 4000; // a line is not drawn across a longer silence

export class Chart {
  constructor(root, { onSeek, onPoint, onHover }) {
    this.root = root;
    this.onSeek = onSeek;
    this.onPoint = onPoint; // told the values under the cursor
    this.onHover = onHover; // told the time under the pointer, null: it is elsewhere
    this.at = null;
    this.showsShares = false;
    this.resized = new ResizeObserver(() => this.draw());
  }

  show(event) {
    const frames = event.frames.filter((part) => part.moments.length);
    this.snippets = event.snippets;
    this.hasScores = frames.some((part) => part.series.some((series) => series.scores));
    this.lines = this.measure === "share" ? sharesOf(frames) : scoresOf(frames);
    const times = [
      ...event.snippets.flatMap((part) => [Date.parse(part.started_at), Date.parse(part.ended_at)]),
    ];
    this.from = Math.min(...times);
    this.to = Math.max(...times, this.from + 1000);
    this.resized.disconnect();
    this.resized.observe(this.root);
    this.draw();
  }

  // What is drawn. Events of classifiers that sent no scores have shares only.
  get measure() {
    return this.showsShares || !this.hasScores ? "share" : "score";
  }

  close() {
    this.resized.disconnect();
  }

  draw() {
    const width = Math.max(this.root.clientWidth, 240);
    const plot = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    this.x = (ms) => EDGE.left + ((ms - this.from) / (this.to - this.from)) * plot.width;
    this.y = (share) => EDGE.top + (1 - share) * plot.height;
    this.ms = (x) => this.from + ((x - EDGE.left) / plot.width) * (this.to - this.from);
    const said = this.lines.map((line) => `${line.label} up to ${percent(Math.max(...line.points.map((p) => p.share)))}`);
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img",
      "aria-label": `${this.measure === "share" ? "Shares" : "Scores"} over time: ${said.join(", ")}`,
      onpointermove: (event) => this.point(this.ms(event.offsetX)),
      onpointerleave: () => this.point(null),
      onclick: (event) => this.onSeek(this.ms(event.offsetX)),
    });
    picture.append(...this.clips(plot), ...this.grid(width), ...this.curves());
    this.cursor = svg("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
    picture.append(this.cursor);
    this.root.replaceChildren(picture);
    this.follow(this.at);
  }

  clips(plot) {
    return this.snippets.map((part, index) => svg("rect", {
      class: index % 2 ? "clip odd" : "clip", y: EDGE.top, height: plot.height,
      x: this.x(Date.parse(part.started_at)),
      width: Math.max(this.x(Date.parse(part.ended_at)) - this.x(Date.parse(part.started_at)), 1),
    }));
  }

  grid(width) {
    const parts = [];
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(svg("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: this.y(share), y2: this.y(share) }));
      if (share % 0.5 === 0) parts.push(svg("text", { class: "scale", x: EDGE.left - 6, y: this.y(share) + 4, "text-anchor": "end" }, percent(share)));
    }
    if (this.measure === "score") parts.push(...this.thresholds());
    for (const [ms, anchor] of [[this.from, "start"], [this.to, "end"]]) {
      parts.push(svg("text", { class: "scale", x: this.x(ms), y: HEIGHT - 6, "text-anchor": anchor }, clock(ms)));
    }
    return parts;
  }

  // Each clip has the threshold that held for it: it may have been changed meanwhile.
  thresholds() {
    return this.snippets.map((part) => svg("line", {
      class: "threshold", y1: this.y(part.threshold), y2: this.y(part.threshold),
      x1: this.x(Date.parse(part.started_at)), x2: this.x(Date.parse(part.ended_at)),
    }, svg("title", {}, `A label is accepted from ${percent(part.threshold)}`)));
  }

  curves() {
    return this.lines.flatMap((line) => {
      let path = "";
      let last = -Infinity;
      for (const point of line.points) {
        path += `${point.ms - last > MOMENT_GAP_MS ? "M" : "L"}${this.x(point.ms).toFixed(1)} ${this.y(point.share).toFixed(1)}`;
        last = point.ms;
      }
      const kind = `curve ${line.kind === "target" ? colour(line.label) : line.kind}`;
      return [
        svg("path", { class: kind, d: path }, svg("title", {}, line.label)),
        ...(line.kind === "target" ? line.points.map((p) => svg("circle", { class: kind, cx: this.x(p.ms), cy: this.y(p.share), r: 2 })) : []),
      ];
    });
  }

  follow(ms) {
    this.at = ms;
    const isShown = ms !== null && this.cursor;
    this.cursor?.classList.toggle("shown", Boolean(isShown));
    if (isShown) {
      this.cursor.setAttribute("x1", this.x(ms));
      this.cursor.setAttribute("x2", this.x(ms));
      if (!this.pointed) this.onPoint(this.values(ms));
    }
  }

  point(ms) {
    this.pointed = ms !== null;
    this.onHover(ms);
    const at = ms ?? this.at;
    if (at !== null) this.onPoint(this.values(at));
  }

  values(ms) {
    const nearest = (points) => points.reduce((a, b) => (Math.abs(b.ms - ms) < Math.abs(a.ms - ms) ? b : a));
    return new Map(this.lines.map((line) => [line.key, nearest(line.points).share]));
  }
}

// The model's softmax shares: one line a text, and one for all that nobody named.
export function sharesOf(frames) {
  return merged(frames, (series) => [{ key: `${series.kind} ${series.label}`, label: series.label, kind: series.kind, values: series.probabilities }]);
}

// The averaged score of each label, and the averaged background beside the label that scored best.
export function scoresOf(frames) {
  const scores = merged(frames, (series) => (series.scores ? [{ key: series.label, label: series.label, kind: "target", values: series.scores }] : []));
  const peak = (line) => Math.max(...line.points.map((point) => point.share));
  if (!scores.length) return scores;
  const best = scores.reduce((a, b) => (peak(b) > peak(a) ? b : a)).label;
  const background = merged(frames, (series) => (series.scores && series.label === best ? [{ key: " background", label: `background beside ${best}`, kind: "background", values: series.backgrounds }] : []));
  return [...scores, ...background];
}

// Joins what `linesOf` makes of each series over all snippets; where snippets overlap, moments follow in time.
function merged(frames, linesOf) {
  const lines = new Map();
  for (const part of frames) {
    for (const { key, label, kind, values } of part.series.flatMap(linesOf)) {
      if (!lines.has(key)) lines.set(key, { key, label, kind, points: [] });
      values.forEach((share, index) => lines.get(key).points.push({ ms: Date.parse(part.moments[index]), share }));
    }
  }
  for (const line of lines.values()) line.points.sort((a, b) => a.ms - b.ms);
  return [...lines.values()];
}
