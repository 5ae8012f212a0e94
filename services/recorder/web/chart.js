// Draws the probabilities of an event's moments as lines over time, with a cursor that follows the video.

import { svg } from "./dom.js";
import { clock, colour, percent } from "./format.js";

const HEIGHT = 190;
const EDGE = { top: 10, right: 8, bottom: 22, left: 36 };
const MOMENT_GAP_MS = 4000; // a line is not drawn across a longer silence

export class Chart {
  constructor(root, { onSeek, onPoint }) {
    this.root = root;
    this.onSeek = onSeek;
    this.onPoint = onPoint; // told the values under the cursor
    this.at = null;
    this.resized = new ResizeObserver(() => this.draw());
  }

  show(event) {
    const frames = event.frames.filter((part) => part.moments.length);
    this.snippets = event.snippets;
    this.lines = merged(frames);
    const times = [
      ...event.snippets.flatMap((part) => [Date.parse(part.started_at), Date.parse(part.ended_at)]),
    ];
    this.from = Math.min(...times);
    this.to = Math.max(...times, this.from + 1000);
    this.threshold = event.snippets.find((part) => part.threshold !== null)?.threshold ?? null;
    this.resized.disconnect();
    this.resized.observe(this.root);
    this.draw();
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
      "aria-label": `Probabilities over time: ${said.join(", ")}`,
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
    if (this.threshold !== null) {
      parts.push(svg("line", { class: "threshold", x1: EDGE.left, x2: width - EDGE.right, y1: this.y(this.threshold), y2: this.y(this.threshold) },
        svg("title", {}, `A label is accepted from ${percent(this.threshold)}`)));
    }
    for (const [ms, anchor] of [[this.from, "start"], [this.to, "end"]]) {
      parts.push(svg("text", { class: "scale", x: this.x(ms), y: HEIGHT - 6, "text-anchor": anchor }, clock(ms)));
    }
    return parts;
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
    const at = ms ?? this.at;
    if (at !== null) this.onPoint(this.values(at));
  }

  values(ms) {
    const nearest = (points) => points.reduce((a, b) => (Math.abs(b.ms - ms) < Math.abs(a.ms - ms) ? b : a));
    return new Map(this.lines.map((line) => [line.key, nearest(line.points).share]));
  }
}

// One line a label over all snippets; where snippets overlap the later one's moments follow in time.
export function merged(frames) {
  const lines = new Map();
  for (const part of frames) {
    for (const series of part.series) {
      const key = `${series.kind} ${series.label}`;
      if (!lines.has(key)) lines.set(key, { key, label: series.label, kind: series.kind, points: [] });
      series.probabilities.forEach((share, index) => lines.get(key).points.push({ ms: Date.parse(part.moments[index]), share }));
    }
  }
  for (const line of lines.values()) line.points.sort((a, b) => a.ms - b.ms);
  return [...lines.values()];
}
