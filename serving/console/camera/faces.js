// Faces: what is drawn over a picture, what their people are called.

import { timeOf, titleOf } from "../page/elements.js";

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
const [FONT_PX, BRIEF_FONT_PX] = [17, 12];

export const nameOf = ({ name, person_id: id }) => titleOf({ name, id });

let boxesEnd = 0;

// Boxes and names of `seen` (an answer whose faces have a `kind`), until they are old, or for good; null removes them.
// `brief`: small, and with no more than their signs where there is no name.
export function drawBoxes(canvas, seen, { mirrored = false, stay = false, brief = false } = {}) {
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
  const named = (face) => Number(Boolean(face.person));
  for (const { box, kind, person, first_at: since } of seen.faces.toSorted((a, b) => named(a) - named(b))) { // names on top
    const x = left + (mirrored ? seen.width - box.x - box.width : box.x) * scale;
    const words = { match: person && nameOf(person), here: person && since && `${nameOf(person)} · ${timeOf(since)}`, unknown: "Unknown", unclear: "Not clear" };
    const text = [KINDS[kind].sign, brief && !person ? "" : words[kind]].join(" ").trim();
    drawBox(pen, [x, top + box.y * scale, box.width * scale, box.height * scale], kind, text, width, brief ? BRIEF_FONT_PX : FONT_PX);
  }
}

function drawBox(pen, [x, y, w, h], kind, text, width, fontPx) {
  const { colour } = KINDS[kind];
  const [high, aside] = [fontPx + 11, Math.round(fontPx / 2)];
  pen.lineWidth = 3;
  pen.strokeStyle = pen.fillStyle = colour;
  pen.setLineDash(kind === "match" || kind === "here" ? [] : [8, 6]);
  pen.strokeRect(x, y, w, h);
  pen.font = `600 ${fontPx}px system-ui, sans-serif`;
  const labelWidth = Math.min(pen.measureText(text).width + 2 * aside, width);
  const labelX = Math.max(0, Math.min(x - 1.5, width - labelWidth));
  const labelY = y >= high + 2 ? y - high : y + h;
  pen.fillRect(labelX, labelY, labelWidth, high);
  pen.fillStyle = "#101010";
  pen.fillText(text, labelX + aside, labelY + fontPx + 3, labelWidth - 2 * aside);
}
