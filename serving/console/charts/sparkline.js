// A small history of one number: a line without axes, its words for whoever does not see it.

import { draw } from "../page/elements.js";

const WIDTH = 120;
const HEIGHT = 32;
const MIN_SPAN = 20; // points for which there is room from the start

export class Sparkline {
  // `label` names what is drawn; `show(value)` writes a value with its unit; `maxPoints` bounds what is kept.
  constructor(label, show, maxPoints) {
    Object.assign(this, { label, show, maxPoints, points: [] });
    this.area = draw("path", { class: "area" });
    this.line = draw("path", { class: "line" });
    this.node = draw("svg", {
      class: "sparkline", role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-label": `${label}: no history yet`,
    }, this.area, this.line);
  }

  // The next point; null leaves a gap.
  add(value) {
    this.points = [...this.points, value].slice(-this.maxPoints);
    this.redraw();
  }

  clear() {
    this.points = [];
    this.redraw();
  }

  redraw() {
    const known = this.points.filter((value) => value !== null);
    const top = Math.max(...known, 0) || 1;
    const step = WIDTH / (Math.min(Math.max(this.points.length, MIN_SPAN), this.maxPoints) - 1);
    const start = WIDTH - step * (this.points.length - 1); // the newest stands at the right
    const runs = [];
    let isOpen = false;
    this.points.forEach((value, index) => {
      if (value !== null) {
        if (!isOpen) runs.push([]);
        runs.at(-1).push(`${(start + index * step).toFixed(1)} ${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`);
      }
      isOpen = value !== null;
    });
    this.line.setAttribute("d", runs.map((run) => `M${run.length > 1 ? run.join("L") : `${run[0]}l.1 0`}`).join(""));
    this.area.setAttribute("d", runs.filter((run) => run.length > 1).map((run) => (
      `M${run[0].split(" ")[0]} ${HEIGHT}L${run.join("L")}L${run.at(-1).split(" ")[0]} ${HEIGHT}Z`)).join(""));
    this.node.setAttribute("aria-label", known.length
      ? `${this.label}: now ${this.show(this.points.at(-1))}; of the last ${known.length} values the least ${this.show(Math.min(...known))}, the most ${this.show(Math.max(...known))}`
      : `${this.label}: no history yet`);
  }
}
