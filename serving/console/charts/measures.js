// Numbers with their units, written for people: always the same number of digits, so that nothing moves as they change.

const digits = (places) => new Intl.NumberFormat([], { minimumFractionDigits: places, maximumFractionDigits: places });
const [none, one, two] = [0, 1, 2].map(digits);

export const NOTHING = "–";
const KIB = 1024;

// Each gives [number, unit] as text.
export const rateOf = (value) => (value === null ? [NOTHING, "/s"] : [(value < 100 ? one : none).format(value), "/s"]);
export const shareOf = (value) => (value === null ? [NOTHING, "%"] : [none.format(value * 100), "%"]);
export const plainOf = (value) => (value === null ? [NOTHING, ""] : [(Number.isInteger(value) ? none : one).format(value), ""]);
export const coresOf = (value) => (value === null ? [NOTHING, ""] : [two.format(value), ""]);

export function timeTaken(seconds) {
  if (seconds === null) return [NOTHING, "ms"];
  if (seconds < 1) return [(seconds < 0.1 ? one : none).format(seconds * 1000), "ms"];
  return [two.format(seconds), "s"];
}

export function sizeOf(bytes) {
  if (bytes < KIB ** 3) return [none.format(bytes / KIB ** 2), "MiB"];
  return [two.format(bytes / KIB ** 3), "GiB"];
}

export const inWords = ([number, unit]) => [number, unit].filter(Boolean).join(" ");
