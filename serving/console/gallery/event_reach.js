// Which events somebody or something reaches: all of them, or those that are chosen.

import { make, makeField } from "../page/elements.js";

// A box to tick, under its words: { input, node }.
export function makeCheck(words, hint = null, data = {}) {
  const input = make("input", { type: "checkbox" });
  const node = make("label", { class: "check", data }, input, make("span", {}, words, hint && make("span", { class: "hint" }, ` ${hint}`)));
  return { input, node };
}

export class EventReach {
  // `known`: from listEvents; `mayHaveAll`: whether all events may be given. Further ids can be written where not every
  // event is known.
  constructor({ known: { offered, isWhole }, mayHaveAll, legend }) {
    this.all = mayHaveAll ? makeCheck("All events, also those to come") : null;
    this.all?.input.addEventListener("change", () => this.showChoices());
    this.events = offered.map(({ id, name }) => [id, makeCheck(name ?? id, name && name !== id ? id : null, { event: id })]);
    this.list = make("fieldset", { class: "choices many" }, make("legend", {}, legend),
      this.events.length ? this.events.map(([, { node }]) => node) : make("p", { class: "hint" }, "There is no open event."));
    this.others = make("input", { autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
    this.othersField = makeField("Ids of further events, with spaces between", this.others);
    this.isWhole = isWhole;
    this.nodes = [this.all?.node, this.list, this.othersField].filter(Boolean);
    this.set({ all_events: false, events: [] });
  }

  // { all_events: true } or { events }, as the interface takes it.
  get value() {
    if (this.all?.input.checked) return { all_events: true };
    const chosen = this.events.filter(([, { input }]) => input.checked).map(([id]) => id);
    return { events: [...chosen, ...this.others.value.split(/[\s,]+/).filter(Boolean)] };
  }

  // As an account has it; events that are not offered are written out.
  set({ all_events: hasAll, events }) {
    if (this.all) this.all.input.checked = hasAll;
    for (const [id, { input }] of this.events) input.checked = events.includes(id);
    const offered = new Set(this.events.map(([id]) => id));
    this.others.value = events.filter((id) => !offered.has(id)).join(" ");
    this.showChoices();
  }

  showChoices() {
    const hasAll = Boolean(this.all?.input.checked);
    this.list.hidden = hasAll;
    this.othersField.hidden = hasAll || (this.isWhole && !this.others.value);
  }

  focus() {
    (this.events[0]?.[1].input ?? this.all?.input)?.focus();
  }
}
