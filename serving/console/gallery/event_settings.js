// How an event decides and what it asks for: its fields in a form, and the same in words.

import { make, makeField, makeSelect } from "../page/elements.js";
import { cosineWords, rateWords } from "../charts/rates.js";

const MAX_NAME_CHARS = 200;
const MAX_RETENTION_DAYS = 3660;
const STRICTNESSES = { strict: "Strict: 1 in 10,000", balanced: "Balanced: 1 in 1,000", lenient: "Lenient: 1 in 100" };
const QUALITIES = { standard: "Standard", strict: "Strict", off: "Off: take any face" };
const LIVENESS = { off: "Not asked", observe: "Told, refused to nobody", enforce: "Refuse what is not live" };
const REQUESTS = { stricter: "Only for a stricter one", none: "Never", any: "For any" };
const RATE = "rate";
const COSINE = "cosine";

export const wordsOf = {
  quality_level: (value) => QUALITIES[value],
  liveness: (value) => LIVENESS[value],
  request_policy: (value) => REQUESTS[value],
};

// "Balanced: 1 in 1,000", "Cosine 0.93", or null where the event has none of its own.
export function wordsOfPolicy(policy) {
  if (!policy) return null;
  if (policy.strictness) return STRICTNESSES[policy.strictness];
  return policy.threshold === null ? `False match rate ${rateWords(policy.false_match_rate)}` : `Cosine ${cosineWords(policy.threshold)}`;
}

// The pack of `model` (GET /v1/model) that an event's faces are of; undefined while it does not serve.
export const packOf = (model, event) => model.packs.find((pack) => pack.pack_id === event.pack_id);

// { nodes, more, read }: the name first, all else to be folded away; `read()` gives what differs from `event` (from
// the defaults where it is null), as POST and PATCH take it. `model` is GET /v1/model.
export function makeSettings(event, model) {
  const name = make("input", { name: "name", maxlength: String(MAX_NAME_CHARS), autocomplete: "off", value: event?.name });
  const policy = makePolicy(event?.policy ?? null);
  const choices = {
    request_policy: choose(REQUESTS, event?.request_policy ?? "stricter", null),
    quality_level: choose(QUALITIES, event?.quality_level, event && QUALITIES[event.effective_quality_level]),
    liveness: choose(LIVENESS, event?.liveness, event && LIVENESS[event.effective_liveness]),
  };
  if (!model.liveness) for (const option of choices.liveness.options) option.disabled = !["", "off"].includes(option.value) && option.value !== event?.liveness;
  const consent = makeSelect([["", "Not needed"], ["yes", "Needed"]], event?.consent_required ? "yes" : "");
  const days = make("input", { type: "number", min: "1", max: String(MAX_RETENTION_DAYS), step: "1", inputmode: "numeric", placeholder: "for ever", value: event?.retention_days });
  const more = [
    ...policy.nodes,
    makeField("Requests may ask for another", choices.request_policy),
    makeField("Quality asked of enrolled pictures", choices.quality_level),
    makeField("Photographs held before the camera", choices.liveness, model.liveness ? null : "This service has no model that tells them."),
    makeField("Reference to a consent at enrolment", consent),
    makeField("Days until people are erased", days, "Counted from their last change, and for the event itself from its closing."),
  ];

  function read() {
    const told = { name: name.value.trim() || null, retention_days: days.value ? Number(days.value) : null, consent_required: consent.value === "yes" };
    for (const [field, select] of Object.entries(choices)) told[field] = select.value || null;
    const before = event ?? { name: null, retention_days: null, consent_required: false, request_policy: "stricter", quality_level: null, liveness: null };
    const changes = Object.fromEntries(Object.entries(told).filter(([field, value]) => value !== before[field]));
    return policy.isChanged() ? { ...changes, policy: policy.read() } : changes;
  }
  return { nodes: [makeField("Name", name)], more, read, name };
}

// A choice with "as the service is set" before it; `now` is what that comes to, null to leave it out.
function choose(words, chosen, now) {
  const options = Object.entries(words);
  if (now !== null || !chosen) options.unshift(["", now ? `As the service is set (${now.split(":")[0].toLowerCase()})` : "As the service is set"]);
  return makeSelect(options, chosen ?? "");
}

function makePolicy(policy) {
  const before = policy?.strictness ?? (policy?.false_match_rate ? RATE : policy ? COSINE : "");
  const form = makeSelect([
    ["", "As the service is set"], ...Object.entries(STRICTNESSES), [RATE, "Another false match rate"], [COSINE, "A raw cosine"],
  ], before, { name: "policy" });
  const everyN = make("input", {
    type: "number", min: "1", step: "any", inputmode: "decimal", required: true,
    value: policy?.false_match_rate ? String(Number((1 / policy.false_match_rate).toPrecision(6))) : "10000",
  });
  const cosine = make("input", { type: "number", min: "-1", max: "1", step: "any", inputmode: "decimal", required: true, value: policy?.threshold ?? "" });
  const rateField = makeField("One in so many comparisons", everyN);
  const cosineField = makeField("Cosine from which a face is a match", cosine, "It belongs to the model pack. The threshold explorer shows what it costs.");
  const state = () => [form.value, everyN.value, cosine.value].join();
  function show() {
    for (const [field, input, kind] of [[rateField, everyN, RATE], [cosineField, cosine, COSINE]]) {
      field.hidden = form.value !== kind;
      input.disabled = field.hidden; // and is not asked for then
    }
  }
  form.addEventListener("change", show);
  show();
  const first = state();
  return {
    nodes: [makeField("How readily a face is a match", form, "By the false match rate: how often a comparison of two different people may match. It has to fall as the event grows."), rateField, cosineField],
    isChanged: () => state() !== first,
    read() {
      if (form.value === RATE) return { false_match_rate: 1 / Number(everyN.value) };
      if (form.value === COSINE) return { threshold: Number(cosine.value) };
      return form.value ? { strictness: form.value } : null;
    },
  };
}
