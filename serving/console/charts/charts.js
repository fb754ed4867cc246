// The histogram of an event's scores, with lines for thresholds.

import { countOf, draw, make, nextId } from "../page/elements.js";
import { STEP, countFaces, cosineWords } from "./rates.js";

export const MARGIN = { left: 44, right: 14 }; // px; styles/events.css aligns the slider with them
const TOP = 24;
const LINE = 16;
const BOTTOM = 34;
const TICK_SPACE = 56; // px that a number below the axis needs
const PLOT = { wide: 200, narrow: 160 };
const NARROW = 480;
const KINDS = { match: "Matches", unknown: "Unknown", expected: "Strangers, as the calibration expects them" };

// From and to which cosine to draw: whole steps around all of `cosines` and scores, some more on both sides.
export function chooseRange(scores, cosines, leastSteps = 8) {
  const all = [...scores.flatMap((bin) => [bin.from, bin.to]), ...cosines];
  let low = Math.floor((Math.min(...all) + 1) / STEP + 1e-6) - 1;
  let high = Math.ceil((Math.max(...all) + 1) / STEP - 1e-6) + 1;
  while (high - low < leastSteps) [low, high] = [low - 1, high + 1];
  return [Math.max(low, 0) * STEP - 1, Math.min(high, 2 / STEP) * STEP - 1].map((edge) => Number(edge.toFixed(2)));
}

export class Histogram {
  // `node` is a figure; `set` fills it. `under` is what stands right below the picture.
  constructor(title, under = null) {
    this.title = title;
    this.hatch = nextId("hatch");
    this.frame = make("div", { class: "plot" });
    this.legend = make("p", { class: "legend" });
    this.body = make("tbody");
    this.node = make("figure", { class: "histogram" }, this.frame, under, make("figcaption", {}, this.legend),
      make("details", {}, make("summary", {}, "The same in numbers"),
        make("div", { class: "scroll" }, make("table", {},
          make("caption", {}, "Faces by the cosine of their best candidate"),
          make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Cosine"), make("th", { scope: "col", class: "number" }, "Matches"), make("th", { scope: "col", class: "number" }, "Unknown"))),
          this.body))));
    new ResizeObserver(() => { if (this.frame.clientWidth !== this.width) this.redraw(); }).observe(this.frame); // ends with the figure
  }

  // scores: as the statistics give them. range: [from, to]. lines: [{ at, words, kind }], kind "decides" or "before".
  // marks: [{ at, words }], ticks above the picture. expected: [{ from, to, count }]. shadeBelow: a cosine.
  set({ scores, range, lines = [], marks = [], expected = [], shadeBelow = null }) {
    const isNew = JSON.stringify(scores) !== JSON.stringify(this.drawn?.scores);
    this.drawn = { scores, range, lines, marks, expected, shadeBelow };
    if (isNew) {
      this.body.replaceChildren(...scores.map((bin) => make("tr", {},
        make("th", { scope: "row" }, `${bin.from.toFixed(2)} to ${bin.to.toFixed(2)}`),
        make("td", { class: "number" }, countOf(bin.matches)), make("td", { class: "number" }, countOf(bin.unknowns)))));
    }
    const kinds = Object.keys(KINDS).filter((kind) => kind !== "expected" || expected.length);
    this.legend.replaceChildren(...kinds.map((kind) => make("span", { class: "key" }, this.drawKey(kind), KINDS[kind])));
    this.redraw();
  }

  drawKey(kind) {
    return draw("svg", { class: "swatch", viewBox: "0 0 16 14", "aria-hidden": "true" },
      kind === "expected" ? draw("path", { d: "M1 7h14", class: kind })
        : draw("rect", { x: 1, y: 1, width: 14, height: 12, class: kind, fill: this.fillOf(kind) }));
  }

  // Stripes, so that the two kinds differ by more than their colours.
  fillOf(kind) {
    return kind === "unknown" ? `url(#${this.hatch})` : null;
  }

  makeHatch() {
    return draw("defs", {}, draw("pattern", { id: this.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      draw("rect", { width: 6, height: 6, class: "hatch-ground" }), draw("rect", { width: 2.5, height: 6, class: "hatch-stripe" })));
  }

  redraw() {
    if (!this.drawn) return;
    const { scores, range: [low, high], lines, marks, expected, shadeBelow } = this.drawn;
    this.width = this.frame.clientWidth;
    const width = Math.max(this.width || 640, 240);
    const plot = width < NARROW ? PLOT.narrow : PLOT.wide;
    const top = TOP + LINE * Math.max(lines.length - 1, 0) + (marks.length ? LINE : 0);
    const [left, right, base] = [MARGIN.left, width - MARGIN.right, top + plot];
    const x = (cosine) => left + (right - left) * Math.min(Math.max((cosine - low) / (high - low), 0), 1);
    const most = Math.max(4, ...scores.map((bin) => bin.matches + bin.unknowns), ...expected.map((bin) => bin.count));
    const y = (count) => base - plot * (count / most);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${base + BOTTOM}`, role: "img", "aria-label": this.describe() }, this.makeHatch());
    for (const count of [...new Set([0, Math.round(most / 2), Math.floor(most)])]) {
      svg.append(draw("path", { d: `M${left} ${y(count)}H${right}`, class: count ? "grid-line" : "axis" }),
        draw("text", { x: left - 6, y: y(count) + 4, "text-anchor": "end" }, countOf(count)));
    }
    if (shadeBelow !== null) svg.append(draw("rect", { x: left, y: top, width: x(shadeBelow) - left, height: plot, class: "shade" }));
    for (const bin of scores) svg.append(...this.drawBin(bin, x, y));
    for (const bin of this.placeTicks(low, high, right - left)) {
      svg.append(draw("path", { d: `M${x(bin)} ${base}v4`, class: "axis" }), draw("text", { x: x(bin), y: base + 17, "text-anchor": "middle" }, bin.toFixed(2)));
    }
    svg.append(draw("text", { x: right, y: base + 31, "text-anchor": "end" }, "cosine of the best candidate"));
    if (expected.length) svg.append(draw("path", { d: traceSteps(expected.filter((bin) => bin.from >= low && bin.to <= high), x, y), class: "expected" }));
    drawMarks(svg, marks, x, top);
    lines.forEach((line, index) => drawLine(svg, line, x(line.at), { top: TOP + LINE * index - 8, base, left, right }));
    this.frame.replaceChildren(svg);
  }

  describe() {
    const { scores, lines } = this.drawn;
    const count = (kind) => countOf(scores.reduce((sum, bin) => sum + bin[kind], 0));
    const words = scores.length
      ? `${countOf(countFaces(scores))} faces from cosine ${scores[0].from.toFixed(2)} to ${scores.at(-1).to.toFixed(2)}: ${count("matches")} matches, ${count("unknowns")} unknown`
      : "no face yet";
    return [`${this.title}: ${words}`, ...lines.map(({ at, words: name }) => `${name} ${cosineWords(at)}`)].join("; ");
  }

  drawBin(bin, x, y) {
    const [from, to] = [x(bin.from) + 1, x(bin.to) - 1];
    const box = (kind, low, high) => draw("rect", {
      class: kind, fill: this.fillOf(kind), x: from, y: y(high), width: Math.max(to - from, 1), height: y(low) - y(high),
    });
    const all = bin.unknowns + bin.matches;
    return [bin.unknowns && box("unknown", 0, bin.unknowns), bin.matches && box("match", bin.unknowns, all)].filter(Boolean);
  }

  placeTicks(low, high, width) {
    const steps = [1, 2, 5, 10, 25].find((each) => (high - low) / (each * STEP) <= width / TICK_SPACE) ?? 50;
    const ticks = [];
    for (let place = Math.ceil((low + 1) / STEP - 1e-6); place * STEP - 1 <= high + 1e-6; place += 1) {
      if ((place - 1 / STEP) % steps === 0) ticks.push(place * STEP - 1); // so that 0 and 1 have one
    }
    return ticks;
  }
}

function traceSteps(expected, x, y) {
  if (!expected.length) return "";
  return `M${x(expected[0].from)} ${y(0)}${expected.map((bin) => `V${y(bin.count)}H${x(bin.to)}`).join("")}V${y(0)}`;
}

function drawMarks(svg, marks, x, top) {
  let free = -Infinity;
  for (const { at, words } of [...marks].sort((a, b) => a.at - b.at)) {
    const half = words.length * 3.2;
    svg.append(draw("path", { d: `M${x(at)} ${top - 4}v4`, class: "axis" }));
    if (x(at) - half < free) continue; // two words would lie on each other
    svg.append(draw("text", { x: x(at), y: top - 7, "text-anchor": "middle", class: "mark-words" }, words));
    free = x(at) + half + 6;
  }
}

function drawLine(svg, { at, words, kind }, x, { top, base, left, right }) {
  const text = `${words} ${cosineWords(at)}`;
  const half = text.length * 3.3;
  const anchor = x - half < left ? "start" : x + half > right ? "end" : "middle";
  const edge = { start: Math.max(x, left), end: Math.min(x, right), middle: x }[anchor];
  svg.append(draw("path", { d: `M${x} ${top + 5}V${base}`, class: `threshold ${kind}` }), draw("text", { x: edge, y: top, "text-anchor": anchor, class: `threshold-words ${kind}` }, text));
}
