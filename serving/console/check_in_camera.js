// The camera: opening it, taking pictures.

const MAX_SIDE = 960;
const JPEG_QUALITY = 0.85;
const CAMERA_TROUBLE = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's settings (often a camera sign in the address bar), then try again.",
  NotFoundError: "No camera was found. Connect one, then try again.",
  NotReadableError: "The camera is in use by another program. Close that, then try again.",
};

// The stream of a camera; raises Error with words for whoever stands there.
export async function openCamera(asked = {}) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("Browsers give the camera only to secure pages. Open this page over https, or on the machine itself as localhost.");
  }
  const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...asked } });
  } catch (error) {
    throw new Error(CAMERA_TROUBLE[error.name] ?? `The camera could not be opened (${error.name}).`);
  }
}

const sketch = document.createElement("canvas");

// What the camera sees now, as JPEG of at most MAX_SIDE pixels.
export function takePicture(video) {
  const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight));
  sketch.width = Math.round(video.videoWidth * scale);
  sketch.height = Math.round(video.videoHeight * scale);
  sketch.getContext("2d", { alpha: false }).drawImage(video, 0, 0, sketch.width, sketch.height);
  return new Promise((done) => sketch.toBlob(done, "image/jpeg", JPEG_QUALITY));
}
