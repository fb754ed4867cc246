// The events within reach.

import { make, makeField, makeForm } from "../elements.js";

export async function show(visit) {
  if (!visit.may("read_events")) return askForId(visit);
  const { events } = await visit.call("GET", "events", { query: { limit: "200" } });
  visit.outlet.replaceChildren(make("h2", {}, "Events"),
    make("ul", {}, events.map((event) => make("li", {}, make("a", { href: visit.link("events/:event", { event: event.id }) }, event.name ?? event.id)))));
  return undefined;
}

// For who may recognise at events but not see which there are.
function askForId(visit) {
  const id = make("input", { autocapitalize: "none", spellcheck: "false", maxlength: "128", required: true, value: visit.session.events?.[0] });
  visit.outlet.replaceChildren(make("section", { class: "card" }, make("h2", {}, "Which event?"), makeForm({
    fields: makeField("Event id", id), button: "Go on", work: () => visit.go("events/:event/live", { event: id.value.trim() }),
  })));
}
