// The camera at the door: sign in, choose an event, then show who is seen and who has arrived.

import { Banner } from "./camera/banner.js";
import { Problem } from "./service/calls.js";
import { Camera } from "./camera/camera.js";
import { make, makeField, makeForm, makeSelect, timeOf } from "./page/elements.js";
import { makeEntrance } from "./page/entrance.js";
import { makeEventChoice } from "./page/event_choice.js";
import { KINDS, drawBoxes, nameOf } from "./camera/faces.js";
import { call, closeSession } from "./service/session.js";

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
let choice = null; // the form that asks for the door

const banner = new Banner();
const camera = new Camera({
  begins: () => banner.set("waiting", "One moment", "The camera is being opened."),
  opens: begin,
  fails: () => {
    run = null;
    banner.set("trouble", "No camera", "Nobody is being checked in.");
  },
});

// ---- which part of the page is seen

const openEntrance = makeEntrance(part("sign-in"), enter, {
  needed: "recognise", hint: "It needs the right to recognise. It stays in this page and is forgotten when you close it.",
});

function show(id) {
  for (const each of ["sign-in", "choose", "live"]) part(each).hidden = each !== id;
  part("controls").hidden = id === "sign-in";
  part("change-event").hidden = id !== "live";
  part("where").textContent = id === "live" ? [door.title, door.place].filter(Boolean).join(" · ") : "";
}

function askToSignIn(words = "") {
  stop();
  session = null;
  show("sign-in");
  openEntrance(words);
}

async function enter(opened) {
  session = opened;
  const event = await makeEventChoice(session, door?.event);
  const place = make("input", { id: "place", name: "place", maxlength: "100", placeholder: "north door", autocomplete: "off", value: door?.place });
  const faces = makeSelect([["largest", "Only the nearest person"], ["all", "Everyone in view"]], door?.faces, { id: "faces", name: "faces" });
  choice = makeForm({
    id: "choose-form",
    fields: [event.node, makeField("Place (may be left out)", place), makeField("Who is checked in", faces)],
    button: "Start the camera",
    work: () => {
      const { id, title } = event.read();
      door = { event: id, title, place: place.value.trim() || null, faces: faces.value };
      start();
      part("live").focus();
    },
  });
  choice.first = event.input;
  part("choice").replaceChildren(choice);
  showChoice();
}

function showChoice(words = "") {
  stop();
  show("choose");
  choice.problem.textContent = words;
  choice.first.focus();
}

// ---- the camera

function start() {
  stop();
  show("live");
  camera.open();
}

function begin() {
  run = { failures: 0, strangers: 0, arrivals: new Map(), noted: 0, arrived: 0, lastHour: 0, enrolled: null };
  showArrivals(run);
  banner.set("waiting", "Please look at the camera");
  watch(run);
  followSummary(run);
}

function stop() {
  run = null;
  camera.close();
  drawBoxes(camera.overlay, null);
}

async function watch(mine) {
  while (run === mine) {
    const picture = await camera.take();
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
  drawBoxes(camera.overlay, null);
  mine.failures += 1;
  if (problem.status === 401) {
    askToSignIn("You were signed out: the token has expired or was withdrawn. Sign in again to go on.");
    return 0;
  }
  if ([403, 404, 409].includes(problem.status)) {
    showChoice(problem.message);
    return 0;
  }
  const waitS = Math.max(problem.retryAfterS ?? Math.min(2 ** mine.failures, 30), MIN_PERIOD_MS / 1000);
  const again = `Trying again in ${Math.ceil(waitS)} s.`;
  if (problem.status === 0) banner.set("trouble", "No connection", again);
  else if ([429, 503, 504].includes(problem.status)) banner.set("trouble", "The service is busy", again);
  else banner.set("trouble", "Something is wrong", `${problem.message} ${again}`);
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
  drawBoxes(camera.overlay, { ...seen, faces }, { mirrored: camera.isMirrored });
  for (const face of faces) if (face.person) noteArrival(mine, face);
  mine.strangers = faces.some((face) => face.kind === "unknown") ? mine.strangers + 1 : 0;
  const best = Math.max(0, ...faces.map((face) => KINDS[face.kind].rank));
  const top = faces.filter((face) => KINDS[face.kind].rank === best);
  const names = [...new Set(top.filter((face) => face.person).map((face) => nameOf(face.person)))].join(", ");
  if (!top.length) banner.offer("waiting", "Please look at the camera");
  else if (top[0].kind === "match") banner.offer("match", names, "Welcome!");
  else if (top[0].kind === "here") {
    banner.offer("here", names, top.length > 1 ? "Already here" : `Already here, since ${timeOf(top[0].first_at)}`);
  } else if (top[0].kind === "unclear") {
    const fault = top[0].faults[0];
    banner.offer("unclear", REFUSALS[fault?.reason] ?? "Not clear enough", fault?.hint ?? "Please come closer and look at the camera.");
  } else if (mine.strangers >= UNKNOWN_IN_A_ROW) banner.offer("unknown", "Not recognised", "Please ask at the desk.");
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
  part("arrivals").replaceChildren(...latest.slice(0, SHOWN_ARRIVALS).map((arrival) => make("li", {},
    make("span", { class: "who" }, nameOf(arrival)),
    make("time", { datetime: arrival.first_at }, timeOf(arrival.first_at)),
    arrival.place && make("span", { class: "door" }, arrival.place))));
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

part("change-event").addEventListener("click", () => showChoice());
part("sign-out").addEventListener("click", () => {
  closeSession(session);
  askToSignIn();
});
part("controls").prepend(camera.others);
part("live").prepend(camera.node, banner.node);
window.addEventListener("resize", () => drawBoxes(camera.overlay, null)); // they would be out of place
window.addEventListener("pagehide", stop);

askToSignIn();
