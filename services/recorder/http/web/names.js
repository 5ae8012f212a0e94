// What cameras are called: the camera file's names, as the pipeline's health tells them. An unknown one shows its id.

import { el } from "./dom.js";

const names = new Map(); // id -> name
const waiting = []; // told once names are known, or cannot be had

export const nameOf = (id) => names.get(id) || id;

// A camera's name, which follows what is learnt.
export const named = (id) => el("span", { "data-camera": id, title: nameOf(id) === id ? null : id }, nameOf(id));

// The same where it stands among other things: whoever hears the page is told what it is.
export const cameraName = (id) => el("span", { class: "camera" }, el("span", { class: "unseen" }, "camera "), named(id));

// Takes what health says of the cameras; what is on the page already is renamed.
export function learn(cameras) {
  let isNews = false;
  for (const { id, name } of cameras) {
    if (name && names.get(id) !== name) {
      names.set(id, name);
      isNews = true;
    }
  }
  if (isNews) {
    for (const shown of document.querySelectorAll("[data-camera]")) shown.textContent = nameOf(shown.dataset.camera);
  }
  for (const told of waiting.splice(0)) told();
  return isNews;
}

// Resolves as soon as names were looked for; a page that cannot know them shows ids.
export const namesKnown = () => new Promise((done) => waiting.push(done));
