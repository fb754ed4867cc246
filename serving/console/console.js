// The console: sign in once, then one view after another, each in its own module.

import { Problem } from "./service/calls.js";
import { make, titleOf } from "./page/elements.js";
import { makeEntrance } from "./page/entrance.js";
import { HOME, ROUTES, findRoute, isAllowed, linkTo } from "./routes.js";
import { call, closeSession } from "./service/session.js";

const part = (id) => document.getElementById(id);

let session = null;
let leaving = null; // ends what the view that is shown has begun

const openEntrance = makeEntrance(part("sign-in"), (opened) => {
  session = opened;
  part("sign-in").hidden = true;
  for (const id of ["pages", "controls"]) part(id).hidden = false;
  part("who").textContent = session.me.name;
  return showView();
});

// Nothing of what was looked at stays in the page.
function askToSignIn(words = "") {
  leaving?.abort();
  session = null;
  for (const id of ["pages", "event-pages", "controls", "view"]) part(id).hidden = true;
  for (const id of ["pages", "event-pages", "where", "who", "view", "notice"]) part(id).replaceChildren();
  document.title = "Rollcall";
  part("sign-in").hidden = false;
  openEntrance(words);
}

// ---- one view after another

async function showView() {
  leaving?.abort();
  const mine = new AbortController();
  leaving = mine;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const found = findRoute(path || HOME);
  const outlet = make("div", { class: "view" });
  part("view").replaceChildren(outlet);
  part("view").hidden = false;
  part("view").setAttribute("aria-busy", "true");
  say("");
  const visit = makeVisit(outlet, found?.params ?? {}, new URLSearchParams(query), mine.signal);
  try {
    if (!found) throw new Problem(404, "not_found", "There is no such page in the console.");
    if (!isAllowed(found.route, session)) throw new Problem(403, "forbidden", `This identity may not see this page: it needs the right ${found.route.needs}.`);
    if (visit.params.event) visit.event = await lookAtEvent(visit);
    if (mine.signal.aborted) return;
    showWhere(found.route, visit);
    const view = await load(found.route.view);
    if (mine.signal.aborted) return;
    await view.show(visit);
    if (!mine.signal.aborted) focusOn(outlet);
  } catch (problem) {
    if (mine.signal.aborted) return;
    if (!visit.event) showWhere(found?.route ?? null, visit);
    outlet.replaceChildren(make("section", { class: "card" },
      make("h2", {}, "This cannot be shown"),
      make("p", { role: "alert" }, problem.advice ?? "Something in this page went wrong. Reload it, and tell whoever runs the service if it comes again."),
      make("div", { class: "buttons" }, make("button", { type: "button", on: { click: showView } }, "Try again"))));
    focusOn(outlet);
    if (!(problem instanceof Problem)) throw problem; // for the browser's own log
  } finally {
    if (!mine.signal.aborted) part("view").removeAttribute("aria-busy");
  }
}

async function load(view) {
  try {
    return await import(`./views/${view}.js`);
  } catch {
    throw new Problem(0, "no_answer", "This part of the console could not be loaded.", 2);
  }
}

// What a view is given. `signal` is aborted when the view is left: whatever it began must end with it.
function makeVisit(outlet, params, query, signal) {
  return {
    session, outlet, params, query, signal,
    event: null, // as the service describes it, in views of an event
    may: (permission) => session.permissions.has(permission),
    // A call of the interface in the name of whoever is signed in; raises Problem.
    async call(method, path, options = {}) {
      try {
        return await call(session, method, path, { signal, ...options });
      } catch (problem) {
        if (problem.status === 401) signOutBecause();
        throw problem;
      }
    },
    // The same below the event of this view.
    callEvent(method, path, options) {
      const base = `events/${encodeURIComponent(params.event)}`;
      return this.call(method, path ? `${base}/${path}` : base, options);
    },
    go(path, with_ = params) {
      const link = linkTo(path, with_);
      if (location.hash === link) showView();
      else location.hash = link;
    },
    link: (path, with_ = params) => linkTo(path, with_),
    say,
    signOutBecause,
  };
}

function signOutBecause(words = "You were signed out: the token has expired or was withdrawn. Sign in again to go on.") {
  askToSignIn(words);
}

async function lookAtEvent(visit) {
  if (!visit.may("read_events")) return { id: visit.params.event, name: null, closed_at: null };
  return visit.callEvent("GET", "");
}

// ---- around the view

function showWhere(route, visit) {
  const { event, params } = visit;
  const name = event ? titleOf(event) : "";
  part("where").textContent = event?.closed_at ? `${name} (closed)` : name;
  document.title = [route?.title, name, "Rollcall"].filter(Boolean).join(" · ");
  showLinks(part("pages"), "all", route, visit, {});
  part("event-pages").hidden = !event;
  if (event) showLinks(part("event-pages"), "event", route, visit, { event: params.event });
}

function showLinks(bar, place, shown, visit, params) {
  const links = ROUTES.filter((route) => route.place === place && isAllowed(route, session)).map((route) => make("a", {
    href: linkTo(route.path, params), "aria-current": route === shown ? "page" : null,
  }, route.title));
  const others = place === "all" ? [make("a", { href: "check-in" }, "Door"), make("a", { href: "docs" }, "Interface")] : [];
  bar.replaceChildren(...links, ...others);
}

function focusOn(outlet) {
  const title = outlet.querySelector("h2");
  if (!title || outlet.contains(document.activeElement)) return; // the view has chosen already
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
}

// A word about what was done, for eyes and screen readers.
function say(words) {
  part("notice").textContent = words;
}

part("sign-out").addEventListener("click", () => {
  closeSession(session);
  askToSignIn();
});
window.addEventListener("hashchange", () => { if (session) showView(); });
window.addEventListener("pagehide", () => leaving?.abort());

askToSignIn();
