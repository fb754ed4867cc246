// What an import rejected, why, and what helps; as a list that is loaded when it is opened, and as CSV.

import { writeCsv, saveFile } from "../service/downloads.js";
import { attempt, countOf, make } from "../page/elements.js";
import { IMPORT_HINTS } from "../pictures/picture_problems.js";

const PAGE = 50;
const CSV_PAGE = 1000; // as many as the service gives at once
const MAX_CSV_PAGES = 200;

const wordsOf = ({ code, detail }) => (code === "quality_too_low" ? detail.replaceAll("_", " ") : detail); // it names reasons

// { node, update(job) }: nothing is seen of it while nothing was rejected.
export function makeRejections(visit, jobId) {
  let [rejected, loaded, cursor] = [0, -1, null];
  const title = make("summary");
  const list = make("ul", { class: "rejections" });
  const problem = make("p", { class: "problem", role: "alert" });
  const more = make("button", { type: "button", class: "quiet", hidden: true, on: { click: () => attempt(more, problem, showMore) } }, "Show more");
  const save = make("button", { type: "button", class: "quiet", on: { click: () => attempt(save, problem, saveAll) } }, "Download as CSV");
  const node = make("details", { hidden: true }, title, list, problem, make("div", { class: "buttons" }, more, save));
  node.addEventListener("toggle", () => { if (node.open) attempt(save, problem, showFirst); });

  const load = (limit, from) =>
    visit.callEvent("GET", `jobs/${jobId}/rejections`, { query: { limit: String(limit), cursor: from } });

  async function showFirst() {
    if (loaded === rejected) return;
    const upTo = rejected;
    const page = await load(PAGE, null);
    list.replaceChildren();
    add(page);
    loaded = upTo;
  }

  async function showMore() {
    const next = list.children.length;
    add(await load(PAGE, cursor));
    list.children[next]?.focus();
  }

  function add(page) {
    list.append(...page.rejections.map((each) => make("li", { tabindex: "-1" },
      make("strong", {}, each.name), make("span", {}, wordsOf(each)),
      IMPORT_HINTS[each.code] && make("span", { class: "hint" }, IMPORT_HINTS[each.code]))));
    cursor = page.next_cursor;
    more.hidden = cursor === null;
  }

  async function saveAll() {
    const rows = [["item", "name", "code", "reason", "what helps"]];
    let from = null;
    for (let page = 0; page < MAX_CSV_PAGES && (page === 0 || from); page += 1) {
      const found = await load(CSV_PAGE, from);
      rows.push(...found.rejections.map((each) => [each.item, each.name, each.code, wordsOf(each), IMPORT_HINTS[each.code]]));
      from = found.next_cursor;
    }
    saveFile(writeCsv(rows), `rejected-${jobId}.csv`);
    visit.say(`${countOf(rows.length - 1)} rejections were downloaded.`);
  }

  return {
    node,
    update(job) {
      rejected = job.rejected;
      node.hidden = rejected === 0;
      title.textContent = `${countOf(rejected)} rejected: why, and what helps`;
      if (node.open && list.children.length <= PAGE) attempt(save, problem, showFirst);
    },
  };
}
