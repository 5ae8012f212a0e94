// The star: whether an event is kept for good, shown and changed. A change is told by the stream to every other page.

import { el } from "./dom.js";
import { why } from "./format.js";

export class Stars {
  // onChange(id, isProtected) once the record has it; onFault(text) when it has not.
  constructor(onChange, onFault) {
    this.onChange = onChange;
    this.onFault = onFault;
  }

  button(event) {
    const label = `Keep for good: ${event.label ?? "motion"}, camera ${event.camera}`;
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
      const answer = await fetch(`api/events/${encodeURIComponent(id)}/protected`, {
        method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ is_protected: wanted }),
      });
      const said = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(said.error ? said.error.do : `status ${answer.status}`);
      this.onChange(id, wanted);
    } catch (fault) {
      this.onFault(`The star could not be changed: ${why(fault)}`);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}
