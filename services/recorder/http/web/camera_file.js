// The settings of one camera, as they stand in the camera file, and changing them there through the motion service.

import { ask, pause } from "./api.js";

const AGAIN_MS = 2000;
const AWAY_MS = 60000; // a motion service that restarts is back by then
const [READ_MS, READ_EVERY_MS] = [15000, 300];
const AWAY = [0, 502, 503, 504];

export class CameraFile {
  constructor(base) {
    Object.assign(this, { base, etag: null, settings: null });
  }

  // Returns the camera as it is now; does not take it over.
  async look(options) {
    const answer = await ask(this.base, options);
    return { etag: answer.headers.get("etag"), camera: await answer.json() };
  }

  async read() {
    return this.take(await this.look());
  }

  // Reads what somebody else has changed: motion looks at the file every 2 s.
  async readChanged() {
    const [before, ends] = [this.etag, performance.now() + READ_MS];
    for (;;) {
      const camera = await this.read();
      if (this.etag !== before || performance.now() > ends) return camera;
      await pause(READ_EVERY_MS);
    }
  }

  take({ etag, camera }) {
    this.etag = etag;
    this.settings = camera.settings;
    return camera;
  }

  // Writes settings to the file, unless somebody else has changed it since it was read (412: it is read then). While
  // motion restarts it is asked again; `onAway` is called each time.
  async change(values, onAway) {
    const ends = performance.now() + AWAY_MS;
    for (let isFirst = true; ; isFirst = false) {
      try {
        const answer = await ask(this.base, { method: "PATCH", json: values, headers: { "if-match": this.etag } });
        return this.take({ etag: answer.headers.get("etag"), camera: await answer.json() });
      } catch (fault) {
        if (fault.status === 412) {
          const camera = await this.readChanged().catch(() => null);
          if (!isFirst && camera && this.holds(values)) return camera; // it was made, and only the answer was lost
          throw fault;
        }
        if (!AWAY.includes(fault.status) || performance.now() > ends) throw fault;
        onAway(fault);
        await pause(AGAIN_MS);
      }
    }
  }

  holds(values) {
    return Object.keys(differing(values, this.settings)).length === 0;
  }
}

// The values of `wanted` that are others in `settings`.
export function differing(wanted, settings) {
  return Object.fromEntries(Object.entries(wanted).filter(([name, value]) => !isSame(value, settings[name])));
}

function isSame(one, other) {
  const isMapping = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (isMapping(one) && isMapping(other)) return Object.keys(differing(one, other)).length === 0;
  return JSON.stringify(one) === JSON.stringify(other);
}
