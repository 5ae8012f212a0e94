// The live picture: WebRTC by WHEP; where that does not come through, pictures one after the other.

import { ask, pause } from "./api.js";

const GATHER_MS = 2000;
const FIRST_FRAME_MS = 8000;
const AGAIN_MS = 60000;

export class Live {
  // `say(kind, reason)`: "connecting", "video", "pictures" or "waiting"; why there is no video. `sync`: of the video
  constructor(base, video, still, sync, say) {
    Object.assign(this, { base, video, still, sync, say, session: null, peer: null, kind: "connecting" });
    this.isEnded = false;
    addEventListener("pagehide", () => this.end());
  }

  get source() {
    return this.kind === "video" ? this.video : this.still;
  }

  get size() {
    const { source } = this;
    return source === this.video ? [source.videoWidth, source.videoHeight] : [source.naturalWidth, source.naturalHeight];
  }

  async run() {
    while (!this.isEnded) {
      this.become("connecting");
      let reason = "the video connection ended";
      try {
        await this.connect();
        this.become("video");
        await this.gone();
      } catch (fault) {
        if (fault.isFinal) throw fault;
        reason = [429, 503].includes(fault.status) || !fault.status ? fault.message : "no video connection could be made";
      }
      await this.hangUp();
      if (!this.isEnded) await this.pictures(AGAIN_MS, reason);
    }
  }

  become(kind, reason = "") {
    if (kind !== this.kind || kind === "connecting") this.say(kind, reason);
    this.kind = kind;
    this.video.hidden = kind !== "video";
    this.still.hidden = kind === "video";
  }

  async connect() {
    const peer = new RTCPeerConnection({ iceServers: [] });
    this.peer = peer;
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.ontrack = ({ streams, track }) => { this.video.srcObject = streams[0] ?? new MediaStream([track]); };
    await peer.setLocalDescription();
    await Promise.race([pause(GATHER_MS), new Promise((done) => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
      if (peer.iceGatheringState === "complete") done();
    })]);
    const answer = await ask(`${this.base}/whep`, {
      method: "POST", body: peer.localDescription.sdp, headers: { "content-type": "application/sdp" },
    });
    this.session = answer.headers.get("location").split("/").pop();
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    await new Promise((done, failed) => {
      this.video.onloadeddata = done;
      peer.onconnectionstatechange = () => peer.connectionState === "failed" && failed(new Error("WebRTC does not get through to this browser"));
      setTimeout(() => failed(new Error("no video came by WebRTC in time")), FIRST_FRAME_MS);
    });
    await this.video.play().catch(() => {});
    const receiver = peer.getReceivers()[0];
    this.sync.begin({
      ask: () => ask(`${this.base}/whep/${this.session}`).then((told) => told.json()).then((told) => told.rtp_zero),
      delay: (ms) => { receiver.jitterBufferTarget = ms; },
    });
  }

  gone() {
    const { peer } = this;
    return new Promise((done) => {
      peer.onconnectionstatechange = () => ["failed", "closed", "disconnected"].includes(peer.connectionState) && done();
    });
  }

  async hangUp(keepalive = false) {
    const { session } = this;
    this.session = null;
    this.sync.end();
    this.peer?.close();
    this.peer = null;
    if (session) await ask(`${this.base}/whep/${session}`, { method: "DELETE", keepalive }).catch(() => {});
  }

  async pictures(forMs, reason) {
    const ends = performance.now() + forMs;
    while (!this.isEnded && performance.now() < ends) {
      try {
        const blob = await (await ask(`${this.base}/picture.jpg`)).blob();
        await this.show(URL.createObjectURL(blob));
        this.become("pictures", reason);
      } catch (fault) {
        if (fault.isFinal) throw fault;
        this.become("waiting", fault.message);
        await pause(2000);
        return; // the camera may be back: ask for video again
      }
      while (document.hidden && !this.isEnded) await pause(500);
    }
  }

  // Puts a decoded picture in the place of the one before: an image that loads has no size, and flickers.
  async show(url) {
    const next = new Image();
    next.src = url;
    await next.decode();
    Object.assign(next, { id: this.still.id, alt: "", hidden: this.still.hidden });
    this.still.replaceWith(next);
    if (this.still.src) URL.revokeObjectURL(this.still.src);
    this.still = next;
  }

  end() {
    this.isEnded = true;
    this.hangUp(true);
  }
}
