// What a threshold costs: arithmetic only, no page. docs/console.md says what the estimates rest on.

// A curve is what GET /v1/model tells of a pack: [{ threshold, false_match_rate }], cosines rising, rates falling.
// Scores are the histogram of an event's statistics: [{ from, to, matches, unknowns }], empty steps left out.

export const STEP = 0.02; // how wide a step of the histogram is
const HALF = 0.5; // of all strangers
const NEAR = 1e-9; // edges come as decimal fractions

// { rate, told }: how often a comparison with somebody else scores `cosine` or more. Between two points the rate's
// logarithm lies on a straight line, as in the service. Nothing is said beyond the curve: where `told` is "above" the
// rate is that or more, where it is "below" that or less.
export function rateAt(curve, cosine) {
  const [first, last] = [curve[0], curve.at(-1)];
  if (cosine < first.threshold) return { rate: first.false_match_rate, told: "above" };
  if (cosine > last.threshold) return { rate: last.false_match_rate, told: "below" };
  const right = Math.max(1, curve.findIndex((point) => point.threshold >= cosine));
  const [a, b] = [curve[right - 1], curve[right]];
  const share = (cosine - a.threshold) / (b.threshold - a.threshold);
  const [low, high] = [Math.log(a.false_match_rate), Math.log(b.false_match_rate)];
  return { rate: Math.exp(low + (high - low) * share), told: "exactly" };
}

// The cosine at which the rate falls to `rate`; null where the curve cannot tell.
export function cosineFor(curve, rate) {
  const right = curve.findIndex((point) => point.false_match_rate <= rate);
  if (right < 0) return null;
  if (right === 0) return curve[0].false_match_rate === rate ? curve[0].threshold : null;
  const [a, b] = [curve[right - 1], curve[right]];
  const [high, low] = [Math.log(a.false_match_rate), Math.log(b.false_match_rate)];
  return a.threshold + (b.threshold - a.threshold) * (Math.log(rate) - high) / (low - high);
}

// Share of strangers who are called by somebody's name, by `comparisons` independent ones: 1 - (1 - rate) ^ comparisons.
export const shareOfStrangers = (rate, comparisons) => -Math.expm1(comparisons * Math.log1p(-rate));

export const countFaces = (scores) => scores.reduce((sum, bin) => sum + bin.matches + bin.unknowns, 0);

// Faces whose best score is below `cosine`: [at least, at most], the same at the edge of a step.
export function countBelow(scores, cosine) {
  const count = (fits) => countFaces(scores.filter(fits));
  return [count((bin) => bin.to <= cosine + NEAR), count((bin) => bin.from < cosine - NEAR)];
}

// The most strangers that the faces seen can have been, by what their low scores show: { count, from }. Strangers stay
// below a cosine with the probability q = (1 - rate) ^ comparisons, so `below / q` of them explain all faces below it;
// one face more is counted, so that few faces do not say too much.
// `from` is the lowest edge where q is a half or more: higher up more of those enrolled would be taken for strangers.
// Null where the curve does not reach such an edge.
export function estimateStrangers(scores, curve, comparisons) {
  const total = countFaces(scores);
  const first = Math.ceil((curve[0].threshold + 1) / STEP - NEAR);
  for (let place = first; ; place += 1) {
    const edge = place * STEP - 1;
    const { rate, told } = rateAt(curve, edge);
    if (told === "below" || edge > 1) return null;
    const below = 1 - shareOfStrangers(rate, comparisons);
    if (below >= HALF) return { count: Math.min(total, (countBelow(scores, edge)[0] + 1) / below), from: edge };
  }
}

// What a threshold would have made of the faces seen. Pairs are [at least, at most].
//   matches, unknowns: of the faces; exact at the edge of a step.
//   strangersMatched: strangers among the matches, at most.
//   turnedAway: of those enrolled, below the threshold; at least what strangers do not explain, at most all unknowns.
//   turnedAwayShare: the same of all enrolled who were seen, 0..1.
// The last three are null where the curve cannot tell.
export function judgeThreshold(scores, curve, comparisons, cosine) {
  const total = countFaces(scores);
  const unknowns = countBelow(scores, cosine);
  const seen = { total, unknowns, matches: [total - unknowns[1], total - unknowns[0]] };
  const strangers = total && estimateStrangers(scores, curve, comparisons);
  if (!strangers) return { ...seen, strangersMatched: null, turnedAway: null, turnedAwayShare: null };
  const { rate, told } = rateAt(curve, cosine);
  const passing = shareOfStrangers(rate, comparisons);
  const staying = told === "below" ? 1 : 1 - passing; // beyond the curve none may pass at all
  // Below that edge much hangs on the comparisons being independent, which strangers' are not: nothing is said.
  const least = cosine < strangers.from - NEAR ? 0 : Math.max(0, unknowns[0] - strangers.count * staying);
  const enrolled = total - strangers.count;
  const share = enrolled > 0 ? Math.min(1, least / enrolled) : 0;
  return {
    ...seen,
    strangersMatched: told === "above" ? strangers.count : strangers.count * passing, // above its curve any may pass
    turnedAway: [least, unknowns[1]],
    turnedAwayShare: [share, Math.max(share, unknowns[1] / total)],
  };
}

// How many of `count` strangers have their best score in each step, where the curve tells: [{ from, to, count }].
export function expectStrangers(curve, comparisons, count) {
  const expected = [];
  const first = Math.ceil((curve[0].threshold + 1) / STEP - NEAR);
  for (let place = first; (place + 1) * STEP - 1 <= curve.at(-1).threshold; place += 1) {
    const [from, to] = [place * STEP - 1, (place + 1) * STEP - 1];
    const [more, less] = [from, to].map((edge) => shareOfStrangers(rateAt(curve, edge).rate, comparisons));
    expected.push({ from, to, count: count * (more - less) });
  }
  return expected;
}

// ---- in words

const number = new Intl.NumberFormat();
const percent = new Intl.NumberFormat([], { style: "percent", maximumSignificantDigits: 2 });

export const cosineWords = (cosine) => cosine.toFixed(4).replace(/0$/, "");

export const shareWords = (share) => (share > 0 && share < 1e-4 ? `under ${percent.format(1e-4)}` : percent.format(share));

// "1 in 1,000"
export const rateWords = (rate) => (rate > 0.3 ? shareWords(rate) : `1 in ${number.format(Number((1 / rate).toPrecision(3)))}`);

// Of what `rateAt` gives.
export function toldWords({ rate, told }) {
  if (told === "below") return `under ${rateWords(rate)}`;
  return told === "above" ? `over ${rateWords(rate)}` : rateWords(rate);
}

// "0.3", "under 0.1": of what is estimated, not counted.
export const estimateWords = (count) => (count < 0.1 ? "under 0.1" : number.format(Number(count.toPrecision(2))));

// "12", or "12 to 15".
export function rangeWords([least, most], words = (value) => number.format(Math.round(value))) {
  return words(least) === words(most) ? words(least) : `${words(least)} to ${words(most)}`;
}
