// Accounts: who may sign in, with what role, for which events.

import { attempt, confirmWith, make, makeField, makeForm, makeSelect, makeTime } from "../page/elements.js";
import { EventReach } from "../gallery/event_reach.js";
import { RecordTable } from "../page/record_table.js";
import { listEvents } from "../service/session.js";

const PAGE = 100;
const ROLES = [
  ["member", "Member: recognises, sees events"],
  ["operator", "Operator: enrols and erases people, manages events, keys, the trail"],
  ["administrator", "Administrator: everything, accounts too"],
];

export async function show(visit) {
  const accounts = new Accounts(visit, await listEvents(visit.session));
  const page = await accounts.read(null);
  visit.outlet.replaceChildren(accounts.node);
  accounts.showPage(page);
}

class Accounts {
  constructor(visit, events) {
    Object.assign(this, { visit, known: events, cursor: null });
    this.title = make("h2", { id: "accounts-title", tabindex: "-1" }, "Accounts");
    this.table = new RecordTable({ id: "accounts", title: "accounts-title", columns: ["Name", "Role", "Reaches", "Made", "State", "Do"] });
    this.problem = make("p", { class: "problem", role: "alert" });
    this.more = make("button", { type: "button", class: "quiet", on: { click: () => attempt(this.more, this.problem, () => this.showMore()) } }, "Show more");
    this.side = make("section", { class: "card wide", "aria-labelledby": "account-title" });
    this.node = make("div", { class: "beside" },
      make("section", { class: "card wide", "aria-labelledby": "accounts-title" }, this.title, this.table.node, this.problem, this.more), this.side);
    this.showNewForm();
  }

  // ---- beside the list: a new account, or one that is changed

  showNewForm() {
    const name = make("input", { name: "name", maxlength: "256", required: true, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const password = make("input", { name: "password", type: "password", maxlength: "1024", autocomplete: "new-password" });
    const role = makeSelect(ROLES, "member", { name: "role" });
    const reach = this.makeReach();
    const form = makeForm({
      id: "new-account",
      fields: [
        makeField("Name", name, "An e-mail address will do."),
        makeField("Password", password, "Tell it in person; whoever signs in can change it. Without one nobody can sign in until it is set."),
        makeField("Role", role), ...reach.nodes,
      ],
      button: "Make the account",
      work: async () => {
        const made = await this.visit.call("POST", "accounts", { json: { name: name.value.trim(), password: password.value || null, role: role.value, ...reach.value } });
        this.table.rows.prepend(this.makeRow(made));
        this.table.add([]);
        this.visit.say(`The account ${made.name} is made.`);
        this.showNewForm();
        this.title.focus();
      },
    });
    this.side.replaceChildren(make("h3", { id: "account-title" }, "Make an account"), form);
  }

  async showChangeForm({ id }, row) {
    const account = await this.visit.call("GET", `accounts/${id}`);
    const title = make("h3", { id: "account-title", tabindex: "-1" }, `Change ${account.name}`);
    const role = makeSelect(ROLES, account.role, { name: "role" });
    const password = make("input", { name: "password", type: "password", maxlength: "1024", autocomplete: "new-password" });
    const reach = this.makeReach();
    reach.set(account);
    const back = make("button", { type: "button", class: "quiet", on: { click: () => { this.showNewForm(); this.title.focus(); } } }, "Cancel");
    const form = makeForm({
      id: "change-account",
      fields: [makeField("Role", role), ...reach.nodes, makeField("New password (may be left out)", password, "It ends all sessions of this account.")],
      button: "Save", more: [back],
      work: async () => {
        const changed = await this.visit.call("PATCH", `accounts/${id}`, { json: { role: role.value, ...reach.value } });
        if (password.value) await this.visit.call("PUT", `accounts/${id}/password`, { json: { new: password.value } });
        row.replaceWith(this.makeRow(changed));
        this.visit.say(`${account.name} is changed. It holds from now on.`);
        this.showNewForm();
        this.title.focus();
      },
    });
    this.side.replaceChildren(title, form);
    title.focus();
  }

  makeReach() {
    return new EventReach({ known: this.known, mayHaveAll: true, legend: "Events it reaches" });
  }

  // ---- the list

  read(cursor) {
    return this.visit.call("GET", "accounts", { query: { limit: String(PAGE), cursor } });
  }

  async showMore() {
    const [first] = this.showPage(await this.read(this.cursor));
    first?.querySelector("button")?.focus();
  }

  showPage({ accounts, next_cursor: cursor }) {
    const rows = accounts.map((account) => this.makeRow(account));
    this.table.add(rows);
    this.cursor = cursor;
    this.more.hidden = cursor === null;
    return rows;
  }

  makeRow(account) {
    const { name } = account;
    const isMe = account.id === this.visit.session.me.id;
    const button = (words, work) => {
      const made = make("button", { type: "button", class: "quiet", "aria-label": `${words} ${name}` }, words);
      made.addEventListener("click", () => attempt(made, this.problem, () => work(made)));
      return made;
    };
    const row = this.table.makeRow([
      [make("strong", {}, name), isMe && make("div", { class: "hint" }, "you"), !account.has_password && make("div", { class: "hint" }, "no password")].filter(Boolean),
      account.role,
      account.all_events ? "all events" : "chosen events",
      makeTime(account.created_at),
      make("span", { class: "mark", data: { kind: account.disabled ? "bad" : "good" } }, account.disabled ? "✗ Disabled" : "✓ Good"),
      make("div", { class: "buttons" },
        button("Change", () => this.showChangeForm(account, row)),
        !isMe && button(account.disabled ? "Enable" : "Disable", (made) => this.turn(account, row, made)),
        !isMe && button("Delete", (made) => this.remove(account, row, made))),
    ]);
    return row;
  }

  async turn(account, row, button) {
    const { id, name, disabled } = account;
    if (!disabled) {
      const words = "Its sessions and tokens end at once, and its API keys are refused, until it is enabled again.";
      if (!await confirmWith({ title: `Disable ${name}?`, words, button: "Disable" })) return button.focus();
    }
    const changed = await this.visit.call("PATCH", `accounts/${id}`, { json: { disabled: !disabled } });
    const now = this.makeRow(changed);
    row.replaceWith(now);
    this.visit.say(`${name} is ${changed.disabled ? "disabled" : "enabled"}.`);
    return now.querySelector("button").focus();
  }

  async remove({ id, name }, row, button) {
    const words = "The account, its sessions and its API keys go for good, and with it the person and the faces that it owns.";
    if (!await confirmWith({ title: `Delete ${name}?`, words, button: "Delete", typed: name })) return button.focus();
    await this.visit.call("DELETE", `accounts/${id}`);
    row.remove();
    this.table.add([]);
    this.visit.say(`The account ${name} is deleted.`);
    return this.title.focus();
  }
}
