// Asks the recorder; every request of every page goes through here. Whoever is not logged in is sent to the login page.

const DEADLINE_MS = 20_000;
const root = new URL("../", import.meta.url); // of the site: a proxy may serve it below a path of its own

// The address of something on this site, from any of its pages.
export const at = (path) => new URL(path, root).href;

// The address of a clip or picture, which answers name as '/media/…'.
export const file = (url) => url && at(url.slice(url.indexOf("media/")));

export const idOf = (id) => encodeURIComponent(id);

// `lines` are what was found, wanted and is to be done; `status` 0: nobody answered.
export class Fault extends Error {
  constructor(status, lines, otherwise = `status ${status}`) {
    super(lines.map(({ found, wanted, do: action }) => `${found}: wanted ${wanted}; ${action}`).join(". ") || otherwise);
    this.status = status;
    this.lines = lines;
  }

  // Refused, and asking again does not help.
  get isFinal() {
    return this.status === 401 || this.status === 403;
  }
}

// Returns the answer, or throws a Fault. `deadline_ms` 0: a stream, read until `signal` aborts it.
export async function ask(path, { method = "GET", json, body, headers = {}, signal, keepalive, deadline_ms = DEADLINE_MS, mayLogIn = true } = {}) {
  const sent = { accept: "application/json", ...headers };
  if (json !== undefined) sent["content-type"] = "application/json";
  const signals = [signal, deadline_ms && AbortSignal.timeout(deadline_ms)].filter(Boolean);
  const answer = await fetch(at(path), {
    method, keepalive, headers: sent, cache: "no-store", body: json === undefined ? body : JSON.stringify(json),
    signal: signals.length > 1 && AbortSignal.any ? AbortSignal.any(signals) : signals[0],
  }).catch((fault) => {
    if (fault.name === "AbortError") throw fault;
    throw new Fault(0, [], fault.name === "TimeoutError" ? "the recorder gives no answer in time" : "the recorder does not answer; see whether it runs");
  });
  if (answer.ok) return answer;
  if (answer.status === 401 && mayLogIn) toLogin();
  const said = await answer.json().catch(() => ({}));
  throw new Fault(answer.status, said.errors ?? (said.error ? [said.error] : []));
}

export const read = async (path, options) => (await ask(path, options)).json();

export const send = async (method, path, json, options) => {
  const answer = await ask(path, { method, json, ...options });
  return answer.status === 204 ? null : answer.json();
};

// The events of a stream, until `signal` aborts it; read by fetch, since EventSource can only ask by GET.
export async function* events(path, options) {
  for await (const part of parts(await ask(path, { ...options, deadline_ms: 0 }), "\n\n")) {
    const lines = part.split("\n");
    const data = lines.find((line) => line.startsWith("data: "));
    const name = lines.find((line) => line.startsWith("event: "));
    if (data) yield { name: name ? name.slice(7) : "look", data: JSON.parse(data.slice(6)) };
  }
}

// The values of an answer that has one in each line.
export async function* values(path, options) {
  for await (const line of parts(await ask(path, { ...options, deadline_ms: 0 }), "\n")) if (line) yield JSON.parse(line);
}

async function* parts(answer, between) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split(between);
    rest = found.pop();
    yield* found;
  }
}

// The stream of the record's changes.
export const stream = () => new EventSource(at("api/stream"));

// -- the login page, and the way back

export function toLogin() {
  if (location.pathname === new URL("login", root).pathname) return;
  const here = location.href.slice(root.href.length);
  location.replace(at(`login?next=${encodeURIComponent(here)}`));
}

// The address that `toLogin` left; one that leads elsewhere is not followed.
export function wayBack() {
  const next = new URL(new URLSearchParams(location.search).get("next") ?? "", root);
  return next.origin === root.origin && next.pathname.startsWith(root.pathname) ? next.href : root.href;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
