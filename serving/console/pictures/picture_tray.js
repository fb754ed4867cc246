// Pictures before they are enrolled: thumbnails, each with what the service thinks of it.

import { draw, make } from "../page/elements.js";
import { adviseOn } from "./picture_problems.js";

const MARKS = {
  looking: ["…", "Looking at it"],
  good: ["✓", "Good"],
  bad: ["✗", "Not good"],
  unjudged: ["?", "Judged when it is saved"],
};

const REASONS = { low_detection_score: "Hard to make out", presentation_attack: "Not a live face", liveness_unknown: "Perhaps not a live face" };

const wordsOf = (reason) => REASONS[reason] ?? reason.charAt(0).toUpperCase() + reason.slice(1).replaceAll("_", " ");

// What is wrong in plain words, and what to do: "Blurred. Hold the camera and the head still."
export const explainFaults = (faults) => faults.map(({ reason, hint }) => `${wordsOf(reason)}. ${hint}`);

// `node` goes into the page. `changed()` is called whenever there is something else to save, `emptied()` when the last
// picture is removed: the focus was on it.
export class PictureTray {
  constructor(visit, { changed, emptied }) {
    Object.assign(this, { visit, changed, emptied, pictures: [], work: Promise.resolve(), made: 0 });
    this.state = make("p", { class: "hint", role: "status", id: "tray-state" });
    this.list = make("ul", { class: "pictures", "aria-label": "Pictures" });
    this.node = make("div", { class: "tray" }, this.state, this.list);
    visit.signal.addEventListener("abort", () => this.clear(), { once: true });
  }

  // `blob`, of `width` by `height` pixels, is shown and looked at, after those that came before.
  add({ name, blob, width, height }) {
    const url = URL.createObjectURL(blob);
    const picture = { number: (this.made += 1), blob, url, width, height, state: "looking", faults: [] };
    picture.mark = make("p", { class: "mark" });
    picture.words = make("ul", { class: "faults" });
    picture.overlay = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const title = `Picture ${picture.number}`;
    picture.node = make("li", {},
      make("figure", {}, make("img", { src: url, width, height, alt: name ? `${title}, ${name}` : title }), picture.overlay),
      make("div", { class: "bar" }, make("strong", {}, title),
        make("button", { type: "button", class: "quiet", "aria-label": `Remove picture ${picture.number}`, on: { click: () => this.remove(picture) } }, "Remove")),
      picture.mark, picture.words);
    this.pictures.push(picture);
    this.list.append(picture.node);
    picture.node.scrollIntoView({ block: "nearest" }); // below a camera it would not be seen
    this.judge(picture, "looking");
    this.work = this.work.then(() => this.look(picture)); // one after the other: others want answers too
    return picture;
  }

  remove(picture) {
    const place = this.pictures.indexOf(picture);
    this.pictures.splice(place, 1);
    picture.node.remove();
    URL.revokeObjectURL(picture.url);
    this.showState();
    const next = this.pictures[Math.min(place, this.pictures.length - 1)];
    if (next) next.node.querySelector("button").focus();
    else this.emptied();
    this.changed();
  }

  clear() {
    for (const { url } of this.pictures) URL.revokeObjectURL(url);
    this.pictures = [];
    this.list.replaceChildren();
    this.showState();
  }

  // Those to be saved: good ones, and those that only the service can judge.
  get chosen() {
    return this.pictures.filter(({ state }) => state === "good" || state === "unjudged");
  }

  // Until each was looked at.
  async settle() {
    await this.work;
  }

  // ---- what the service thinks

  async look(picture) {
    if (!this.pictures.includes(picture)) return; // removed meanwhile
    const { visit } = this;
    if (!visit.may("analyse")) {
      this.judge(picture, "unjudged");
      return;
    }
    const query = { quality: visit.event.effective_quality_level, pack_id: visit.event.pack_id };
    try {
      const { width, height, faces } = await visit.call("POST", "detect", { picture: picture.blob, query });
      if (!this.pictures.includes(picture)) return;
      this.drawFaces(picture, { width, height, faces });
      if (!faces.length) this.judge(picture, "bad", ["No face was found. Have the whole face in the picture, lit from the front and near enough."]);
      else if (faces.length > 1) this.judge(picture, "bad", [`${faces.length} faces are in it. Have one person alone in the picture.`]);
      else this.judge(picture, faces[0].faults.length ? "bad" : "good", explainFaults(faces[0].faults));
    } catch (problem) {
      if (problem.name === "AbortError") return; // the view was left
      if (problem.advice === undefined) throw problem;
      const isOfPicture = [400, 413, 415, 422].includes(problem.status);
      this.judge(picture, isOfPicture ? "bad" : "unjudged", [adviseOn(problem)]);
    }
  }

  drawFaces(picture, { width, height, faces }) {
    picture.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.overlay.replaceChildren(...faces.map(({ box, faults }) => draw("rect", {
      x: box.x, y: box.y, width: box.width, height: box.height, "vector-effect": "non-scaling-stroke",
      "data-kind": faults.length || faces.length > 1 ? "bad" : "good",
    })));
  }

  // Say of a picture that it is `state` (of MARKS), and why.
  judge(picture, state, why = []) {
    const [sign, words] = MARKS[state];
    picture.state = state;
    picture.mark.dataset.kind = state;
    picture.mark.replaceChildren(make("span", { "aria-hidden": "true" }, sign), words);
    picture.words.replaceChildren(...why.map((each) => make("li", {}, each)));
    picture.words.hidden = !why.length;
    this.showState();
    this.changed();
  }

  showState() {
    const count = (state) => this.pictures.filter((each) => each.state === state).length;
    const [all, good, looking, unjudged] = [this.pictures.length, count("good"), count("looking"), count("unjudged")];
    const parts = [
      `${good} of ${all} ${all === 1 ? "picture is" : "pictures are"} good`,
      looking && `${looking} being looked at`,
      unjudged && `${unjudged} judged when saved`,
    ];
    const words = all ? `${parts.filter(Boolean).join(", ")}.` : "";
    if (this.state.textContent !== words) this.state.textContent = words;
  }
}
