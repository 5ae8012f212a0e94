// One camera: its live picture, what the detector makes of it, and trying out, drawing and saving its settings. Its
// labels: label_editor.js.

import { ask, at, events, idOf, pause } from "./api.js";
import { CameraFile, differing } from "./camera_file.js";
import { byId, el } from "./dom.js";
import { LabelEditor } from "./label_editor.js";
import { Live } from "./live.js";
import { drawDraft, drawLook, drawShapes, fitted } from "./overlay.js";
import { Plot } from "./plot.js";
import { Shapes } from "./shapes.js";
import { begin, may, refuse } from "./site.js";
import { Sync } from "./sync.js";

const id = decodeURIComponent(location.pathname.split("/").pop());
const base = `api/cameras/${idOf(id)}`;
const STATE_MS = 3000;
const DEADLINE_MS = 8000; // a service that stands still closes no connection
const SETTLE_MS = 250; // a slider is let come to rest before the detectors are asked anew
const STATES = { connecting: "Connecting", running: "Live", away: "Away", ended: "Ended", failed: "Failed", paused: "Paused" };
const BADGES = { connecting: "Connecting", video: "Live", pictures: "Single pictures", waiting: "Waiting for the camera" };

let looks = []; // of each lane, newest
let stream = null;
let settling = 0;

const cameraFile = new CameraFile(base);
const labels = new LabelEditor(cameraFile, base, { source: () => live.source, size: () => live.size, boxes: () => looks[0]?.boxes ?? [] });
const shapes = new Shapes(byId("overlay"), changed, drafted);
const plot = new Plot(byId("curve"));
const sync = new Sync(see);
const live = new Live(base, byId("video"), byId("still"), sync, (kind, reason) => {
  byId("badge").textContent = BADGES[kind];
  byId("why").hidden = kind !== "pictures";
  byId("why").textContent = kind === "pictures" ? `Pictures instead of video: ${reason}.` : "";
});

// -- settings on the page

function fill(motion) {
  const isAuto = motion.threshold === "auto";
  byId("auto").checked = isAuto;
  if (!isAuto || !byId("threshold").value) setPair("threshold", isAuto ? 25 : motion.threshold);
  setPair("area", motion.min_contour_area);
  setPair("blur", motion.gaussian_ksize);
  shapes.set(motion);
  listShapes();
  for (const name of ["threshold", "threshold-range"]) byId(name).disabled = isAuto;
}

function setPair(name, value) {
  byId(name).value = value;
  byId(`${name}-range`).value = value;
}

function wanted() {
  return {
    threshold: byId("auto").checked ? "auto" : Number(byId("threshold").value),
    min_contour_area: Number(byId("area").value),
    gaussian_ksize: Number(byId("blur").value),
    masks: shapes.of("masks"),
    zones: shapes.of("zones"),
  };
}

function differences() {
  return differing(wanted(), cameraFile.settings.motion);
}

function changed() {
  const isChanged = Object.keys(differences()).length > 0;
  offer(isChanged);
  byId("own").textContent = isChanged ? "Settings on trial, not saved" : "Settings in force";
  listShapes();
  clearTimeout(settling);
  settling = setTimeout(follow, SETTLE_MS);
}

// What is half drawn is in no setting yet: it is finished or cancelled before anything is saved.
function offer(isChanged) {
  byId("save").disabled = byId("undo").disabled = !isChanged || Boolean(shapes.draft);
  if ((isChanged || shapes.draft) && byId("said").dataset.kind === "good") say("");
}

function listShapes() {
  const counts = { masks: 0, zones: 0 };
  byId("shapes").replaceChildren(...shapes.list.map((shape) => {
    counts[shape.kind] += 1;
    const name = `${shape.kind === "masks" ? "Mask" : "Zone"} ${counts[shape.kind]}`;
    return el("li", {}, el("span", { class: `key ${shape.kind === "masks" ? "mask" : "zone"}`, "aria-hidden": "true" }),
      `${name}, ${shape.points.length} corners`,
      el("button", { type: "button", class: "quiet", "aria-label": `Remove ${name.toLowerCase()}`, onclick: () => shapes.remove(shape) }, "Remove"));
  }));
}

function drafted() {
  const { draft } = shapes;
  byId("stage").classList.toggle("drawing", Boolean(draft));
  byId("draw-mask").setAttribute("aria-pressed", String(draft?.kind === "masks"));
  byId("draw-zone").setAttribute("aria-pressed", String(draft?.kind === "zones"));
  byId("finish").hidden = byId("cancel").hidden = byId("drawing-help").hidden = !draft;
  byId("finish").disabled = !draft || draft.points.length < 3;
  offer(Object.keys(differences()).length > 0);
  byId("overlay").setAttribute("aria-label", draft
    ? `Drawing: ${draft.points.length} corners, pointer at ${Math.round(draft.at[0] * 100)} % across, ${Math.round(draft.at[1] * 100)} % down`
    : "Live picture");
}

function say(text, kind = "") {
  byId("said").textContent = text;
  byId("said").dataset.kind = kind;
}

// -- the service

async function read() {
  const camera = await cameraFile.read();
  fill(camera.settings.motion);
  labels.fill(camera.settings);
  byId("name").textContent = camera.settings.name || camera.id;
  document.title = `${camera.settings.name || camera.id} · clipwatch`;
  state(camera);
  return camera;
}

function state(camera) {
  byId("state").dataset.state = camera.state;
  byId("state-text").textContent = STATES[camera.state] ?? camera.state;
  byId("pause").textContent = camera.settings.enabled ? "Pause" : "Resume";
  byId("pause").hidden = !may("operate");
  byId("pause").disabled = false;
}

async function watchState() {
  for (;;) {
    await pause(STATE_MS);
    try {
      const { etag, camera } = await cameraFile.look({ deadline_ms: DEADLINE_MS });
      state(camera);
      if (etag !== cameraFile.etag && !Object.keys(differences()).length && !shapes.draft && !labels.isChanged) {
        labels.reread((await read()).settings); // somebody else changed the file, and nothing is on trial here
        changed();
      }
    } catch (fault) {
      byId("state").dataset.state = "away";
      byId("state-text").textContent = "No answer";
      unsee("no answer");
    }
  }
}

async function save(event) {
  event.preventDefault();
  if (shapes.draft) return;
  byId("save").disabled = true;
  say("Saving");
  try {
    const camera = await cameraFile.change({ motion: differences() }, () => say("The motion service does not answer. Trying again"));
    fill(camera.settings.motion);
    say("Saved to the camera file, in force now", "good");
  } catch (fault) {
    say(fault.status === 412 ? "The file has changed meanwhile. Your values are kept here; save again to replace the others." : fault.message, "bad");
  }
  changed();
}

async function pauseOrResume() {
  const verb = byId("pause").textContent.toLowerCase();
  byId("pause").disabled = true;
  try {
    const answer = await ask(`${base}/${verb}`, { method: "POST", json: {} });
    state(cameraFile.take({ etag: answer.headers.get("etag"), camera: await answer.json() }));
  } catch (fault) {
    say(fault.message, "bad");
    byId("pause").disabled = false;
  }
}

// One stream of looks: of the settings in force, or of up to three sets on trial.
async function follow() {
  stream?.abort();
  const own = new AbortController();
  stream = own;
  sync.forget();
  const isCompared = byId("compare").checked;
  byId("pair").hidden = !isCompared;
  byId("views").classList.toggle("compared", isCompared);
  const lanes = [differences(), ...(isCompared ? ["threshold1", "threshold2"].map((name) => ({ ...differences(), threshold: Number(byId(name).value) })) : [])];
  const isTrial = isCompared || Object.keys(lanes[0]).length > 0;
  while (!own.signal.aborted) {
    try {
      const heard = isTrial
        ? events(`${base}/trial`, { method: "POST", json: { lanes }, signal: own.signal })
        : events(`${base}/looks`, { signal: own.signal });
      for await (const { name, data } of heard) {
        if (name === "waiting") unsee("waiting for the camera");
        else sync.hear(data.t, data.lanes ?? [data], { isVideo: live.kind === "video" });
      }
    } catch (fault) {
      if (own.signal.aborted) return;
      if (fault.status === 422) {
        say(fault.message, "bad");
        return;
      }
    }
    unsee("no answer");
    await pause(2000);
  }
}

function see(t, lanes) {
  looks = lanes;
  plot.add(t, lanes.map((look) => look.score));
  byId("largest").textContent = lanes[0].area;
  lanes.forEach((look, lane) => {
    const box = byId(`outcome${lane}`);
    box.textContent = outcomeOf(look);
    box.classList.toggle("active", look.active);
  });
}

// Takes back what the detector said: it holds no longer.
function unsee(why) {
  looks = [];
  sync.forget();
  byId("largest").textContent = "–";
  for (const lane of [0, 1, 2]) {
    byId(`outcome${lane}`).textContent = why;
    byId(`outcome${lane}`).classList.remove("active");
  }
}

function outcomeOf(look) {
  if (look.active) return `moving, score ${look.score.toFixed(2)}`;
  if (look.blind) return "scene changed";
  return look.contours.length ? "still: what differs does not travel" : "still";
}

function draw() {
  const [width, height] = live.size;
  if (width) {
    for (const stage of document.querySelectorAll(".stage")) stage.style.aspectRatio = `${width} / ${height}`;
    byId("draw-mask").disabled = byId("draw-zone").disabled = false; // not before: the stage moves when it takes its shape
  }
  const style = getComputedStyle(document.documentElement);
  const colour = (lane) => style.getPropertyValue(`--c${lane}`);
  const paper = fitted(byId("overlay"));
  paper.pen.clearRect(0, 0, paper.width, paper.height);
  drawShapes(paper, shapes.list, { withHandles: !shapes.draft });
  drawLook(paper, looks[0], colour(0));
  if (shapes.draft) drawDraft(paper, shapes.draft);
  if (byId("compare").checked && width) {
    for (const lane of [1, 2]) {
      const other = fitted(byId(`other${lane}`));
      other.pen.drawImage(live.source, 0, 0, other.width, other.height);
      drawShapes(other, shapes.list);
      drawLook(other, looks[lane], colour(lane));
    }
  }
  plot.draw();
  requestAnimationFrame(draw);
}

// -- start

for (const name of ["threshold", "area", "blur"]) {
  for (const [from, to] of [[name, `${name}-range`], [`${name}-range`, name]]) {
    byId(from).addEventListener("input", () => { byId(to).value = byId(from).value; changed(); });
  }
}
byId("auto").addEventListener("change", () => {
  for (const name of ["threshold", "threshold-range"]) byId(name).disabled = byId("auto").checked;
  changed();
});
for (const name of ["threshold1", "threshold2", "compare"]) byId(name).addEventListener("change", changed);
byId("draw-mask").addEventListener("click", () => shapes.begin("masks"));
byId("draw-zone").addEventListener("click", () => shapes.begin("zones"));
byId("finish").addEventListener("click", () => shapes.finish());
byId("cancel").addEventListener("click", () => shapes.cancel());
byId("undo").addEventListener("click", () => { fill(cameraFile.settings.motion); changed(); say(""); });
byId("settings").addEventListener("submit", save);
byId("pause").addEventListener("click", pauseOrResume);

async function start() {
  byId("shown-events").href = at(`?camera=${idOf(id)}&all=1`);
  byId("settings").hidden = !may("operate");
  try {
    await read();
  } catch (fault) {
    refuse(fault, start);
    return;
  }
  byId("notice").hidden = true;
  byId("tuner").hidden = byId("labels").hidden = false;
  if (location.hash === "#labels") byId("labels").scrollIntoView(); // it was not there when the page was opened
  byId("compare").checked = may("operate") && matchMedia("(min-width: 1000px)").matches;
  changed();
  sync.follow(byId("video"));
  live.run().catch((fault) => refuse(fault, () => location.reload()));
  watchState();
  labels.start();
  draw();
}

begin("cameras").then(start);
