// All cameras: what they do, with a picture of each that is made anew now and then.

import { ask, at, idOf, pause, read } from "./api.js";
import { byId, el } from "./dom.js";
import { named, nameOf } from "./names.js";
import { begin, refuse } from "./site.js";

const EVERY_MS = 5000;
const WORDS = { connecting: "connecting", running: "live", away: "away", ended: "ended", failed: "failed", disabled: "paused" };
const cards = new Map();

async function run() {
  for (;;) {
    try {
      const { cameras } = await read("api/cameras");
      show([...cameras, ...(await paused(cameras))]);
      await Promise.all(cameras.filter((camera) => camera.state === "running").map(picture));
    } catch (fault) {
      refuse(fault, run);
      return;
    }
    await pause(EVERY_MS);
    while (document.hidden) await pause(500);
  }
}

// Cameras that the camera file switches off: motion lists the running ones, health all of them.
async function paused(running) {
  const known = new Set(running.map((camera) => camera.id));
  const { cameras } = await read("api/health");
  return cameras.filter((camera) => camera.state === "disabled" && !known.has(camera.id));
}

function show(cameras) {
  byId("notice").hidden = true;
  for (const [id, card] of cards) {
    if (cameras.some((camera) => camera.id === id)) continue;
    card.item.remove();
    cards.delete(id);
  }
  for (const camera of cameras) {
    const card = cards.get(camera.id) ?? made(camera);
    card.state.parentElement.dataset.state = camera.state;
    card.state.textContent = WORDS[camera.state] ?? camera.state;
    if (camera.state !== "running" && !card.image.src) card.blank.textContent = camera.state === "disabled" ? "Paused" : camera.last_error ?? "No picture yet";
  }
  if (!cameras.length) {
    byId("notice").hidden = false;
    byId("notice").replaceChildren(el("h2", {}, "No camera yet"), el("p", {}, "Cameras appear here by themselves once they are in the camera file."));
  }
}

function made(camera) {
  const image = el("img", { alt: `Picture of ${nameOf(camera.id)}`, hidden: true });
  const blank = el("span", { class: "blank" }, "Waiting for a picture");
  const state = el("span");
  const item = el("li", { class: "card" }, el("a", { href: at(`cameras/${idOf(camera.id)}`) },
    el("span", { class: "shot" }, image, blank),
    el("span", { class: "about" }, named(camera.id), el("span", { class: "hint" }, el("span", { class: "lamp", "aria-hidden": "true" }), state))));
  byId("cameras").append(item);
  cards.set(camera.id, { item, image, blank, state });
  return cards.get(camera.id);
}

async function picture({ id }) {
  const { image, blank } = cards.get(id) ?? {};
  if (!image) return;
  try {
    const blob = await (await ask(`api/cameras/${idOf(id)}/picture.jpg`)).blob();
    const old = image.src;
    image.src = URL.createObjectURL(blob);
    image.hidden = false;
    blank.hidden = true;
    if (old) URL.revokeObjectURL(old);
  } catch (fault) {
    if (fault.status === 0 || fault.isFinal) throw fault;
    if (!image.src) blank.textContent = fault.message;
  }
}

begin("cameras").then(run);
