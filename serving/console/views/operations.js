// How the service is doing now, from its metrics, and which number to change.

import { make, makeField, makeSelect } from "../page/elements.js";
import { readExposition } from "../service/exposition.js";
import { Scrapes } from "../service/scrapes.js";
import { describeService } from "../charts/service_figures.js";
import { makePanels } from "./operations/panels.js";

const INTERVAL_S = 3;
const FIRST_INTERVAL_S = 1.2; // the service puts an answer together once a second at most
const WINDOW_S = 15;
const READY_EVERY = 4; // readings; being asked costs the service a call to every stage

export async function show(visit) {
  const model = await visit.call("GET", "model");
  if (visit.signal.aborted) return;
  const operations = new Operations(visit, model);
  visit.outlet.replaceChildren(operations.node);
  await operations.look();
  operations.watch();
}

class Operations {
  constructor(visit, model) {
    Object.assign(this, { visit, scrapes: new Scrapes(WINDOW_S), chosen: null, isPaused: false, looked: 0, wake: null });
    this.state = make("p", { id: "readiness", class: "mark" });
    this.updated = make("p", { id: "updated", class: "hint" });
    this.pause = make("button", { type: "button", id: "pause", class: "quiet", on: { click: () => this.turnPause() } }, "Pause");
    this.node_ = makeSelect([["", ""]], "", { id: "node", on: { change: () => this.choose(this.node_.value) } });
    this.nodes = makeField("Node", this.node_);
    this.nodes.hidden = true;
    this.scope = make("p", { id: "scope", class: "hint" }, "These are this node's numbers. Of several nodes, whichever answers tells its own; the gallery's are the whole cluster's.");
    this.problem = make("p", { id: "operations-problem", class: "problem", role: "alert" });
    this.panels = makePanels(model);
    this.node = make("div", { id: "operations" },
      make("div", { class: "bar" }, make("h2", {}, "Operations"), this.state, this.nodes, this.pause),
      this.updated, this.scope, this.problem, this.panels.node);
    visit.signal.addEventListener("abort", () => this.wake?.(), { once: true });
    document.addEventListener("visibilitychange", () => this.wake?.(), { signal: visit.signal });
  }

  get isResting() {
    return this.isPaused || document.hidden;
  }

  turnPause() {
    this.isPaused = !this.isPaused;
    this.pause.textContent = this.isPaused ? "Go on" : "Pause";
    this.visit.say(this.isPaused ? "Paused: the numbers stay as they are." : "");
    this.wake?.();
  }

  // Until the view is left.
  async watch() {
    while (!this.visit.signal.aborted) {
      await this.rest(this.looked < 2 ? FIRST_INTERVAL_S : INTERVAL_S);
      if (!this.isResting && !this.visit.signal.aborted) await this.look();
    }
  }

  // Wait so long, or until somebody comes back.
  rest(seconds) {
    return new Promise((done) => {
      const timer = this.isResting ? 0 : setTimeout(done, seconds * 1000);
      this.wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }

  async look() {
    const { visit } = this;
    try {
      if (this.looked % READY_EVERY === 0) await this.askReadiness();
      const text = await visit.call("GET", "/metrics", { as: "text" });
      if (visit.signal.aborted) return;
      const node = this.scrapes.add(readExposition(text), performance.now() / 1000);
      this.looked += 1;
      this.problem.textContent = "";
      this.showNodes(node);
      if (node === this.chosen) this.showNumbers(true);
    } catch (problem) {
      if (visit.signal.aborted) return;
      if (problem.advice === undefined) throw problem;
      this.fail(problem);
    }
  }

  async askReadiness() {
    try {
      await this.visit.call("GET", "/readyz");
      this.showReadiness("good", "✓ Ready");
    } catch (problem) {
      if (problem.advice === undefined) throw problem;
      this.showReadiness("bad", problem.status ? "✗ Not ready" : "✗ No answer");
    }
  }

  showReadiness(kind, words) {
    this.state.dataset.kind = kind;
    this.state.textContent = words;
  }

  fail(problem) {
    if (problem.status === 404) {
      this.problem.textContent = "Metrics are switched off: set metrics.enabled to true in serve_config.yaml to see numbers here.";
      this.panels.hideNumbers();
      this.isPaused = true; // they stay off until the service is deployed anew
      this.pause.hidden = true;
      this.scope.hidden = true;
      return;
    }
    const words = `${problem.message} These numbers are old; trying again.`;
    if (this.problem.textContent !== words) this.problem.textContent = words; // read out once
    this.showReadiness("bad", problem.status ? "✗ Trouble" : "✗ No answer");
    this.looked -= this.looked % READY_EVERY; // to be asked first when it answers again
    this.panels.addGap();
  }

  // Which node is looked at: the first that answers, until another is chosen or it is not heard of any more.
  showNodes(heard) {
    const { nodes } = this.scrapes;
    if (!nodes.includes(this.chosen)) {
      this.chosen = heard;
      this.panels.clear();
    }
    const names = nodes.map(({ name }) => name).join();
    if (this.offered !== names) {
      this.offered = names;
      this.node_.replaceChildren(...nodes.map(({ name }) => make("option", { value: name }, name)));
      this.node_.value = this.chosen.name;
    }
    this.nodes.hidden = nodes.length < 2;
  }

  choose(name) {
    this.chosen = this.scrapes.nodes.find((node) => node.name === name) ?? this.chosen;
    this.panels.clear();
    this.showNumbers(false);
  }

  showNumbers(isNew) {
    const last = this.chosen.kept.at(-1);
    const compared = this.scrapes.compare(this.chosen);
    const figures = describeService(compared ?? { before: null, after: last.samples, seconds: null });
    this.panels.show(figures, isNew);
    const clock = new Date(Date.now() - (performance.now() - last.atS * 1000)).toLocaleTimeString();
    this.updated.textContent = figures.seconds === null
      ? `As of ${clock}. Rates and times follow with this node's next reading.`
      : `As of ${clock}. Rates and times are of the last ${figures.seconds.toFixed(0)} s, health checks and scrapes left out.`;
  }
}
