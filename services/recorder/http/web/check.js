// A check: some drawn events fill the screen, one after the other, and one key or one tap answers each.

import { file, idOf, read, send } from "./api.js";
import { byId, el } from "./dom.js";
import { plural, time } from "./format.js";
import { named } from "./names.js";
import { faultParts } from "./site.js";

const KEYS = { y: "right", ArrowRight: "right", n: "wrong", ArrowLeft: "wrong", s: "skip", " ": "skip", u: "undo", Backspace: "undo" };

export class Check {
  // `ended`: called once the answers are kept and the check is closed.
  constructor(box, ended) {
    this.box = box;
    this.ended = ended;
    addEventListener("keydown", (event) => this.key(event));
  }

  async begin(camera) {
    this.camera = camera;
    this.opener = document.activeElement;
    this.box.hidden = false;
    document.body.style.overflow = "hidden";
    this.box.replaceChildren(el("p", { class: "done" }, "Drawing"));
    this.box.focus();
    this.questions = [];
    this.sent = []; // of each question: a promise of the verdicts that answered it
    this.number = 0;
    try {
      ({ questions: this.questions } = await read(`api/check${camera ? `?camera=${encodeURIComponent(camera)}` : ""}`));
      this.show();
    } catch (fault) {
      this.finish(faultParts(fault));
    }
  }

  get question() {
    return this.questions[this.number];
  }

  show() {
    const { question, number, questions } = this;
    if (!question) return this.end();
    const { event } = question;
    this.box.replaceChildren(
      el("div", { class: "steps" },
        el("button", { type: "button", class: "close", "aria-label": "End the check", onclick: () => this.close() }, "✕"),
        el("progress", { max: questions.length, value: number, "aria-label": "Questions answered" }),
        el("span", {}, `${number + 1} of ${questions.length}`),
        el("button", { type: "button", class: "quiet", disabled: !number, onclick: () => this.undo() }, "Undo")),
      el("div", { class: "view" }, picture(event)),
      el("div", { class: "ask-one", "aria-live": "polite" }, el("h2", {}, question.question), el("p", { class: "hint" }, named(event.camera), ", ", time(event.started_at, true))),
      el("div", { class: "answers" }, this.answers(question)));
    this.box.focus();
    preload(questions[number + 1]?.event);
  }

  answers({ label, labels }) {
    const choice = (text, answer, kind, key) => el("button", { type: "button", class: kind, onclick: () => this.answer(answer) }, text, key ? el("kbd", { "aria-hidden": "true" }, key) : null);
    if (label) return [choice("Wrong", "wrong", "no", "n"), choice("Skip", "skip", "", "s"), choice("Right", "right", "yes", "y")];
    return [...labels.map((one, index) => choice(one, { missed: one }, "", index < 9 && index + 1)), choice("Skip", "skip", "", "s"), choice("Nothing of these", "wrong", "no", "n")];
  }

  answer(answer) {
    const { question, number } = this;
    if (!question) return;
    this.number += 1;
    this.sent[number] = answer === "skip" ? null : this.keep(question, answer);
    this.show();
  }

  async keep({ event, label, drawn_with, drawn_at }, answer) {
    const verdict = answer.missed ? { kind: "missed", label: answer.missed } : label ? { kind: answer, label } : { kind: "nothing" };
    try {
      return await send("POST", `api/events/${idOf(event.id)}/verdicts`, { ...verdict, drawn_with, drawn_at });
    } catch (fault) {
      this.say(fault);
      return null;
    }
  }

  undo() {
    if (!this.number) return;
    this.number -= 1;
    this.sent[this.number] = this.takeBack(this.sent[this.number]);
    this.show();
  }

  async takeBack(sent) {
    const verdict = await sent;
    try {
      if (verdict) await send("POST", `api/verdicts/${idOf(verdict.id)}/undo`, {});
    } catch (fault) {
      this.say(fault);
    }
    return null;
  }

  say(fault) {
    const toast = byId("toast");
    toast.hidden = false;
    toast.replaceChildren("An answer was not kept. ", fault.message);
  }

  async end() {
    const { sent } = this;
    const kept = (await Promise.all(sent)).filter(Boolean).length;
    if (this.question || sent !== this.sent || this.box.hidden) return; // the last answer was taken back meanwhile, or the check closed
    if (!this.questions.length) return this.finish([el("h2", {}, "Nothing to check"), el("p", {}, "Every recorded event was judged, or none has a picture. Come back once there are new ones.")]);
    this.finish([el("h2", {}, `${plural(kept, "answer")} kept`), el("p", {}, "The shares on this page follow from them.")], true);
  }

  finish(parts, mayGoOn = false) {
    const again = mayGoOn && el("button", { type: "button", class: "quiet", onclick: () => this.begin(this.camera) }, "Check ten more");
    const done = el("button", { type: "button", class: "main", onclick: () => this.close() }, "Done");
    const undo = mayGoOn && el("button", { type: "button", class: "quiet", onclick: () => this.undo() }, "Undo");
    this.box.replaceChildren(el("div", { class: "done", role: "status" }, ...parts, el("div", { class: "buttons" }, done, again || null, undo || null)));
    done.focus();
  }

  async close() {
    this.questions = [];
    this.box.hidden = true;
    this.box.replaceChildren();
    document.body.style.overflow = "";
    this.opener?.focus?.();
    await Promise.all(this.sent);
    this.ended();
  }

  key(event) {
    if (this.box.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.repeat) return; // a key that is held answers one question
    if (event.key === "Escape") this.close();
    else if (KEYS[event.key] === "undo") this.undo();
    else if (!this.question) return;
    else if (KEYS[event.key] && !(event.key === " " && event.target.closest("button"))) this.pressed(KEYS[event.key]);
    else if (!this.question.label && this.question.labels.slice(0, 9)[event.key - 1]) this.answer({ missed: this.question.labels[event.key - 1] });
    else return;
    event.preventDefault();
  }

  pressed(answer) {
    if (answer === "right" && !this.question.label) return; // nothing was claimed
    this.answer(answer);
  }
}

function picture(event) {
  const poster = file(event.thumbnail_url);
  if (!event.clip_url) return poster ? el("img", { src: poster, alt: "What the camera saw" }) : el("p", { class: "blank" }, "No picture was kept");
  const video = el("video", { src: file(event.clip_url), poster, autoplay: true, loop: true, playsinline: true, preload: "auto", "aria-label": "Clip of the event" });
  video.muted = true;
  return video;
}

// The next picture is on its way while this one is looked at.
function preload(event) {
  if (event?.thumbnail_url) new Image().src = file(event.thumbnail_url);
  if (!event?.clip_url) return;
  const next = el("video", { src: file(event.clip_url), preload: "auto" });
  next.muted = true;
}
