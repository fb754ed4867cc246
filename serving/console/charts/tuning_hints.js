// Symptoms in the numbers of the operations view, and which number to change. docs/metrics.md has all of them and why.

import { deploymentOf } from "./service_figures.js";

const BUSY = 0.9; // from here on a stage has no time left
const IDLE = 0.6;
const FULL = 0.9; // of a batch
const SPARSE = 0.25;
const NOTICED_S = 0.001; // less is not worth a change

const stages = (figures, holds) => figures.stages.filter(holds).map(({ stage }) => deploymentOf(stage));
const share = (stage) => (stage.batch && stage.batchLimit ? stage.batch / stage.batchLimit : null);
const countOf = ({ parts }, ...names) => parts.filter(({ name }) => names.includes(name)).reduce((sum, { count }) => sum + count, 0);
const among = (kind, ...names) => (figures) => {
  const count = countOf(figures[kind], ...names);
  return count ? [`${count}`] : [];
};

// `where(figures)`: what shows it now, nothing where it does not.
export const HINTS = [
  {
    symptom: "A stage works all the time", change: "raise its max_replicas, and see that the nodes have CPUs left (num_cpus)",
    where: (figures) => stages(figures, ({ busy }) => busy >= BUSY),
  },
  {
    symptom: "Tasks wait although the stage works little", change: "raise user_config.<stage>.max_calls of Ingress: about two for each replica",
    where: (figures) => stages(figures, ({ busy, waiting, spent }) => busy !== null && busy < IDLE && waiting > 0 && spent.queue > NOTICED_S),
  },
  {
    symptom: "Tasks wait for their batch, and batches are small", change: "lower its batch_wait_timeout_s: it waits for company that does not come",
    where: (figures) => stages(figures, (each) => share(each) !== null && share(each) < SPARSE && each.spent.wait > NOTICED_S && each.spent.wait > each.spent.model / 2),
  },
  {
    symptom: "Tasks wait for their batch, and batches are full", change: "raise its max_batch_size on a GPU; on a CPU add replicas",
    where: (figures) => stages(figures, (each) => share(each) >= FULL && each.spent.wait > NOTICED_S),
  },
  {
    symptom: "Transport takes longer than the model", change: "raise user_config.<stage>.linger_s of Ingress a little, or max_parcel_tasks",
    where: (figures) => stages(figures, ({ spent, tasks }) => tasks >= 1 && spent.transport > NOTICED_S && spent.transport > spent.model),
  },
  {
    symptom: "Work is refused: requests or bytes", change: "replicas of what works all the time; where latency allows it a higher load.max_pending_requests",
    where: among("shed", "requests", "bytes"),
  },
  { symptom: "Work is refused: queue", change: "replicas of the stage at which tasks wait", where: among("shed", "queue") },
  { symptom: "Work is refused: backpressure", change: "raise the stage's max_queued_requests, or lower its max_calls", where: among("shed", "backpressure") },
  { symptom: "Callers are slowed down (rate_limited)", change: "rate_limits", where: among("errors", "rate_limited") },
  {
    symptom: "Deadlines are missed (deadline_exceeded)", change: "lower load.max_pending_requests: what waits too long is work for nothing",
    where: among("errors", "deadline_exceeded"),
  },
  { symptom: "Calls to a stage are lost", change: "replicas die: fewer of them on a node, or more memory", where: (figures) => stages(figures, ({ lost }) => lost > 0) },
];
