// Figures as people read them: bytes, spans of time, how many of what.

import { countOf } from "./elements.js";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

// "12 MB"; a megabyte is a million bytes.
export function sizeOf(bytes) {
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  return new Intl.NumberFormat([], { style: "unit", unit: UNITS[step], maximumSignificantDigits: step ? 3 : 9 }).format(bytes / 1000 ** step);
}

// "40 s", "3 min", "2.5 h".
export function spanOf(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${countOf(Math.round(seconds / 360) / 10)} h`;
}

// "1 picture", "2 pictures".
export const countedOf = (count, one, many = `${one}s`) => `${countOf(count)} ${count === 1 ? one : many}`;
