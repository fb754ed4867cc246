// People brought in by an archive of pictures, or taken away with their vectors; and the jobs that do it.

import { MAX_BYTES, MAX_PICTURES, makeArchive, planArchive } from "../pictures/archive_maker.js";
import { askBeforeLeaving } from "../page/departure.js";
import { attempt, confirmWith, make, makeField, makeForm, makeSelect } from "../page/elements.js";
import { countedOf, sizeOf } from "../page/figures.js";
import { readDroppedFiles, readFolder } from "../pictures/folders.js";
import { JobList } from "../gallery/job_list.js";
import { makeDropZone } from "../pictures/picture_choice.js";

const TYPES = [
  [/\.zip$/i, "application/zip"], [/\.tar$/i, "application/x-tar"], [/\.(tgz|gz)$/i, "application/gzip"], [/\.(ndjson|jsonl)$/i, "application/x-ndjson"],
];
const ACCEPTED = ".zip,.tar,.tgz,.gz,.ndjson,.jsonl";
const LEVELS = [["off", "Any face that is found"], ["standard", "Standard"], ["strict", "Strict"]];
const LAYOUT = `ada/             a person's id
   1.jpg         any number of pictures
   profile.webp
bob.png          another, with one picture
people.ndjson    may be left out: their names`;
const LINE = '{"person_id": "ada", "name": "Ada Lovelace", "consent_reference": "form-17"}';

const typeOf = (name) => TYPES.find(([pattern]) => pattern.test(name))?.[1] ?? null;

export async function show(visit) {
  const jobs = new JobList(visit);
  const isOpen = !visit.event?.closed_at;
  visit.outlet.replaceChildren(
    make("div", { class: "grid bulk" },
      visit.may("enrol") && (isOpen ? new ImportForm(visit, jobs).node : closedCard()),
      make("div", { class: "stack" }, visit.may("enrol") && isOpen && layoutCard(), visit.may("export_people") && exportCard(visit, jobs))),
    jobs.node);
  await jobs.start();
}

const closedCard = () => make("section", { class: "card" },
  make("h2", {}, "Import people"), make("p", {}, "This event is closed: nobody can be enrolled. Reopen it under Overview to import people."));

class ImportForm {
  constructor(visit, jobs) {
    Object.assign(this, { visit, jobs, chosen: null });
    const zone = makeDropZone({
      label: "An archive", hint: "ZIP, TAR or gzipped TAR; or people with vectors (NDJSON), as an export writes them. You may drop it here, or a folder, or pictures.",
      accept: ACCEPTED, multiple: false, signal: visit.signal, take: (files) => this.choose(files), takeDrop: (dropped) => this.takeDrop(dropped),
    });
    const folder = make("input", { type: "file", webkitdirectory: true, multiple: true, on: { change: () => { this.choose(readFolder(folder.files)); folder.value = ""; } } });
    zone.node.append(makeField("Or a folder of pictures", folder, "People are called like their folder, or like their picture's file."));
    this.what = make("p", { class: "chosen", role: "status" });
    this.duplicates = makeSelect([["", "As the service is set"], ["refuse", "Reject them"], ["allow", "Import them"]], "");
    this.quality = makeSelect([["", "As the event asks"], ...levelsFrom(visit.event?.effective_quality_level)], "");
    this.consent = make("input", { maxlength: "200", autocomplete: "off", placeholder: "form-17" });
    this.step = make("p", { class: "hint", id: "import-step" });
    this.bar = make("progress", { hidden: true, "aria-label": "Upload", "aria-describedby": this.step.id });
    this.told = make("p", { class: "unseen", role: "status" }); // what has begun, not each step of it
    this.stop = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.sending?.abort() } }, "Stop sending");
    this.form = makeForm({
      fields: [
        zone.node, this.what,
        make("div", { class: "grid" }, makeField("Faces like somebody else's", this.duplicates), makeField("Quality of the faces", this.quality)),
        makeField(`Consent reference${visit.event?.consent_required ? "" : " (may be left out)"}`, this.consent, consentHint(visit.event)),
        this.bar, this.step, this.told,
      ],
      button: "Import", work: () => this.run(), more: [this.stop],
    });
    this.node = make("section", { class: "card" }, make("h2", {}, "Import people"), this.form);
  }

  async takeDrop(dropped) {
    const files = await readDroppedFiles(dropped);
    if (!this.visit.signal.aborted) this.choose(files);
  }

  // `files`: File objects, or { path, file } of a folder.
  choose(files) {
    if (this.sending) return;
    this.chosen = null;
    this.form.problem.textContent = "";
    const listed = files.map((each) => (each.file ? each : { path: each.name, file: each }));
    if (listed.length === 1 && typeOf(listed[0].path)) this.chooseArchive(listed[0].file);
    else this.choosePictures(listed);
    if (this.chosen) this.form.send.focus();
    else this.what.textContent = "";
  }

  chooseArchive(file) {
    this.chosen = { archive: new Blob([file], { type: typeOf(file.name) }), words: file.name };
    this.what.textContent = `${file.name}, ${sizeOf(file.size)}`;
  }

  choosePictures(listed) {
    const plan = planArchive(listed);
    if (!plan.pictures) this.complain("There is no picture (JPEG, PNG, WebP) in it, and it is no archive either (ZIP, TAR, gzipped TAR, NDJSON).");
    else if (plan.pictures > MAX_PICTURES) this.complain(`These are ${countedOf(plan.pictures, "picture")}. This page sends ${countedOf(MAX_PICTURES, "picture")} at once: choose parts of the folder, or use the command line.`);
    else if (plan.bytes > MAX_BYTES) this.complain(`These are ${sizeOf(plan.bytes)}. This page sends ${sizeOf(MAX_BYTES)} at once: choose parts of the folder, or use the command line.`);
    else {
      this.chosen = { plan };
      const others = plan.passedOver.length ? ` ${countedOf(plan.passedOver.length, "other file")} left out.` : "";
      this.what.textContent = `${countedOf(plan.pictures, "picture")} of ${countedOf(plan.people, "person", "people")}, ${sizeOf(plan.bytes)}.${others}`;
    }
  }

  complain(words) {
    this.form.problem.textContent = words;
  }

  async run() {
    if (!this.chosen) {
      this.complain("Choose an archive or a folder first.");
      return;
    }
    this.sending = new AbortController();
    const signal = AbortSignal.any([this.visit.signal, this.sending.signal]);
    const goFreely = askBeforeLeaving({
      title: "Stop sending?", words: "Leaving this page ends the upload, and what has not arrived whole is not imported.", button: "Stop and leave",
    });
    this.bar.hidden = this.stop.hidden = false;
    this.visit.say("");
    try {
      const job = await this.send(this.chosen.archive ?? (await this.pack(this.chosen.plan, signal)), signal);
      this.chosen = null;
      this.what.textContent = "";
      this.visit.say("The upload has arrived. The import goes on by itself, also when you leave this page.");
      this.jobs.add(job);
    } catch (error) {
      if (this.sending.signal.aborted && !this.visit.signal.aborted) this.visit.say("Nothing was imported: sending was stopped.");
      else if (error.name === "NotReadableError" || error.name === "NotFoundError") this.complain("A file of it can be read no more. Choose it again.");
      else if (error.code === "body_too_large") this.complain(`The service takes at most ${sizeOf(error.context.max_bytes)} at once. Make several smaller archives.`);
      else throw error;
    } finally {
      goFreely();
      this.sending = null;
      this.bar.hidden = this.stop.hidden = true;
      this.step.textContent = this.told.textContent = "";
      if (this.chosen && !this.visit.signal.aborted) setTimeout(() => this.form.send.focus()); // which rests until then
    }
  }

  async pack(plan, signal) {
    const tell = (done) => {
      Object.assign(this.bar, { max: plan.entries.length, value: done });
      this.step.textContent = `${done} of ${countedOf(plan.entries.length, "file")} read.`;
    };
    tell(0);
    this.told.textContent = `Reading ${countedOf(plan.entries.length, "file")}.`;
    return makeArchive(plan.entries, tell, signal);
  }

  send(archive, signal) {
    const tell = (bytes) => {
      Object.assign(this.bar, { max: Math.max(archive.size, 1), value: bytes });
      this.step.textContent = bytes < archive.size ? `${sizeOf(bytes)} of ${sizeOf(archive.size)} sent.` : "Sent; the service is taking it in.";
    };
    tell(0);
    this.told.textContent = `Sending ${sizeOf(archive.size)}.`;
    const query = { on_duplicate: this.duplicates.value, quality: this.quality.value, consent_reference: this.consent.value.trim() };
    return this.visit.callEvent("POST", "imports", { body: archive, query, signal, onUpload: tell });
  }
}

// The levels that an import may ask for: none below the event's own.
function levelsFrom(least) {
  return LEVELS.slice(Math.max(LEVELS.findIndex(([level]) => level === least), 0));
}

function consentHint(event) {
  const whom = "Of everyone for whom people.ndjson names none.";
  return event?.consent_required ? `${whom} This event enrols nobody without one.` : whom;
}

const layoutCard = () => make("section", { class: "card" }, make("h2", {}, "What an archive looks like"),
  make("pre", {}, LAYOUT),
  make("p", { class: "hint" }, "Each line of people.ndjson is one person:"), make("pre", { class: "wrapped" }, LINE),
  make("p", { class: "hint" }, "Each picture is imported, or rejected alone with the reason. Importing the same archive twice enrols nobody twice."));

function exportCard(visit, jobs) {
  const problem = make("p", { class: "problem", role: "alert" });
  const begin = async () => {
    const isSure = await confirmWith({
      title: "Take everyone's vectors away?",
      words: "The file holds the name, the details and the face vectors of everyone at this event. Whoever has it can look for these people anywhere. That you made it stands in the audit trail.",
      button: "Export everyone",
    });
    if (!isSure) return;
    const job = await visit.callEvent("POST", "exports");
    visit.say("The export has begun.");
    jobs.add(job);
  };
  const button = make("button", { type: "button", on: { click: () => attempt(button, problem, begin) } }, "Export everyone…");
  return make("section", { class: "card" }, make("h2", {}, "Export people"),
    make("p", {}, "Everyone who is enrolled, one in each line (NDJSON), with vectors in place of pictures: to keep, or to import at another event of the same model pack."),
    make("p", { class: "hint" }, "The service keeps the file for a day unless it is set otherwise, or until you delete it."),
    problem, make("div", { class: "buttons" }, button));
}
