// The score as moving lines, one for each set of settings, over the last minute.

import { fitted } from "./overlay.js";

const SPAN_S = 60;
const POINTS_MAX = 2400;

export class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.lines = [[], [], []];
    this.saidAt = 0;
  }

  add(t, scores) {
    scores.forEach((score, lane) => {
      const line = this.lines[lane];
      if (line.length && t < line.at(-1)[0]) line.length = 0; // a recording began again
      line.push([t, score]);
      while (line.length && (line[0][0] < t - SPAN_S || line.length > POINTS_MAX)) line.shift();
    });
    for (const line of this.lines.slice(scores.length)) line.length = 0;
    this.now = t;
  }

  draw() {
    const { pen, width, height, ratio } = fitted(this.canvas);
    const style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(name);
    const [left, foot] = [34 * ratio, 6 * ratio];
    const y = (score) => height - foot - score * (height - 2 * foot);
    pen.clearRect(0, 0, width, height);
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    for (const score of [0, 0.5, 1]) {
      pen.fillStyle = colour("--soft");
      pen.fillText(score.toFixed(1), 2 * ratio, y(score));
      pen.fillStyle = colour("--edge");
      pen.fillRect(left, y(score), width - left, ratio);
    }
    [2, 1, 0].forEach((lane) => {
      pen.beginPath();
      let last = -Infinity;
      for (const [t, score] of this.lines[lane]) {
        const x = left + (1 - (this.now - t) / SPAN_S) * (width - left);
        pen[t - last > 3 ? "moveTo" : "lineTo"](x, y(score));
        last = t;
      }
      pen.lineWidth = (lane ? 1.6 : 2.6) * ratio;
      pen.lineJoin = "round";
      pen.strokeStyle = colour(`--c${lane}`);
      pen.stroke();
    });
    if (performance.now() - this.saidAt > 5000) {
      this.saidAt = performance.now();
      const peak = Math.max(0, ...this.lines[0].map(([, score]) => score));
      this.canvas.setAttribute("aria-label", `Score over the last minute, up to ${peak.toFixed(2)}`);
    }
  }
}
