// The panels of the operations view: every number has its place and keeps it.

import { countOf, draw, make } from "../../page/elements.js";
import { NOTHING, coresOf, inWords, plainOf, rateOf, shareOf, sizeOf, timeTaken } from "../../charts/measures.js";
import { deploymentOf } from "../../charts/service_figures.js";
import { Sparkline } from "../../charts/sparkline.js";
import { HINTS } from "../../charts/tuning_hints.js";

const MAX_POINTS = 60; // three minutes
const MAX_ROUTES = 12;

const within = ({ count }) => (count === null ? "" : `${countOf(count)} in this time`);
const OUTCOMES = { match: "recognised", unknown: "unknown", refused: "not clear", no_face: "pictures without a face" };

const TILES = [
  { id: "requests", title: "Requests", of: ({ requests }) => requests.rate, show: rateOf, detail: (each) => `${within(each.requests)}; ${each.inFlight} under way` },
  { id: "p50", title: "Latency, median", of: ({ latency }) => latency.p50, show: timeTaken, detail: () => "half of all answers are faster" },
  { id: "p95", title: "Latency, p95", of: ({ latency }) => latency.p95, show: timeTaken, detail: () => "one answer in 20 is slower" },
  { id: "p99", title: "Latency, p99", of: ({ latency }) => latency.p99, show: timeTaken, detail: () => "one answer in 100 is slower" },
  { id: "errors", title: "Error answers", of: ({ errors }) => errors.rate, show: rateOf, detail: (each) => `${within(each.errors)}; ${each.failures.count ?? 0} with status 5xx` },
  { id: "shed", title: "Refused", of: ({ shed }) => shed.rate, show: rateOf, detail: ({ shed }) => `${within(shed)}, for want of room` },
  { id: "waiting", title: "Tasks waiting", of: ({ waiting }) => waiting, show: plainOf, detail: ({ held }) => `${held.requests} requests with ${inWords(sizeOf(held.bytes))} of pictures held` },
  { id: "faces", title: "Faces", of: ({ faces }) => faces.rate, show: rateOf, detail: ({ faces }) => faces.outcomes.slice(0, 3).map(([name, count]) => `${count} ${OUTCOMES[name]}`).join(", ") },
  { id: "matches", title: "Recognised", of: ({ matchShare }) => matchShare, show: shareOf, detail: () => "of the faces that were clear enough" },
  { id: "streams", title: "Live video", of: ({ streams }) => streams.frames.rate, show: ([number]) => number, unit: "frames/s", detail: ({ streams }) => `${streams.open} open; p95 of a frame ${inWords(timeTaken(streams.p95))}` },
  { id: "gallery", title: "Enrolled faces", of: ({ gallery }) => gallery.faces, show: plainOf, detail: ({ gallery }) => `at ${countOf(gallery.events)} ${gallery.events === 1 ? "event" : "events"}, in the whole cluster` },
  { id: "memory", title: "Memory", of: ({ deployments }) => deployments.reduce((sum, { bytes }) => sum + bytes, 0), show: sizeOf, detail: ({ deployments }) => `of ${deployments.reduce((sum, { replicas }) => sum + replicas, 0)} processes, what they share counted in each` },
];

const SPENT = [["queue", "Queue"], ["transport", "Transport"], ["wait", "Batch wait"], ["model", "Model"]];

// What changes together: { node, show(figures, isNew), addGap(), clear(), hideNumbers() }.
export function makePanels(model) {
  const tiles = TILES.map(makeTile);
  const stages = new Map();
  const stageGrid = make("div", { class: "stages" });
  const hints = makeHints();
  const chooseRoutes = makeRouteChoice();
  const tables = {
    deployments: makeTable("deployments", "Replicas", ["Deployment", "Replicas", "CPU, cores", "Memory"]),
    errors: makeTable("errors-by-code", "Errors by code", ["Code", "Per second", "In this time", "Since the start"], "No errors since the service was started."),
    shed: makeTable("shed-by-reason", "Refused by reason", ["Reason", "Per second", "In this time", "Since the start"], "Nothing was refused since the service was started."),
    routes: makeTable("routes", "Busiest routes", ["Route", "Per second", "In this time", "p50", "p95", "p99"], "Nothing was asked yet."),
  };
  const numbers = make("div", { id: "numbers" },
    make("section", { "aria-labelledby": "now-title" }, make("h3", { id: "now-title" }, "Now"), make("div", { class: "tiles" }, tiles.map(({ node }) => node))),
    make("section", { "aria-labelledby": "stages-title" }, make("h3", { id: "stages-title" }, "Stages"), stageGrid),
    make("div", { class: "grid tables" }, 
      tables.deployments.node, make("div", { class: "column" }, tables.errors.node, tables.shed.node), tables.routes.node),
    hints.node);
  const sparklines = () => [...tiles, ...stages.values()].map(({ line }) => line);
  return {
    node: make("div", { class: "panels" }, numbers, makeServing(model)),
    show(figures, isNew) {
      for (const tile of tiles) tile.show(figures, isNew);
      for (const each of figures.stages) {
        if (!stages.has(each.stage)) {
          stages.set(each.stage, makeStage(each.stage));
          stageGrid.append(stages.get(each.stage).node);
        }
        stages.get(each.stage).show(each, isNew);
      }
      tables.deployments.show(figures.deployments.map(({ name, replicas, cores, bytes }) => [name, countOf(replicas), inWords(coresOf(cores)), inWords(sizeOf(bytes))]));
      for (const kind of ["errors", "shed"]) {
        tables[kind].show(figures[kind].parts.map(({ name, rate, count, total }) => [name, inWords(rateOf(rate)), countOf(count), countOf(total)]));
      }
      tables.routes.show(chooseRoutes(figures.routes).map(({ name, rate, count, p50, p95, p99 }) => (
        [name, inWords(rateOf(rate)), countOf(count), ...[p50, p95, p99].map((time) => inWords(timeTaken(time)))])));
      hints.show(figures);
    },
    addGap: () => sparklines().forEach((line) => line.add(null)),
    clear: () => sparklines().forEach((line) => line.clear()),
    hideNumbers: () => { numbers.hidden = true; },
  };
}

// The busiest since the page was opened, by name: rows stay where they are while their numbers change.
function makeRouteChoice() {
  const began = new Map();
  return (routes) => {
    for (const { name, total, count } of routes) if (!began.has(name)) began.set(name, total - count);
    const worked = ({ name, total }) => total - began.get(name);
    return [...routes].sort((a, b) => worked(b) - worked(a) || b.total - a.total).slice(0, MAX_ROUTES).sort((a, b) => a.name.localeCompare(b.name));
  };
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makeTile({ id, title, of, show, unit = null, detail }) {
  const read = (value) => (unit ? [show(rateOf(value)), unit] : show(value));
  const line = new Sparkline(title, (value) => (value === null ? "unknown" : inWords(read(value))), MAX_POINTS);
  const [number, units, words] = [make("span", { class: "number" }), make("span", { class: "unit" }), make("p", { class: "hint" })];
  const node = make("article", { class: "tile", id: `tile-${id}`, "aria-labelledby": `${id}-title` },
    make("h4", { id: `${id}-title` }, title), make("p", { class: "value" }, number, " ", units), line.node, words);
  return {
    node, line,
    show(figures, isNew) {
      const value = of(figures);
      const [text, unitText] = read(value);
      setText(number, text);
      setText(units, unitText);
      setText(words, figures.seconds === null ? "" : detail(figures));
      if (isNew) line.add(value);
    },
  };
}

function makeStage(stage) {
  const title = deploymentOf(stage);
  const line = new Sparkline(`${title}, p95 of a call`, (value) => (value === null ? "unknown" : inWords(timeTaken(value))), MAX_POINTS);
  const rows = new Map(["Replicas", "Busy", "Tasks", "Mean batch", "Waiting", "Call, p95", "Runs on"].map((name) => [name, make("dd")]));
  const times = new Map(SPENT.map(([key]) => [key, make("dd")]));
  const bars = SPENT.map(([key]) => draw("rect", { class: `part ${key}`, y: 0, height: 8 }));
  const node = make("section", { class: "card stage", id: `stage-${stage}`, "aria-labelledby": `stage-${stage}-title` },
    make("h4", { id: `stage-${stage}-title` }, title),
    make("dl", { class: "facts" }, [...rows].flatMap(([name, value]) => [make("dt", {}, name), value])),
    line.node,
    make("h5", {}, "Where the time of a task goes, on average"),
    draw("svg", { class: "spent", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    make("dl", { class: "parts" }, SPENT.map(([key, name]) => make("div", {}, make("dt", { data: { part: key } }, name), times.get(key)))));
  return {
    node, line,
    show(each, isNew) {
      const batch = each.batchLimit ? `${inWords(plainOf(each.batch))} of at most ${each.batchLimit}` : inWords(plainOf(each.batch));
      const texts = {
        Replicas: countOf(each.replicas), Busy: inWords(shareOf(each.busy)), Tasks: inWords(rateOf(each.tasks)), "Mean batch": batch,
        Waiting: countOf(each.waiting), "Call, p95": inWords(timeTaken(each.callP95)), "Runs on": each.providers.join(", ") || (each.stage === "matcher" ? "the gallery" : NOTHING),
      };
      for (const [name, text] of Object.entries(texts)) setText(rows.get(name), text);
      const spent = SPENT.map(([key]) => each.spent[key]);
      const total = spent.reduce((sum, value) => sum + (value ?? 0), 0);
      let left = 0;
      SPENT.forEach(([key], index) => {
        setText(times.get(key), inWords(timeTaken(spent[index])));
        const width = total ? ((spent[index] ?? 0) / total) * 100 : 0;
        bars[index].setAttribute("x", left.toFixed(2));
        bars[index].setAttribute("width", width.toFixed(2));
        left += width;
      });
      if (isNew) line.add(each.callP95);
    },
  };
}

// A table whose rows are known by their first cell: numbers change within them, rows are made when there are more.
function makeTable(id, title, columns, empty = "") {
  const body = make("tbody");
  const nothing = make("p", { class: "hint" }, empty);
  const table = make("table", { id, "aria-labelledby": `${id}-title` },
    make("thead", {}, make("tr", {}, columns.map((name, index) => make("th", { scope: "col", class: index ? "number" : null }, name)))), body);
  const node = make("section", { class: "card", "aria-labelledby": `${id}-title` }, make("h3", { id: `${id}-title` }, title), make("div", { class: "scroll" }, table), nothing);
  let names = null;
  return {
    node,
    show(rows) {
      const now = rows.map(([name]) => name).join("\n");
      if (now !== names) {
        names = now;
        body.replaceChildren(...rows.map((cells) => make("tr", {}, cells.map((_, index) => (
          index ? make("td", { class: "number" }) : make("th", { scope: "row" }))))));
      }
      rows.forEach((cells, row) => cells.forEach((text, column) => setText(body.rows[row].cells[column], text)));
      table.hidden = !rows.length;
      nothing.hidden = rows.length > 0;
    },
  };
}

function makeHints() {
  const summary = make("p", { id: "symptoms" });
  const marks = HINTS.map(() => make("td"));
  const rows = HINTS.map(({ symptom, change }, index) => make("tr", {}, make("th", { scope: "row" }, symptom), marks[index], make("td", {}, change)));
  const node = make("section", { class: "card", "aria-labelledby": "hints-title" },
    make("h3", { id: "hints-title" }, "Which number to change"), summary,
    make("div", { class: "scroll" }, make("table", { id: "hints", "aria-labelledby": "hints-title" },
      make("thead", {}, make("tr", {}, ["Symptom", "Now", "In serve_config.yaml"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, rows))),
    make("p", { class: "hint" }, "Change it, then run rollcall deploy: no request is lost. More symptoms, and why: docs/metrics.md, “Which number to change”."));
  return {
    node,
    show(figures) {
      const seen = figures.seconds === null ? HINTS.map(() => []) : HINTS.map(({ where }) => where(figures));
      seen.forEach((places, index) => {
        setText(marks[index], places.length ? `▲ ${places.join(", ")}` : "");
        rows[index].classList.toggle("holds", places.length > 0);
      });
      const count = seen.filter((places) => places.length).length;
      setText(summary, count ? `${count} of these ${count === 1 ? "symptoms" : "symptoms"} now.` : "None of these symptoms now.");
    },
  };
}

function makeServing({ packs, liveness, version }) {
  const list = (pack, words) => make("div", { class: "pack" },
    make("h4", {}, pack.title),
    make("dl", { class: "facts" }, [["Pack", pack.pack_id], ["For", words], pack.dimension && ["Vector", `${pack.dimension} numbers`],
      ["Threshold", String(pack.threshold ?? pack.default_threshold)], ["Licence", pack.licence]].filter(Boolean).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])));
  return make("section", { class: "card", id: "serving", "aria-labelledby": "serving-title" },
    make("h3", { id: "serving-title" }, "What serves"), make("p", { class: "hint" }, `Rollcall ${version}`),
    make("div", { class: "grid" }, packs.map((pack, index) => list(pack, index ? "events that name it" : "new events")), liveness && list(liveness, "presentation attacks")));
}
