// Masks and zones: drawn, moved and taken away by mouse, finger or keys on the canvas over the live picture.

const NEAR_PX = 14;
const STEP = 0.01;
const round = (share) => Math.round(Math.min(1, Math.max(0, share)) * 1000) / 1000;

export class Shapes {
  constructor(canvas, onChange, onDraft) {
    Object.assign(this, { canvas, onChange, onDraft, list: [], draft: null, held: null });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.held = null; });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  set({ masks, zones }) {
    this.list = [["masks", masks], ["zones", zones]].flatMap(([kind, polygons]) =>
      polygons.map((points) => ({ kind, points: points.map(([x, y]) => [x, y]) })));
  }

  of(kind) {
    return this.list.filter((shape) => shape.kind === kind).map((shape) => shape.points);
  }

  remove(shape) {
    this.list = this.list.filter((other) => other !== shape);
    this.onChange();
  }

  begin(kind) {
    this.draft = { kind, points: [], at: [0.5, 0.5] };
    this.canvas.focus({ preventScroll: true });
    this.onDraft();
  }

  cancel() {
    this.draft = null;
    this.onDraft();
  }

  finish() {
    const { draft } = this;
    if (!draft || draft.points.length < 3) return false;
    this.list.push({ kind: draft.kind, points: draft.points });
    this.draft = null;
    this.onDraft();
    this.onChange();
    return true;
  }

  // -- where

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  }

  isNear(one, other) {
    const box = this.canvas.getBoundingClientRect();
    return Math.hypot((one[0] - other[0]) * box.width, (one[1] - other[1]) * box.height) < NEAR_PX;
  }

  put(point) {
    const { points } = this.draft;
    if (points.length >= 3 && this.isNear(points[0], point)) return this.finish();
    if (points.length && this.isNear(points.at(-1), point)) return false; // the second half of a double click
    points.push(point);
    this.onDraft();
    return true;
  }

  down(event) {
    const point = this.at(event);
    if (this.draft) {
      event.preventDefault();
      this.canvas.focus({ preventScroll: true });
      this.draft.at = point;
      this.put(point);
      return;
    }
    for (const shape of this.list) {
      const index = shape.points.findIndex((corner) => this.isNear(corner, point));
      if (index >= 0) {
        this.held = { shape, index };
        this.canvas.setPointerCapture(event.pointerId);
        return;
      }
    }
  }

  move(event) {
    const point = this.at(event);
    if (this.draft) {
      this.draft.at = point;
    } else if (this.held) {
      this.held.shape.points[this.held.index] = point;
      this.onChange();
    }
  }

  key(event) {
    const { draft } = this;
    if (!draft) return;
    const step = event.shiftKey ? 5 * STEP : STEP;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const [x, y] = draft.at;
    if (moves[event.key]) draft.at = [round(x + moves[event.key][0]), round(y + moves[event.key][1])];
    else if (event.key === " ") this.put([x, y]);
    else if (event.key === "Enter") this.finish();
    else if (event.key === "Backspace") draft.points.pop();
    else if (event.key === "Escape") this.cancel();
    else return;
    event.preventDefault();
    if (this.draft) this.onDraft();
  }
}
