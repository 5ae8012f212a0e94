// All verdicts, newest first: what was said of which event, by whom, and taking it back.

import { at, file, idOf, read } from "./api.js";
import { cut } from "./crops.js";
import { byId, el } from "./dom.js";
import { plural, time } from "./format.js";
import { cameraName, nameOf } from "./names.js";
import { begin, faultParts, may, refuse } from "./site.js";
import { inWords, takeBack } from "./verdict.js";

let next = null;

const chosen = () => new URLSearchParams(location.search).get("camera") ?? "";

async function load({ older = false } = {}) {
  const query = new URLSearchParams({ limit: "48" });
  if (chosen()) query.set("camera", chosen());
  if (older && next) query.set("before", next);
  try {
    const page = await read(`api/verdicts?${query}`);
    byId("notice").hidden = true;
    if (!older) byId("verdicts").replaceChildren();
    byId("verdicts").append(...page.verdicts.map(card));
    next = page.next;
    byId("models").hidden = page.models.length < 2;
    byId("models").textContent = `Learned with ${page.models.map(({ model, examples }) => `${model} (${plural(examples, "picture")})`).join(", ")}: decisions take those of the model that is running, and leave the others out.`;
    byId("more").hidden = !next;
    if (!byId("verdicts").children.length) {
      byId("notice").hidden = false;
      byId("notice").replaceChildren(el("h2", {}, "Nothing was said yet"), el("p", {}, "Open an event and say whether it is right: ", el("a", { href: at("") }, "Events"), "."));
    }
  } catch (fault) {
    refuse(fault, () => load());
  }
}

function card(verdict) {
  const picture = verdict.thumbnail_url
    ? el("img", { src: file(verdict.thumbnail_url), alt: "", loading: "lazy" })
    : el("span", { class: "blank" }, "the event is deleted");
  const shot = el("span", { class: "shot" }, picture);
  const item = el("li", { class: `card${verdict.undone_at ? " undone" : ""}` },
    verdict.thumbnail_url ? el("a", { href: at(`#${verdict.event_id}`), "aria-label": `The event: ${inWords(verdict)}` }, shot) : shot,
    el("span", { class: "about" },
      el("b", {}, inWords(verdict)),
      el("span", { class: "line" }, cameraName(verdict.camera), time(verdict.event_started_at, true)),
      el("span", { class: "hint" }, `${verdict.made_by}, `, time(verdict.made_at, true), learned(verdict)),
      verdict.undone_at ? el("span", { class: "hint" }, `taken back by ${verdict.undone_by}, `, time(verdict.undone_at, true))
        : may("operate") && el("button", { type: "button", class: "quiet", onclick: () => revoke(verdict, item) }, "Take it back")));
  if (verdict.n_examples && !verdict.undone_at && verdict.effect !== "none") item.append(pictures(verdict));
  return item;
}

// The pictures that were learned from, cut out of their clips once somebody wants to see them.
function pictures(verdict) {
  const box = el("div", { class: "crops" });
  const shown = el("details", { class: "learned" }, el("summary", {}, "What was learned"), box);
  shown.addEventListener("toggle", async () => {
    if (!shown.open || box.children.length) return;
    try {
      const { examples } = await read(`api/cameras/${idOf(verdict.camera)}/examples?event=${idOf(verdict.event_id)}&limit=200`);
      const own = examples.filter((one) => one.verdict_id === verdict.id);
      if (own.length) await draw(box, own);
      else box.append(el("p", { class: "hint" }, "A later verdict on this event counts instead."));
    } catch (fault) {
      box.replaceChildren(...faultParts(fault));
    }
  }, { passive: true });
  return shown;
}

async function draw(box, examples) {
  const missing = (canvas) => canvas.replaceWith(el("span", { class: "blank" }, "no picture"));
  const { signal } = new AbortController();
  const wanted = examples.map((one) => {
    const canvas = el("canvas", { width: 144, height: 144, "aria-hidden": "true" });
    box.append(el("figure", {}, canvas, el("figcaption", {}, says(one))));
    return { clip: one.clip_url, second: one.offset_s, box: one.box, canvas };
  });
  for (const clip of new Set(wanted.map((one) => one.clip))) {
    const of = wanted.filter((one) => one.clip === clip);
    if (clip) await cut(file(clip), of, { signal, missing });
    else for (const { canvas } of of) missing(canvas);
  }
}

const says = ({ label, is_right }) => (label === null ? "nothing" : `${is_right ? "" : "not "}${label}`);

function learned(verdict) {
  if (verdict.effect === "none") return ", only counted";
  if (verdict.is_followed === null) return ", not learned yet";
  return verdict.n_examples ? `, learned from ${plural(verdict.n_examples, "picture")}` : ", not learned: its pictures were gone";
}

async function revoke(verdict, item) {
  try {
    item.replaceWith(card(await takeBack(verdict)));
  } catch (fault) {
    refuse(fault, null);
  }
}

async function start() {
  await begin("verdicts");
  const cameras = (await read("api/record/cameras").catch(() => [])).map((one) => one.name);
  byId("camera").append(...[...new Set([...cameras, chosen()])].filter(Boolean).map((id) => el("option", { value: id, selected: id === chosen() }, nameOf(id))));
  byId("camera").addEventListener("change", () => {
    history.pushState(null, "", byId("camera").value ? `?camera=${idOf(byId("camera").value)}` : location.pathname);
    load();
  });
  addEventListener("popstate", () => { byId("camera").value = chosen(); load(); });
  byId("more").addEventListener("click", () => load({ older: true }));
  byId("filters").inert = false;
  await load();
}

start();
