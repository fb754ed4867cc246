// The camera: opening it, showing it, taking pictures.

import { make } from "../page/elements.js";

const MAX_SIDE = 960;
const JPEG_QUALITY = 0.85;
const TROUBLE = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's settings (often a camera sign in the address bar), then try again.",
  NotFoundError: "No camera was found. Connect one, then try again.",
  NotReadableError: "The camera is in use by another program. Close that, then try again.",
};

async function openTrack(asked) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("Browsers give the camera only to secure pages. Open this page over https, or on the machine itself as localhost.");
  }
  const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...asked } });
  } catch (error) {
    throw new Error(TROUBLE[error.name] ?? `The camera could not be opened (${error.name}).`);
  }
}

const sketch = document.createElement("canvas");

// What a camera or an opened picture shows, as JPEG of at most `maxSide` pixels.
export function takePicture(source, maxSide = MAX_SIDE) {
  const [width, height] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
  const scale = Math.min(1, maxSide / Math.max(width, height));
  sketch.width = Math.round(width * scale);
  sketch.height = Math.round(height * scale);
  sketch.getContext("2d", { alpha: false }).drawImage(source, 0, 0, sketch.width, sketch.height);
  return new Promise((done) => sketch.toBlob(done, "image/jpeg", JPEG_QUALITY));
}

// A camera in its frame: `node` goes into the page. Of `told`: begins(), opens(), fails(words).
export class Camera {
  constructor(told, { facingMode = "user" } = {}) {
    this.told = told;
    this.facingMode = facingMode;
    this.video = make("video", { id: "video", muted: true, autoplay: true, playsinline: true, "aria-label": "Live picture of the camera" });
    this.video.muted = true;
    this.overlay = make("canvas", { id: "overlay", "aria-hidden": "true" });
    this.problem = make("p", { id: "camera-problem", role: "alert" });
    this.again = make("button", { type: "button", on: { click: () => this.open() } }, "Try again");
    this.trouble = make("div", { id: "camera-trouble", hidden: true }, this.problem, this.again);
    this.node = make("div", { id: "stage" }, this.video, this.overlay, this.trouble);
    this.others = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.openNext() } }, "Switch camera");
    this.keepAwake = () => this.stayAwake();
    this.opening = 0;
    this.cameras = [];
  }

  // Open it, or another one as `asked` (constraints of the browser's interface).
  async open(asked = { facingMode: this.facingMode }) {
    this.close();
    const opening = this.opening;
    this.trouble.hidden = true;
    this.told.begins();
    let stream;
    try {
      stream = await openTrack(asked);
    } catch (error) {
      if (this.opening === opening) this.fail(error.message);
      return;
    }
    if (this.opening !== opening) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.stream = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => { if (this.stream === stream) this.fail("The camera has gone. Connect it again, then try again."); });
    this.isMirrored = track.getSettings().facingMode === "user";
    this.video.classList.toggle("mirrored", this.isMirrored);
    this.video.srcObject = stream;
    await this.video.play().catch(() => {});
    const found = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
    if (this.stream !== stream) return;
    this.cameras = found.map((each) => each.deviceId);
    this.id = track.getSettings().deviceId;
    this.others.hidden = found.length < 2;
    document.addEventListener("visibilitychange", this.keepAwake);
    this.stayAwake();
    this.told.opens();
  }

  openNext() {
    const next = (this.cameras.indexOf(this.id) + 1) % this.cameras.length;
    this.open({ deviceId: { exact: this.cameras[next] } });
  }

  // What it sees now, as JPEG; null while the page is hidden or nothing is seen yet.
  take() {
    return this.stream && !document.hidden && this.video.readyState >= 2 ? takePicture(this.video) : null;
  }

  close() {
    this.opening += 1;
    const stream = this.stream;
    this.stream = null;
    for (const track of stream?.getTracks() ?? []) track.stop();
    document.removeEventListener("visibilitychange", this.keepAwake);
    this.wakeLock?.release().catch(() => {});
    this.wakeLock = null;
    this.video.srcObject = null;
    this.others.hidden = true;
  }

  fail(words) {
    this.close();
    this.problem.textContent = words;
    this.trouble.hidden = false;
    this.again.focus();
    this.told.fails(words);
  }

  async stayAwake() {
    if (!navigator.wakeLock || document.hidden || !this.stream) return;
    const wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
    if (this.stream) this.wakeLock = wakeLock;
    else wakeLock?.release().catch(() => {});
  }
}
