// Everyone in view of the camera, each with a box and a name.

import { Banner } from "../camera/banner.js";
import { Camera } from "../camera/camera.js";
import { make, makeField, makeForm, makeSelect, timeOf } from "../page/elements.js";
import { KINDS, drawBoxes, nameOf } from "../camera/faces.js";
import { LiveStream } from "../service/live_stream.js";
import { allowSound, play } from "../camera/sound.js";

const SHOWN = 50;
const SURE_AFTER_MS = 1_200; // a face is said to be unknown when it stayed so: one blurred frame is no stranger
const KIND_OF = { match: "match", unknown: "unknown", refused: "unclear" };

export function show(visit) {
  const attendance = makeSelect([["", "Only show who is seen"], ["yes", "Check in whoever is recognised"]], "", { id: "check-in", name: "check-in" });
  const place = make("input", { id: "place", name: "place", maxlength: "100", placeholder: "north door", autocomplete: "off" });
  const form = makeForm({
    fields: [makeField("Attendance", attendance), makeField("Place (may be left out)", place)],
    button: "Start the camera",
    work: () => {
      allowSound();
      new Live(visit, { checksIn: attendance.value === "yes", place: place.value.trim() || null }, showForm).start();
    },
  });
  const card = make("section", { class: "card", id: "choose" }, make("h2", {}, "Live"), form);

  function showForm(words = "") {
    visit.outlet.replaceChildren(card);
    form.problem.textContent = words;
    form.send.focus();
  }
  showForm();
}

class Live {
  // `goBack(words)` shows the form again.
  constructor(visit, options, goBack) {
    Object.assign(this, { visit, options, goBack, seen: new Map(), people: new Set(), unknown: 0, isLoud: true });
    this.banner = new Banner();
    this.camera = new Camera(
      {
        begins: () => this.banner.set("waiting", "One moment", "The camera is being opened."),
        opens: () => this.openStream(),
        fails: () => {
          this.closeStream();
          this.banner.set("trouble", "No camera", "Nobody is looked up.");
        },
      },
      { facingMode: "environment" },
    );
    this.known = make("strong", { id: "known" }, "0");
    this.unknowns = make("span", { id: "unknowns" });
    this.list = make("ol", { id: "arrivals", tabindex: "0", "aria-labelledby": "arrivals-title" });
    this.nobody = make("p", { id: "no-arrivals", class: "hint" }, "Nobody yet.");
    this.loud = make("button", { type: "button", id: "sound", class: "quiet", "aria-pressed": "true", on: { click: () => this.turnSound() } }, "Sound");
    const stop = make("button", { type: "button", class: "quiet", on: { click: () => { this.stop(); this.goBack(); } } }, "Stop");
    this.node = make("section", { id: "live", tabindex: "-1", "aria-label": "Camera and people" },
      this.camera.node, this.banner.node,
      make("aside", { "aria-labelledby": "arrivals-title" },
        make("h2", { id: "arrivals-title" }, "Seen here"),
        make("div", { class: "buttons" }, this.loud, this.camera.others, stop),
        make("p", { id: "counter" }, this.known, " ", this.unknowns), this.list, this.nobody));
  }

  start() {
    this.visit.outlet.replaceChildren(this.node);
    this.showSeen();
    window.addEventListener("resize", () => drawBoxes(this.camera.overlay, null), { signal: this.visit.signal }); // they would be out of place
    this.visit.signal.addEventListener("abort", () => this.stop(), { once: true });
    this.node.focus();
    this.camera.open();
  }

  openStream() {
    this.closeStream();
    const { checksIn, place } = this.options;
    const stream = new LiveStream(
      this.visit.session, this.visit.event.id, { quality: "standard", ...(checksIn && { check_in: true, place }) }, () => this.camera.take(),
      {
        ready: () => { if (this.stream === stream) this.banner.set("waiting", "Ready", "Whoever comes into view is looked up."); },
        faces: (message) => { if (this.stream === stream) this.showFaces(message); },
        waits: (words, seconds) => {
          if (this.stream !== stream) return;
          drawBoxes(this.camera.overlay, null);
          this.banner.set("trouble", words, seconds ? `Trying again in ${Math.ceil(seconds)} s.` : "Trying again.");
        },
        ends: (problem, isSignedOut) => { if (this.stream === stream) this.end(problem, isSignedOut); },
      },
    );
    this.stream = stream;
    stream.open();
  }

  closeStream() {
    const stream = this.stream;
    this.stream = null;
    stream?.close();
    drawBoxes(this.camera.overlay, null);
  }

  end(problem, isSignedOut) {
    this.stop();
    if (isSignedOut) this.visit.signOutBecause();
    else this.goBack([problem?.title, problem?.cure].filter(Boolean).join(". "));
  }

  stop() {
    this.closeStream();
    this.camera.close();
  }

  turnSound() {
    this.isLoud = !this.isLoud;
    this.loud.setAttribute("aria-pressed", String(this.isLoud));
    allowSound();
  }

  // ---- what was seen

  showFaces(message) {
    const now = Date.now();
    const faces = message.faces.map((face) => ({ ...face, kind: KIND_OF[face.outcome] }));
    drawBoxes(this.camera.overlay, { ...message, faces }, { mirrored: this.camera.isMirrored });
    const here = new Set(faces.map((face) => this.note(face, now)));
    for (const [key, each] of this.seen) each.isHere = here.has(key);
    this.showSeen();
    const isUnsure = (face) => face.kind === "unknown" && !this.seen.get(`track ${face.track}`)?.isSure;
    const sure = faces.filter((face) => !isUnsure(face));
    const best = Math.max(0, ...sure.map((face) => KINDS[face.kind].rank));
    const top = sure.filter((face) => KINDS[face.kind].rank === best);
    if (!faces.length) this.banner.offer("waiting", "Nobody in view");
    else if (!top.length) return;
    else if (top[0].kind === "match") {
      const names = [...new Set(top.map((face) => nameOf(face.person)))].join(", ");
      this.banner.offer("match", names, top.some((face) => face.arrived === "now") ? "Welcome!" : detailOf(top));
    } else if (top[0].kind === "unknown") this.banner.offer("unknown", "Not recognised", "Nobody of this event.");
    else this.banner.offer("unclear", "Not clear enough", top[0].faults[0]?.hint ?? "");
  }

  // Keep who this is; one person is one entry however often they come, an unknown face one for each track.
  note(face, now) {
    const track = `track ${face.track}`;
    const key = face.person ? `person ${face.person.person_id}` : track;
    if (face.person) {
      if (this.seen.get(track)?.isSure) this.unknown -= 1; // was a stranger until now
      this.seen.delete(track);
      this.people.add(face.person.person_id);
      if (!this.seen.get(key)?.isHere) this.sound("match");
      this.seen.set(key, { kind: "match", name: nameOf(face.person), at: this.seen.get(key)?.at ?? now });
    } else if (face.kind === "unknown") {
      const each = this.seen.get(key) ?? { kind: "unknown", name: "Unknown", at: now, isSure: false };
      if (!each.isSure && now - each.at >= SURE_AFTER_MS) {
        each.isSure = true;
        this.unknown += 1;
        this.sound("unknown");
      }
      this.seen.set(key, each);
    }
    return key;
  }

  sound(kind) {
    if (this.isLoud) play(kind);
  }

  showSeen() {
    const entries = [...this.seen.entries()].filter(([, each]) => each.kind === "match" || each.isSure);
    entries.sort(([, a], [, b]) => b.at - a.at);
    for (const [key] of entries.slice(SHOWN)) this.seen.delete(key);
    for (const [key, each] of this.seen) {
      if (each.kind === "unknown" && !each.isSure && each.isHere === false) this.seen.delete(key);
    }
    const lines = entries.slice(0, SHOWN).map(([, { kind, name, at, isHere }]) => ({ kind, name, at, isHere }));
    const now = JSON.stringify(lines);
    if (this.shown === now) return; // a list that is made anew at each frame could not be read
    this.shown = now;
    this.list.replaceChildren(...lines.map(({ kind, name, at, isHere }) => {
      const moment = new Date(at).toISOString();
      return make("li", { data: { kind, here: isHere === false ? "no" : "yes" } },
        make("span", { class: "who" }, `${KINDS[kind].sign} ${name}`), make("time", { datetime: moment }, timeOf(moment)));
    }));
    this.nobody.hidden = lines.length > 0;
    this.known.textContent = this.people.size;
    this.unknowns.textContent = `recognised, ${this.unknown} unknown`;
  }
}

function detailOf(faces) {
  const [since] = faces.map((face) => face.first_at).filter(Boolean);
  return since ? `Checked in, since ${timeOf(since)}` : "Recognised";
}
