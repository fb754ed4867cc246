// Who did what, when, to which event and person, with what outcome: the trail, filtered, and taken away as a file.

import { saveFile } from "../service/downloads.js";
import { attempt, countOf, make, makeField, makeForm } from "../page/elements.js";
import { RecordTable } from "../page/record_table.js";

const PAGE = 50;
const MAX_PAGES = 10; // a page may be empty and not be the last: so many are asked for at once
const EXPORT_TIMEOUT_S = 300;
const TEXTS = [["event", "Event"], ["person", "Person"], ["actor", "Who"], ["action", "What"], ["outcome", "Outcome"]];
const MOMENTS = [["from", "From"], ["to", "Before"]];
const NAMES = [...TEXTS, ...MOMENTS].map(([name]) => name);

const when = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });

export async function show(visit) {
  const trail = new Trail(visit, Object.fromEntries(NAMES.map((name) => [name, visit.query.get(name) ?? ""])));
  const page = await trail.read(trail.list);
  visit.outlet.replaceChildren(trail.node);
  trail.showPage(page);
}

class Trail {
  constructor(visit, filters) {
    // `list`: what is shown, its filters and where it goes on.
    Object.assign(this, { visit, list: { filters, cursor: null }, seen: { action: new Set(), outcome: new Set(["ok"]) } });
    this.title = make("h2", { id: "audit-title", tabindex: "-1" }, "Audit trail");
    this.inputs = new Map();
    this.lists = new Map(["action", "outcome"].map((name) => [name, make("datalist", { id: `${name}s-seen` })]));
    for (const [name] of TEXTS) {
      this.inputs.set(name, make("input", {
        name, maxlength: "200", autocomplete: "off", autocapitalize: "none", spellcheck: "false", list: this.lists.get(name)?.id,
        placeholder: { action: "people.delete", outcome: "ok" }[name],
      }));
    }
    for (const [name] of MOMENTS) this.inputs.set(name, make("input", { name, type: "datetime-local", step: "1" }));
    this.clear = make("button", { type: "button", class: "quiet", on: { click: () => this.clearFilters() } }, "Clear");
    this.form = makeForm({
      id: "audit-filters",
      fields: [...TEXTS, ...MOMENTS].map(([name, label]) => makeField(label, this.inputs.get(name))),
      button: "Filter", more: [this.clear], work: () => this.applyFilters(),
    });
    this.form.setAttribute("role", "search");
    this.count = make("p", { id: "audit-count", class: "hint" });
    this.table = new RecordTable({ id: "audit", title: "audit-title", columns: ["When", "Who", "What", "Event", "Person", "Outcome", "More"] });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.showMore()) } }, "Show more");
    this.node = make("section", { class: "card wide", "aria-labelledby": "audit-title" },
      make("div", { class: "bar" }, this.title, this.makeExport("csv", "CSV"), this.makeExport("ndjson", "JSON lines")),
      this.form, ...this.lists.values(), this.count, this.table.node, this.problem, this.more);
    this.fillForm();
  }

  // ---- filters

  fillForm() {
    const { filters } = this.list;
    for (const [name] of TEXTS) this.inputs.get(name).value = filters[name];
    for (const [name] of MOMENTS) this.inputs.get(name).value = localOf(filters[name]);
  }

  get link() {
    const set = Object.entries(this.list.filters).filter(([, value]) => value);
    return set.length ? `${this.visit.link("audit")}?${new URLSearchParams(set)}` : this.visit.link("audit");
  }

  async applyFilters() {
    const before = this.list.filters;
    const filters = {};
    for (const [name] of TEXTS) filters[name] = this.inputs.get(name).value.trim();
    for (const [name] of MOMENTS) filters[name] = instantOf(this.inputs.get(name).value, before[name]);
    const page = await this.read({ filters, cursor: null });
    this.list = { filters, cursor: null };
    if (location.hash !== this.link) history.pushState(null, "", this.link); // so that a link, and "back", find it again
    this.table.clear();
    this.showPage(page);
    this.visit.say(this.count.textContent);
  }

  clearFilters() {
    if (this.form.send.disabled) return; // it waits for an answer
    for (const input of this.inputs.values()) input.value = "";
    this.form.requestSubmit();
    this.inputs.get("event").focus();
  }

  // ---- entries

  // What comes next of a list: { entries, cursor }.
  async read({ filters, cursor }) {
    const entries = [];
    for (let pages = 0; pages < MAX_PAGES && (pages === 0 || cursor) && entries.length < PAGE; pages += 1) {
      const page = await this.visit.call("GET", "audit", { query: { ...filters, cursor, limit: String(PAGE) } });
      entries.push(...page.entries);
      cursor = page.next_cursor;
    }
    return { entries, cursor };
  }

  showPage({ entries, cursor }) {
    this.list.cursor = cursor;
    const rows = entries.map((entry) => this.makeRow(entry));
    this.table.add(rows);
    const { count } = this.table;
    const isMore = cursor !== null;
    this.more.hidden = !isMore;
    this.count.textContent = count
      ? `${isMore ? "The latest " : ""}${countOf(count)} ${count === 1 ? "entry" : "entries"}, the newest first.`
      : isMore ? "Nothing found yet; there is more to look through." : "There is no such entry.";
    for (const [name, list] of this.lists) {
      for (const entry of entries) this.seen[name].add(entry[name]);
      list.replaceChildren(...[...this.seen[name]].sort().map((value) => make("option", { value })));
    }
    return rows;
  }

  async showMore() {
    const { list } = this;
    const page = await this.read(list);
    if (this.list !== list) return; // another is shown by now
    const [first] = this.showPage(page);
    (first?.querySelector("a") ?? this.title).focus();
  }

  makeRow(entry) {
    const same = (name, value, words = value) => value && make("a", {
      class: "same", href: `${this.visit.link("audit")}?${new URLSearchParams({ [name]: value })}`, title: `Only entries with ${value}`,
    }, words);
    const isDone = entry.outcome === "ok";
    return this.table.makeRow([
      make("time", { datetime: entry.at }, when.format(new Date(entry.at))),
      same("actor", entry.actor, entry.actor_kind === "api_key" ? `${entry.actor} (a key)` : entry.actor) ?? entry.actor_kind,
      same("action", entry.action),
      same("event", entry.event_id),
      same("person", entry.person_id),
      make("span", { class: "mark", data: { kind: isDone ? "good" : "bad" } }, isDone ? "✓ ok" : `✗ ${entry.outcome}`),
      make("details", {}, make("summary", { "aria-label": `More of entry ${entry.id}` }, "More"), make("pre", {}, describe(entry))),
    ]);
  }

  // ---- the whole of it, as a file

  makeExport(form, words) {
    const button = make("button", { type: "button", class: "quiet" }, `Export ${words}`);
    button.addEventListener("click", () => attempt(button, this.problem, async () => {
      const file = await this.visit.call("GET", "audit/export", { query: { ...this.list.filters, format: form }, as: "blob", timeoutS: EXPORT_TIMEOUT_S });
      saveFile(file, `audit.${form}`);
      this.visit.say(`audit.${form} is made: all entries that the filters let through.`);
    }));
    return button;
  }
}

const describe = ({ status, address, request_id: request, actor_id: actor, id, details }) => [
  ["entry", id], ["status", status], ["address", address], ["request", request], ["id of who", actor],
  ...Object.entries(details ?? {}).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : value]),
].filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => `${name}: ${value}`).join("\n");

// Fields show the time of day here, links hold UTC.
function localOf(instant) {
  const date = new Date(instant);
  if (!instant || Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

const instantOf = (local, before) => (local === localOf(before) ? before : local && new Date(local).toISOString());
