// Shows what was said of a frame together with that very frame.
//
// A frame carries its time as an RTP timestamp: 90,000 ticks a second from a start that nobody tells. What is said of a
// frame carries the same time in seconds, and comes about when the frame is received, long before that is shown. So
// each frame is paired with what came nearest to it, each pair tells the start, and the start that most pairs agree on
// is the right one. Until then, and in browsers that do not tell when a frame was received, it waits a usual time.

const TICKS_PER_S = 90000;
const CYCLE = 2 ** 32;
const NEAR_TICKS = 0.004 * TICKS_PER_S;
const REMEMBERED = 40;
const AGREED = 6;
const USUAL_MS = 250;
const LATEST_MS = 1000;

const cycled = (ticks) => ((ticks % CYCLE) + CYCLE) % CYCLE;

export function isNear(one, other) {
  const apart = cycled(one - other);
  return Math.min(apart, CYCLE - apart) <= NEAR_TICKS;
}

export class Sync {
  // `show(t, said)` is called for everything that was heard, in order
  constructor(show) {
    Object.assign(this, { show, heard: [], waiting: [], starts: [], start: null, onScreen: null });
  }

  // Follows the frames of a video as they are shown.
  follow(video) {
    const shown = (_now, frame) => {
      this.shown(frame);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback?.(shown);
  }

  hear(t, said, { isVideo }) {
    const entry = { ticks: cycled(Math.round(t * TICKS_PER_S)), t, said, at: performance.now() };
    this.heard = [...this.heard, entry].slice(-REMEMBERED);
    this.waiting.push(entry);
    const isLate = this.onScreen !== null && isNear(entry.ticks, this.onScreen);
    if (isVideo && !isLate) setTimeout(() => this.pass(entry), this.start === null ? USUAL_MS : LATEST_MS);
    else this.pass(entry);
  }

  shown({ rtpTimestamp, receiveTime }) {
    if (rtpTimestamp === undefined || receiveTime === undefined || !this.heard.length) return;
    const apart = (entry) => Math.abs(entry.at - receiveTime);
    const nearest = this.heard.reduce((best, entry) => (apart(entry) < apart(best) ? entry : best));
    this.starts = [...this.starts, cycled(rtpTimestamp - nearest.ticks)].slice(-REMEMBERED);
    this.start = this.agreed();
    if (this.start === null) return;
    this.onScreen = cycled(rtpTimestamp - this.start);
    const own = this.waiting.find((entry) => isNear(entry.ticks, this.onScreen));
    if (own) this.pass(own);
  }

  agreed() {
    const counts = this.starts.map((start) => this.starts.filter((other) => isNear(start, other)).length);
    const most = Math.max(...counts);
    return most >= AGREED && 2 * most > this.starts.length ? this.starts[counts.lastIndexOf(most)] : null;
  }

  // Shows what waits, up to `entry`.
  pass(entry) {
    const end = this.waiting.indexOf(entry) + 1;
    for (const { t, said } of this.waiting.splice(0, end)) this.show(t, said);
  }

  forget() {
    Object.assign(this, { heard: [], waiting: [], onScreen: null });
  }
}
