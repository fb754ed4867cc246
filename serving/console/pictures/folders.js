// Folders that are chosen or dropped, as [{ path, file }] with paths below the folder.

const MAX_FILES = 50_000; // whatever lies in there, so that a wrong folder does not fill the memory

// Of an input that takes a folder.
export function readFolder(files) {
  return [...files].slice(0, MAX_FILES).map((file) => ({ path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file }));
}

// Of what was dropped, files and folders; what is in a single folder counts as if it had been chosen. It must be called
// while the drop is being handled: later the browser tells nothing of it any more.
export async function readDroppedFiles(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...dropped.files].map((file) => ({ path: file.name, file }));
  const found = [];
  const isOneFolder = entries.length === 1 && entries[0].isDirectory;
  for (const entry of isOneFolder ? await listFolder(entries[0]) : entries) await collect(entry, "", found);
  return found;
}

async function collect(entry, above, found) {
  if (found.length >= MAX_FILES) return;
  const path = above + entry.name;
  if (entry.isFile) found.push({ path, file: await new Promise((done, failed) => { entry.file(done, failed); }) });
  else for (const each of await listFolder(entry)) await collect(each, `${path}/`, found);
}

async function listFolder(entry) {
  const reader = entry.createReader();
  const all = [];
  for (;;) { // a part each time, until none is left
    const part = await new Promise((done, failed) => { reader.readEntries(done, failed); });
    if (!part.length || all.length > MAX_FILES) return all;
    all.push(...part);
  }
}
