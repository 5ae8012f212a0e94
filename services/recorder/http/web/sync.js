// Shows what was said of a frame together with that very frame.
//
// A frame carries its time as an RTP timestamp: 90,000 ticks a second from a start that motion tells. What is said of a
// frame carries the same time in seconds, and mostly comes before the frame is shown: it waits for it. Where it comes
// later, as on a busy machine, the video is held back by as much. While no frames are shown, as in a hidden tab and in
// browsers that do not tell a frame's RTP timestamp, it waits a usual time.

const TICKS_PER_S = 90000;
const CYCLE = 2 ** 32;
const NEAR_TICKS = 0.004 * TICKS_PER_S;
const USUAL_MS = 250;
const HELD_MAX_MS = 1000;
const STILL_MS = 1000; // no frame for so long, and nothing waits for one
const WAITING_MAX = 200;
const MARGIN_MS = 50;
const STRANGE = 30; // so many frames of which nothing was heard, and the start is asked for again

const cycled = (ticks) => ((ticks % CYCLE) + CYCLE) % CYCLE;

// How much later `one` is than `other`, in ticks; negative for earlier.
export function later(one, other) {
  const apart = cycled(one - other);
  return apart < CYCLE / 2 ? apart : apart - CYCLE;
}

export class Sync {
  // `show(t, said)` is called for everything that was heard, in order
  constructor(show) {
    Object.assign(this, { show, waiting: [], zero: null, frames: [], shownAt: -Infinity, strange: 0, heldMs: 0, sender: null });
  }

  // Follows the frames of a video as they are shown.
  follow(video) {
    const shown = (now, { rtpTimestamp }) => {
      if (rtpTimestamp !== undefined && this.sender) this.shown(rtpTimestamp, now);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback?.(shown);
  }

  // A video began. `ask()` resolves to the RTP timestamp of a frame taken at 0, `delay(ms)` holds the video back.
  begin(sender) {
    Object.assign(this, { sender, zero: null, frames: [], strange: 0, heldMs: 0 });
    this.askZero();
  }

  end() {
    Object.assign(this, { sender: null, zero: null, frames: [] });
  }

  askZero() {
    const { sender } = this;
    sender.ask().then((zero) => {
      if (sender === this.sender) this.zero = zero;
    }).catch(() => {}); // asked again after some more frames
  }

  hear(t, said, { isVideo }) {
    const entry = { ticks: cycled(Math.round(t * TICKS_PER_S)), t, said };
    this.waiting.push(entry);
    if (this.waiting.length > WAITING_MAX) this.pass(this.waiting[0]);
    const since = this.frames.find((frame) => this.zero !== null && later(frame.rtp - this.zero, entry.ticks) >= -NEAR_TICKS);
    if (since) this.holdBack(performance.now() - since.at);
    if (since || !isVideo) this.pass(entry);
    else this.passLater(entry);
  }

  // Passes an entry after the usual time, but not while frames are shown: its own is still to come.
  passLater(entry) {
    setTimeout(() => {
      if (!this.waiting.includes(entry)) return;
      if (this.zero !== null && performance.now() - this.shownAt < STILL_MS) this.passLater(entry);
      else this.pass(entry);
    }, USUAL_MS);
  }

  shown(rtp, at) {
    this.frames = [...this.frames, { rtp, at }].slice(-STRANGE);
    this.shownAt = performance.now();
    const own = this.zero !== null && this.waiting.findLast((entry) => later(rtp - this.zero, entry.ticks) >= -NEAR_TICKS);
    const isOwn = own && later(rtp - this.zero, own.ticks) <= NEAR_TICKS;
    if (own) this.pass(own);
    this.strange = isOwn || !this.waiting.length ? 0 : this.strange + 1;
    if (this.strange === STRANGE) {
      this.strange = 0;
      this.askZero();
    }
  }

  // What was said came `ms` after its frame had been shown: the frames to come wait for longer.
  holdBack(ms) {
    const wanted = Math.min(HELD_MAX_MS, this.heldMs + ms + MARGIN_MS);
    if (wanted <= this.heldMs) return;
    this.heldMs = wanted;
    this.frames = [];
    this.sender.delay(wanted);
  }

  // Shows what waits, up to `entry`.
  pass(entry) {
    const end = this.waiting.indexOf(entry) + 1;
    for (const { t, said } of this.waiting.splice(0, end)) this.show(t, said);
  }

  forget() {
    this.waiting = [];
  }
}
