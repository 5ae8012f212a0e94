// Search by a picture: the button "More like this", and a picture file that is chosen or dropped.

import { el } from "./dom.js";

const SIDE_PX = 1024; // models look at 224 to 512

// `like`: {event, snippet, picture}, or {event} for the picture that shows it best.
export function likeButton(like, onLike, about) {
  return el("button", { type: "button", class: "quiet like", "aria-label": `More like this: ${about}`, onclick: () => onLike(like) }, "More like this");
}

// Gives the files that somebody chooses by `input`, drops on `target` or pastes.
export function pictures(target, input, onFile) {
  input.addEventListener("change", () => {
    if (input.files[0]) onFile(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  const holdsFile = (event) => [...event.dataTransfer.types].includes("Files");
  const mark = (isOver) => target.classList.toggle("over", isOver);
  target.addEventListener("dragover", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    mark(true);
  });
  target.addEventListener("dragleave", (event) => { if (!target.contains(event.relatedTarget)) mark(false); });
  target.addEventListener("drop", (event) => {
    mark(false);
    if (!holdsFile(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files[0]) onFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    onFile(file);
  });
}

// The picture as a small upright JPEG, whatever the browser can show; throws for what it cannot.
export async function shrunk(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const draws = canvas.getContext("2d");
  draws.fillStyle = "#fff";
  draws.fillRect(0, 0, canvas.width, canvas.height);
  draws.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const jpeg = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  if (!jpeg) throw new Error("it cannot be drawn");
  return jpeg;
}
