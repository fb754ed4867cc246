// Which event: from the list of those within reach, or by its id where none may be listed or they are too many.

import { make, makeField, makeSelect } from "./elements.js";
import { listEvents } from "../service/session.js";

// { node, input, read }: `read()` gives { id, title }.
export async function makeEventChoice(session, before = null) {
  const { offered, isWhole } = await listEvents(session);
  if (offered.length && isWhole) {
    const titles = new Map(offered.map(({ id, name }) => [id, name ?? id]));
    const options = offered.map(({ id, name }) => [id, name ? `${name} (${id})` : id]);
    const select = makeSelect(options, titles.has(before) ? before : offered[0].id, { name: "event", id: "event", required: true });
    return { node: makeField("Event", select), input: select, read: () => ({ id: select.value, title: titles.get(select.value) }) };
  }
  const input = make("input", {
    name: "event-id", id: "event-id", autocapitalize: "none", spellcheck: "false", maxlength: "128", required: true, value: before,
  });
  const read = () => ({ id: input.value.trim(), title: input.value.trim() });
  return { node: makeField("Event id", input), input, read };
}
