// All cameras: what they do, with a picture of each that is made anew now and then.

import { ask, pause, refuse } from "./api.js";
import { byId, el } from "./dom.js";

const EVERY_MS = 5000;
const WORDS = { connecting: "connecting", running: "live", away: "away", ended: "ended", failed: "failed" };
const cards = new Map();

async function run() {
  for (;;) {
    try {
      const { cameras } = await (await ask("api/cameras")).json();
      show(cameras);
      await Promise.all(cameras.filter((camera) => camera.state === "running").map(picture));
    } catch (fault) {
      refuse(fault, run);
      return;
    }
    await pause(EVERY_MS);
    while (document.hidden) await pause(500);
  }
}

function show(cameras) {
  for (const camera of cameras) {
    const card = cards.get(camera.id) ?? made(camera);
    card.state.parentElement.dataset.state = camera.state;
    card.state.textContent = WORDS[camera.state] ?? camera.state;
    if (camera.state !== "running" && !card.image.src) card.blank.textContent = camera.last_error ?? "No picture yet";
  }
  if (!cameras.length) refuse(new Error("No camera is running. Add cameras to the camera file."), run);
}

function made(camera) {
  const image = el("img", { alt: `Picture of ${camera.id}`, hidden: true });
  const blank = el("span", { class: "blank" }, "Waiting for a picture");
  const state = el("span");
  const item = el("li", { class: "card" }, el("a", { href: `cameras/${encodeURIComponent(camera.id)}` },
    el("span", { class: "shot" }, image, blank),
    el("span", { class: "about" }, camera.id, el("span", { class: "hint" }, el("span", { class: "lamp", "aria-hidden": "true" }), state))));
  byId("cameras").append(item);
  cards.set(camera.id, { image, blank, state });
  return cards.get(camera.id);
}

async function picture({ id }) {
  const { image, blank } = cards.get(id);
  try {
    const blob = await (await ask(`api/cameras/${encodeURIComponent(id)}/picture.jpg`)).blob();
    const old = image.src;
    image.src = URL.createObjectURL(blob);
    image.hidden = false;
    blank.hidden = true;
    if (old) URL.revokeObjectURL(old);
  } catch (fault) {
    if (fault.status !== 503) throw fault;
    if (!image.src) blank.textContent = fault.message;
  }
}

run();
