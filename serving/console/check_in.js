// The camera at the door: sign in, choose an event, then show who is seen and who has arrived.

import { call, closeSession, listEvents, openSession } from "../console/session.js";
import { Problem } from "./check_in_calls.js";
import { openCamera, takePicture } from "./check_in_camera.js";
import { KINDS, drawBoxes, nameOf, timeOf } from "./check_in_drawing.js";

const MIN_PERIOD_MS = 334; // three pictures a second, one after the other
const SUMMARY_PERIOD_MS = 20_000;
const JUST_ARRIVED_MS = 15_000; // so long the door says welcome to whoever stays before it
const UNKNOWN_IN_A_ROW = 2; // one blurred picture of a guest is no stranger
const SHOWN_ARRIVALS = 50;
const REFUSALS = { presentation_attack: "No live face", liveness_unknown: "Not sure yet" };

const part = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let session = null;
let door = null; // { event, title, place, faces }
let run = null; // what goes on while the camera is on; another object each time
let banner = { kind: "waiting", until: 0 };

// ---- which part of the page is seen

function show(id) {
  for (const each of ["sign-in", "choose", "live"]) part(each).hidden = each !== id;
  part("controls").hidden = id === "sign-in";
  part("change-event").hidden = id !== "live";
  if (id !== "live") part("switch-camera").hidden = true;
  part("where").textContent = id === "live" ? [door.title, door.place].filter(Boolean).join(" · ") : "";
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
  session = await openSession(part("way-token").checked
    ? { token: part("token").value.trim() }
    : { name: part("name").value, password: part("password").value });
  part("password").value = part("token").value = "";
  const { offered, isWhole } = await listEvents(session);
  part("event").replaceChildren(...offered.map(({ id, name }) => {
    const option = new Option(name ? `${name} (${id})` : id, id);
    option.dataset.title = name ?? id;
    return option;
  }));
  if (door && offered.some(({ id }) => id === door.event)) part("event").value = door.event;
  const byId = offered.length === 0 || !isWhole; // none that may be listed, or too many to choose from
  part("event-from-list").hidden = part("event").disabled = byId;
  part("event-by-id").hidden = !byId;
  part("event-id").disabled = !byId;
  show("choose");
  part(byId ? "event-id" : "event").focus();
}

// ---- the camera

async function start(asked = { facingMode: "user" }) {
  stop();
  const mine = { stream: null, failures: 0, strangers: 0, arrivals: new Map(), noted: 0, arrived: 0, lastHour: 0, enrolled: null };
  run = mine;
  show("live");
  part("camera-trouble").hidden = true;
  showArrivals(mine);
  setBanner("waiting", "One moment", "The camera is being opened.");
  let stream;
  try {
    stream = await openCamera(asked);
  } catch (error) {
    if (run === mine) showCameraTrouble(error.message);
    return;
  }
  if (run !== mine) {
    for (const track of stream.getTracks()) track.stop();
    return;
  }
  mine.stream = stream;
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => { if (run === mine) showCameraTrouble("The camera has gone. Connect it again, then try again."); });
  mine.mirrored = track.getSettings().facingMode === "user";
  const video = part("video");
  video.classList.toggle("mirrored", mine.mirrored);
  video.srcObject = stream;
  await video.play().catch(() => {});
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
  if (run !== mine) return;
  mine.cameras = cameras.map((each) => each.deviceId);
  mine.camera = track.getSettings().deviceId;
  part("switch-camera").hidden = cameras.length < 2;
  setBanner("waiting", "Please look at the camera", "");
  keepAwake(mine);
  watch(mine);
  followSummary(mine);
}

function stop() {
  const ended = run;
  run = null;
  for (const track of ended?.stream?.getTracks() ?? []) track.stop();
  ended?.wakeLock?.release().catch(() => {});
  part("video").srcObject = null;
  drawBoxes(part("overlay"), null);
}

function showCameraTrouble(words) {
  stop();
  part("camera-problem").textContent = words;
  part("camera-trouble").hidden = false;
  setBanner("trouble", "No camera", "Nobody is being checked in.");
  part("try-again").focus();
}

async function keepAwake(mine) {
  if (!navigator.wakeLock || document.hidden) return;
  mine.wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
}

async function watch(mine) {
  while (run === mine) {
    const picture = !document.hidden && part("video").readyState >= 2 ? await takePicture(part("video")) : null;
    const began = performance.now();
    let waitMs = MIN_PERIOD_MS;
    if (picture && run === mine) {
      try {
        const query = { faces: door.faces, place: door.place, quality: "standard" };
        const seen = await call(session, "POST", `events/${encodeURIComponent(door.event)}/check-ins`, { query, picture });
        if (run !== mine) return;
        mine.failures = 0;
        showFaces(mine, seen);
      } catch (problem) {
        if (run !== mine) return;
        if (!(problem instanceof Problem)) throw problem;
        waitMs = showTrouble(mine, problem) * 1000 + (performance.now() - began);
      }
    }
    await sleep(Math.max(waitMs - (performance.now() - began), 0));
  }
}

function showTrouble(mine, problem) {
  drawBoxes(part("overlay"), null);
  mine.failures += 1;
  if (problem.status === 401) {
    askToSignIn("You were signed out: the token has expired or was withdrawn. Sign in again to go on.");
    return 0;
  }
  if ([403, 404, 409].includes(problem.status)) {
    stop();
    show("choose");
    part("choose-problem").textContent = problem.message;
    return 0;
  }
  const waitS = Math.max(problem.retryAfterS ?? Math.min(2 ** mine.failures, 30), MIN_PERIOD_MS / 1000);
  const again = `Trying again in ${Math.ceil(waitS)} s.`;
  if (problem.status === 0) setBanner("trouble", "No connection", again);
  else if ([429, 503, 504].includes(problem.status)) setBanner("trouble", "The service is busy", again);
  else setBanner("trouble", "Something is wrong", `${problem.message} ${again}`);
  return waitS;
}

// ---- what was seen

function kindOf(face, at) {
  if (face.outcome === "refused") return "unclear";
  if (face.outcome !== "match") return "unknown";
  return Date.parse(at) - Date.parse(face.first_at) < JUST_ARRIVED_MS ? "match" : "here";
}

function showFaces(mine, seen) {
  const faces = seen.faces.map((face) => ({ ...face, kind: kindOf(face, seen.at) }));
  drawBoxes(part("overlay"), { ...seen, faces }, mine.mirrored);
  for (const face of faces) if (face.person) noteArrival(mine, face);
  mine.strangers = faces.some((face) => face.kind === "unknown") ? mine.strangers + 1 : 0;
  const best = Math.max(0, ...faces.map((face) => KINDS[face.kind].rank));
  const top = faces.filter((face) => KINDS[face.kind].rank === best);
  const names = [...new Set(top.filter((face) => face.person).map((face) => nameOf(face.person)))].join(", ");
  if (!top.length) offerBanner("waiting", "Please look at the camera", "");
  else if (top[0].kind === "match") offerBanner("match", names, "Welcome!");
  else if (top[0].kind === "here") {
    offerBanner("here", names, top.length > 1 ? "Already here" : `Already here, since ${timeOf(top[0].first_at)}`);
  } else if (top[0].kind === "unclear") {
    const fault = top[0].faults[0];
    offerBanner("unclear", REFUSALS[fault?.reason] ?? "Not clear enough", fault?.hint ?? "Please come closer and look at the camera.");
  } else if (mine.strangers >= UNKNOWN_IN_A_ROW) offerBanner("unknown", "Not recognised", "Please ask at the desk.");
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

// ---- who has arrived

function noteArrival(mine, face) {
  const { person_id: id } = face.person;
  if (face.arrived === "now") {
    mine.arrived += 1;
    mine.lastHour += 1;
    mine.noted += 1;
  } else if (mine.arrivals.has(id)) {
    return;
  } else if (!session.permissions.has("read_people")) {
    mine.arrived += 1;
  }
  mine.arrivals.set(id, { ...face.person, first_at: face.first_at, place: door.place });
  showArrivals(mine);
}

function showArrivals(mine) {
  const latest = [...mine.arrivals.values()].sort((a, b) => Date.parse(b.first_at) - Date.parse(a.first_at));
  part("arrivals").replaceChildren(...latest.slice(0, SHOWN_ARRIVALS).map((arrival) => {
    const item = document.createElement("li");
    const who = Object.assign(document.createElement("span"), { className: "who", textContent: nameOf(arrival) });
    const when = Object.assign(document.createElement("time"), { dateTime: arrival.first_at, textContent: timeOf(arrival.first_at) });
    const where = Object.assign(document.createElement("span"), { className: "door", textContent: arrival.place ?? "" });
    item.append(who, when, ...(arrival.place ? [where] : []));
    return item;
  }));
  part("no-arrivals").hidden = latest.length > 0;
  part("arrived").textContent = mine.arrived;
  part("of-enrolled").textContent = mine.enrolled === null ? "seen at this door" : `of ${mine.enrolled} arrived`;
  part("last-hour").textContent = mine.enrolled === null ? "" : `${mine.lastHour} in the last hour`;
  part("share").hidden = !mine.enrolled;
  if (mine.enrolled) part("share").value = Math.min(mine.arrived / mine.enrolled, 1);
}

async function followSummary(mine) {
  if (!session.permissions.has("read_people")) return;
  const path = `events/${encodeURIComponent(door.event)}/check-ins`;
  let known = null;
  while (run === mine) {
    const noted = mine.noted;
    try {
      const summary = document.hidden ? null : await call(session, "GET", `${path}/summary`);
      if (summary && run === mine) {
        const found = summary.arrived === known ? null : await call(session, "GET", path, { query: { limit: String(SHOWN_ARRIVALS) } });
        if (run !== mine) return;
        if (mine.noted !== noted) { // somebody arrived meanwhile, whom these answers may not know
          await sleep(MIN_PERIOD_MS);
          continue;
        }
        if (found) mine.arrivals = new Map(found.check_ins.map((each) => [each.person_id, each]));
        known = summary.arrived;
        Object.assign(mine, { arrived: summary.arrived, lastHour: summary.arrived_last_hour, enrolled: summary.enrolled });
        showArrivals(mine);
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem; // the next round, or the camera's own, will tell
    }
    await sleep(SUMMARY_PERIOD_MS);
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
  const list = part("event");
  const byId = list.disabled;
  door = {
    event: byId ? part("event-id").value.trim() : list.value,
    title: byId ? part("event-id").value.trim() : list.selectedOptions[0].dataset.title,
    place: part("place").value.trim() || null,
    faces: part("faces").value,
  };
  submit(event.target, "choose-problem", start);
  part("live").focus();
});

part("change-event").addEventListener("click", () => {
  stop();
  show("choose");
  part(part("event").disabled ? "event-id" : "event").focus();
});
part("try-again").addEventListener("click", () => start());
part("switch-camera").addEventListener("click", () => {
  const next = (run.cameras.indexOf(run.camera) + 1) % run.cameras.length;
  start({ deviceId: { exact: run.cameras[next] } });
});
part("sign-out").addEventListener("click", () => {
  closeSession(session);
  askToSignIn();
});
document.addEventListener("visibilitychange", () => { if (run?.stream) keepAwake(run); });
window.addEventListener("resize", () => drawBoxes(part("overlay"), null)); // they would be out of place
window.addEventListener("pagehide", stop);

askToSignIn();
