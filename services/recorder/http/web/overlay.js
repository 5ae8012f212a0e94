// Draws what the detector says over a picture: contours, boxes, masks and zones. Places are shares of width and height.

const MASK = "#ef4444";
const ZONE = "#22c55e";

export function fitted(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return { pen: canvas.getContext("2d"), width, height, ratio };
}

function path(pen, points, width, height, isClosed = true) {
  pen.beginPath();
  points.forEach(([x, y], index) => pen[index ? "lineTo" : "moveTo"](x * width, y * height));
  if (isClosed) pen.closePath();
}

export function drawLook(paper, look, colour) {
  const { pen, width, height, ratio } = paper;
  if (!look) return;
  pen.lineJoin = "round";
  for (const line of look.contours) {
    path(pen, line, width, height);
    pen.fillStyle = colour;
    pen.globalAlpha = 0.28;
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 1.2 * ratio;
    pen.strokeStyle = colour;
    pen.stroke();
  }
  for (const [x, y, w, h] of look.boxes) {
    pen.lineWidth = 5 * ratio;
    pen.strokeStyle = "rgb(0 0 0 / 55%)";
    pen.strokeRect(x * width, y * height, w * width, h * height);
    pen.lineWidth = 2.4 * ratio;
    pen.strokeStyle = "#fff";
    pen.strokeRect(x * width, y * height, w * width, h * height);
  }
}

function hatched(pen, width, height, ratio) {
  pen.save();
  pen.clip();
  pen.globalAlpha = 0.22;
  pen.fillStyle = MASK;
  pen.fillRect(0, 0, width, height);
  pen.globalAlpha = 0.7;
  pen.lineWidth = ratio;
  pen.beginPath();
  for (let x = -height; x < width; x += 9 * ratio) {
    pen.moveTo(x, 0);
    pen.lineTo(x + height, height);
  }
  pen.stroke();
  pen.restore();
}

export function drawShapes(paper, shapes, { withHandles = false, chosen = null } = {}) {
  const { pen, width, height, ratio } = paper;
  for (const shape of shapes) {
    const colour = shape.kind === "masks" ? MASK : ZONE;
    pen.strokeStyle = colour;
    path(pen, shape.points, width, height);
    if (shape.kind === "masks") hatched(pen, width, height, ratio);
    path(pen, shape.points, width, height);
    pen.lineWidth = (shape === chosen ? 4 : 2) * ratio;
    pen.setLineDash(shape.kind === "zones" ? [8 * ratio, 5 * ratio] : []);
    pen.stroke();
    pen.setLineDash([]);
    if (withHandles) handles(paper, shape.points, colour);
  }
}

function handles({ pen, width, height, ratio }, points, colour) {
  for (const [x, y] of points) {
    pen.beginPath();
    pen.arc(x * width, y * height, 5 * ratio, 0, 2 * Math.PI);
    pen.fillStyle = "#fff";
    pen.fill();
    pen.lineWidth = 2 * ratio;
    pen.strokeStyle = colour;
    pen.stroke();
  }
}

export function drawDraft(paper, draft) {
  const { pen, width, height, ratio } = paper;
  const colour = draft.kind === "masks" ? MASK : ZONE;
  path(pen, [...draft.points, draft.at], width, height, false);
  pen.lineWidth = 2.5 * ratio;
  pen.strokeStyle = colour;
  pen.stroke();
  handles(paper, draft.points, colour);
  const [x, y] = [draft.at[0] * width, draft.at[1] * height];
  pen.beginPath();
  for (const [a, b, c, d] of [[-12, 0, -3, 0], [3, 0, 12, 0], [0, -12, 0, -3], [0, 3, 0, 12]]) {
    pen.moveTo(x + a * ratio, y + b * ratio);
    pen.lineTo(x + c * ratio, y + d * ratio);
  }
  pen.strokeStyle = "#fff";
  pen.stroke();
}
