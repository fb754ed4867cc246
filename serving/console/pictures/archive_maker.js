// An archive made in the page from pictures of a folder: a ZIP whose entries are stored as they are. It holds no copy
// of the pictures: the browser reads them from disk, once to count checksums, once more to send them.

export const MAX_PICTURES = 20_000;
export const MAX_BYTES = 2_000_000_000; // a plain ZIP cannot hold twice that

const PICTURE = /\.(jpe?g|png|webp)$/i;
const PERSON_ID = /^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$/;
const PEOPLE_FILE = "people.ndjson";
const MAX_NAME_CHARS = 200;
const [LOCAL_SIGNATURE, CENTRAL_SIGNATURE, END_SIGNATURE] = [0x04034b50, 0x02014b50, 0x06054b50];
const [VERSION, UTF8_NAMES, STORED, NO_DATE] = [20, 0x800, 0, 0x21];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

function addToCrc(crc, bytes) {
  let rest = ~crc;
  for (let place = 0; place < bytes.length; place += 1) rest = CRC_TABLE[(rest ^ bytes[place]) & 0xff] ^ (rest >>> 8);
  return ~rest >>> 0;
}

const encode = (text) => new TextEncoder().encode(text);

// ---- who is in a folder

// An id for a person who is called `label`: the label itself where it will do, else what is left of it in plain letters.
function makeId(label) {
  if (PERSON_ID.test(label)) return label;
  const plain = label.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^A-Za-z0-9._:@+-]+/g, "-");
  return plain.replace(/^[^A-Za-z0-9]+|-+$/g, "").slice(0, 100) || `person-${markOf(label)}`;
}

const markOf = (label) => addToCrc(0, encode(label)).toString(16).padStart(8, "0");

// What `files` ([{ path, file }], paths below the folder) are as an import: { entries, people, passedOver, bytes }.
// A person is called like their folder, or like their only file; `passedOver` are the paths that are no such picture.
export function planArchive(files) {
  const [pictures, passedOver, entries] = [[], [], []];
  for (const { path, file } of files) {
    const parts = path.split("/");
    const isHidden = parts.some((part) => part.startsWith(".")) || parts[0] === "__MACOSX";
    if (isHidden) continue;
    if (path === PEOPLE_FILE) entries.push({ name: path, file });
    else if (parts.length > 2 || !PICTURE.test(path)) passedOver.push(path);
    else pictures.push({ label: parts.length === 2 ? parts[0] : path.replace(PICTURE, ""), parts, file });
  }
  const isNamed = entries.length > 0; // ids and names are as its people.ndjson says
  const ids = new Map();
  const labels = [...new Set(pictures.map(({ label }) => label))];
  const taken = new Set(labels.filter((label) => PERSON_ID.test(label)));
  for (const label of labels) {
    let id = isNamed ? label : makeId(label);
    if (id !== label && taken.has(id)) id = `${id}-${markOf(label)}`;
    taken.add(id);
    ids.set(label, id);
  }
  for (const { label, parts, file } of pictures) {
    const id = ids.get(label);
    entries.push({ name: parts.length === 2 ? `${id}/${parts[1]}` : id + parts[0].slice(label.length), file });
  }
  const renamed = labels.filter((label) => ids.get(label) !== label);
  if (renamed.length) {
    const lines = renamed.map((label) => `${JSON.stringify({ person_id: ids.get(label), name: label.slice(0, MAX_NAME_CHARS) })}\n`);
    entries.push({ name: PEOPLE_FILE, file: new Blob(lines) });
  }
  const bytes = entries.reduce((sum, { file }) => sum + file.size, 0);
  return { entries, pictures: pictures.length, people: labels.length, passedOver, bytes };
}

// ---- the archive

// A ZIP of `entries` ([{ name, file }]); `tell(done)` hears how many are read. Raises what `signal` was aborted with,
// and the browser's error where a file can be read no more.
export async function makeArchive(entries, tell, signal) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const [done, { name, file }] of entries.entries()) {
    const [crc, title] = [await sumUp(file, signal), encode(name)];
    const head = { crc, size: file.size, title };
    parts.push(writeRecord(LOCAL_SIGNATURE, head), title, file);
    directory.push(writeRecord(CENTRAL_SIGNATURE, head, offset), title);
    offset += 30 + title.length + file.size;
    tell(done + 1);
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  return new Blob([...parts, ...directory, writeEnd(entries.length, length, offset)], { type: "application/zip" });
}

async function sumUp(file, signal) {
  const reader = file.stream().getReader();
  let crc = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) return crc;
    crc = addToCrc(crc, value);
  }
}

// A record of `fields`, [bits, value], little-endian.
function pack(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [bits]) => sum + bits / 8, 0)));
  let place = 0;
  for (const [bits, value] of fields) {
    if (bits === 16) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += bits / 8;
  }
  return new Uint8Array(view.buffer);
}

// What stands before an entry, or of one at `offset` in the directory; its name follows.
function writeRecord(signature, { crc, size, title }, offset = null) {
  const isLocal = offset === null;
  return pack([
    [32, signature], ...(isLocal ? [] : [[16, VERSION]]), [16, VERSION], [16, UTF8_NAMES], [16, STORED], [16, 0], [16, NO_DATE],
    [32, crc], [32, size], [32, size], [16, title.length], [16, 0],
    ...(isLocal ? [] : [[16, 0], [16, 0], [16, 0], [32, 0], [32, offset]]),
  ]);
}

const writeEnd = (count, length, offset) =>
  pack([[32, END_SIGNATURE], [16, 0], [16, 0], [16, count], [16, count], [32, length], [32, offset], [16, 0]]);
