// API keys: which there are, one more, one less. A key's text is shown once, when it is made.

import { attempt, confirmWith, countOf, make, makeField, makeForm, makeSelect, makeTime } from "../page/elements.js";
import { EventReach, makeCheck } from "../gallery/event_reach.js";
import { RecordTable } from "../page/record_table.js";
import { listEvents } from "../service/session.js";

const PAGE = 200;
const DAY_MS = 86_400_000;

// What a key may be for, and what each allows (docs/accounts.md).
export const SCOPES = [
  { scope: "recognise", words: "Recognise: ask who is in a picture; detect and compare faces", permissions: ["recognise", "analyse", "read_events"] },
  { scope: "enrol", words: "Enrol: add people and their faces", permissions: ["enrol", "read_events"] },
  { scope: "read", words: "Read: see events and who is enrolled, with names", permissions: ["read_events", "read_people"] },
  {
    scope: "manage", words: "Manage: events, erasing and exporting people, the audit trail",
    permissions: ["read_events", "read_people", "erase_people", "export_people", "manage_events", "read_audit"],
  },
];
const LIFETIMES = [["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"], ["date", "After a day of your choice"], ["never", "Never"]];

export async function show(visit) {
  const keys = new ApiKeys(visit, await listEvents(visit.session));
  const page = await keys.read(null);
  visit.outlet.replaceChildren(keys.node);
  keys.showPage(page);
}

class ApiKeys {
  constructor(visit, events) {
    Object.assign(this, { visit, cursor: null, keys: [] });
    this.title = make("h2", { id: "keys-title", tabindex: "-1" }, "API keys");
    this.form = this.makeForm(events);
    this.made = make("div", { id: "made", hidden: true });
    this.table = new RecordTable({ id: "api-keys", title: "keys-title", columns: ["Name", "May", "Events", "Made", "Expires", "Last used", "State"] });
    this.hint = make("p", { class: "hint" });
    this.ended = makeCheck("Show also keys that are revoked or expired");
    this.ended.input.addEventListener("change", () => this.showKeys());
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.showMore()) } }, "Show more");
    this.node = make("div", { class: "beside" },
      make("section", { class: "card wide", "aria-labelledby": "keys-title" }, this.title, this.ended.node, this.hint, this.table.node, this.problem, this.more),
      make("section", { class: "card wide", "aria-labelledby": "make-title" }, make("h3", { id: "make-title" }, "Make a key"), this.made, this.form));
    visit.signal.addEventListener("abort", () => this.forget(), { once: true }); // also when somebody signs out
  }

  makeForm(events) {
    const { visit } = this;
    const offered = SCOPES.filter(({ permissions }) => permissions.every((permission) => visit.may(permission)));
    this.name = make("input", { name: "name", maxlength: "100", required: true, autocomplete: "off", placeholder: "door camera" });
    this.scopes = offered.map(({ scope, words }) => [scope, makeCheck(words)]);
    this.reach = new EventReach({ known: events, mayHaveAll: visit.session.events === null, legend: "Events it is bound to" });
    this.lifetime = makeSelect(LIFETIMES, "90", { name: "lifetime", on: { change: () => this.showChoices() } });
    this.day = make("input", { type: "date", name: "day", min: dayOf(new Date()) });
    this.dayField = makeField("Last day on which it works", this.day);
    const form = makeForm({
      id: "make-key",
      fields: [
        makeField("Name", this.name, "For people to read: what it is for, where it is."),
        make("fieldset", { class: "choices" }, make("legend", {}, "What it may do"), this.scopes.map(([, { node }]) => node)),
        ...this.reach.nodes,
        makeField("It expires", this.lifetime), this.dayField,
        make("p", { class: "hint" }, "A key can do no more than whoever makes it, now and later."),
      ],
      button: "Make the key",
      work: () => this.makeKey(form),
    });
    this.showChoices();
    return form;
  }

  showChoices() {
    this.dayField.hidden = this.lifetime.value !== "date";
    this.day.required = !this.dayField.hidden;
  }

  async makeKey(form) {
    const scopes = this.scopes.filter(([, { input }]) => input.checked).map(([scope]) => scope);
    const reach = this.reach.value;
    if (!scopes.length) {
      form.problem.textContent = "Choose what it may do.";
      return this.scopes[0]?.[1].input.focus();
    }
    if (reach.events?.length === 0) {
      form.problem.textContent = "Choose at least one event.";
      return this.reach.focus();
    }
    const { key, ...record } = await this.visit.call("POST", "api-keys", { json: { name: this.name.value.trim(), scopes, ...reach, expires_at: this.readExpiry() } });
    form.reset();
    this.lifetime.value = "90";
    this.showChoices();
    this.reach.showChoices();
    this.keys.push(record);
    this.showKeys();
    this.showKey(key, record.name);
    return undefined;
  }

  readExpiry() {
    if (this.lifetime.value === "never") return null;
    if (this.lifetime.value !== "date") return new Date(Date.now() + Number(this.lifetime.value) * DAY_MS).toISOString();
    const end = new Date(`${this.day.value}T00:00:00`);
    end.setDate(end.getDate() + 1); // that whole day, here
    return end.toISOString();
  }

  // ---- the key, this once

  showKey(key, name) {
    const title = make("h4", { tabindex: "-1" }, `The key of ${name}`);
    const text = make("code", { id: "key-text", tabindex: "0", "aria-label": "The key" }, key);
    const copied = make("span", { role: "status" });
    const copy = make("button", { type: "button", on: { click: () => copyText(text, copied) } }, "Copy");
    const done = make("button", { type: "button", class: "quiet", on: { click: () => { this.forget(); this.title.focus(); } } }, "I have kept it");
    this.made.replaceChildren(title, make("p", { class: "warning" }, "⚠ It is shown this once. Copy it now to where it is needed; whoever has it can do all that it may."),
      text, make("div", { class: "buttons" }, copy, done, copied));
    this.made.hidden = false;
    title.focus();
  }

  forget() {
    this.made.replaceChildren();
    this.made.hidden = true;
  }

  // ---- those there are

  read(cursor) {
    return this.visit.call("GET", "api-keys", { query: { limit: String(PAGE), cursor } });
  }

  showPage({ api_keys: keys, next_cursor: cursor }) {
    const known = new Set(this.keys.map(({ id }) => id)); // one may have been made since
    this.keys.push(...keys.filter(({ id }) => !known.has(id)));
    this.cursor = cursor;
    this.more.hidden = cursor === null;
    this.showKeys();
  }

  async showMore() {
    this.showPage(await this.read(this.cursor));
    this.title.focus();
  }

  // Of those that have come, the latest first; pages come in the order of ids.
  showKeys() {
    const shown = this.keys.filter((key) => this.ended.input.checked || stateOf(key).kind === "good").sort((a, b) => b.created_at.localeCompare(a.created_at));
    this.table.clear();
    this.table.add(shown.map((key) => this.makeRow(key)));
    this.ended.node.hidden = this.keys.length === 0;
    this.hint.textContent = this.describe(shown.length);
    this.hint.hidden = !this.hint.textContent;
  }

  describe(shown) {
    const isMore = this.cursor !== null;
    if (isMore) return `${shown ? "The latest first" : "None is good any more"}, of the ${countOf(this.keys.length)} keys that were looked through. There are more.`;
    if (shown) return "";
    if (this.keys.length) return "No key is good any more.";
    return "There is no key yet. A camera, a door or another program gets its own, so that it can be withdrawn alone.";
  }

  makeRow(key) {
    const state = stateOf(key);
    const revoke = make("button", { type: "button", class: "quiet", "aria-label": `Revoke ${key.name}` }, "Revoke");
    revoke.addEventListener("click", () => attempt(revoke, this.problem, () => this.revoke(key, revoke)));
    return this.table.makeRow([
      [make("strong", {}, key.name), make("div", { class: "hint" }, `of ${key.account}`)],
      key.scopes.join(", "),
      key.all_events ? "all" : key.events.join(", ") || "none any more",
      makeTime(key.created_at),
      key.expires_at ? makeTime(key.expires_at) : "never",
      key.last_used_at ? makeTime(key.last_used_at) : "not yet",
      [make("span", { class: "mark", data: { kind: state.kind } }, state.words), state.kind === "good" && revoke].filter(Boolean),
    ]);
  }

  async revoke(key, button) {
    const isSure = await confirmWith({
      title: `Revoke ${key.name}?`, words: "Whatever uses it is refused from now on. This cannot be taken back; another key can be made.", button: "Revoke",
    });
    if (!isSure) return button.focus();
    await this.visit.call("DELETE", `api-keys/${key.id}`);
    key.revoked_at = new Date().toISOString();
    this.showKeys();
    this.visit.say(`${key.name} is revoked.`);
    return this.title.focus();
  }
}

function stateOf({ revoked_at: revokedAt, expires_at: expiresAt }) {
  if (revokedAt) return { kind: "bad", words: "✗ Revoked" };
  if (expiresAt && new Date(expiresAt) <= new Date()) return { kind: "bad", words: "✗ Expired" };
  return { kind: "good", words: "✓ Good" };
}

const dayOf = (date) => [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");

async function copyText(node, told) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    told.textContent = "✓ Copied";
  } catch {
    getSelection().selectAllChildren(node); // no clipboard for pages without https
    told.textContent = "Marked: copy it with the keyboard.";
  }
}
