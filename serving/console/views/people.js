// The people of an event: found by name, looked at, erased.

import { attempt, countOf, make, makeField, makeForm, makeTime, titleOf } from "../page/elements.js";
import { erasePerson } from "../gallery/erasure.js";

const PAGE = 50;
const MAX_SEARCH_CALLS = 10; // pages of a search may be empty; so many are asked for before "Show more" is offered

let word = ""; // to be said when the list is shown next

// From another view: go to the list and say this there.
export function goToPeople(visit, words) {
  word = words;
  visit.go("events/:event/people");
}

export async function show(visit) {
  const words = word;
  word = "";
  const list = new People(visit);
  list.search.value = visit.query.get("name") ?? "";
  await list.begin(list.search.value);
  if (words) visit.say(words);
}

class People {
  constructor(visit) {
    Object.assign(this, { visit, name: "", cursor: null, begun: 0 });
    this.title = make("h2", { tabindex: "-1" }, "People");
    this.search = make("input", { type: "search", name: "name", maxlength: "200", autocomplete: "off", spellcheck: "false" });
    this.form = makeForm({ fields: makeField("Find by name", this.search), button: "Find", work: () => this.begin(this.search.value.trim()) });
    this.form.setAttribute("role", "search");
    this.search.addEventListener("search", () => { if (!this.search.value && this.name) this.form.requestSubmit(); }); // the cross in the field
    this.rows = make("tbody");
    this.table = make("table", { class: "people" },
      make("caption", {}),
      make("thead", {}, make("tr", {},
        make("th", { scope: "col" }, "Name and id"), make("th", { scope: "col", class: "number" }, "Faces"),
        make("th", { scope: "col", class: "when" }, "Enrolled"), visit.may("erase_people") && make("th", { scope: "col" }, make("span", { class: "unseen" }, "Erase")))),
      this.rows);
    this.empty = make("div", { class: "empty" });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.showMore()) } }, "Show more");
    const enrol = visit.may("enrol") && !visit.event.closed_at && make("a", { class: "button", href: visit.link("events/:event/enrol") }, "Enrol");
    visit.outlet.replaceChildren(make("section", { class: "card wide" },
      make("div", { class: "bar" }, this.title, enrol),
      this.form, this.table, this.empty, this.problem, this.more));
  }

  // Show the list from its start: everybody, or those whose names contain `name`.
  async begin(name) {
    const { people, cursor } = await this.read(name, null);
    this.visit.signal.throwIfAborted();
    const link = this.visit.link("events/:event/people");
    history.replaceState(null, "", name ? `${link}?${new URLSearchParams({ name })}` : link); // so that "back" finds the search again
    Object.assign(this, { name, begun: this.begun + 1 });
    this.rows.replaceChildren();
    this.add(people, cursor);
  }

  async showMore() {
    const { begun } = this;
    const { people, cursor } = await this.read(this.name, this.cursor);
    if (begun !== this.begun) return; // another list was found meanwhile
    const [first] = this.add(people, cursor);
    (first?.querySelector("a") ?? this.title).focus();
  }

  // Those after `from` whose names contain `name`, and where there are more: { people, cursor }.
  async read(name, from) {
    const people = [];
    let cursor = from;
    for (let calls = 0; calls < MAX_SEARCH_CALLS && (calls === 0 || cursor) && people.length < PAGE; calls += 1) {
      const page = await this.visit.callEvent("GET", "people", { query: { name, cursor, limit: String(PAGE) } });
      people.push(...page.people);
      cursor = page.next_cursor;
    }
    return { people, cursor };
  }

  add(people, cursor) {
    this.cursor = cursor;
    const rows = people.map((person) => this.makeRow(person));
    this.rows.append(...rows);
    this.showState();
    return rows;
  }

  makeRow(person) {
    const { visit } = this;
    const title = titleOf(person);
    const row = make("tr");
    const erase = make("button", { type: "button", class: "quiet", "aria-label": `Erase ${title}` }, "Erase");
    erase.addEventListener("click", () => attempt(erase, this.problem, () => this.erase(person, row)));
    row.append(
      make("td", {}, make("a", { href: visit.link("events/:event/people/:person", { ...visit.params, person: person.id }) }, title),
        person.name && make("div", { class: "hint" }, person.id)),
      make("td", { class: "number" }, person.faces ? countOf(person.faces) : "none"),
      make("td", { class: "when" }, makeTime(person.created_at)),
      ...(visit.may("erase_people") ? [make("td", { class: "number" }, erase)] : []),
    );
    return row;
  }

  async erase(person, row) {
    const words = await erasePerson(this.visit, person);
    if (words === null) return;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.showState();
    this.visit.say(words);
    (next?.querySelector("a") ?? this.title).focus();
  }

  showState() {
    const shown = this.rows.children.length;
    const isMore = this.cursor !== null;
    this.more.hidden = !isMore;
    this.table.hidden = shown === 0;
    const people = shown === 1 ? "1 person" : `${countOf(shown)} people`;
    const which = this.name ? ` whose name contains “${this.name}”` : "";
    this.table.caption.textContent = (isMore ? `The first ${people}` : people) + which;
    this.empty.hidden = shown > 0;
    this.empty.replaceChildren(...this.explainEmpty(isMore));
  }

  explainEmpty(isMore) {
    const { visit } = this;
    if (this.name) {
      const everybody = make("button", { type: "button", class: "quiet", on: { click: () => { this.search.value = ""; this.form.requestSubmit(); } } }, "Show everybody");
      const words = isMore ? `Nobody found yet whose name contains “${this.name}”; there are more people to look through.` : `Nobody's name contains “${this.name}”.`;
      return [make("p", { role: "status" }, words), everybody];
    }
    if (!visit.may("enrol") || visit.event.closed_at) return [make("p", {}, "Nobody is enrolled.")];
    return [
      make("p", {}, make("strong", {}, "Nobody is enrolled yet.")),
      make("p", { class: "hint" }, "One picture of a face is enough to begin with, by the camera or from a file. The picture itself is not kept."),
      make("a", { class: "button", href: visit.link("events/:event/enrol") }, "Enrol the first person"),
    ];
  }
}
