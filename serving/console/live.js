// The live page: sign in, choose an event, then everyone in view with a box and a name.

import { Problem } from "../check-in/check_in_calls.js";
import { openCamera, takePicture } from "../check-in/check_in_camera.js";
import { KINDS, drawBoxes, nameOf, timeOf } from "../check-in/check_in_drawing.js";
import { allowSound, play } from "./live_sound.js";
import { LiveStream } from "./live_stream.js";
import { call, closeSession, listEvents, openSession } from "./session.js";

const SHOWN = 50;
const SURE_AFTER_MS = 1_200; // a face is said to be unknown when it stayed so: one blurred frame is no stranger
const KIND_OF = { match: "match", unknown: "unknown", refused: "unclear" };

const part = (id) => document.getElementById(id);

let session = null;
let chosen = null; // { event, title, place, checksIn }
let run = null; // what goes on while the camera is on; another object each time
let banner = { kind: "waiting", until: 0 };
let isLoud = true;

// ---- which part of the page is seen

function show(id) {
  for (const each of ["sign-in", "choose", "live"]) part(each).hidden = each !== id;
  part("controls").hidden = id === "sign-in";
  part("change-event").hidden = part("sound").hidden = id !== "live";
  if (id !== "live") part("switch-camera").hidden = true;
  part("where").textContent = id === "live" ? [chosen.title, chosen.place].filter(Boolean).join(" · ") : "";
}

function askToSignIn(words = "") {
  stop();
  session = null;
  show("sign-in");
  part("sign-in-problem").textContent = words;
  chooseWay();
}

function chooseWay() {
  const byToken = part("way-token").checked;
  for (const [id, on] of [["with-token", byToken], ["with-password", !byToken]]) {
    part(id).hidden = !on;
    for (const input of part(id).querySelectorAll("input")) input.disabled = !on;
  }
  part(byToken ? "token" : "name").focus();
}

async function submit(form, problemId, work) {
  const button = form.querySelector("button[type=submit]");
  if (button.disabled) return;
  button.disabled = true;
  part(problemId).textContent = "";
  try {
    await work();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const wait = problem.retryAfterS ? ` Try again in ${Math.ceil(problem.retryAfterS)} s.` : "";
    part(problemId).textContent = problem.message + wait;
  } finally {
    button.disabled = false;
  }
}

async function signIn() {
  const byToken = part("way-token").checked;
  session = await openSession(byToken
    ? { token: part("token").value.trim() }
    : { name: part("name").value, password: part("password").value });
  part("password").value = part("token").value = "";
  const { offered, isWhole } = await listEvents(session);
  part("event").replaceChildren(...offered.map(({ id, name }) => {
    const option = new Option(name ? `${name} (${id})` : id, id);
    option.dataset.title = name ?? id;
    return option;
  }));
  if (chosen && offered.some(({ id }) => id === chosen.event)) part("event").value = chosen.event;
  const byId = offered.length === 0 || !isWhole; // none that may be listed, or too many to choose from
  part("event-from-list").hidden = part("event").disabled = byId;
  part("event-by-id").hidden = !byId;
  part("event-id").disabled = !byId;
  show("choose");
  part(byId ? "event-id" : "event").focus();
}

// ---- the camera and the stream

async function start(asked = { facingMode: "environment" }) {
  stop();
  const mine = { camera: null, stream: null, seen: new Map(), people: new Set(), unknown: 0 };
  run = mine;
  show("live");
  part("camera-trouble").hidden = true;
  showSeen(mine);
  setBanner("waiting", "One moment", "The camera is being opened.");
  let camera;
  try {
    camera = await openCamera(asked);
  } catch (error) {
    if (run === mine) showCameraTrouble(error.message);
    return;
  }
  if (run !== mine) {
    for (const track of camera.getTracks()) track.stop();
    return;
  }
  mine.camera = camera;
  const [track] = camera.getVideoTracks();
  track.addEventListener("ended", () => { if (run === mine) showCameraTrouble("The camera has gone. Connect it again, then try again."); });
  mine.mirrored = track.getSettings().facingMode === "user";
  const video = part("video");
  video.classList.toggle("mirrored", mine.mirrored);
  video.srcObject = camera;
  await video.play().catch(() => {});
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
  if (run !== mine) return;
  mine.cameras = cameras.map((each) => each.deviceId);
  mine.cameraId = track.getSettings().deviceId;
  part("switch-camera").hidden = cameras.length < 2;
  keepAwake(mine);
  const options = { quality: "standard", ...(chosen.checksIn && { check_in: true, place: chosen.place }) };
  mine.stream = new LiveStream(session, chosen.event, options, takeFrame, {
    ready: () => { if (run === mine) setBanner("waiting", "Ready", "Whoever comes into view is looked up."); },
    faces: (message) => { if (run === mine) showFaces(mine, message); },
    waits: (words, seconds) => {
      if (run !== mine) return;
      drawBoxes(part("overlay"), null);
      setBanner("trouble", words, seconds ? `Trying again in ${Math.ceil(seconds)} s.` : "Trying again.");
    },
    ends: (problem, isSignedOut) => { if (run === mine) endStream(problem, isSignedOut); },
  });
  mine.stream.open();
}

function takeFrame() {
  const video = part("video");
  return !document.hidden && video.readyState >= 2 ? takePicture(video) : null;
}

function endStream(problem, isSignedOut) {
  if (isSignedOut) {
    askToSignIn("You were signed out: the token has expired or was withdrawn. Sign in again to go on.");
    return;
  }
  stop();
  show("choose");
  part("choose-problem").textContent = [problem?.title, problem?.cure].filter(Boolean).join(". ");
}

function stop() {
  const ended = run;
  run = null;
  ended?.stream?.close();
  for (const track of ended?.camera?.getTracks() ?? []) track.stop();
  ended?.wakeLock?.release().catch(() => {});
  part("video").srcObject = null;
  drawBoxes(part("overlay"), null);
}

function showCameraTrouble(words) {
  stop();
  part("camera-problem").textContent = words;
  part("camera-trouble").hidden = false;
  setBanner("trouble", "No camera", "Nobody is looked up.");
  part("try-again").focus();
}

async function keepAwake(mine) {
  if (!navigator.wakeLock || document.hidden) return;
  mine.wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
}

// ---- what was seen

function showFaces(mine, message) {
  const now = Date.now();
  const faces = message.faces.map((face) => ({ ...face, kind: KIND_OF[face.outcome] }));
  drawBoxes(part("overlay"), { ...message, faces }, mine.mirrored);
  const here = new Set();
  for (const face of faces) here.add(note(mine, face, now));
  for (const [key, each] of mine.seen) each.isHere = here.has(key);
  showSeen(mine);
  const unsure = (face) => face.kind === "unknown" && !mine.seen.get(`track ${face.track}`)?.isSure;
  const sure = faces.filter((face) => !unsure(face));
  const best = Math.max(0, ...sure.map((face) => KINDS[face.kind].rank));
  const top = sure.filter((face) => KINDS[face.kind].rank === best);
  if (!faces.length) offerBanner("waiting", "Nobody in view", "");
  else if (!top.length) return;
  else if (top[0].kind === "match") {
    const names = [...new Set(top.map((face) => nameOf(face.person)))].join(", ");
    offerBanner("match", names, top.some((face) => face.arrived === "now") ? "Welcome!" : detailOf(top));
  } else if (top[0].kind === "unknown") offerBanner("unknown", "Not recognised", "Nobody of this event.");
  else offerBanner("unclear", "Not clear enough", top[0].faults[0]?.hint ?? "");
}

function detailOf(faces) {
  const [since] = faces.map((face) => face.first_at).filter(Boolean);
  return since ? `Checked in, since ${timeOf(since)}` : "Recognised";
}

// Keep who this is; one person is one entry however often they come, an unknown face one for each track.
function note(mine, face, now) {
  const key = face.person ? `person ${face.person.person_id}` : `track ${face.track}`;
  if (face.person) {
    const guess = mine.seen.get(`track ${face.track}`);
    if (guess?.isSure) mine.unknown -= 1; // was a stranger until now
    mine.seen.delete(`track ${face.track}`);
    mine.people.add(face.person.person_id);
    if (!mine.seen.get(key)?.isHere) sound("match");
    mine.seen.set(key, { kind: "match", name: nameOf(face.person), at: mine.seen.get(key)?.at ?? now, lastAt: now });
  } else if (face.kind === "unknown") {
    const each = mine.seen.get(key) ?? { kind: "unknown", name: "Unknown", at: now, isSure: false };
    if (!each.isSure && now - each.at >= SURE_AFTER_MS) {
      each.isSure = true;
      mine.unknown += 1;
      sound("unknown");
    }
    mine.seen.set(key, { ...each, lastAt: now });
  }
  return key;
}

function sound(kind) {
  if (isLoud) play(kind);
}

function showSeen(mine) {
  const entries = [...mine.seen.entries()].filter(([, each]) => each.kind === "match" || each.isSure);
  entries.sort(([, a], [, b]) => b.at - a.at);
  for (const [key] of entries.slice(SHOWN)) mine.seen.delete(key);
  for (const [key, each] of mine.seen) {
    if (each.kind === "unknown" && !each.isSure && each.isHere === false) mine.seen.delete(key);
  }
  const lines = entries.slice(0, SHOWN).map(([, { kind, name, at, isHere }]) => ({ kind, name, at, isHere }));
  const now = JSON.stringify(lines);
  if (mine.shown === now) return; // a list that is made anew at each frame could not be read
  mine.shown = now;
  part("arrivals").replaceChildren(...lines.map(({ kind, name, at, isHere }) => {
    const item = document.createElement("li");
    Object.assign(item.dataset, { kind, here: isHere === false ? "no" : "yes" });
    const who = Object.assign(document.createElement("span"), { className: "who", textContent: `${KINDS[kind].sign} ${name}` });
    const moment = new Date(at).toISOString();
    item.append(who, Object.assign(document.createElement("time"), { dateTime: moment, textContent: timeOf(moment) }));
    return item;
  }));
  part("no-arrivals").hidden = lines.length > 0;
  part("known").textContent = mine.people.size;
  part("unknowns").textContent = `recognised, ${mine.unknown} unknown`;
}

function offerBanner(kind, title, detail) {
  const stays = banner.kind !== "trouble" && performance.now() < banner.until;
  if (!stays || KINDS[kind].rank >= KINDS[banner.kind].rank) setBanner(kind, title, detail);
}

function setBanner(kind, title, detail) {
  banner = { kind, until: performance.now() + KINDS[kind].stays };
  part("banner").dataset.kind = kind;
  const words = { "banner-sign": KINDS[kind].sign, "banner-title": title, "banner-detail": detail };
  for (const [id, text] of Object.entries(words)) {
    if (part(id).textContent !== text) part(id).textContent = text; // said aloud only when it changes
  }
}

// ---- the controls

for (const radio of document.querySelectorAll("input[name=way]")) radio.addEventListener("change", chooseWay);
part("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit(event.target, "sign-in-problem", signIn);
});
part("choose-form").addEventListener("submit", (event) => {
  event.preventDefault();
  allowSound();
  const list = part("event");
  const byId = list.disabled;
  const id = byId ? part("event-id").value.trim() : list.value;
  chosen = {
    event: id,
    title: byId ? id : list.selectedOptions[0].dataset.title,
    place: part("place").value.trim() || null,
    checksIn: part("check-in").value === "yes",
  };
  submit(event.target, "choose-problem", async () => {
    if (session.permissions.has("read_events")) await call(session, "GET", `events/${encodeURIComponent(id)}`);
    await start();
  });
});
part("sound").addEventListener("click", () => {
  isLoud = !isLoud;
  part("sound").setAttribute("aria-pressed", String(isLoud));
  allowSound();
});
part("change-event").addEventListener("click", () => {
  stop();
  show("choose");
  part(part("event").disabled ? "event-id" : "event").focus();
});
part("try-again").addEventListener("click", () => start());
part("switch-camera").addEventListener("click", () => {
  const next = (run.cameras.indexOf(run.cameraId) + 1) % run.cameras.length;
  start({ deviceId: { exact: run.cameras[next] } });
});
part("sign-out").addEventListener("click", () => {
  closeSession(session);
  askToSignIn();
});
document.addEventListener("visibilitychange", () => { if (run?.camera) keepAwake(run); });
window.addEventListener("resize", () => drawBoxes(part("overlay"), null)); // they would be out of place
window.addEventListener("pagehide", stop);

askToSignIn();
