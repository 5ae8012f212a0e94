// What labels would change, before they are saved: what the classifier says of the picture before the camera now, and
// what the last 24 hours would have recorded with them.

import { at, Fault, file, pause, send, values } from "./api.js";
import { byId, el } from "./dom.js";
import { colour, count, percent, plural, time } from "./format.js";
import { chip } from "./list.js";
import { faultParts, sentence } from "./site.js";

const SETTLE_MS = 700; // words are let come to rest before anything is asked
const AGAIN_MS = 2000;
const ASKED_FOR_MS = 120000; // so long after the last change; a press of the button asks for as long again
const PASSING = [0, 409, 429, 502, 503]; // nobody answers, or somebody else looks back: asked again
const DAY_MS = 86400000;
const SHOWN = 12;
// as motion cuts what moves out of a frame (events/moments.py)
const PADDING = 0.2, LEAST_CROP_PX = 64, LARGEST_PX = 384, CROPS = 2;
const JPEG_QUALITY = 0.88;

export class LabelPreview {
  constructor(base, seen) {
    Object.assign(this, { base, seen, settings: null, asking: null, settling: 0 });
    this.camera = decodeURIComponent(base.split("/").pop());
    byId("now-again").addEventListener("click", () => this.show(this.settings, true));
  }

  // `settings`: those on trial; null: none are
  show(settings, isAgain = false) {
    if (!isAgain && JSON.stringify(settings) === JSON.stringify(this.settings)) return;
    this.settings = settings;
    clearTimeout(this.settling);
    this.asking?.abort();
    byId("label-preview").hidden = !settings;
    if (!settings) return;
    this.asking = new AbortController();
    const { signal } = this.asking;
    for (const id of ["now", "day"]) byId(id).setAttribute("aria-busy", "true"); // what stands there is of other settings
    byId("now-again").hidden = true;
    this.settling = setTimeout(() => this.ask(signal, performance.now() + ASKED_FOR_MS), isAgain ? 0 : SETTLE_MS);
  }

  async ask(signal, ends) {
    await Promise.all([this.now(signal, ends), this.day(signal, ends)]);
    if (!signal.aborted) byId("now-again").hidden = false;
  }

  get asked() {
    const { labels, background, ...decision } = this.settings;
    return { labels, background, decision };
  }

  // -- the picture before the camera

  async now(signal, ends) {
    const box = byId("now");
    while (!signal.aborted && performance.now() < ends) {
      while (document.hidden && !signal.aborted) await pause(500);
      const pictures = cut(this.seen);
      if (!pictures.length) {
        box.replaceChildren(el("p", { class: "hint" }, "No picture of the camera yet."));
        box.removeAttribute("aria-busy");
      } else {
        try {
          const sent = await Promise.all(pictures.map(encoded));
          const said = await send("POST", `${this.base}/label-trial`, { ...this.asked, pictures: sent }, { signal });
          if (signal.aborted) return;
          box.replaceChildren(...this.said(pictures, said));
        } catch (fault) {
          if (signal.aborted) return;
          box.replaceChildren(...faultParts(fault));
          if (!PASSING.includes(fault.status)) break;
        } finally {
          if (!signal.aborted) box.removeAttribute("aria-busy");
        }
      }
      await pause(AGAIN_MS);
    }
  }

  said(pictures, said) {
    const rows = said.labels.map((one) => {
      const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("i"), el("em"));
      bar.firstChild.style.width = percent(one.score);
      bar.lastChild.style.left = percent(this.settings.threshold);
      return el("li", { class: `${colour(one.label)} ${one.is_carried ? "carried" : ""}` }, el("span", { class: "name" }, one.label), bar,
        el("span", { class: "number" }, one.score.toFixed(2)), el("span", { class: "unseen" }, one.is_carried ? "reaches the threshold" : "stays below"));
    });
    const about = pictures[0].isCrop ? `Asked of ${plural(pictures.length, "cut-out")} of what moves.` : "Nothing moves: asked of the whole picture.";
    const rest = [...said.background.map((one) => `${one.label} ${percent(one.probability)}`), `something else ${percent(said.other)}`];
    return [el("div", { class: "cuts" }, pictures.map((picture) => picture.canvas)), el("ul", { class: "scores" }, rows),
      el("p", { class: "hint" }, `${about} Otherwise: ${rest.join(", ")}.`)];
  }

  // -- the last 24 hours

  async day(signal, ends) {
    const box = byId("day");
    const until = new Date();
    const question = { ...this.asked, mode: "replace", camera: this.camera, since: new Date(until - DAY_MS).toISOString(), until: until.toISOString() };
    while (!signal.aborted) {
      try {
        for await (const line of values("api/hindsight", { method: "POST", json: question, signal })) {
          if (line.error) throw new Fault(500, [line.error]);
          if (line.result) this.compared(box, line.result);
          else if (line.of) box.replaceChildren(el("p", { class: "hint" }, `${count(line.done)} of ${plural(line.of, "event")}`));
        }
      } catch (fault) {
        if (signal.aborted) return;
        box.replaceChildren(...(fault.status === 409 ? [el("p", { class: "hint" }, `Waiting: ${fault.lines[0].found}.`)] : faultParts(fault)));
        box.removeAttribute("aria-busy");
        if (PASSING.includes(fault.status) && performance.now() < ends) {
          await pause(AGAIN_MS);
          continue;
        }
      }
      box.removeAttribute("aria-busy");
      return;
    }
  }

  compared(box, result) {
    const left = result.left_out ? ` ${plural(result.left_out, "clip was", "clips were")} looked at by another model: nothing changes there.` : "";
    const told = !result.events ? "Nothing moved in the last 24 hours." : result.changed
      ? `${count(result.changed)} of ${plural(result.events, "event")} would have other labels: ${sentence(result.summary)}`
      : `None of ${plural(result.events, "event")} would have other labels.`;
    const counts = result.labels.length > 0 && el("table", { class: "counts" },
      el("thead", {}, el("tr", {}, ["Events with", "recorded", "with these", "gain it", "lose it"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, result.labels.map((row) => el("tr", {}, el("th", { scope: "row" }, row.label),
        [row.recorded, row.hindsight, row.gained, row.lost].map((n) => el("td", {}, n ? count(n) : "–"))))));
    const rows = result.shown.map((one) => pair(one));
    const more = rows.length > SHOWN && el("button", { type: "button", class: "quiet", onclick: (event) => {
      event.target.previousElementSibling.append(...rows.slice(SHOWN));
      event.target.remove();
    } }, `Show ${rows.length - SHOWN} more`);
    box.replaceChildren(...[el("p", { class: "said" }, told + left), counts, rows.length > 0 && el("ul", { class: "changes" }, rows.slice(0, SHOWN)), more].filter(Boolean));
  }
}

function pair(one) {
  const labels = (said) => el("span", { class: "labels" }, said.length ? said.map(chip) : el("span", { class: "chip none" }, "no label"));
  return el("li", {}, el("a", { href: at(`?camera=${encodeURIComponent(one.camera)}&all=1#${one.event_id}`) },
    one.thumbnail_url ? el("img", { src: file(one.thumbnail_url), alt: "", loading: "lazy" }) : el("span", { class: "blank" }, "no picture"),
    el("span", { class: "line" }, time(one.started_at, true))),
  el("div", { class: "turn" }, el("span", { class: "unseen" }, "recorded:"), labels(one.recorded), el("span", { "aria-hidden": "true" }, "→"), el("span", { class: "unseen" }, "with these labels:"), labels(one.hindsight)));
}

// What moves, cut out as motion does it; the whole picture where nothing moves.
function cut({ source, size, boxes }) {
  const [width, height] = size();
  if (!width) return [];
  const moving = boxes().slice(0, CROPS).map(([x, y, w, h]) => {
    const side = Math.round(Math.max(w * width, h * height) * (1 + 2 * PADDING));
    const [across, down] = [Math.min(Math.max(side, LEAST_CROP_PX), width), Math.min(Math.max(side, LEAST_CROP_PX), height)];
    const left = Math.min(Math.max((x + w / 2) * width - across / 2, 0), width - across);
    const top = Math.min(Math.max((y + h / 2) * height - down / 2, 0), height - down);
    return { left, top, across, down, isCrop: true };
  });
  const parts = moving.length ? moving : [{ left: 0, top: 0, across: width, down: height, isCrop: false }];
  return parts.map((part) => {
    const scale = Math.min(1, LARGEST_PX / Math.max(part.across, part.down));
    const canvas = el("canvas", { width: Math.max(1, Math.round(part.across * scale)), height: Math.max(1, Math.round(part.down * scale)), role: "img", "aria-label": part.isCrop ? "What moves" : "The whole picture" });
    canvas.getContext("2d").drawImage(source(), part.left, part.top, part.across, part.down, 0, 0, canvas.width, canvas.height);
    return { canvas, isCrop: part.isCrop };
  });
}

// A canvas as JPEG, in base64.
async function encoded({ canvas }) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  return btoa(text);
}
