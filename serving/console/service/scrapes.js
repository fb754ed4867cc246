// Readings of the metrics over time, kept apart by the node that answered.

import { hasFallen, pick } from "./exposition.js";

const FORGOTTEN_AFTER_S = 300;
const MAX_KEPT = 40; // of one node: more than the window needs at the pace of the page
const MAX_NODES = 64;

// Processes of one reading. A node is known by them: two readings that share one are of the same node.
const processesOf = (samples) => new Set(pick(samples, "rollcall_process_start_time_seconds").map(({ labels, value }) => `${labels.pid} ${value}`));

export class Scrapes {
  // `windowS`: what is counted is told of so many seconds, or of as many as there are.
  constructor(windowS) {
    Object.assign(this, { windowS, nodes: [], made: 0 });
  }

  // Keep a reading made at `atS`, seconds of a clock that never goes back; gives its node { name, kept, processes }.
  add(samples, atS) {
    this.nodes = this.nodes.filter(({ kept }) => atS - kept.at(-1).atS <= FORGOTTEN_AFTER_S);
    const processes = processesOf(samples);
    let node = this.nodes.find((each) => [...processes].some((process) => each.processes.has(process)));
    if (node && hasFallen(node.kept.at(-1).samples, samples, "rollcall_http_requests_total")) {
      this.nodes = this.nodes.filter((each) => each !== node);
      node = null;
    }
    if (!node) {
      node = { name: `Node ${(this.made += 1)}`, kept: [] };
      this.nodes = [...this.nodes, node].slice(-MAX_NODES);
    }
    node.processes = processes;
    node.kept = [...node.kept, { samples, atS }].slice(-MAX_KEPT);
    return node;
  }

  // The last reading of a node and the one to compare it with: the oldest within the window, else the one before it.
  // { before, after, seconds }; null before the second reading.
  compare({ kept }) {
    if (kept.length < 2) return null;
    const last = kept.at(-1);
    const first = kept.find(({ atS }) => atS >= last.atS - this.windowS && atS < last.atS) ?? kept.at(-2);
    return { before: first.samples, after: last.samples, seconds: last.atS - first.atS };
  }
}
