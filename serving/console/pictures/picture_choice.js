// Pictures that people choose: from a file, or by dropping them on the page.
//
// readPicture(file)            { name, blob, width, height }: what the service can read, upright, of a sensible size;
//                              raises UnreadablePicture, whose `advice` is for people
// makeDropZone({ label, … })   { node, input }: a file input with its label, on which files may be dropped as well
// UnreadablePicture, MAX_SIDE_PX

import { takePicture } from "../camera/camera.js";
import { make, makeField } from "../page/elements.js";

export const MAX_SIDE_PX = 1600; // detectors look at less; a phone's photo is four times as many pixels
const MAX_UNTOUCHED_BYTES = 3_000_000; // a smaller file that the service reads is sent as it is
const READ_BY_SERVICE = new Set(["image/jpeg", "image/png", "image/webp"]);

export class UnreadablePicture extends Error {
  constructor(name) {
    super(`This browser cannot read ${name}. Save it as JPEG or PNG and choose that; photos of an iPhone (HEIC) can be exported so.`);
  }

  get advice() {
    return this.message;
  }
}

// A photo as its taker sees it (the orientation that the camera noted is applied), with at most `maxSidePx` pixels a side.
export async function readPicture(file, maxSidePx = MAX_SIDE_PX) {
  const name = file.name ?? "the picture";
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new UnreadablePicture(name);
  }
  try {
    const { width, height } = bitmap;
    const scale = Math.min(1, maxSidePx / Math.max(width, height));
    if (scale === 1 && file.size <= MAX_UNTOUCHED_BYTES && READ_BY_SERVICE.has(file.type)) return { name, blob: file, width, height };
    const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
    const smaller = await createImageBitmap(bitmap, { resizeWidth: size.width, resizeHeight: size.height, resizeQuality: "high" });
    const blob = await takePicture(smaller, maxSidePx);
    smaller.close();
    return { name, blob, ...size };
  } finally {
    bitmap.close();
  }
}

// `take(files)` is called with what was chosen or dropped, an array that is never empty. `signal` ends with the view:
// until then a file dropped beside the zone is not opened by the browser in the place of the console.
// `takeDrop(dataTransfer)` hears of drops in the place of `take`: there may be folders in it.
export function makeDropZone({ label, hint, take, takeDrop, signal, accept = "image/*", multiple = true }) {
  const input = make("input", { type: "file", accept, multiple });
  const node = make("div", { class: "drop-zone" }, makeField(label, input, hint));
  const choose = (files) => { if (files.length) take(multiple ? files : files.slice(0, 1)); };
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    choose(files);
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (event) => { node.dataset.over = String(node.contains(event.target)); };
  const listen = (kind, work) => window.addEventListener(kind, (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    work(event);
  }, { signal });
  listen("dragover", (event) => {
    mark(event);
    event.dataTransfer.dropEffect = node.contains(event.target) ? "copy" : "none";
  });
  listen("drop", (event) => {
    node.dataset.over = "false";
    if (!node.contains(event.target)) return;
    if (takeDrop) takeDrop(event.dataTransfer);
    else choose([...event.dataTransfer.files]);
  });
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) node.dataset.over = "false"; }, { signal });
  return { node, input };
}
