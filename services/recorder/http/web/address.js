// What the page of events shows, as its address says it: filters, what is looked for, the open event.

const ID = /^[0-9a-f-]{36}$/;
const LIKE = /^([0-9a-f-]{36})(?:\.(\d{1,9})\.(\d{1,9}))?$/; // an event, and which of its pictures

export function readAddress() {
  const given = new URLSearchParams(location.search);
  const event = decodeURIComponent(location.hash.slice(1));
  return {
    camera: given.get("camera") ?? "",
    label: given.get("label") ?? "",
    all: given.get("all") === "1",
    q: given.get("q") ?? "",
    like: likeOf(given.get("like") ?? ""),
    hindsight: given.get("look") === "hindsight" ? {
      labels: given.getAll("labels"),
      background: given.getAll("background"),
      mode: given.get("mode") === "replace" ? "replace" : "add",
      days: Number(given.get("days")) || 7,
      threshold: Number(given.get("threshold")) || null,
    } : null,
    event: ID.test(event) ? event : "",
  };
}

function likeOf(text) {
  const [, event, snippet, picture] = LIKE.exec(text) ?? [];
  if (!event) return null;
  return snippet === undefined ? { event } : { event, snippet: Number(snippet), picture: Number(picture) };
}

// A picture that was sent is in no address: it is gone with the page.
export function addressOf({ camera, label, all, q, like, hindsight, event }) {
  const said = new URLSearchParams();
  if (camera) said.set("camera", camera);
  if (label) said.set("label", label);
  if (all) said.set("all", "1");
  if (q) said.set("q", q);
  if (like?.event) said.set("like", like.snippet === undefined ? like.event : `${like.event}.${like.snippet}.${like.picture}`);
  if (hindsight) {
    said.set("look", "hindsight");
    for (const name of ["labels", "background"]) for (const text of hindsight[name] ?? []) said.append(name, text);
    if (hindsight.mode === "replace") said.set("mode", "replace");
    if (hindsight.days) said.set("days", hindsight.days);
    if (hindsight.threshold) said.set("threshold", hindsight.threshold);
  }
  return `${location.pathname}${said.size ? `?${said}` : ""}${event ? `#${event}` : ""}`;
}
