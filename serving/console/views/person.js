// One person: what is known, their faces, and the end of either.

import { attempt, countOf, dateOf, make, makeField, makeForm, makeTime, titleOf } from "../page/elements.js";
import { eraseFace, erasePerson } from "../gallery/erasure.js";
import { goToPeople } from "./people.js";

const PAGE = 50;
const DAY_MS = 86_400_000;

export async function show(visit) {
  const path = `people/${encodeURIComponent(visit.params.person)}`;
  const person = await visit.callEvent("GET", path);
  await new Person(visit, path, person).show();
}

class Person {
  constructor(visit, path, person) {
    Object.assign(this, { visit, path, person, cursor: null });
    this.title = make("h2", { tabindex: "-1" });
    this.facts = make("dl", { class: "facts" });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.rows = make("tbody");
    this.none = make("p", { class: "hint" }, "No face: this person is not recognised until given one.");
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.addFaces()) } }, "Show more");
  }

  async show() {
    const { visit } = this;
    const canEnrol = visit.may("enrol") && !visit.event.closed_at;
    const eraseAll = visit.may("erase_people") && make("button", { type: "button", class: "danger" }, "Erase this person");
    if (eraseAll) eraseAll.addEventListener("click", () => attempt(eraseAll, this.problem, () => this.eraseAll()));
    this.table = make("table", { class: "people" },
      make("thead", {}, make("tr", {}, ["Enrolled", "Certainty"].map((words) => make("th", { scope: "col" }, words)),
        visit.may("erase_people") && make("th", { scope: "col" }, make("span", { class: "unseen" }, "Erase")))),
      this.rows);
    const explained = "Certainty: how sure the detector was, when the picture came, that this is a face; 1 is the most.";
    this.facesTitle = make("h2", { tabindex: "-1" });
    this.showFacts();
    await this.addFaces();
    visit.outlet.replaceChildren(
      make("div", { class: "bar" }, this.title, make("a", { href: visit.link("events/:event/people") }, "All people")),
      this.problem,
      make("div", { class: "grid" },
        make("section", { class: "card" }, make("h2", {}, "Known"), this.facts, eraseAll && make("div", { class: "buttons last" }, eraseAll)),
        visit.may("enrol") && make("section", { class: "card" }, make("h2", {}, "Change"), this.makeChanges()),
      ),
      make("section", { class: "card wide" },
        make("div", { class: "bar" }, this.facesTitle,
          canEnrol && make("a", { class: "button", href: `${visit.link("events/:event/enrol")}?${new URLSearchParams({ person: this.person.id })}` }, "Add faces")),
        this.table, this.none, this.more, make("p", { class: "hint" }, explained)),
    );
  }

  // ---- what is known

  showFacts() {
    const { person, visit } = this;
    this.title.textContent = titleOf(person);
    const days = visit.event.retention_days;
    const facts = [
      ["Id", person.id],
      ["Consent", person.consent_reference ?? (visit.event.consent_required ? "none, though this event asks for one" : "none given")],
      ["Enrolled", makeTime(person.created_at)],
      ["Last changed", makeTime(person.updated_at)],
      days && ["Kept until", `${dateOf(new Date(Date.parse(person.updated_at) + days * DAY_MS).toISOString())}, then erased by itself: ${countOf(days)} days after the last change`],
      visit.event.pack_id && ["Faces made by", visit.event.pack_id],
      ...Object.entries(person.metadata).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
    ];
    this.facts.replaceChildren(...facts.filter(Boolean).flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]));
  }

  makeChanges() {
    const name = make("input", { name: "name", maxlength: "200", autocomplete: "off", spellcheck: "false", value: this.person.name });
    const consent = make("input", { name: "consent", maxlength: "200", autocomplete: "off", spellcheck: "false", value: this.person.consent_reference });
    return makeForm({
      fields: [makeField("Name", name), makeField("Consent reference", consent, "What names the consent in your own records: the number of a form, a link.")],
      button: "Save changes",
      work: async () => {
        const json = { name: name.value.trim() || null, consent_reference: consent.value.trim() || null };
        this.person = await this.visit.callEvent("PATCH", this.path, { json });
        this.showFacts();
        this.visit.say("The changes are saved.");
      },
    });
  }

  async eraseAll() {
    const words = await erasePerson(this.visit, { ...this.person, faces: this.person.face_ids.length });
    if (words !== null) goToPeople(this.visit, words);
  }

  // ---- faces

  async addFaces() {
    const page = await this.visit.callEvent("GET", `${this.path}/faces`, { query: { cursor: this.cursor, limit: String(PAGE) } });
    this.cursor = page.next_cursor;
    this.rows.append(...page.faces.map((face) => this.makeRow(face)));
    this.showCount();
  }

  makeRow(face) {
    const row = make("tr");
    const button = make("button", { type: "button", class: "quiet", "aria-label": `Erase face ${face.face_id}` }, "Erase");
    button.addEventListener("click", () => attempt(button, this.problem, () => this.eraseFace(face, row)));
    row.append(
      make("td", {}, makeTime(face.created_at), make("div", { class: "hint" }, face.face_id)),
      make("td", {}, face.detection_score === null ? "not known" : face.detection_score.toFixed(2)),
      ...(this.visit.may("erase_people") ? [make("td", { class: "number" }, button)] : []),
    );
    return row;
  }

  async eraseFace(face, row) {
    const words = await eraseFace(this.visit, this.person, face.face_id, this.person.face_ids.filter((id) => id !== face.face_id).length);
    if (words === null) return;
    row.remove();
    this.person = await this.visit.callEvent("GET", this.path);
    this.showFacts();
    this.showCount();
    this.visit.say(words);
    this.facesTitle.focus();
  }

  showCount() {
    const count = this.person.face_ids.length;
    this.facesTitle.textContent = count === 1 ? "1 face" : `${countOf(count)} faces`;
    this.table.hidden = count === 0;
    this.none.hidden = count > 0;
    this.more.hidden = this.cursor === null;
  }
}
