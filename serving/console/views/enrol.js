// A new person, or more faces of one: pictures by the camera or from files, judged before they are saved.

import { Problem } from "../service/calls.js";
import { Camera } from "../camera/camera.js";
import { attempt, make, makeField, makeForm, makeTime, titleOf } from "../page/elements.js";
import { makeDropZone, readPicture } from "../pictures/picture_choice.js";
import { adviseOn } from "../pictures/picture_problems.js";
import { PictureTray, explainFaults } from "../pictures/picture_tray.js";
import { RetryKey } from "../service/retry_key.js";

const SAVE_TIMEOUT_S = 30;
const OF_A_PICTURE = new Set([
  "no_face", "several_faces", "quality_too_low", "presentation_attack", "not_an_image", "truncated_picture",
  "picture_too_large", "too_many_pixels", "picture_too_small", "unsupported_picture_type",
]);
const ID_PATTERN = "[A-Za-z0-9][A-Za-z0-9._:@+\\-]{0,127}";
let queue = null; // { link, session }: the camera was on for the person before, so whoever is next there finds it open

window.addEventListener("hashchange", () => { if (location.hash !== queue?.link) queue = null; });

export async function show(visit) {
  const id = visit.query.get("person");
  if (id && !new RegExp(`^${ID_PATTERN}$`).test(id)) throw new Problem(404, "unknown_person", "Nobody can have the id in this address.");
  const person = id && visit.may("read_people") ? await visit.callEvent("GET", `people/${encodeURIComponent(id)}`) : id && { id, name: null };
  if (visit.event.closed_at) showClosed(visit);
  else new Enrolment(visit, person).show();
}

function showClosed(visit) {
  visit.outlet.replaceChildren(make("section", { class: "card" }, make("h2", {}, "Enrol"),
    make("p", {}, "This event was closed on ", makeTime(visit.event.closed_at), ". Nobody can be enrolled until it is opened again.")));
}

class Enrolment {
  // `person`: who is enrolled already and gets more faces; null: somebody new.
  constructor(visit, person = null) {
    Object.assign(this, { visit, person, key: new RetryKey(), arriving: Promise.resolve() });
    this.tray = new PictureTray(visit, { changed: () => this.dropChoice(), emptied: () => (this.openCamera.hidden ? this.closeCamera : this.openCamera).focus() });
    this.camera = new Camera({ begins: () => this.showCamera(true), opens: () => this.showOpen(), fails: () => this.showFailed() });
    visit.signal.addEventListener("abort", () => this.camera.close(), { once: true });
  }

  show() {
    const { visit } = this;
    const asksConsent = visit.event.consent_required && !this.person?.consent_reference;
    const text = (attributes) => make("input", { autocomplete: "off", spellcheck: "false", ...attributes });
    this.name = text({ name: "name", maxlength: "200", required: !this.person });
    this.id = text({ name: "id", maxlength: "128", autocapitalize: "none", pattern: ID_PATTERN, title: "Letters, digits and . _ : @ + -, beginning with a letter or digit" });
    this.consent = text({ name: "consent", maxlength: "200", required: Boolean(asksConsent) });
    const consentHint = asksConsent ? "This event asks for one: what names the consent in your own records." : "May be left out: what names the consent in your own records.";
    this.pictures = this.makePictures();
    const fields = make("div", { class: "card who" },
      make("h2", {}, this.person ? `Add faces of ${this.title}` : "Enrol a person"),
      ...(this.person ? [] : [makeField("Name", this.name), makeField("Id", this.id, "May be left out: one is made. An e-mail address will do.")]),
      makeField("Consent reference", this.consent, consentHint));
    this.choice = make("div", { class: "choice-of-person", role: "alert" });
    this.form = makeForm({ id: "enrolment", fields: [fields, this.pictures], button: "Save", work: () => this.save() });
    this.form.insertBefore(this.choice, this.form.problem.nextSibling);
    visit.outlet.replaceChildren(make("div", { class: "enrolment" }, this.form));
    if (queue?.session === visit.session) this.camera.open();
    queue = null;
    (this.person ? this.openCamera : this.name).focus({ preventScroll: true });
  }

  get title() {
    return titleOf(this.person);
  }

  // ---- pictures

  makePictures() {
    const button = (words, click, more = {}) => make("button", { type: "button", ...more, on: { click } }, words);
    this.openCamera = button("Use the camera", () => this.camera.open(), { class: "quiet" });
    this.take = button("Take picture", () => this.receive(this.takePicture()));
    this.closeCamera = button("Close the camera", () => { this.camera.close(); this.showCamera(false); this.openCamera.focus(); }, { class: "quiet" });
    this.trouble = make("p", { class: "problem", role: "alert" });
    this.stage = make("div", { class: "viewfinder", hidden: true }, this.camera.node,
      make("div", { class: "buttons" }, this.take, this.camera.others, this.closeCamera));
    const zone = makeDropZone({
      label: "Pictures from files", hint: "Or drop them here. Large photos are scaled down first.", take: (files) => this.receive(this.addFiles(files)), signal: this.visit.signal,
    });
    const judged = this.visit.may("analyse") ? "Each is judged before it is saved" : "Whether they are good enough is judged when they are saved";
    return make("div", { class: "card" },
      make("h2", {}, "Pictures"),
      make("p", { class: "hint" }, `One is enough; two or three, a little different, are recognised better. ${judged}; the pictures themselves are not kept.`),
      make("div", {}, this.openCamera), this.stage, this.trouble, this.tray.node, zone.node);
  }

  showCamera(isShown) {
    this.stage.hidden = !isShown;
    this.openCamera.hidden = isShown;
    this.take.disabled = true;
  }

  showOpen() {
    this.take.disabled = false;
    if (document.activeElement === document.body) this.take.focus(); // what was clicked is hidden now
  }

  showFailed() {
    this.take.disabled = true;
  }

  async takePicture() {
    this.trouble.textContent = "";
    const blob = await this.camera.take();
    if (!blob || this.visit.signal.aborted) return;
    const { width, height } = await createImageBitmap(blob);
    this.tray.add({ name: null, blob, width, height });
  }

  async addFiles(files) {
    this.trouble.textContent = "";
    for (const file of files) {
      try {
        const picture = await readPicture(file);
        if (this.visit.signal.aborted) return;
        this.tray.add(picture);
      } catch (error) {
        if (error.advice === undefined) throw error;
        this.trouble.textContent = [this.trouble.textContent, error.advice].filter(Boolean).join(" ");
      }
    }
  }

  // Pictures that are still being read belong to what is saved next.
  receive(work) {
    this.arriving = Promise.allSettled([this.arriving, work]);
    work.catch(reportError);
  }

  // ---- saving

  // `to`: who gets the faces, where it is not whom the form names. `isOther`: somebody else although alike.
  async save(options) {
    this.dropChoice();
    this.pictures.inert = true; // another would be neither saved nor kept, and one removed is saved all the same
    try {
      await this.arriving;
      await this.tray.settle();
      await this.send(options);
    } finally {
      this.pictures.inert = false;
    }
  }

  async send({ to = this.person, isOther = false } = {}) {
    const pictures = this.tray.chosen;
    if (!pictures.length) {
      this.form.problem.textContent = this.tray.pictures.length ? "None of the pictures is good enough. Take or choose another." : "Take or choose a picture first.";
      return;
    }
    const given = { name: to ? "" : this.name.value.trim(), person_id: to ? "" : this.id.value.trim(), consent_reference: this.consent.value.trim(), on_duplicate: isOther ? "allow" : "" };
    const path = to ? `people/${encodeURIComponent(to.id)}/faces` : "people";
    const content = [path, given, pictures.map(({ number }) => number)];
    if (given.person_id && !this.key.wasTaken(content) && (await this.isTaken(given.person_id))) return;
    const form = new FormData();
    for (const [field, value] of Object.entries(given)) if (value) form.append(field, value);
    for (const { blob } of pictures) form.append("picture", blob, "picture");
    try {
      const answer = await this.visit.callEvent("POST", path, { form, headers: { "Idempotency-Key": this.key.take(content) }, timeoutS: SAVE_TIMEOUT_S });
      this.showSaved(answer, pictures);
    } catch (problem) {
      if (problem.advice === undefined || !this.explain(problem, pictures, to)) throw problem;
    }
  }

  // Whether somebody has this id already: pictures would silently become theirs.
  async isTaken(id) {
    if (!this.visit.may("read_people")) return false;
    let found;
    try {
      found = await this.visit.callEvent("GET", `people/${encodeURIComponent(id)}`);
    } catch (problem) {
      if (problem.code === "unknown_person") return false;
      throw problem;
    }
    this.offer(`${titleOf(found)} has the id ${id} already. Choose another id, or:`, [[`Add the pictures to ${titleOf(found)}`, { to: found }]]);
    return true;
  }

  // Show what the service refused where it belongs; returns whether that is enough.
  explain(problem, pictures, to) {
    const { code, context = {} } = problem;
    const place = context.picture ?? (pictures.length === 1 ? 0 : null);
    if (code === "duplicate_person") {
      const other = context.person_id ? { id: context.person_id, name: context.name ?? null } : null;
      const title = other ? titleOf(other) : "somebody";
      const where = place === null ? "The face" : `Picture ${pictures[place].number}`;
      const words = `${where} looks like ${title}, who is enrolled already (similarity ${context.cosine?.toFixed(2) ?? "high"}).`;
      this.offer(words, [
        other && [`It is ${title}: add the pictures there`, { to: other }],
        [`It is somebody else: ${to ? "add" : "enrol"} all the same`, { to, isOther: true }],
      ].filter(Boolean));
      return true;
    }
    if (context.max_pictures) {
      this.form.problem.textContent = `At most ${context.max_pictures} pictures can be saved at once. Remove ${pictures.length - context.max_pictures}, or add them afterwards.`;
      return true;
    }
    if (!OF_A_PICTURE.has(code) || place === null) return false;
    const refused = pictures[place];
    const faults = context.faults ?? [];
    this.tray.judge(refused, "bad", faults.length ? explainFaults(faults) : [adviseOn(problem)]);
    const others = pictures.length - 1;
    const rest = others ? `Save again to go on with the other ${others === 1 ? "one" : others}.` : "Take or choose another.";
    this.form.problem.textContent = `Nothing is saved yet: picture ${refused.number} was refused, see beside it. ${rest}`;
    return true;
  }

  // Several ways on, each a button that saves in its way.
  offer(words, ways) {
    const { send, problem } = this.form;
    const buttons = ways.map(([label, options], index) => {
      const button = make("button", { type: "button", class: index ? "quiet" : null }, label);
      button.addEventListener("click", () => attempt(send, problem, () => this.save(options)));
      return button;
    });
    this.choice.replaceChildren(make("p", {}, words), make("div", { class: "buttons" }, buttons));
  }

  dropChoice() {
    this.choice?.replaceChildren();
    if (this.form) this.form.problem.textContent = "";
  }

  // ---- afterwards

  showSaved({ person, faces }, pictures) {
    const { visit } = this;
    const cameraIsOn = Boolean(this.camera.stream);
    this.camera.close();
    const title = titleOf(person);
    const unlike = faces.filter(({ cosine_to_person: cosine }) => cosine !== null && cosine < (visit.event.decision_threshold ?? -1)).length;
    const saved = `${faces.length} ${faces.length === 1 ? "picture" : "pictures"}`;
    const others = this.tray.pictures.length - pictures.length;
    this.tray.clear();
    const mayRead = visit.may("read_people");
    const again = make("button", { type: "button", class: "quiet", on: { click: () => this.enrolAnother(cameraIsOn) } }, "Enrol another");
    const live = visit.may("recognise") && make("a", { class: "button", href: visit.link("events/:event/live") }, "Try it: Live");
    visit.outlet.replaceChildren(make("section", { class: "card", id: "saved" },
      make("h2", { tabindex: "-1" }, make("span", { class: "mark", "data-kind": "good", "aria-hidden": "true" }, "✓"), " ", this.person ? `${title} has more faces` : `${title} is enrolled`),
      make("dl", { class: "facts" },
        make("dt", {}, "Id"), make("dd", {}, person.id),
        make("dt", {}, "Saved"), make("dd", {}, saved),
        ...(others ? [make("dt", {}, "Left out"), make("dd", {}, `${others}, not good enough`)] : [])),
      unlike > 0 && make("p", { role: "alert" }, `${unlike === 1 ? "One face looks" : `${unlike} faces look`} little like the others of ${title}. If it is somebody else's, erase it.`),
      make("div", { class: "buttons last" }, live, again,
        mayRead && make("a", { href: visit.link("events/:event/people/:person", { ...visit.params, person: person.id }) }, `See ${title}`))));
    visit.outlet.querySelector("h2").focus();
  }

  enrolAnother(cameraIsOn) {
    const { visit } = this;
    if (cameraIsOn) queue = { link: visit.link("events/:event/enrol"), session: visit.session };
    visit.go("events/:event/enrol");
  }
}
