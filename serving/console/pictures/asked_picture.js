// One picture and who is in it: boxes over it, a line for each face beside it.

import { Problem } from "../service/calls.js";
import { make } from "../page/elements.js";
import { drawBoxes, KINDS, nameOf } from "../camera/faces.js";
import { countedOf, sizeOf } from "../page/figures.js";
import { sleep } from "../service/pauses.js";
import { readPicture } from "./picture_choice.js";
import { adviseOn } from "./picture_problems.js";
import { cosineWords, rateWords, shareWords } from "../charts/rates.js";

const SIDES_PX = [3000, 1600, 960]; // what is sent, and what is tried when the service takes no picture so large
const TOO_LARGE = new Set(["picture_too_large", "too_many_pixels", "body_too_large"]);
const [MAX_ATTEMPTS, FIRST_WAIT_S] = [4, 1]; // while the service is busy
const MAX_FILE_BYTES = 100_000_000; // nothing larger is a photo that a browser should unpack
const [THUMB_PX, THUMB_MARGIN] = [112, 0.25];
const MANY = 0.01; // of strangers: as a share it says more than as one in so many
const ROOM_PX = 60; // of a face, so that a name fits beside those of others
const KIND_OF = { match: "match", unknown: "unknown", refused: "unclear" };

// The false match rate that a candidate's cosine stands for.
export const rateOf = ({ false_match_rate: rate }) => (rate > MANY ? shareWords(rate) : rateWords(rate));

// `node` goes into the page; `state` is waiting, answered or failed; `answer` and `problem` say what came of it.
export class AskedPicture {
  constructor(visit, file) {
    Object.assign(this, { visit, file, state: "waiting", answer: null, problem: null, faces: [] });
    this.title = make("h3", {}, file.name || "Picture");
    this.words = make("p", { class: "hint" }, "Waits.");
    this.picture = make("img", { alt: "", hidden: true });
    this.boxes = make("canvas", { "aria-hidden": "true" });
    this.list = make("ol", { class: "faces" });
    this.node = make("li", { class: "card picture", data: { state: "waiting" } },
      make("div", { class: "bar" }, this.title, this.words), make("div", { class: "framed" }, this.picture, this.boxes), this.list);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.picture);
  }

  // Wait for an answer anew.
  reset() {
    Object.assign(this, { answer: null, problem: null, faces: [] });
    this.set("waiting", "Waits.");
    this.list.replaceChildren();
    this.draw();
  }

  // Let go of the picture.
  forget() {
    this.resized.disconnect();
    if (this.address) URL.revokeObjectURL(this.address);
    this.picture.removeAttribute("src");
    Object.assign(this, { file: null, sent: null, address: null });
  }

  set(state, words) {
    this.state = this.node.dataset.state = state;
    this.words.textContent = words;
  }

  // Ask who is in it; raises only what `signal` was aborted with.
  async ask(query, signal) {
    this.words.textContent = "One moment.";
    try {
      this.answer = await this.askShrinking(query, signal);
      await this.picture.decode().catch(() => {});
      signal.throwIfAborted();
      this.showAnswer();
    } catch (problem) {
      if (signal.aborted) {
        if (this.file) this.set("waiting", "Not asked.");
        throw signal.reason;
      }
      if (problem.advice === undefined) throw problem;
      this.problem = problem;
      this.set("failed", "");
      this.list.replaceChildren(make("li", { class: "problem" }, `! ${adviseOn(problem)}`));
    }
  }

  // As large as the service takes it: only its answer says how large that is.
  async askShrinking(query, signal) {
    for (const [place, side] of SIDES_PX.entries()) {
      await this.prepare(side);
      signal.throwIfAborted();
      try {
        return await this.askPatiently(query, signal);
      } catch (problem) {
        if (!TOO_LARGE.has(problem.code) || place === SIDES_PX.length - 1) throw problem;
      }
    }
    return null;
  }

  async askPatiently(query, signal) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.visit.callEvent("POST", "recognise", { query, picture: this.sent.blob, signal });
      } catch (problem) {
        if (signal.aborted || ![429, 503].includes(problem.status) || attempt === MAX_ATTEMPTS) throw problem;
        this.words.textContent = "The service is busy; one moment more.";
        await sleep((problem.retryAfterS ?? FIRST_WAIT_S * 2 ** attempt) * 1000, signal);
        signal.throwIfAborted();
      }
    }
  }

  async prepare(side) {
    const { type, size, name } = this.file;
    if (type && !type.startsWith("image/")) throw new Problem(0, "unsupported_picture_type", `${name} is no picture`);
    if (size > MAX_FILE_BYTES) throw new Problem(0, "picture_too_large", `${name} has ${sizeOf(size)}`);
    const sent = await readPicture(this.file, side);
    if (!this.file) return; // forgotten meanwhile
    this.sent = sent;
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(sent.blob);
    this.picture.src = this.address;
    this.picture.hidden = false;
  }

  // ---- what came of it

  showAnswer() {
    const { faces, width, height } = this.answer;
    this.faces = faces.map((face) => ({ ...face, kind: KIND_OF[face.outcome] }));
    const ofKind = (kind) => this.faces.filter((face) => face.kind === kind).length;
    const counts = [[ofKind("match"), "recognised"], [ofKind("unknown"), "unknown"], [ofKind("unclear"), "not clear"]];
    const words = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`).join(", ");
    this.set("answered", faces.length ? `${countedOf(faces.length, "face")}: ${words} · ${width} × ${height}` : `No face was found · ${width} × ${height}`);
    this.picture.alt = `${this.title.textContent}: ${faces.length ? words : "no face"}`;
    this.list.replaceChildren(...this.faces.map((face) => this.makeLine(face)));
    if (!faces.length) this.list.append(make("li", { class: "hint" }, "Faces must be visible, lit, and not too small in the picture."));
    this.draw();
  }

  // The boxes of all faces, or of one.
  draw(only = null) {
    drawBoxes(this.boxes, this.answer && { ...this.answer, faces: only ? [only] : this.faces }, { stay: true, brief: this.isCrowded() });
  }

  // Whether names as large as at a door would cover the faces.
  isCrowded() {
    const widths = this.faces.map(({ box }) => (box.width * this.boxes.clientWidth) / this.answer.width);
    return widths.length > 1 && Math.min(...widths) < ROOM_PX;
  }

  makeLine(face) {
    const { kind, person, candidates, best_cosine: best } = face;
    const who = { match: person && nameOf(person), unknown: "Unknown", unclear: "Not clear" }[kind];
    const nearest = person ?? candidates[0];
    const figures = nearest ? `${person ? "Cosine" : "Nearest: cosine"} ${cosineWords(nearest.cosine)}, false match rate ${rateOf(nearest)}` : best !== null && `Cosine ${cosineWords(best)}`;
    const line = make("li", { data: { kind } }, this.makeThumb(face),
      make("div", {},
        make("p", { class: "who" }, `${KINDS[kind].sign} ${who}`),
        figures && make("p", { class: "hint" }, figures),
        face.faults.map((fault) => make("p", { class: "hint" }, fault.hint)),
        candidates.length > 0 && makeCandidates(candidates)));
    for (const [begin, end] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
      line.addEventListener(begin, () => this.draw(face));
      line.addEventListener(end, () => this.draw());
    }
    return line;
  }

  // The face alone, so that its line is known for whose it is.
  makeThumb({ box }) {
    const thumb = make("canvas", { class: "thumb", width: THUMB_PX, height: THUMB_PX, "aria-hidden": "true" });
    const { naturalWidth } = this.picture;
    if (!naturalWidth) return thumb;
    const scale = naturalWidth / this.answer.width;
    const side = Math.max(box.width, box.height) * (1 + THUMB_MARGIN);
    const [x, y] = [box.x + (box.width - side) / 2, box.y + (box.height - side) / 2];
    thumb.getContext("2d").drawImage(this.picture, x * scale, y * scale, side * scale, side * scale, 0, 0, THUMB_PX, THUMB_PX);
    return thumb;
  }
}

const makeCandidates = (candidates) => make("details", {},
  make("summary", {}, candidates.length === 1 ? "The nearest person" : `The ${candidates.length} nearest people`),
  make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ["Who", "Cosine", "False match rate", "Band"].map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, candidates.map((each) => make("tr", {},
      make("td", {}, nameOf(each), each.name !== null && make("span", { class: "hint" }, ` ${each.person_id}`)), make("td", {}, cosineWords(each.cosine)), make("td", {}, rateOf(each)), make("td", {}, each.band)))))));
