// A text that people take away: shown whole, with a button that copies it.

import { el } from "./dom.js";

export function copied(text, said) {
  const button = el("button", { type: "button", class: "quiet", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text); // not there on a page without TLS
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(shown);
      said.textContent = "This browser does not copy by itself: the text is selected, copy it.";
    }
  } }, "Copy");
  const shown = el("code", {}, text);
  return el("div", { class: "secret" }, shown, button);
}
