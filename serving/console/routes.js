// Every view of the console: where it is, what it is called, what one must be allowed to see it.

// `view` is a module of views/ with `show(visit)`; `place` says which bar links to it ("all" or "event"); of several
// rights that it `needs` one will do.
export const ROUTES = [
  { path: "events", title: "Events", view: "events", place: "all" },
  { path: "operations", title: "Operations", view: "operations", needs: "read_operations", place: "all" },
  { path: "api-keys", title: "API keys", view: "api_keys", needs: "manage_api_keys", place: "all" },
  { path: "audit", title: "Audit trail", view: "audit", needs: "read_audit", place: "all" },
  { path: "accounts", title: "Accounts", view: "accounts", needs: "manage_accounts", place: "all" },
  { path: "events/:event", title: "Overview", view: "event", needs: "read_events", place: "event" },
  { path: "events/:event/people", title: "People", view: "people", needs: "read_people", place: "event" },
  { path: "events/:event/people/:person", title: "Person", view: "person", needs: "read_people" },
  { path: "events/:event/enrol", title: "Enrol", view: "enrol", needs: "enrol", place: "event" },
  { path: "events/:event/import", title: "Import", view: "import", needs: ["enrol", "export_people"], place: "event" },
  { path: "events/:event/live", title: "Live", view: "live", needs: "recognise", place: "event" },
  { path: "events/:event/recognise", title: "Recognise", view: "recognise", needs: "recognise", place: "event" },
  { path: "events/:event/thresholds", title: "Thresholds", view: "thresholds", needs: "read_events", place: "event" },
];

export const HOME = "events";

// The route of `path` ("events/gala/people") and its parameters; null where there is none.
export function findRoute(path) {
  const parts = readParts(path);
  if (!parts) return null;
  for (const route of ROUTES) {
    const pattern = route.path.split("/");
    if (pattern.length !== parts.length) continue;
    const params = {};
    const fits = pattern.every((part, index) => {
      if (!part.startsWith(":")) return part === parts[index];
      params[part.slice(1)] = parts[index];
      return true;
    });
    if (fits) return { route, params };
  }
  return null;
}

// Null for what is no address, and for "." and "..", which would be other addresses of the interface.
function readParts(path) {
  try {
    const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
    return parts.some((part) => /^\.\.?$/.test(part)) ? null : parts;
  } catch {
    return null;
  }
}

// "#/events/gala/people": what a link to a route holds.
export const linkTo = (path, params = {}) =>
  `#/${path.split("/").map((part) => (part.startsWith(":") ? encodeURIComponent(params[part.slice(1)]) : part)).join("/")}`;

export const isAllowed = (route, session) => !route.needs || [route.needs].flat().some((right) => session.permissions.has(right));
