// The search of the whole record, by words or a picture; hindsight.js looks back with other labels in the same place.

import { Fault, file, read } from "./api.js";
import { el } from "./dom.js";
import { duration, percent, plural, time } from "./format.js";
import { HindsightPanel } from "./hindsight.js";
import { likeButton, shrunk } from "./like.js";
import { chip } from "./list.js";
import { cameraName, nameOf } from "./names.js";
import { faultParts } from "./site.js";

const LIMIT = 24;
const UNREADABLE = { found: "this picture cannot be read", wanted: "a picture that the browser can show", do: "Choose another one." };
const LOADING_MS = 3000; // how soon a classifier that loads its model is asked again

export class SearchPanel {
  // `scope()` gives {camera}; `onOpen(id)` opens an event; `onShown(bool)` says whether the results take the place of the
  // list; `onLike(like)`, `onHindsight(wish)` and `onClose()` change what is looked for.
  constructor(root, { scope, onOpen, onShown, onLike, onHindsight, onClose }) {
    Object.assign(this, { root, scope, onOpen, onShown, onLike, onHindsight, onClose });
    this.asking = null;
    this.again = 0;
    this.hindsight = new HindsightPanel(this);
  }

  hide() {
    this.asking?.abort();
    clearTimeout(this.again);
    this.root.hidden = true;
    this.root.replaceChildren();
    this.onShown(false);
  }

  show(title, ...parts) {
    this.root.hidden = false;
    this.root.replaceChildren(
      el("header", { class: "results-head" },
        el("h2", { tabindex: "-1" }, title),
        el("button", { type: "button", class: "quiet", onclick: () => this.onClose() }, "Back to all events")),
      ...parts);
    this.onShown(true);
  }

  begin() {
    this.asking?.abort();
    clearTimeout(this.again);
    this.asking = new AbortController();
    return this.asking.signal;
  }

  // -- search

  async search(words) {
    const title = `“${words}”`;
    await this.ask(title, new URLSearchParams({ q: words }), (signal, wanted) => read(`api/search?${wanted}`, { signal }), () => this.search(words));
  }

  // `like`: {event} or {event, snippet, picture} of the record, or {file} for a picture that is sent.
  async like(like) {
    const title = like.file ? "Like your picture" : "More like this";
    const wanted = new URLSearchParams(like.file ? {} : like);
    await this.ask(title, wanted, async (signal, where) => {
      if (!like.file) return read(`api/search/like?${where}`, { signal });
      const body = await shrunk(like.file).catch(() => { throw new Fault(400, [UNREADABLE]); });
      return read(`api/search/like?${where}`, { method: "POST", body, headers: { "content-type": "image/jpeg" }, signal });
    }, () => this.like(like), like.file ? [preview(like.file)] : []);
  }

  // Asks, and shows the answer; `above` stands over it.
  async ask(title, wanted, asked, again, above = []) {
    const signal = this.begin();
    const ghosts = Array.from({ length: 6 }, () =>
      el("div", { class: "card ghost" }, el("div", { class: "shot" }), el("div", { class: "about" }, el("i"), el("i"))));
    this.show(title, ...above, el("p", { class: "said", role: "status" }, "Searching all pictures …"), el("div", { class: "grid", "aria-hidden": "true" }, ghosts));
    wanted.set("limit", String(LIMIT));
    const { camera } = this.scope();
    if (camera) wanted.set("camera", camera);
    try {
      const answer = await asked(signal, wanted);
      this.found(title, answer, camera, answer.of ? [this.sought(answer.of)] : above);
    } catch (fault) {
      if (!signal.aborted) this.failed(title, fault, again, ...above);
    }
  }

  // The picture of the record that is compared.
  sought(of) {
    const what = el("span", {}, of.label ?? "no label", ", ", cameraName(of.camera), " ", time(of.captured_at, true));
    const shown = of.thumbnail_url && el("button", { type: "button", "aria-label": "Open this event", onclick: () => this.onOpen(of.event_id) }, el("img", { src: file(of.thumbnail_url), alt: "" }));
    return el("p", { class: "sought" }, shown, what);
  }

  found(title, found, camera, above) {
    const where = camera ? ` of camera ${nameOf(camera)}` : "";
    const parts = [`${plural(found.results.length, "event")}, best first, from ${plural(found.searched, "picture")} in ${found.took_s.toFixed(2)} s.`];
    if (where) parts.push(`Only events${where} are shown.`);
    if (found.left_out) parts.push(`${plural(found.left_out, "picture was", "pictures were")} looked at by another model and left out.`);
    if (!found.is_complete) parts.push("The index is still being built: older events follow.");
    const said = el("p", { class: "said", role: "status" }, parts.join(" "));
    if (!found.results.length) {
      this.show(title, ...above, said, el("div", { class: "notice" }, el("h2", {}, "Nothing to search"),
        el("p", {}, `There is no picture${where} that this model has looked at yet.`)));
      return;
    }
    const best = found.results[0].similarity;
    const grid = (hits) => el("div", { class: "grid" }, hits.map((hit) => this.hit(hit, best)));
    const good = found.results.filter((hit) => hit.is_good !== false);
    const rest = found.results.filter((hit) => hit.is_good === false);
    if (!good.length) said.prepend(el("b", {}, "No good match. "));
    const nearest = rest.length > 0 && [el("h3", {}, "Nearest all the same"), grid(rest)];
    this.show(title, ...above, said, ...[good.length > 0 && grid(good), nearest].flat().filter(Boolean));
  }

  hit(hit, best) {
    const { event } = hit;
    const picture = hit.thumbnail_url
      ? el("img", { src: file(hit.thumbnail_url), alt: "", loading: "lazy", decoding: "async" })
      : el("span", { class: "blank" }, "no picture");
    const share = best > 0 ? Math.max(0, hit.similarity / best) : 0;
    const like = { event: event.id, snippet: hit.snippet, picture: hit.picture };
    return el("article", { class: "card" },
      el("button", { type: "button", onclick: () => this.onOpen(event.id) },
        el("span", { class: "shot" }, picture, el("span", { class: "length" }, `at ${duration(hit.offset_s)} of clip ${hit.snippet + 1}`)),
        el("span", { class: "about" },
          el("span", { class: "labels" }, event.detections.length ? event.detections.map(chip) : el("span", { class: "chip none" }, "no label")),
          el("span", { class: "line" }, cameraName(event.camera), time(hit.captured_at, true),
            el("span", { class: "sky", title: "cosine of this picture and what is sought" }, `fit ${hit.similarity.toFixed(3)} (${percent(share)} of the best)`)))),
      likeButton(like, this.onLike, `camera ${nameOf(event.camera)}, ${time(hit.captured_at, true).textContent}`));
  }

  // -- labels in hindsight

  askHindsight(kept) {
    this.hindsight.ask(kept);
  }

  lookBack(wanted) {
    return this.hindsight.lookBack(wanted);
  }

  failed(title, fault, again, ...above) {
    const isLoading = fault.status === 503 && fault.lines[0]?.found.includes("loading");
    const heading = isLoading ? "The model is still loading" : fault.status === 503 ? "No classifier answers" : "This did not work";
    this.show(title, ...above, el("div", { class: "notice", role: "alert" },
      el("h2", {}, heading), ...faultParts(fault),
      isLoading ? el("p", {}, "The page asks again by itself.") : el("button", { type: "button", onclick: again }, "Try again")));
    if (isLoading) this.again = setTimeout(again, LOADING_MS);
  }
}

// A picture that is sent, as its owner sees it.
function preview(picture) {
  const address = URL.createObjectURL(picture);
  const free = () => URL.revokeObjectURL(address);
  return el("p", { class: "sought" }, el("img", { src: address, alt: "", onload: free, onerror: (event) => { free(); event.target.remove(); } }), picture.name);
}
