// The star: whether an event is kept for good, shown and changed. A change is told by the stream to every other page.

import { idOf, send } from "./api.js";
import { el } from "./dom.js";
import { nameOf } from "./names.js";
import { may } from "./site.js";

export class Stars {
  // onChange(id, isProtected) once the record has it; onFault(text) when it has not.
  constructor(onChange, onFault) {
    this.onChange = onChange;
    this.onFault = onFault;
  }

  // Whoever may not change it sees it where the event is kept.
  button(event) {
    if (!may("operate")) {
      return el("span", { class: "star", hidden: !event.is_protected, title: "Kept for good: retention leaves it alone" },
        el("span", { "aria-hidden": "true" }, "★"), el("span", { class: "unseen" }, "kept for good"));
    }
    const label = `Keep for good: ${event.label ?? "motion"}, camera ${nameOf(event.camera)}`;
    const button = el("button", {
      type: "button", class: "star", "aria-pressed": String(event.is_protected), "aria-label": label,
      title: event.is_protected ? "Kept for good: retention leaves it alone (s)" : "Keep for good (s)",
      onclick: () => this.toggle(event.id, button),
    }, el("span", { "aria-hidden": "true" }, event.is_protected ? "★" : "☆"));
    return button;
  }

  async toggle(id, button) {
    const wanted = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-busy", "true");
    try {
      await send("PUT", `api/events/${idOf(id)}/protected`, { is_protected: wanted });
      this.onChange(id, wanted);
    } catch (fault) {
      this.onFault(`The star could not be changed: ${fault.message}`);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}
