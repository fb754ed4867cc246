// Who is in pictures that somebody drops, chooses or pastes. They stay in the page, but for the call that asks.

import { AskedPicture, rateOf } from "../pictures/asked_picture.js";
import { countOf, make, makeField, makeSelect } from "../page/elements.js";
import { countedOf } from "../page/figures.js";
import { nameOf } from "../camera/faces.js";
import { makeDropZone } from "../pictures/picture_choice.js";
import { cosineWords, rateWords } from "../charts/rates.js";

const MAX_PICTURES = 100; // of one page: each is held in memory as long as it is shown
const MAX_CANDIDATES = 20;
const ENDS_ALL = new Set(["policy_not_allowed", "false_match_rate_not_supported", "event_closed", "unknown_event", "pack_mismatch", "forbidden", "invalid_request"]);
const STRICTNESS = [["strict", "Strict", 1e-4], ["balanced", "Balanced", 1e-3], ["lenient", "Lenient", 1e-2]]; // rates: as the service has them
const LEVELS = [["off", "Compare every face"], ["standard", "Standard: refuse unclear faces"], ["strict", "Strict: refuse all but good ones"]];

export function show(visit) {
  if (visit.event?.closed_at) {
    visit.outlet.replaceChildren(make("section", { class: "card" }, make("h2", {}, "Recognise"), make("p", {}, "This event is closed: nobody is recognised at it.")));
    return;
  }
  visit.outlet.replaceChildren(new Recognition(visit).node);
}

class Recognition {
  constructor(visit) {
    Object.assign(this, { visit, pictures: [], working: false, stopped: false, options: null });
    const zone = makeDropZone({
      label: "Pictures", hint: "Drop them here, choose them, or paste one from the clipboard. They are not kept, neither by the service nor by this page.",
      signal: visit.signal, take: (files) => this.take(files),
    });
    this.strictness = makeSelect([["", eventWords(visit.event)], ...strictnessesOf(visit.event)], "");
    this.count = make("input", { type: "number", min: "1", max: String(MAX_CANDIDATES), step: "1", required: true, value: "3" });
    this.quality = makeSelect(LEVELS, "off");
    this.problem = make("p", { class: "problem", role: "alert" });
    this.step = make("p", { class: "hint", id: "recognise-step" });
    this.bar = make("progress", { hidden: true, "aria-label": "Pictures answered", "aria-describedby": this.step.id });
    this.told = make("p", { class: "unseen", role: "status" }); // the beginning and the end, not each step
    this.again = make("button", { type: "button", hidden: true, on: { click: () => this.askAllAgain() } }, "Ask again");
    this.stop = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => { this.stopped = true; this.asking?.abort(); } } }, "Stop");
    this.clear = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => { this.drop(); zone.input.focus(); } } }, "Remove all pictures");
    this.summary = make("section", { class: "card wide", id: "summary", hidden: true, tabindex: "-1", "aria-labelledby": "summary-title" });
    this.list = make("ol", { class: "asked", "aria-label": "Pictures" });
    this.node = make("div", { class: "recognise" },
      make("section", { class: "card wide" }, make("h2", {}, "Recognise"), zone.node,
        make("div", { class: "grid" },
          makeField("Strictness", this.strictness, "How often one person passes for another."), makeField("Candidates for each face", this.count), makeField("Quality", this.quality)),
        this.problem, this.bar, this.step, this.told, make("div", { class: "buttons" }, this.again, this.stop, this.clear)),
      this.summary, this.list);
    for (const control of [this.strictness, this.count, this.quality]) {
      control.addEventListener("change", () => { this.again.hidden = !this.pictures.length || this.working; });
    }
    visit.signal.addEventListener("abort", () => this.drop(), { once: true });
    document.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (!files.length) return;
      event.preventDefault();
      this.take(files);
    }, { signal: visit.signal });
  }

  take(files) {
    this.problem.textContent = "";
    const room = MAX_PICTURES - this.pictures.length;
    if (files.length > room) this.problem.textContent = `This page holds ${countOf(MAX_PICTURES)} pictures: the rest was left out. Remove those that are shown to ask about others.`;
    this.stopped = false;
    const added = files.slice(0, room).map((file) => new AskedPicture(this.visit, file));
    this.pictures.push(...added);
    this.list.append(...added.map((each) => each.node));
    this.work();
  }

  // Forget all pictures, and what is known of them.
  drop() {
    this.stopped = true;
    this.asking?.abort();
    for (const picture of this.pictures) picture.forget();
    this.pictures = [];
    this.list.replaceChildren();
    this.problem.textContent = this.step.textContent = this.told.textContent = "";
    this.summary.hidden = this.again.hidden = this.clear.hidden = true;
  }

  askAllAgain() {
    for (const picture of this.pictures) picture.reset();
    this.work();
    this.stop.focus();
  }

  // Ask about those that have no answer yet, one after the other.
  async work() {
    if (this.working) {
      this.showProgress();
      return;
    }
    this.again.hidden = this.count.checkValidity();
    if (!this.count.reportValidity()) return;
    this.working = true;
    this.stopped = false;
    this.asking = new AbortController();
    const signal = AbortSignal.any([this.visit.signal, this.asking.signal]);
    const query = { strictness: this.strictness.value, top_k: this.count.value, quality: this.quality.value };
    this.again.hidden = true;
    this.told.textContent = `Asking about ${countedOf(this.pictures.filter(({ state }) => state === "waiting").length, "picture")}.`;
    this.stop.hidden = this.clear.hidden = this.bar.hidden = false;
    try {
      for (;;) {
        const next = this.pictures.find((picture) => picture.state === "waiting");
        this.showProgress();
        if (!next || this.stopped) break;
        await next.ask(query, signal);
        if (ENDS_ALL.has(next.problem?.code)) {
          this.problem.textContent = next.problem.advice;
          break;
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      this.working = false;
      this.asking = null;
      if (document.activeElement === this.stop) this.summary.focus();
      this.stop.hidden = this.bar.hidden = true;
    }
    if (this.visit.signal.aborted || !this.pictures.length) return;
    const left = this.pictures.filter((picture) => picture.state !== "answered").length;
    this.again.hidden = left === 0;
    this.step.textContent = "";
    this.told.textContent = this.showSummary();
    if (!this.stopped && !this.problem.textContent && this.pictures.some((picture) => picture.state === "waiting")) this.work();
  }

  showProgress() {
    const done = this.pictures.filter((picture) => picture.state !== "waiting").length;
    Object.assign(this.bar, { max: Math.max(this.pictures.length, 1), value: done });
    this.step.textContent = `${countOf(done)} of ${countedOf(this.pictures.length, "picture")} answered.`;
    if (this.pictures.length > 1 && done > 0) this.showSummary();
  }

  // Returns its sentence, empty where nothing is shown.
  showSummary() {
    const answered = this.pictures.filter((picture) => picture.answer);
    const failed = this.pictures.filter((picture) => picture.state === "failed").length;
    const [people, others] = [new Map(), { unknown: 0, refused: 0 }];
    for (const { answer } of answered) {
      const here = new Set();
      for (const { outcome, person } of answer.faces) {
        if (outcome !== "match") {
          others[outcome] += 1;
          continue;
        }
        const seen = people.get(person.person_id) ?? { person, pictures: 0, best: person };
        if (!here.has(person.person_id)) seen.pictures += 1;
        if (person.cosine > seen.best.cosine) seen.best = person;
        here.add(person.person_id);
        people.set(person.person_id, seen);
      }
    }
    const rows = [...people.values()].sort((a, b) => b.pictures - a.pictures || b.best.cosine - a.best.cosine);
    const words = [
      `${countedOf(rows.length, "person", "people")} recognised`, countedOf(others.unknown, "unknown face"),
      others.refused > 0 && `${countOf(others.refused)} refused as not clear`, failed > 0 && `${countedOf(failed, "picture")} without an answer`,
    ].filter(Boolean).join(" · ");
    this.summary.hidden = !answered.length && !failed;
    this.summary.replaceChildren(
      make("h2", { id: "summary-title" }, `In ${countedOf(answered.length, "picture")}`), make("p", { id: "summary-words" }, words),
      rows.length > 0 && make("div", { class: "scroll" }, make("table", {},
        make("thead", {}, make("tr", {}, ["Who", "Pictures", "Best cosine", "False match rate"].map((title, place) => make("th", { scope: "col", class: place ? "number" : null }, title)))),
        make("tbody", {}, rows.map(({ person, pictures, best }) => make("tr", {},
          make("td", {}, nameOf(person)), make("td", { class: "number" }, countOf(pictures)),
          make("td", { class: "number" }, cosineWords(best.cosine)), make("td", { class: "number" }, rateOf(best))))))));
    return this.summary.hidden ? "" : words;
  }
}

function eventWords(event) {
  const rate = event?.decision_false_match_rate;
  return rate ? `The event's own (${rateWords(rate)})` : "The event's own";
}

// Those that the event lets a request ask for.
function strictnessesOf(event) {
  const policy = event?.request_policy;
  if (policy === "none") return [];
  const most = policy === "stricter" ? event.decision_false_match_rate ?? 1 : 1;
  return STRICTNESS.filter(([, , rate]) => rate <= most).map(([value, words, rate]) => [value, `${words} (${rateWords(rate)})`]);
}
