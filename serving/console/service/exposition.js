// The text that Prometheus reads: its samples, and what two readings tell of the time between them.
// The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$/;
const LABEL = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?/g;
const ESCAPED = { n: "\n", "\\": "\\", '"': '"' };
const NUMBERS = { "+Inf": Infinity, Inf: Infinity, "-Inf": -Infinity };

const readNumber = (text) => NUMBERS[text] ?? Number(text);

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of (text ?? "").matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, (all, sign) => ESCAPED[sign] ?? all);
  return labels;
}

// The samples of an answer: name -> [{ key, labels, value }], `key` the same for the same labels. Lines that are no
// samples are passed over.
export function readExposition(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : SAMPLE.exec(line.trim());
    if (!found) continue;
    const [, name, braces, value] = found;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ key: braces ?? "", labels: readLabels(braces), value: readNumber(value) });
  }
  return samples;
}

// Samples of `name` whose labels pass `accepts`.
export const pick = (samples, name, accepts = () => true) => (samples.get(name) ?? []).filter(({ labels }) => accepts(labels));

export const sumOf = (picked) => picked.reduce((sum, { value }) => sum + value, 0);

// A picked gauge by one of its labels: a Map from label to sum.
export function sumBy(picked, label) {
  const sums = new Map();
  for (const { labels, value } of picked) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
  return sums;
}

// What counters rose by from one reading to the next: samples as of `after` with the difference as their value. A series
// that was not there before began at zero.
export function pickRise(before, after, name, accepts) {
  const was = new Map((before.get(name) ?? []).map(({ key, value }) => [key, value]));
  return pick(after, name, accepts).map((sample) => ({ ...sample, value: sample.value - (was.get(sample.key) ?? 0) }));
}

// Whether a counter fell: these are not two readings of one run.
export const hasFallen = (before, after, name) => pickRise(before, after, name).some(({ value }) => value < 0);

// A histogram between two readings: { bounds, counts, sum, count }, `counts` cumulative, the last bound Infinity.
export function pickHistogram(before, after, name, accepts) {
  const byBound = new Map();
  for (const { labels, value } of pickRise(before, after, `${name}_bucket`, accepts)) {
    const bound = readNumber(labels.le);
    byBound.set(bound, (byBound.get(bound) ?? 0) + value);
  }
  const bounds = [...byBound.keys()].sort((a, b) => a - b);
  return {
    bounds,
    counts: bounds.map((bound) => byBound.get(bound)),
    sum: sumOf(pickRise(before, after, `${name}_sum`, accepts)),
    count: sumOf(pickRise(before, after, `${name}_count`, accepts)),
  };
}

// The mean; null where nothing was counted.
export const meanOf = ({ sum, count }) => (count > 0 ? sum / count : null);

// An estimate of a quantile (0 to 1) as Prometheus' histogram_quantile makes it: within its bucket values are taken to be
// spread evenly, the first bucket to begin at zero, and beyond the last bound there is no telling: that bound is given.
// null where nothing was counted.
export function quantileOf({ bounds, counts }, share) {
  const total = counts.at(-1);
  if (!(total > 0)) return null;
  const rank = share * total;
  const index = counts.findIndex((count) => count >= rank);
  if (bounds[index] === Infinity) return bounds.at(-2) ?? null;
  if (index === 0 && bounds[0] <= 0) return bounds[0];
  const [low, below] = index ? [bounds[index - 1], counts[index - 1]] : [0, 0];
  const within = counts[index] - below;
  return within > 0 ? low + ((bounds[index] - low) * (rank - below)) / within : low;
}
