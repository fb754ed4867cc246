// One event: what it holds, how it decides, what became of the faces seen there.

import { Histogram, chooseRange } from "../charts/charts.js";
import { attempt, confirmWith, countOf, dateOf, make, makeForm, makeTime, titleOf } from "../page/elements.js";
import { makeSettings, packOf, wordsOf, wordsOfPolicy } from "../gallery/event_settings.js";
import { countedOf } from "../page/figures.js";
import { cosineWords, rateWords, shareOfStrangers, shareWords } from "../charts/rates.js";
import { makeState } from "./events.js";

const PERIOD_MS = 10_000; // between two looks at the counts
const VIEW = "events/:event";

export async function show(visit) {
  const model = await visit.call("GET", "model");
  const overview = new Overview(visit, model);
  visit.outlet.replaceChildren(overview.node);
  await overview.count();
  if (!visit.signal.aborted) overview.keepCounting();
}

class Overview {
  constructor(visit, model) {
    Object.assign(this, { visit, model, event: visit.event, manages: visit.may("manage_events") });
    this.held = new Tiles({ people: "People enrolled", faces: "Faces enrolled", arrived: "Arrived", hour: "In the last hour" });
    this.seen = new Tiles({
      recognitions: "Pictures looked at", recognised_faces: "Faces in them", matches: "Matches", unknowns: "Unknown",
      refusals: "Refused", spoofs: "Photos held up",
    });
    this.since = make("p", { class: "hint", id: "since" });
    this.histogram = new Histogram("Faces by the cosine of their best candidate");
    this.invitation = make("div", { class: "buttons" });
    this.node = make("div", { class: "overview" },
      make("div", { class: "bar" }, make("h2", {}, titleOf(this.event)), makeState(this.event)),
      make("section", { class: "card", "aria-label": "Who is enrolled" }, this.held.node, this.invitation),
      this.makeStatistics(),
      this.makeDecisions(),
      this.manages && this.makeEnd());
    this.showCounts(this.event);
  }

  // ---- what is counted

  makeStatistics() {
    return make("section", { class: "card", "aria-labelledby": "seen-title" },
      make("h2", { id: "seen-title" }, "What became of the faces"), this.since, this.seen.node, this.histogram.node);
  }

  async count() {
    const { visit } = this;
    try {
      const arrivals = visit.may("read_people") ? visit.callEvent("GET", "check-ins/summary") : null;
      const [statistics, summary] = await Promise.all([visit.callEvent("GET", "statistics"), arrivals]);
      this.showCounts(statistics);
      this.showStatistics(statistics);
      if (summary) this.held.set({ arrived: countOf(summary.arrived), hour: countOf(summary.arrived_last_hour) });
    } catch (problem) {
      if (problem.advice === undefined) throw problem;
      if (problem.code === "unknown_event") {
        if (!this.isErasing) visit.go(VIEW); // which then says so in place of all that was known of it
        return;
      }
      this.since.textContent = problem.advice;
      if (!this.counted) this.seen.node.hidden = this.histogram.node.hidden = true;
    }
  }

  // In place, for as long as the page is looked at.
  keepCounting() {
    const timer = setInterval(() => {
      if (!document.hidden) this.count().catch((error) => { if (error.name !== "AbortError") throw error; });
    }, PERIOD_MS);
    this.visit.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  showCounts({ people, faces }) {
    this.held.set({ people: countOf(people), faces: countOf(faces) });
    const invites = !people && !this.event.closed_at && this.visit.may("enrol");
    this.invitation.replaceChildren(...(invites
      ? [make("p", {}, "Nobody is enrolled yet."), make("a", { class: "button", href: this.visit.link(`${VIEW}/enrol`) }, "Enrol the first person")] : []));
  }

  showStatistics(statistics) {
    this.counted = true;
    const shown = Object.fromEntries(Object.keys(this.seen.words).map((key) => [key, countOf(statistics[key])]));
    this.seen.set(shown);
    const since = statistics.counted_since;
    this.since.textContent = since ? `Since ${dateOf(since)}.` : "No picture has been looked at yet. What comes of them is counted here.";
    this.seen.node.hidden = !since;
    this.histogram.node.hidden = !statistics.scores.length;
    if (since && !statistics.scores.length) {
      this.since.textContent += this.visit.may("read_people") ? " No face had a candidate yet." : " Scores are shown to those who may see who is enrolled.";
    }
    if (!statistics.scores.length) return;
    const threshold = this.event.decision_threshold;
    const lines = threshold === null ? [] : [{ at: threshold, words: "threshold", kind: "decides" }];
    this.histogram.set({ scores: statistics.scores, range: chooseRange(statistics.scores, lines.map((line) => line.at)), lines });
  }

  // ---- how it decides

  makeDecisions() {
    const { event, visit } = this;
    const pack = packOf(this.model, event);
    const facts = [...this.listDecisions(), ["Model pack", pack ? `${pack.title} (${pack.pack_id})` : `${event.pack_id}, which does not serve now`],
      ["Id", event.id], ["Created", makeTime(event.created_at)], event.closed_at && ["Closed", makeTime(event.closed_at)]];
    return make("section", { class: "card", "aria-labelledby": "decides-title" },
      make("h2", { id: "decides-title" }, "How it decides"),
      make("dl", { class: "facts", id: "facts" }, facts.filter(Boolean).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
      make("p", { class: "buttons" }, make("a", { href: visit.link(`${VIEW}/thresholds`) }, "Explore thresholds")),
      this.manages && this.makeChange());
  }

  listDecisions() {
    const { event } = this;
    const [threshold, rate] = [event.decision_threshold, event.decision_false_match_rate];
    const pack = packOf(this.model, event);
    const isBeyond = pack && threshold > pack.calibration.at(-1).threshold; // where no smaller rate is told
    const atMost = isBeyond ? "at most " : "";
    const silent = pack ? "the calibration that serves cannot tell this policy's threshold" : "the event's model pack does not serve now";
    const own = (field) => [wordsOf[field](event[field] ?? event[`effective_${field}`]), event[field] === null && "as the service is set"].filter(Boolean).join(", ");
    return [
      ["Policy", wordsOfPolicy(event.policy) ?? "As the service is set"],
      ["A match from", threshold === null ? `nothing: ${silent}` : `cosine ${cosineWords(threshold)}`],
      rate !== null && ["False match rate", `${atMost}${rateWords(rate)} comparisons`],
      rate !== null && event.faces > 0 && ["A stranger is called by a name", `${atMost || "about "}${shareWords(shareOfStrangers(rate, event.faces))} of the time, by an estimate`],
      ["A request may ask for another", wordsOf.request_policy(event.request_policy)],
      ["Quality at enrolment", own("quality_level")],
      ["Photographs held up", own("liveness")],
      ["Consent at enrolment", event.consent_required ? "A reference is needed" : "No reference is needed"],
      ["People are erased", event.retention_days ? `after ${countOf(event.retention_days)} days without change` : "when somebody erases them"],
    ];
  }

  makeChange() {
    const settings = makeSettings(this.event, this.model);
    const details = make("details", { id: "change" }, make("summary", {}, "Change"));
    const form = makeForm({
      fields: make("div", { class: "columns" }, settings.nodes, settings.more),
      button: "Save",
      more: [make("button", { type: "button", class: "quiet", on: { click: () => this.showAgain("Nothing was changed.") } }, "Cancel")],
      work: async () => {
        const changes = settings.read();
        if (Object.keys(changes).length) await this.visit.callEvent("PATCH", "", { json: changes });
        this.showAgain(Object.keys(changes).length ? "Saved. It holds from the next picture on." : "Nothing was changed.");
      },
    });
    form.classList.add("settings");
    details.append(form);
    return details;
  }

  // ---- its end

  makeEnd() {
    const isClosed = Boolean(this.event.closed_at);
    const problem = make("p", { class: "problem", role: "alert" });
    const turn = make("button", { type: "button", class: "quiet" }, isClosed ? "Reopen the event" : "Close the event");
    const erase = make("button", { type: "button", class: "danger" }, "Delete the event");
    turn.addEventListener("click", () => attempt(turn, problem, () => this.turn(isClosed)));
    erase.addEventListener("click", () => attempt(erase, problem, () => this.erase()));
    const after = this.event.retention_days ? ` ${countOf(this.event.retention_days)} days after closing it is deleted with everyone in it.` : "";
    return make("section", { class: "card", "aria-labelledby": "end-title" },
      make("h2", { id: "end-title" }, isClosed ? "Reopen or delete" : "Close or delete"),
      make("p", { class: "hint" }, `While an event is closed nobody is enrolled or recognised there; people can still be looked at, exported and erased.${after}`),
      problem, make("div", { class: "buttons" }, turn, erase));
  }

  async turn(isClosed) {
    const goesOn = isClosed || await confirmWith({
      title: "Close this event?", words: "From now on nobody is enrolled or recognised there, at any door. It can be reopened.", button: "Close it", kind: "",
    });
    if (!goesOn) return;
    await this.visit.callEvent("POST", isClosed ? "reopen" : "close");
    this.showAgain(isClosed ? "The event is open again." : "The event is closed.");
  }

  async erase() {
    const { event, visit } = this;
    const { people } = await visit.callEvent("GET", "");
    const goesOn = await confirmWith({
      title: `Delete ${titleOf(event)}?`,
      words: `${people ? `Whoever is enrolled (${countedOf(people, "person", "people")}), every face, who has arrived` : "The event"} and what was counted are erased. This cannot be undone.`,
      button: "Delete for good",
      typed: event.id,
    });
    if (!goesOn) return;
    this.isErasing = true;
    try {
      await visit.callEvent("DELETE", "");
    } finally {
      this.isErasing = false;
    }
    window.addEventListener("hashchange", () => visit.say(`${titleOf(event)} is deleted, with everyone in it.`), { once: true });
    visit.go("events", {});
  }

  showAgain(words) {
    this.visit.go(VIEW);
    this.visit.say(words);
  }
}

// Numbers in large type: `words` is key -> what it counts; what was never set is not shown.
class Tiles {
  constructor(words) {
    this.words = words;
    this.values = {};
    this.node = make("dl", { class: "tiles" });
    for (const [key, name] of Object.entries(words)) {
      const value = make("dd", { class: "value", data: { count: key } });
      this.values[key] = { value, tile: make("div", { class: "tile", hidden: true }, make("dt", {}, name), value) };
      this.node.append(this.values[key].tile);
    }
  }

  set(shown) {
    for (const [key, text] of Object.entries(shown)) {
      const { value, tile } = this.values[key];
      tile.hidden = false;
      if (value.textContent !== text) value.textContent = text;
    }
  }
}
