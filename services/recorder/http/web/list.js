// The list of events: cards under their days, newest first, one card an event however often it changes.

import { file } from "./api.js";
import { el } from "./dom.js";
import { colour, day, dayKey, duration, percent, temperature, time, utc } from "./format.js";
import { cameraName } from "./names.js";

export class EventList {
  constructor(root, onOpen, stars) {
    this.root = root;
    this.onOpen = onOpen;
    this.stars = stars;
    this.items = new Map(); // id -> {event, card}
    this.chosen = null;
  }

  get size() {
    return this.items.size;
  }

  clear() {
    this.items.clear();
    this.root.replaceChildren();
  }

  showLoading() {
    this.clear();
    const ghosts = Array.from({ length: 8 }, () =>
      el("div", { class: "card ghost" }, el("div", { class: "shot" }), el("div", { class: "about" }, el("i"), el("i"))));
    this.root.append(el("div", { class: "grid", "aria-hidden": "true" }, ghosts));
  }

  has(id) {
    return this.items.has(id);
  }

  put(event, isNew = false) {
    const known = this.items.get(event.id);
    if (known && known.event.updated_at > event.updated_at) return;
    const card = this.card(event);
    if (known && known.event.started_at === event.started_at) {
      const focused = known.card.contains(document.activeElement) && document.activeElement.className;
      known.card.replaceWith(card);
      if (focused !== false) (focused === "star" && card.querySelector("button.star") || card.querySelector("button")).focus({ preventScroll: true });
    } else {
      if (known) this.remove(event.id);
      this.place(event, card);
    }
    this.items.set(event.id, { event, card });
    if (isNew && !known) card.classList.add("fresh");
    if (event.id === this.chosen) this.mark(event.id);
  }

  // Shows at once what the stream will say of an event: whether it is kept.
  keep(id, isProtected) {
    const known = this.items.get(id);
    if (known) this.put({ ...known.event, is_protected: isProtected });
  }

  remove(id) {
    const known = this.items.get(id);
    if (!known) return;
    const section = known.card.closest("section");
    known.card.remove();
    if (section && !section.querySelector(".card")) section.remove();
    this.items.delete(id);
  }

  place(event, card) {
    card.dataset.at = event.started_at;
    const key = dayKey(event.started_at);
    let section = [...this.root.children].find((part) => part.dataset.day === key);
    if (!section) {
      section = el("section", { "data-day": key, "data-at": event.started_at, "aria-label": day(event.started_at) },
        el("h2", {}, day(event.started_at)), el("div", { class: "grid" }));
      const later = [...this.root.children].find((part) => part.dataset.at < event.started_at);
      this.root.insertBefore(section, later ?? null);
    }
    const grid = section.querySelector(".grid");
    const older = [...grid.children].find((other) => before(other.dataset, event));
    grid.insertBefore(card, older ?? null);
  }

  card(event) {
    const card = el("article", { class: "card", "data-id": event.id, "data-at": event.started_at },
      el("button", { type: "button", "aria-current": "false", onclick: () => this.onOpen(event.id) },
        shot(event),
        el("span", { class: "about" },
          el("span", { class: "labels" }, event.detections.length
            ? event.detections.map(chip)
            : el("span", { class: "chip none" }, "no label")),
          el("span", { class: "line" },
            cameraName(event.camera),
            time(event.started_at),
            event.weather && el("span", { class: "sky", title: `${event.weather.words}, observed ${utc(event.weather.observed_at)}` },
              event.weather.icon, " ", temperature(event.weather))))),
      this.stars.button(event));
    return card;
  }

  mark(id) {
    const before = this.items.get(this.chosen);
    before?.card.classList.remove("chosen");
    before?.card.querySelector("button").setAttribute("aria-current", "false");
    this.chosen = id;
    const now = this.items.get(id);
    now?.card.classList.add("chosen");
    now?.card.querySelector("button").setAttribute("aria-current", "true");
  }

  // The card `step` places after the one that has the focus, is open, or comes first.
  step(step) {
    const cards = [...this.root.querySelectorAll(".card[data-id]")];
    const focused = cards.findIndex((card) => card.contains(document.activeElement));
    const chosen = cards.findIndex((card) => card.dataset.id === this.chosen);
    const at = focused >= 0 ? focused : chosen;
    const next = cards[at < 0 ? 0 : Math.min(Math.max(at + step, 0), cards.length - 1)];
    return next ?? null;
  }

  focus(id) {
    this.items.get(id)?.card.querySelector("button").focus();
  }
}

// Whether the card with this data comes after the event in a list that is newest first.
function before(data, event) {
  return data.at < event.started_at || (data.at === event.started_at && data.id < event.id);
}

export function chip(found) {
  return el("span", { class: `chip ${colour(found.label)}` }, el("b", {}, found.label), el("span", { class: "share" }, percent(found.probability)));
}

function shot(event) {
  const picture = event.thumbnail_url
    ? el("img", { src: file(event.thumbnail_url), alt: "", loading: "lazy", decoding: "async", onerror: (e) => e.target.replaceWith(blank()) })
    : blank();
  return el("span", { class: "shot" }, picture,
    el("span", { class: "length" }, duration(event.duration_s), event.n_snippets > 1 ? ` · ${event.n_snippets} clips` : ""),
    event.is_open && el("span", { class: "now" }, "now"));
}

const blank = () => el("span", { class: "blank" }, "no picture");
