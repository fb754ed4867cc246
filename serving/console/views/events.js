// The events within reach: which there are, and a new one.

import { attempt, countOf, make, makeField, makeForm, makeSelect, makeTime, titleOf } from "../page/elements.js";
import { makeSettings } from "../gallery/event_settings.js";
import { RetryKey } from "../service/retry_key.js";

const PAGE = "50";
const OVERVIEW = "events/:event";

export async function show(visit) {
  if (!visit.may("read_events")) return askForId(visit);
  return new Events(visit).show();
}

// For who may recognise at events but not see which there are.
function askForId(visit) {
  const id = make("input", { autocapitalize: "none", spellcheck: "false", maxlength: "128", required: true, value: visit.session.events?.[0] });
  visit.outlet.replaceChildren(make("section", { class: "card" }, make("h2", {}, "Which event?"), makeForm({
    fields: makeField("Event id", id), button: "Go on", work: () => visit.go("events/:event/live", { event: id.value.trim() }),
  })));
}

class Events {
  constructor(visit) {
    this.visit = visit;
    this.mayCreate = visit.may("manage_events") && !visit.session.events; // a token bound to events makes no other
    this.filter = makeSelect([["", "All"], ["false", "Open"], ["true", "Closed"]], visit.query.get("closed") ?? "", { id: "filter" });
    this.filter.addEventListener("change", () => attempt({}, this.problem, () => this.list()));
    this.rows = make("tbody");
    this.table = make("div", { class: "scroll" }, make("table", { id: "events" },
      make("thead", {}, make("tr", {},
        ["Event", "People", "Faces", "State", "Created"].map((title, index) => make("th", { scope: "col", class: ["", "number", "number", "", "created"][index] || null }, title)))),
      this.rows));
    this.empty = make("div", { class: "empty", id: "no-events" });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.add()) } }, "Show more");
  }

  async show() {
    const { visit } = this;
    if (this.mayCreate) await this.makeCreation();
    visit.outlet.replaceChildren(make("div", { class: "events" },
      make("div", { class: "bar" }, make("h2", {}, "Events"), makeField("Show", this.filter), this.opener),
      this.creation,
      make("section", { class: "card", "aria-label": "Events within reach" }, this.table, this.empty, this.problem, make("div", { class: "buttons" }, this.more))));
    await this.list();
  }

  async list() {
    const closed = this.filter.value;
    const page = await this.read(null);
    if (closed !== this.filter.value) return; // another was chosen meanwhile
    this.rows.replaceChildren();
    this.take(page);
    this.table.hidden = !page.events.length;
    this.empty.hidden = page.events.length > 0;
    this.empty.replaceChildren(...this.explainEmpty(closed));
    if (!page.events.length && !closed && this.creation) this.openCreation(true);
  }

  async add() {
    const before = this.rows.children.length;
    this.take(await this.read(this.cursor));
    this.rows.children[before]?.querySelector("a").focus();
  }

  read(cursor) {
    return this.visit.call("GET", "events", { query: { limit: PAGE, closed: this.filter.value, cursor } });
  }

  take({ events, next_cursor: cursor }) {
    this.rows.append(...events.map((event) => this.makeRow(event)));
    this.cursor = cursor;
    this.more.hidden = !cursor;
  }

  makeRow(event) {
    const link = make("a", { href: this.visit.link(OVERVIEW, { event: event.id }) }, titleOf(event));
    return make("tr", { data: { event: event.id } },
      make("td", {}, link, event.name && make("span", { class: "hint" }, event.id)),
      make("td", { class: "number" }, countOf(event.people)), make("td", { class: "number" }, countOf(event.faces)),
      make("td", {}, makeState(event)), make("td", { class: "created" }, makeTime(event.created_at)));
  }

  explainEmpty(closed) {
    const words = { "": "There is no event yet.", false: "No event is open.", true: "No event is closed." }[closed];
    if (closed) return [make("p", {}, words)];
    return [make("p", {}, words), make("p", { class: "hint" }, this.creation
      ? "An event holds the people who may be recognised there. Give the first one a name, then enrol people."
      : "Ask an administrator for one, or for access to those that are there.")];
  }

  // ---- a new one

  async makeCreation() {
    const settings = makeSettings(null, await this.visit.call("GET", "model"));
    const id = make("input", { name: "id", maxlength: "128", pattern: "[A-Za-z0-9][A-Za-z0-9._:\\-]*", autocapitalize: "none", autocomplete: "off", spellcheck: "false" });
    const more = make("details", {}, make("summary", {}, "How it decides and what it asks for"),
      make("div", { class: "fields columns" }, settings.more));
    more.addEventListener("invalid", () => { more.open = true; }, true);
    const cancel = make("button", { type: "button", class: "quiet", on: { click: () => this.openCreation(false) } }, "Cancel");
    const key = new RetryKey();
    const form = makeForm({
      id: "create-event",
      fields: [
        make("div", { class: "columns" }, settings.nodes,
          makeField("Id (made for you when left out)", id, "Letters, digits and . _ : - It stands in addresses and never changes.")),
        more,
      ],
      button: "Create",
      more: [cancel],
      work: async () => {
        const event = await this.create({ ...settings.read(), ...(id.value && { id: id.value }) }, key).catch((problem) => {
          if (problem.code === "event_exists") id.focus();
          throw problem;
        });
        this.visit.go(OVERVIEW, { event: event.id });
      },
    });
    form.classList.add("settings");
    this.name = settings.name;
    this.opener = make("button", {
      type: "button", "aria-expanded": "false", "aria-controls": "create", on: { click: () => this.openCreation(this.creation.hidden) },
    }, "Create an event");
    this.creation = make("section", { class: "card", id: "create", "aria-label": "A new event", hidden: true }, make("h2", {}, "A new event"), form);
  }

  create(asked, key) {
    return this.visit.call("POST", "events", { json: asked, headers: { "Idempotency-Key": key.take(asked) } });
  }

  openCreation(isOpen) {
    this.creation.hidden = !isOpen;
    this.opener.setAttribute("aria-expanded", String(isOpen));
    (isOpen ? this.name : this.opener).focus();
  }
}

// "● Open", "■ Closed".
export function makeState(event) {
  return event.closed_at
    ? make("span", { class: "mark", data: { kind: "closed" } }, "■ Closed")
    : make("span", { class: "mark", data: { kind: "good" } }, "● Open");
}
