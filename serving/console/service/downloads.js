// Files that the page hands to whoever uses it.

import { make } from "../page/elements.js";

const KEPT_MS = 60_000; // the browser has begun to write it by then

// Offer `blob` as a file to keep.
export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
}

// Rows of texts as CSV that a spreadsheet opens: with a mark of its encoding, and no cell that counts as a formula.
export function writeCsv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  };
  return new Blob(["\ufeff", rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}
