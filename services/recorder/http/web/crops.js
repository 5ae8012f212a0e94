// Cuts pictures out of a clip, one after the other, by a video of its own that nobody sees.

const DEADLINE_MS = 15_000;
const FRAME_MS = 2000;
const HEIGHT = 144; // of a picture that is cut out, twice as many pixels as it is shown with

// `wanted`: [{second, box, canvas}]. Calls `missing(canvas)` where there is no picture. Ends early by `signal`.
export async function cut(address, wanted, { signal, missing }) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, preload: "auto", playsInline: true });
  try {
    video.src = address;
    await until(video, "loadeddata", signal);
    for (const { second, box, canvas } of wanted) {
      const at = Math.min(second, Math.max(video.duration - 0.05, 0));
      if (Math.abs(video.currentTime - at) > 0.001) {
        const shown = frameOf(video); // the seek may end before its frame can be drawn
        video.currentTime = at;
        await until(video, "seeked", signal);
        await shown;
      }
      draw(video, box ?? [0, 0, 1, 1], canvas);
    }
  } catch {
    if (!signal.aborted) for (const { canvas } of wanted) if (!canvas.dataset.drawn) missing(canvas);
  } finally {
    video.removeAttribute("src");
    video.load();
  }
}

function until(video, name, signal) {
  const done = new AbortController();
  return new Promise((resolve, reject) => {
    const options = { signal: done.signal };
    video.addEventListener(name, resolve, options);
    video.addEventListener("error", reject, options);
    signal.addEventListener("abort", reject, options);
    AbortSignal.timeout(DEADLINE_MS).addEventListener("abort", reject, options);
  }).finally(() => done.abort());
}

// Waits for the next frame, where a browser tells of it and does so soon.
function frameOf(video) {
  return new Promise((done) => {
    if (!video.requestVideoFrameCallback) done();
    else video.requestVideoFrameCallback(done);
    setTimeout(done, FRAME_MS);
  });
}

function draw(video, [x, y, w, h], canvas) {
  const [width, height] = [w * video.videoWidth, h * video.videoHeight];
  if (!(width >= 1 && height >= 1)) return;
  canvas.width = Math.min(Math.max(Math.round((HEIGHT * width) / height), HEIGHT / 2), HEIGHT * 2);
  canvas.height = HEIGHT;
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const [drawnWidth, drawnHeight] = [width * scale, height * scale];
  canvas.getContext("2d").drawImage(video, x * video.videoWidth, y * video.videoHeight, width, height,
    (canvas.width - drawnWidth) / 2, (canvas.height - drawnHeight) / 2, drawnWidth, drawnHeight);
  canvas.dataset.drawn = "yes";
}
