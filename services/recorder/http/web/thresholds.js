// The curve of precision and recall by threshold, with what it suggests and what is in force.

import { el, svg } from "./dom.js";
import { plural } from "./format.js";

const LINES = [["precision", "l0"], ["recall", "l1"], ["f1", "l2"]];
const NAMES = { precision: "precision", recall: "recall, of these events and of recorded motion without a label", f1: "F1" };

export function thresholdsOf({ curve, now, best, precise, wanted_precision, answers, wanted_answers }, label) {
  if (!answers) return [`No check asked yet whether '${label}' is right: check ten events.`];
  const said = best === null
    ? `${plural(answers, "answer")} in checks so far on whether '${label}' is right; a threshold is proposed from ${wanted_answers} on.`
    : `Best balance at ${best.toFixed(2)}${precise === null ? "" : `; from ${precise.toFixed(2)} on, ${Math.round(100 * wanted_precision)}% and more are right`}${now === null ? "" : `; now ${now.toFixed(2)} (dashed)`}.`;
  return [plot(curve, best, now, `Precision and recall of ${label} by threshold`), legend(), el("p", { class: "hint" }, said)];
}

function plot(curve, best, now, title) {
  const line = ([name, hue]) => svg("polyline", { class: hue, points: curve.filter((at) => at[name] !== null).map((at) => `${100 * at.threshold},${60 - 60 * at[name]}`).join(" ") });
  const mark = (at, kind) => at !== null && svg("path", { class: `axis mark ${kind}`, d: `M${100 * at} 0V60` });
  return svg("svg", { viewBox: "-8 -3 110 72", role: "img", "aria-label": title },
    svg("rect", { class: "axis", width: 100, height: 60 }), mark(best, "best"), mark(now, "now"), LINES.map(line),
    [0, 0.5, 1].map((at) => [svg("text", { x: 100 * at, y: 67, "text-anchor": "middle" }, at), svg("text", { x: -2, y: 62 - 60 * at, "text-anchor": "end" }, at)]).flat());
}

const legend = () => el("ul", { class: "legend" }, LINES.map(([name, hue]) => el("li", {}, el("span", { class: `swatch ${hue}` }), NAMES[name])));
