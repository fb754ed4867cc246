// The way in: a name and a password, or a token or key.

import { make, makeField, makeForm, nextId } from "./elements.js";
import { openSession } from "../service/session.js";

// Fill `section` with a form; `enter(session)` is called for whoever may come in. `needed` is what they must be allowed.
// Returns a function that opens the door again, with words for whoever stands there.
export function makeEntrance(section, enter, { needed = null, hint = "It stays in this page and is forgotten when you close it." } = {}) {
  const name = make("input", { name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false", maxlength: "256", required: true });
  const password = make("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const token = make("input", { name: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const byName = make("div", {}, makeField("Name", name), makeField("Password", password));
  const byToken = make("div", {}, makeField("Token or API key", token, hint));
  const ways = [["Name and password", byName], ["Token or API key", byToken]].map(([words, fields], index) => {
    const radio = make("input", { type: "radio", name: "way", id: nextId("way"), checked: index === 0 });
    radio.addEventListener("change", choose);
    return { radio, fields, choice: make("span", { class: "choice" }, radio, make("label", { for: radio.id }, words)) };
  });

  function choose() {
    for (const { radio, fields } of ways) {
      fields.hidden = !radio.checked;
      for (const input of fields.querySelectorAll("input")) input.disabled = !radio.checked;
    }
    (ways[1].radio.checked ? token : name).focus();
  }

  async function work() {
    const said = ways[1].radio.checked ? { token: token.value.trim() } : { name: name.value, password: password.value };
    const session = await openSession(said, needed);
    password.value = token.value = "";
    await enter(session);
  }

  const form = makeForm({
    id: "sign-in-form",
    fields: [make("fieldset", {}, make("legend", {}, "With"), ways.map(({ choice }) => choice)), byName, byToken],
    button: "Sign in",
    work,
  });
  const title = make("h2", { id: nextId("title") }, "Sign in");
  section.setAttribute("aria-labelledby", title.id);
  section.replaceChildren(title, form);
  return (words = "") => {
    form.problem.textContent = words;
    choose();
  };
}
