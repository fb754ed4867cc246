// The threshold explorer: what each cosine would cost, by the calibration and by the faces seen at the event.

import { Problem } from "../service/calls.js";
import { Histogram, chooseRange } from "../charts/charts.js";
import { attempt, confirmWith, countOf, make, makeField } from "../page/elements.js";
import { packOf } from "../gallery/event_settings.js";
import { countedOf } from "../page/figures.js";
import {
  cosineFor, cosineWords, estimateStrangers, estimateWords, expectStrangers, judgeThreshold, rangeWords, rateAt, rateWords, shareOfStrangers, shareWords, toldWords,
} from "../charts/rates.js";

const SLIDER_STEP = 0.001;
const DIGITS = 5; // of what is saved
const FEW = 30; // faces, below which chance decides
const DRAWN_FROM_RATE = 0.1; // strangers' lower scores are of no use as thresholds
const MARKED_RATES = [0.01, 0.001, 0.0001];
const OFFERED = [["Lenient", 0.01], ["Balanced", 0.001], ["Strict", 0.0001]];
const PLANNED_FACES = 100; // where nobody is enrolled yet
const MAX_FACES = 10_000_000;

export async function show(visit) {
  const [model, statistics] = await Promise.all([visit.call("GET", "model"), visit.callEvent("GET", "statistics")]);
  const pack = packOf(model, visit.event);
  if (!pack) throw new Problem(409, "pack_not_serving", "This event's model pack does not serve now, so nothing can be said of its thresholds.");
  visit.outlet.replaceChildren(new Explorer(visit, pack.calibration, statistics).node);
}

class Explorer {
  constructor(visit, curve, { scores }) {
    Object.assign(this, { visit, event: visit.event, curve, scores });
    this.chosen = Number((this.event.decision_threshold ?? curve.at(-1).threshold).toFixed(DIGITS));
    this.range = chooseRange(scores, [this.chosen, cosineFor(curve, DRAWN_FROM_RATE) ?? curve[0].threshold, curve.at(-1).threshold]);
    const controls = this.makeControls();
    this.histogram = new Histogram("Faces by the cosine of their best candidate", make("div", { class: "slide" }, this.slider));
    this.tiles = Object.fromEntries([
      ["rate", "A comparison with somebody else matches"], ["stranger", "A stranger is called by a name"],
      ["seen", "Of the faces seen"], ["away", "People enrolled, turned away"],
    ].map(([key, name]) => [key, new Tile(key, name)]));
    this.change = make("p", { class: "changed", id: "change" });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.node = make("div", { class: "thresholds" },
      make("section", { class: "card" }, make("h2", {}, "Thresholds"), make("p", { class: "hint" }, this.introduce()), this.histogram.node, controls),
      make("dl", { class: "tiles large card" }, Object.values(this.tiles).map((tile) => tile.node)),
      make("section", { class: "card", "aria-labelledby": "save-title" },
        make("h2", { id: "save-title" }, "Decide by it"), this.change, this.problem, this.makeSave(),
        make("details", {}, make("summary", {}, "How far these numbers can be trusted"), CAVEATS.map((words) => make("p", { class: "hint" }, words)))));
    this.choose(this.chosen);
  }

  introduce() {
    if (this.scores.length) return "Each bar is faces seen here, by how near the nearest person enrolled was. Move the threshold and see what it would have made of them.";
    return this.visit.may("read_people")
      ? "No face was compared here yet. What the calibration says of a threshold is shown already; what it would make of the faces comes with them."
      : "What the calibration says of a threshold. The scores of faces seen here are shown to those who may see who is enrolled.";
  }

  makeControls() {
    const [min, max] = this.range.map(String);
    this.slider = make("input", { type: "range", id: "slider", min, max, step: String(SLIDER_STEP), "aria-label": "Threshold" });
    this.number = make("input", { type: "number", id: "cosine", min, max, step: String(SLIDER_STEP), inputmode: "decimal" });
    this.faces = make("input", {
      type: "number", id: "faces", min: "1", max: String(MAX_FACES), step: "1", inputmode: "numeric", value: String(this.event.faces || PLANNED_FACES),
    });
    this.slider.addEventListener("input", () => this.choose(Number(this.slider.value), this.slider));
    this.number.addEventListener("input", () => { if (this.number.value) this.choose(Number(this.number.value), this.number); });
    this.number.addEventListener("change", () => this.choose(this.chosen)); // within the range again
    this.faces.addEventListener("input", () => this.choose(this.chosen, this.faces));
    const offers = OFFERED.map(([words, rate]) => [words, rate, cosineFor(this.curve, rate)]).filter(([, , cosine]) => cosine !== null);
    return [
      make("div", { class: "choose" }, makeField("Cosine", this.number), makeField("Faces enrolled", this.faces),
        make("div", { class: "buttons", role: "group", "aria-label": "Set the threshold to" },
          offers.map(([words, rate, cosine]) => make("button", { type: "button", class: "quiet", on: { click: () => this.choose(cosine) } }, `${words}: ${rateWords(rate)}`)))),
      make("p", { class: "hint" }, this.event.faces ? `${countedOf(this.event.faces, "face is", "faces are")} enrolled now; another number shows what growth would cost.` : "Nobody is enrolled yet; say how many you expect."),
    ];
  }

  makeSave() {
    if (!this.visit.may("manage_events")) return make("p", { class: "hint" }, "Who may manage the event can save a threshold here.");
    const save = make("button", { type: "button", id: "save" }, "Save as the event's policy");
    save.addEventListener("click", () => attempt(save, this.problem, () => this.save()).then(() => save.focus()));
    return make("div", { class: "buttons" }, save);
  }

  // ---- what is chosen

  // Faces to be compared with: as many as are planned for, and as many as the faces seen were compared with by now.
  get planned() {
    return Math.min(Math.max(Math.round(Number(this.faces.value)) || 1, 1), MAX_FACES);
  }

  get enrolled() {
    return Math.max(this.event.faces, 1);
  }

  // Show what `cosine` costs; `source` is the control that said so, and is left as it is.
  choose(cosine, source = null) {
    const [low, high] = this.range;
    this.chosen = Number(Math.min(Math.max(cosine, low), high).toFixed(DIGITS));
    for (const control of [this.slider, this.number]) if (control !== source) control.value = String(this.chosen);
    const told = rateAt(this.curve, this.chosen);
    this.slider.setAttribute("aria-valuetext", `cosine ${cosineWords(this.chosen)}, ${toldWords(told)}`);
    this.showRate(told);
    this.showSeen();
    this.showChange(told);
    this.drawHistogram();
  }

  showRate(told) {
    const beyond = { below: "Below what the calibration can tell.", above: "Above what the calibration tells.", exactly: "" }[told.told];
    this.tiles.rate.set(toldWords(told), beyond || `${shareWords(told.rate)} of comparisons, by the pack's calibration.`);
    const bound = { below: "under ", above: "over ", exactly: "" }[told.told];
    const share = shareOfStrangers(told.rate, this.planned);
    this.tiles.stranger.set(`${bound}${shareWords(share)}`, `Of strangers, with ${countedOf(this.planned, "face")} enrolled: an estimate that takes the comparisons for independent.`);
  }

  showSeen() {
    const judged = judgeThreshold(this.scores, this.curve, this.enrolled, this.chosen);
    this.tiles.seen.node.hidden = this.tiles.away.node.hidden = !judged.total;
    const all = countOf(judged.total);
    const strangers = judged.strangersMatched === null ? "" : ` Strangers among the matches: ${estimateWords(judged.strangersMatched)} at most, by an estimate.`;
    const within = isExact(judged.matches) ? "" : " The threshold lies within a step of the histogram.";
    this.tiles.seen.set(`${rangeWords(judged.matches)} match`, `${rangeWords(judged.unknowns)} of ${all} unknown.${within}${strangers}`);
    if (judged.turnedAway === null) {
      this.tiles.away.set("Cannot be told", "With so many faces enrolled the calibration does not tell strangers from them.");
    } else {
      const few = judged.total < FEW ? " Few faces: chance decides." : "";
      this.tiles.away.set(rangeWords(judged.turnedAwayShare, shareWords),
        `An estimate: ${rangeWords(judged.turnedAway)} of the faces seen. Who the unknown ones were is not known.${few}`);
    }
    this.judged = judged;
  }

  drawHistogram() {
    const { curve, event } = this;
    const strangers = this.scores.length ? estimateStrangers(this.scores, curve, this.enrolled) : null;
    const now = event.decision_threshold;
    this.histogram.set({
      scores: this.scores,
      range: this.range,
      lines: [{ at: this.chosen, words: "chosen", kind: "decides" }, now !== null && this.isChanged && { at: now, words: "now", kind: "before" }].filter(Boolean),
      marks: MARKED_RATES.map((rate) => ({ at: cosineFor(curve, rate), words: rateWords(rate) })).filter(({ at }) => at !== null),
      expected: strangers?.count ? expectStrangers(curve, this.enrolled, strangers.count) : [],
      shadeBelow: this.chosen,
    });
  }

  // ---- saving it

  get isChanged() {
    const now = this.event.decision_threshold;
    return now === null || Number(now.toFixed(DIGITS)) !== this.chosen;
  }

  showChange(told) {
    const words = this.isChanged ? this.describeChange(told) : `The event decides by this already: a match from cosine ${cosineWords(this.chosen)} on.`;
    this.change.textContent = words;
  }

  describeChange(told) {
    const { decision_threshold: now, decision_false_match_rate: rate } = this.event;
    const before = now === null ? "" : `, not ${cosineWords(now)}`;
    const instead = rate === null ? "" : ` instead of ${rateWords(rate)}`;
    return `A match from cosine ${cosineWords(this.chosen)} on${before}: ${toldWords(told)} comparisons with somebody else${instead}.`;
  }

  async save() {
    if (!this.isChanged) return;
    const told = rateAt(this.curve, this.chosen);
    const { matches, total } = this.judged;
    const seen = total ? ` Of the ${countOf(total)} faces seen so far it would have matched ${rangeWords(matches)}.` : "";
    const goesOn = await confirmWith({
      title: "Change how the event decides?", kind: "",
      words: `${this.describeChange(told)}${seen} It holds for every picture from now on, at every door.`, button: "Change it",
    });
    if (!goesOn) return;
    this.event = this.visit.event = await this.visit.callEvent("PATCH", "", { json: { policy: { threshold: this.chosen } } });
    this.choose(this.chosen);
    this.visit.say(`Saved: a match from cosine ${cosineWords(this.chosen)} on.`);
  }
}

const isExact = ([least, most]) => least === most;

// One number in large type, with what it says and what it rests on.
class Tile {
  constructor(key, name) {
    this.value = make("dd", { class: "value", data: { estimate: key } });
    this.words = make("dd", { class: "hint" });
    this.node = make("div", { class: "tile" }, make("dt", {}, name), this.value, this.words);
  }

  set(value, words) {
    this.value.textContent = value;
    this.words.textContent = words;
  }
}

const CAVEATS = [
  "The false match rate is what the pack's calibration measured on its own pictures; yours may differ. Beyond its last point it says nothing, and neither does this page.",
  "With N faces enrolled a stranger has N chances of a false match, so that 1 - (1 - rate)^N of them are called by a name. Several faces of one person are alike and count as less than that many.",
  "Turned away, at least: the unknown faces that strangers do not explain. The scores below the lowest step that half of all strangers stay under show how many strangers there can have been at most; the dashed line is what these would have scored. At most: every unknown face was somebody enrolled.",
  "The faces were seen while other people were enrolled than now, and somebody who stands before a camera for long is many faces. Only pictures of whom you know tell the real rates: see rollcall evaluate.",
];
