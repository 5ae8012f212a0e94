// Asks the service. With API_TOKEN set, the token is asked for once and kept until the tab is closed.

import { byId, el } from "./dom.js";

const KEY = "clipwatch-token";
const AGAIN_MS = 3000;

export class Fault extends Error {
  constructor(status, faults) {
    super(faults.join("; ") || `status ${status}`);
    this.status = status;
  }
}

export async function ask(path, { method = "GET", json, body, headers = {}, signal, keepalive } = {}) {
  const sent = { ...headers };
  const token = sessionStorage.getItem(KEY);
  if (token) sent.authorization = `Bearer ${token}`;
  if (json !== undefined) sent["content-type"] = "application/json";
  const answer = await fetch(path, {
    method, signal, keepalive, headers: sent, cache: "no-store", body: json === undefined ? body : JSON.stringify(json),
  }).catch((fault) => {
    if (fault.name === "AbortError") throw fault;
    throw new Fault(0, ["The motion service does not answer. The page keeps trying; if this lasts, check that the service runs"]);
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Fault(answer.status, (said.errors ?? []).map(({ found, wanted, do: action }) => `${found}: wanted ${wanted}; ${action}`));
}

// The events of a stream, until `signal` aborts it; the stream is read by fetch, since EventSource sends no header.
export async function* events(path, options) {
  const answer = await ask(path, options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n");
      const data = lines.find((line) => line.startsWith("data: "));
      const name = lines.find((line) => line.startsWith("event: "));
      if (data) yield { name: name ? name.slice(7) : "look", data: JSON.parse(data.slice(6)) };
    }
  }
}

// Says why nothing can be shown; where a token is wanted, asks for it and calls `again`.
export function refuse(fault, again) {
  const box = byId("notice");
  box.hidden = false;
  if (fault.status === 0) { // nobody answered: that needs nobody to press anything
    setTimeout(() => { box.hidden = true; again(); }, AGAIN_MS);
    box.replaceChildren(el("p", {}, `${fault.message}.`));
    return;
  }
  const parts = [el("p", {}, fault.message)];
  if (fault.status === 401) {
    const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
    parts.push(el("form", {
      onsubmit: (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEY, input.value.trim());
        box.hidden = true;
        again();
      },
    }, el("label", { for: "token" }, "API_TOKEN"), input, el("button", { class: "main" }, "Show the cameras")));
  } else {
    parts.push(el("button", { type: "button", class: "quiet", onclick: () => { box.hidden = true; again(); } }, "Try again"));
  }
  box.replaceChildren(...parts);
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
