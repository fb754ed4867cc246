// What whoever holds a picture can do about what is wrong with it. The service's own cures are for programs.

export const HINTS = {
  not_an_image: "Choose a JPEG, PNG or WebP file.",
  truncated_picture: "The file is damaged or was cut off: copy it anew from where it comes from.",
  unsupported_picture_type: "Save it as JPEG, PNG or WebP.",
  picture_too_large: "Make the file smaller, for instance by saving it with fewer pixels.",
  too_many_pixels: "Save it with fewer pixels.",
  picture_too_small: "Choose a larger picture.",
  no_face: "Choose a picture in which the face is visible, lit, and not too far away.",
  several_faces: "Crop the picture to one person.",
  quality_too_low: "Take another picture: close, sharp, evenly lit, looking at the camera.",
  presentation_attack: "Take a picture of the person themselves, not of paper or a screen.",
};

// Of what an import brings besides.
export const IMPORT_HINTS = {
  ...HINTS,
  duplicate_person: "If they are the same person, add the picture to that person; if not, import again with duplicates allowed.",
  consent_required: "Give a consent reference, for everyone here or in people.ndjson.",
  erased_meanwhile: "The person was erased while the import ran. Enrol them anew if that was not intended.",
  invalid_request: "Compare its name with the layout that this page describes.",
};

// What went wrong with a picture and what helps, in one text.
export function adviseOn(problem) {
  const hint = HINTS[problem.code];
  return hint ? `${problem.title}. ${hint}` : problem.advice;
}
