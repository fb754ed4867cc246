// Elements of a page, made here so that text is always text and never markup.

// `make("p", { class: "hint", on: { click } }, "text", child)`: attributes by their names; `true` is an empty one,
// false, null and undefined leave it out; `data` becomes data- attributes, `on` listeners.
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [kind, listener] of Object.entries(value)) made.addEventListener(kind, listener);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "value") made.value = value ?? "";
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg"; // a name, never fetched

// The same for what is drawn.
export function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

let made = 0;

// An id that no other element of the page has.
export const nextId = (prefix) => `${prefix}-${(made += 1)}`;

// A control under its label, with a hint that screen readers say after it: [label, control, hint].
export function makeField(label, control, hint = null) {
  control.id ||= nextId("field");
  const words = hint && make("p", { class: "hint", id: `${control.id}-hint` }, hint);
  if (words) control.setAttribute("aria-describedby", words.id);
  return make("div", { class: "field" }, make("label", { for: control.id }, label), control, words);
}

export function makeSelect(options, chosen, attributes = {}) {
  const select = make("select", attributes, options.map(([value, words]) => make("option", { value }, words ?? value)));
  select.value = chosen ?? options[0]?.[0] ?? "";
  return select;
}

// A form whose `work` runs when it is sent, once at a time; what goes wrong is said above its button.
export function makeForm({ fields, button, work, id = nextId("form"), more = [] }) {
  const problem = make("p", { id: `${id}-problem`, class: "problem", role: "alert" });
  const send = make("button", { type: "submit" }, button);
  const form = make("form", { id, method: "post", novalidate: false }, fields, problem, make("div", { class: "buttons" }, send, more));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(send, problem, work);
  });
  return Object.assign(form, { problem, send });
}

// Run `work` while `button` rests; a Problem is written into `problem`, all else is raised.
export async function attempt(button, problem, work) {
  if (button.disabled) return undefined;
  const hadFocus = document.activeElement === button; // which a disabled button loses
  button.disabled = true;
  problem.textContent = "";
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined; // the view was left
    if (error.advice === undefined) throw error;
    problem.textContent = error.advice;
    problem.scrollIntoView({ block: "nearest" });
    return undefined;
  } finally {
    button.disabled = false;
    if (hadFocus && button.isConnected && document.activeElement === document.body) button.focus();
  }
}

// Ask before what cannot be undone; with `typed`, only whoever writes that word may go on. Resolves to whether to go on.
export function confirmWith({ title, words, button, typed = null, kind = "danger" }) {
  const dialog = make("dialog", { class: "card", "aria-labelledby": "confirm-title" });
  const input = typed && make("input", { autocomplete: "off", autocapitalize: "none", spellcheck: "false", required: true });
  input?.addEventListener("input", () => input.setCustomValidity(input.value === typed ? "" : `This is not ${typed}`));
  dialog.append(
    make("h2", { id: "confirm-title" }, title),
    make("form", { method: "dialog" },
      make("p", {}, words),
      input && makeField(`Type ${typed} to go on`, input),
      make("div", { class: "buttons" },
        make("button", { type: "submit", class: kind || null, value: "yes" }, button),
        make("button", { type: "submit", class: "quiet", value: "no", formnovalidate: true }, "Cancel"))),
  );
  document.body.append(dialog);
  dialog.showModal();
  const cancel = () => dialog.close("no"); // its view was left
  window.addEventListener("hashchange", cancel);
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      window.removeEventListener("hashchange", cancel);
      dialog.remove();
      done(dialog.returnValue === "yes");
    });
  });
}

const TURNS = /[\u202a-\u202e\u2066-\u2069]/g; // Unicode's marks that change the direction of all that follows
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]|\ud83a/;

// A name as it may stand within a sentence: the sentence around it keeps its direction.
export function isolate(name) {
  const plain = name.replace(TURNS, "");
  return RIGHT_TO_LEFT.test(plain) ? `\u2068${plain}\u2069` : plain;
}

// What a person or an event is called, wherever people read it.
export const titleOf = ({ name, id }) => isolate(name ?? id);

const number = new Intl.NumberFormat();
const moment = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });

export const countOf = (value) => number.format(value);
export const dateOf = (text) => (text ? moment.format(new Date(text)) : "");
export const timeOf = (text) => clock.format(new Date(text));

// A moment that screen readers and copies keep exact.
export const makeTime = (text) => make("time", { datetime: text }, dateOf(text));
