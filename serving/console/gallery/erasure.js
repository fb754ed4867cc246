// Erasing a person or a face: asked first, told afterwards.

import { confirmWith, countOf, titleOf } from "../page/elements.js";

const facesOf = (count) => (count === 1 ? "1 face" : `${countOf(count)} faces`);

const isGone = (problem) => problem.code === "unknown_person" || problem.code === "unknown_face";

// Erase `person` ({ id, name, faces: how many }) if whoever sits there wants it; resolves to the words to say, or null.
export async function erasePerson(visit, { id, name, faces }) {
  const title = titleOf({ name, id });
  const goesOn = await confirmWith({
    title: `Erase ${title}?`,
    words: `${title}, with ${facesOf(faces)} and every check-in, is erased from this event at once and for good, and will be unknown.`,
    button: "Erase",
  });
  if (!goesOn) return null;
  await erase(visit, `people/${encodeURIComponent(id)}`);
  return `${title} was erased.`;
}

// The same for one of the faces of `person`, of whom `left` others stay.
export async function eraseFace(visit, person, faceId, left) {
  const title = titleOf(person);
  const goesOn = await confirmWith({
    title: "Erase this face?",
    words: left ? `${title} keeps ${facesOf(left)}.` : `It is the only face of ${title}, who stays in the list but is not recognised until given another.`,
    button: "Erase face",
  });
  if (!goesOn) return null;
  await erase(visit, `people/${encodeURIComponent(person.id)}/faces/${encodeURIComponent(faceId)}`);
  return "The face was erased.";
}

async function erase(visit, path) {
  try {
    await visit.callEvent("DELETE", path);
  } catch (problem) {
    if (!isGone(problem)) throw problem; // somebody else was quicker
  }
}
