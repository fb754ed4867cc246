// One event: what it holds, how it decides, what became of the faces seen there.

import { make } from "../elements.js";

export function show(visit) {
  visit.outlet.replaceChildren(make("h2", {}, visit.event.name ?? visit.event.id));
}
