// Draws over a clip where the things are that were looked at: between two moments a box moves from one place to the
// next, and where nothing was looked at there is none. Places are shares of the picture's width and height.

import { el } from "./dom.js";
import { colour, percent } from "./format.js";

const GAP_S = 4; // moments that lie further apart are not joined
const NEAR_S = 0.3; // a box that nothing follows is shown this long before and after its moment

export class Boxes {
  constructor() {
    this.layer = el("div", { class: "boxes", "aria-hidden": "true" });
    this.moments = [];
    this.resized = new ResizeObserver(() => this.draw());
  }

  // `pictures`: all of one clip, as /api/events/ID/why names them.
  show(pictures) {
    this.moments = momentsOf(pictures);
    this.draw();
  }

  over(video) {
    this.video = video;
    this.resized.disconnect();
    this.resized.observe(video);
    video.addEventListener("loadedmetadata", () => this.draw());
  }

  close() {
    this.resized.disconnect();
    this.video = null;
  }

  // `isPointed`: the picture under it is of another time.
  follow(second, isPointed = false) {
    this.second = second;
    this.isPointed = isPointed;
    this.draw();
  }

  draw() {
    const place = this.video && placeOf(this.video);
    const found = place && this.second !== undefined ? boxesAt(this.moments, this.second) : [];
    while (this.layer.children.length > found.length) this.layer.lastChild.remove();
    while (this.layer.children.length < found.length) this.layer.append(el("div", {}, el("span")));
    found.forEach((one, index) => this.place(this.layer.children[index], one, place));
  }

  place(drawn, { box: [x, y, w, h], label, score }, place) {
    drawn.className = `box${label ? ` ${colour(label)}` : ""}${this.isPointed ? " pointed" : ""}`;
    drawn.style.left = `${place.left + x * place.width}px`;
    drawn.style.top = `${place.top + y * place.height}px`;
    drawn.style.width = `${w * place.width}px`;
    drawn.style.height = `${h * place.height}px`;
    const text = label ? `${label} ${percent(score)}` : "";
    drawn.firstChild.hidden = !text;
    if (drawn.firstChild.textContent !== text) drawn.firstChild.textContent = text;
    drawn.classList.toggle("low", y * place.height < 22); // its words stand inside, where there is no room above
  }
}

// Where a video's picture lies within its element: it keeps its shape.
function placeOf(video) {
  if (!video.videoWidth || !video.clientWidth) return null;
  const scale = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  return { left: (video.clientWidth - width) / 2, top: (video.clientHeight - height) / 2, width, height };
}

export function momentsOf(pictures) {
  const moments = new Map();
  for (const one of pictures) {
    if (!moments.has(one.moment)) moments.set(one.moment, { at: one.offset_s, boxes: [] });
    const moment = moments.get(one.moment);
    moment.at = Math.min(moment.at, one.offset_s);
    if (one.box) moment.boxes.push(one);
  }
  return [...moments.values()].sort((a, b) => a.at - b.at);
}

// The boxes at a second of the clip, each {box, label, score}.
export function boxesAt(moments, second) {
  const next = moments.find((moment) => moment.at >= second);
  const before = moments.findLast((moment) => moment.at < second);
  if (next && before && next.at - before.at <= GAP_S) return between(before, next, second);
  return [before, next].filter((moment) => moment && Math.abs(moment.at - second) <= NEAR_S).flatMap((moment) => moment.boxes);
}

function between(before, next, second) {
  const part = (second - before.at) / (next.at - before.at);
  const left = [...next.boxes];
  const drawn = [];
  for (const one of before.boxes) {
    const other = left.findIndex((candidate) => isSame(one, candidate, before.boxes.length === 1 && next.boxes.length === 1));
    if (other >= 0) drawn.push(moved(one, left.splice(other, 1)[0], part));
    else if (second - before.at <= NEAR_S) drawn.push(one);
  }
  if (next.at - second <= NEAR_S) drawn.push(...left);
  return drawn;
}

// Whether two boxes are of one thing: by its track, or else by where they lie.
function isSame(one, other, isOnly) {
  if (one.track !== null && one.track !== undefined && other.track !== null && other.track !== undefined) return one.track === other.track;
  const [x, y, w, h] = one.box;
  const [ox, oy, ow, oh] = other.box;
  return isOnly || (Math.abs(x + w / 2 - ox - ow / 2) < (w + ow) / 2 && Math.abs(y + h / 2 - oy - oh / 2) < (h + oh) / 2);
}

function moved(one, other, part) {
  const nearer = part < 0.5 ? one : other;
  return { ...nearer, box: one.box.map((value, index) => value + (other.box[index] - value) * part) };
}
