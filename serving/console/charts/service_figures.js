// What two readings of the metrics say of the service: the numbers of the operations view, in seconds, bytes and counts.
// docs/metrics.md tells what each metric counts.

import { meanOf, pick, pickHistogram, pickRise, quantileOf, sumBy, sumOf } from "../service/exposition.js";

export const STAGES = ["detector", "liveness", "embedder", "matcher"];
const PROBES = new Set(["/metrics", "/healthz", "/readyz"]); // this page asks them too
const isWork = ({ route }) => !PROBES.has(route);

export const deploymentOf = (stage) => stage[0].toUpperCase() + stage.slice(1);

// From { before, after, seconds }. What needs a time between readings is null, or empty, where `before` is null.
export function describeService({ before, after, seconds }) {
  const rise = (name, accepts) => (before ? pickRise(before, after, name, accepts) : []);
  const histogram = (name, accepts) => (before ? pickHistogram(before, after, name, accepts) : { bounds: [], counts: [], sum: 0, count: 0 });
  const told = { rise, histogram, after, seconds, rate: (count) => (before ? count / seconds : null) };
  const counted = (name, accepts) => {
    const count = before ? sumOf(rise(name, accepts)) : null;
    return { count, rate: before ? count / seconds : null };
  };
  const outcomes = sumBy(rise("rollcall_face_outcomes_total"), "outcome");
  const of = (outcome) => outcomes.get(outcome) ?? 0;
  const decided = of("match") + of("unknown");
  const faces = decided + of("refused");
  return {
    seconds: before ? seconds : null,
    requests: counted("rollcall_http_requests_total", isWork),
    failures: counted("rollcall_http_requests_total", ({ route, status }) => isWork({ route }) && status.startsWith("5")),
    inFlight: sumOf(pick(after, "rollcall_http_in_flight")),
    latency: describeLatency(histogram("rollcall_http_request_seconds", isWork)),
    routes: describeRoutes(told),
    errors: { ...counted("rollcall_errors_total"), parts: listParts(told, "rollcall_errors_total", "code") },
    shed: { ...counted("rollcall_shed_total", ({ reason }) => reason !== "rate_limit"), parts: listParts(told, "rollcall_shed_total", "reason") },
    faces: { count: faces, rate: before ? faces / seconds : null, outcomes: ["match", "unknown", "refused", "no_face"].map((name) => [name, of(name)]) },
    matchShare: decided ? of("match") / decided : null,
    waiting: sumOf(pick(after, "rollcall_stage_waiting")),
    held: { requests: sumOf(pick(after, "rollcall_admitted_requests")), bytes: sumOf(pick(after, "rollcall_admitted_bytes")) },
    stages: STAGES.filter((stage) => pick(after, "rollcall_stage_calls", (labels) => labels.stage === stage).length).map((stage) => describeStage(told, stage)),
    deployments: describeDeployments(told),
    gallery: { faces: sumOf(pick(after, "rollcall_gallery_faces")), events: sumOf(pick(after, "rollcall_events")) },
    streams: {
      open: sumOf(pick(after, "rollcall_streams_open")),
      frames: counted("rollcall_stream_frames_total"),
      p95: quantileOf(histogram("rollcall_stream_frame_seconds"), 0.95),
    },
    models: pick(after, "rollcall_model_info").map(({ labels }) => labels),
    build: pick(after, "rollcall_build_info")[0]?.labels ?? null,
  };
}

const describeLatency = (histogram) => ({ p50: quantileOf(histogram, 0.5), p95: quantileOf(histogram, 0.95), p99: quantileOf(histogram, 0.99) });

// [{ name, total, count, rate }] by name: `total` since the service was started, `count` between the readings.
function listParts({ rise, rate, after }, metric, label) {
  const counts = sumBy(rise(metric), label);
  return [...sumBy(pick(after, metric), label)].filter(([, total]) => total > 0).map(([name, total]) => {
    const count = counts.get(name) ?? 0;
    return { name, total, count, rate: rate(count) };
  }).sort((a, b) => a.name.localeCompare(b.name));
}

function describeRoutes({ rise, histogram, rate, after }) {
  const work = (labels) => isWork(labels) && labels.route !== "other";
  const keyOf = ({ method, route }) => `${method} ${route}`;
  const totals = new Map();
  for (const { labels, value } of pick(after, "rollcall_http_requests_total", work)) totals.set(keyOf(labels), (totals.get(keyOf(labels)) ?? 0) + value);
  const counts = new Map();
  for (const { labels, value } of rise("rollcall_http_requests_total", work)) counts.set(keyOf(labels), (counts.get(keyOf(labels)) ?? 0) + value);
  return [...totals].map(([name, total]) => {
    const count = counts.get(name) ?? 0;
    const latency = count ? describeLatency(histogram("rollcall_http_request_seconds", (labels) => keyOf(labels) === name)) : { p50: null, p95: null, p99: null };
    return { name, total, count, rate: rate(count), ...latency };
  });
}

function describeStage({ rise, histogram, after, seconds }, stage) {
  const mine = (labels) => labels.stage === stage;
  const replicas = sumOf(pick(after, "rollcall_replicas", ({ deployment }) => deployment.startsWith(deploymentOf(stage))));
  const [queue, call, replica, wait, model, batch, parcel] = [
    "stage_queue_seconds", "stage_call_seconds", "replica_seconds", "batch_wait_seconds", "batch_seconds", "batch_tasks", "parcel_tasks",
  ].map((name) => histogram(`rollcall_${name}`, mine));
  const isSeen = call.count > 0 && replica.count > 0;
  return {
    stage, replicas,
    busy: replicas && seconds ? model.sum / seconds / replicas : null,
    tasks: seconds ? batch.sum / seconds : null,
    batch: meanOf(batch),
    batchLimit: Math.max(0, ...pick(after, "rollcall_batch_limit", mine).map(({ value }) => value)) || null,
    parcel: meanOf(parcel),
    waiting: sumOf(pick(after, "rollcall_stage_waiting", mine)),
    calls: sumOf(pick(after, "rollcall_stage_calls", mine)),
    lost: sumOf(rise("rollcall_stage_lost_calls_total", mine)),
    callP95: quantileOf(call, 0.95),
    spent: { // seconds of one task, on average
      queue: meanOf(queue),
      transport: isSeen ? Math.max(0, meanOf(call) - meanOf(replica)) : null,
      wait: meanOf(wait),
      model: meanOf(model),
    },
    providers: [...new Set(pick(after, "rollcall_provider_info", mine).map(({ labels }) => labels.provider))].sort(),
  };
}

function describeDeployments({ rise, rate, after }) {
  const memory = sumBy(pick(after, "rollcall_process_resident_bytes"), "deployment");
  const cpu = sumBy(rise("rollcall_process_cpu_seconds_total"), "deployment");
  return [...sumBy(pick(after, "rollcall_replicas"), "deployment")].map(([name, replicas]) => ({
    name, replicas, bytes: memory.get(name) ?? 0, cores: rate(Math.max(0, cpu.get(name) ?? 0)),
  })).sort((a, b) => a.name.localeCompare(b.name));
}
