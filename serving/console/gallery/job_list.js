// The jobs of an event: those at work are followed, those that have ended are told.

import { Problem } from "../service/calls.js";
import { attempt, confirmWith, countOf, make, makeTime } from "../page/elements.js";
import { saveFile } from "../service/downloads.js";
import { countedOf, spanOf } from "../page/figures.js";
import { sleep } from "../service/pauses.js";
import { makeRejections } from "./rejection_list.js";

const PAGE = 20;
const [FIRST_PERIOD_MS, MAX_PERIOD_MS, PERIOD_GROWTH] = [500, 5_000, 1.25];
const SURE_AFTER_MS = 2_000; // what is left is told when the pace has been seen for so long
const RESULT_TIMEOUT_S = 600;

const KINDS = {
  import_pictures: { title: "Import of pictures", one: "picture", verb: "imported" },
  import_vectors: { title: "Import of vectors", one: "person", many: "people", verb: "imported" },
  export: { title: "Export", one: "person", many: "people", verb: "exported" },
};
const STATES = {
  queued: ["… Waits", "still"], running: ["▸ At work", "still"], done: ["✓ Done", "good"], failed: ["! Failed", "bad"], cancelled: ["■ Stopped", "bad"],
};
const FAILURES = {
  bad_archive: "The upload cannot be read as an archive: it is damaged, or of another kind than its name says.",
  event_closed: "The event was closed meanwhile. Reopen it and import again; what was imported stays once.",
  pack_mismatch: "The vectors are of another model pack than this event's, and cannot be compared with its own.",
  storage_full: "Nothing more could be stored: tell whoever runs the service, and import again later.",
};

const isAtWork = (job) => job.state === "queued" || job.state === "running";

// One job: { node, job, update(job) }.
class JobCard {
  constructor(visit, job, look) {
    Object.assign(this, { visit, look, pace: null });
    const kind = KINDS[job.kind];
    const titleId = `job-${job.id}`;
    this.state = make("span", { class: "mark" });
    this.bar = make("progress", { "aria-labelledby": titleId });
    this.figures = make("p", { class: "figures" });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.stop = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => attempt(this.stop, this.problem, () => this.cancel()) } }, `Stop this ${job.kind === "export" ? "export" : "import"}`);
    this.save = make("button", { type: "button", hidden: true, on: { click: () => attempt(this.save, this.problem, () => this.download()) } }, "Download the export");
    this.remove = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => attempt(this.remove, this.problem, () => this.removeResult()) } }, "Delete the file");
    this.rejections = job.kind === "export" ? null : makeRejections(visit, job.id);
    this.node = make("li", { class: "card job", tabindex: "-1", "aria-labelledby": titleId },
      make("div", { class: "bar" }, make("h3", { id: titleId }, kind.title), this.state),
      make("p", { class: "hint" }, `By ${job.created_by}, `, makeTime(job.created_at)),
      this.bar, this.figures, this.problem, make("div", { class: "buttons" }, this.stop, this.save, this.remove), this.rejections?.node);
    this.update(job);
  }

  update(job) {
    const told = JSON.stringify(job);
    if (this.told === told) return;
    this.told = told;
    this.job = job;
    this.node.dataset.state = job.state;
    [this.state.textContent, this.state.dataset.kind] = STATES[job.state];
    this.bar.hidden = !isAtWork(job);
    if (job.total === null) this.bar.removeAttribute("value"); // as many as it turns out
    else Object.assign(this.bar, { max: Math.max(job.total, 1), value: job.done });
    this.figures.textContent = this.describe(job);
    this.problem.textContent = job.error ? FAILURES[job.error.code] ?? job.error.detail : "";
    this.stop.hidden = !isAtWork(job);
    this.save.hidden = this.remove.hidden = !job.has_result || !this.visit.may("export_people");
    this.rejections?.update(job);
  }

  describe(job) {
    const { one, many, verb } = KINDS[job.kind];
    if (job.state === "queued") return "Waits until the jobs before it have ended.";
    if (job.total === null) return isAtWork(job) ? "Being counted." : "";
    const words = [`${countOf(job.done)} of ${countedOf(job.total, one, many)}`, `${countOf(job.done - job.rejected)} ${verb}`];
    if (job.kind !== "export") words.push(`${countOf(job.rejected)} rejected`);
    const leftS = isAtWork(job) ? this.estimateLeft(job) : null;
    if (leftS !== null) words.push(`about ${spanOf(leftS)} left`);
    if (job.state === "done" && job.kind === "export" && !job.has_result) words.push("its file has been deleted since");
    return words.join(" · ");
  }

  // Seconds that the rest takes at the pace seen here; null while that is a guess.
  estimateLeft(job) {
    const now = performance.now();
    this.pace ??= { at: now, done: job.done };
    const [spentMs, worked] = [now - this.pace.at, job.done - this.pace.done];
    return spentMs >= SURE_AFTER_MS && worked > 0 ? ((job.total - job.done) * spentMs) / worked / 1000 : null;
  }

  async cancel() {
    const isExport = this.job.kind === "export";
    const isSure = await confirmWith({
      title: isExport ? "Stop this export?" : "Stop this import?",
      words: isExport ? "What it has written is deleted." : "Whoever has been imported stays; the upload is deleted.",
      button: "Stop it",
    });
    if (!isSure) return;
    await this.visit.callEvent("DELETE", `jobs/${this.job.id}`);
    this.node.focus();
    this.look();
  }

  async removeResult() {
    await this.visit.callEvent("DELETE", `jobs/${this.job.id}`);
    this.visit.say("The service's copy of the export is deleted.");
    this.node.focus();
    this.look();
  }

  async download() {
    const result = await this.visit.callEvent("GET", `jobs/${this.job.id}/result`, { as: "blob", timeoutS: RESULT_TIMEOUT_S });
    saveFile(result, `people-${this.visit.params.event}-${this.job.id.slice(0, 8)}.ndjson`);
    this.visit.say("The export was downloaded. Keep it as you would keep these people's faces, and delete the service's copy when you have it.");
  }
}

// The list: `node` goes into the page, `start()` loads it, `add(job)` puts a new job on top.
export class JobList {
  constructor(visit) {
    Object.assign(this, { visit, cards: new Map(), isFollowing: false, cursor: null });
    this.list = make("ol", { class: "jobs", "aria-label": "Jobs" });
    this.nothing = make("p", { class: "hint", hidden: true }, "Nothing has been imported or exported here in the last thirty days.");
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => attempt(this.more, this.problem, () => this.showMore()) } }, "Show more");
    this.node = make("section", { class: "wide", "aria-labelledby": "jobs-title" },
      make("h2", { id: "jobs-title" }, "Imports and exports"), this.nothing, this.list, this.problem, make("div", { class: "buttons" }, this.more));
  }

  async start() {
    const page = await this.load();
    this.cursor = page.next_cursor;
    this.more.hidden = this.cursor === null;
    for (const job of page.jobs) this.show(job, false);
    this.nothing.hidden = this.cards.size > 0;
    this.follow();
  }

  add(job) {
    this.nothing.hidden = true;
    this.show(job, true);
    this.cards.get(job.id).node.focus();
    this.follow();
  }

  load(cursor = null) {
    return this.visit.callEvent("GET", "jobs", { query: { limit: String(PAGE), cursor } });
  }

  async showMore() {
    const next = this.list.children.length;
    const page = await this.load(this.cursor);
    this.cursor = page.next_cursor;
    this.more.hidden = this.cursor === null;
    for (const job of page.jobs) this.show(job, false);
    this.list.children[next]?.focus();
  }

  show(job, isNew) {
    const before = this.cards.get(job.id);
    if (!before) {
      const card = new JobCard(this.visit, job, () => this.refresh());
      this.cards.set(job.id, card);
      if (isNew) this.list.prepend(card.node);
      else this.list.append(card.node);
      return;
    }
    const hasEnded = isAtWork(before.job) && !isAtWork(job);
    before.update(job);
    if (hasEnded) this.visit.say(`${KINDS[job.kind].title}: ${job.state === "cancelled" ? "stopped" : job.state}. ${before.figures.textContent}`);
  }

  // Look at what is at work; those that are beyond the first page, one by one.
  async refresh() {
    const page = await this.load();
    for (const job of page.jobs.reverse()) this.show(job, true);
    const seen = new Set(page.jobs.map((job) => job.id));
    for (const { job } of [...this.cards.values()]) {
      if (isAtWork(job) && !seen.has(job.id)) this.show(await this.visit.callEvent("GET", `jobs/${job.id}`), false);
    }
  }

  // Ask again and again, more and more seldom, until nothing is at work or the view is left.
  async follow() {
    this.periodMs = FIRST_PERIOD_MS;
    if (this.isFollowing) return;
    this.isFollowing = true;
    const { signal } = this.visit;
    while (!signal.aborted && [...this.cards.values()].some(({ job }) => isAtWork(job))) {
      await sleep(this.periodMs, signal);
      this.periodMs = Math.min(this.periodMs * PERIOD_GROWTH, MAX_PERIOD_MS);
      if (signal.aborted || document.hidden) continue;
      try {
        await this.refresh();
        this.problem.textContent = "";
      } catch (problem) {
        if (signal.aborted) break;
        if (!(problem instanceof Problem)) throw problem;
        this.problem.textContent = problem.message; // it goes on there; the next round asks again
        if (problem.retryAfterS) this.periodMs = Math.max(this.periodMs, problem.retryAfterS * 1000);
        else this.periodMs = MAX_PERIOD_MS;
      }
    }
    this.isFollowing = false;
  }
}
