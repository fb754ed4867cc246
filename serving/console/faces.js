// Faces: what is drawn over a picture, what their people are called.

import { timeOf } from "./elements.js";

// Of faces and of the banner: its sign, which of two matters more, how long the banner shows it at least.
export const KINDS = {
  match: { sign: "✓", rank: 3, stays: 3_000, colour: "#35d07f" },
  here: { sign: "●", rank: 2, stays: 2_000, colour: "#ffbf2f" },
  unknown: { sign: "?", rank: 1, stays: 1_200, colour: "#ff6b61" },
  unclear: { sign: "…", rank: 1, stays: 1_200, colour: "#c9ced8" },
  waiting: { sign: "", rank: 0, stays: 0, colour: "#c9ced8" },
  trouble: { sign: "!", rank: 4, stays: 0, colour: "#c9ced8" },
};

const BOXES_STAY_MS = 1_500;

export const nameOf = (person) => person.name ?? person.person_id;

let boxesEnd = 0;

// Boxes and names of `seen` (an answer whose faces have a `kind`), until they are old, or for good; null removes them.
export function drawBoxes(canvas, seen, { mirrored = false, stay = false } = {}) {
  clearTimeout(boxesEnd);
  const density = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * density;
  canvas.height = height * density;
  if (!seen?.faces.length || !width) return;
  if (!stay) boxesEnd = setTimeout(() => drawBoxes(canvas, null), BOXES_STAY_MS);
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  const scale = Math.min(width / seen.width, height / seen.height);
  const left = (width - seen.width * scale) / 2;
  const top = (height - seen.height * scale) / 2;
  for (const { box, kind, person, first_at: since } of seen.faces) {
    const x = left + (mirrored ? seen.width - box.x - box.width : box.x) * scale;
    const words = { match: person && nameOf(person), here: person && since && `${nameOf(person)} · ${timeOf(since)}`, unknown: "Unknown", unclear: "Not clear" };
    drawBox(pen, [x, top + box.y * scale, box.width * scale, box.height * scale], kind, words[kind], width);
  }
}

function drawBox(pen, [x, y, w, h], kind, words, width) {
  const { colour, sign } = KINDS[kind];
  pen.lineWidth = 3;
  pen.strokeStyle = pen.fillStyle = colour;
  pen.setLineDash(kind === "match" || kind === "here" ? [] : [8, 6]);
  pen.strokeRect(x, y, w, h);
  pen.font = "600 17px system-ui, sans-serif";
  const text = `${sign} ${words}`;
  const labelWidth = Math.min(pen.measureText(text).width + 16, width);
  const labelX = Math.max(0, Math.min(x - 1.5, width - labelWidth));
  const labelY = y >= 30 ? y - 28 : y + h;
  pen.fillRect(labelX, labelY, labelWidth, 28);
  pen.fillStyle = "#101010";
  pen.fillText(text, labelX + 8, labelY + 20, labelWidth - 16);
}
