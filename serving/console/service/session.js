// Who is signed in: tokens, what they allow, and calls in their name. Tokens live in memory and nowhere else.

import { Problem, send } from "./calls.js";

const MAX_EVENT_PAGES = 5;

// A session from a sign-in, or from a token or key alone; raises Problem when it may not do what `needed` says.
export async function openSession({ name, password, token }, needed = null) {
  let tokens = { access_token: token, refresh_token: null };
  if (!token) tokens = await send("POST", "auth/sign-in", { json: { name, password } });
  const opened = {};
  take(opened, tokens);
  const me = await send("GET", "auth/whoami", { token: opened.token });
  Object.assign(opened, { me, permissions: new Set(me.permissions), events: me.events });
  if (needed && !opened.permissions.has(needed)) throw new Problem(403, "forbidden", `This identity may not ${needed}.`);
  return opened;
}

// A call; where the token has expired it is renewed once and the call repeated.
export async function call(session, method, path, options = {}) {
  try {
    return await send(method, path, { ...options, token: session.token });
  } catch (problem) {
    if (problem.status !== 401 || !session.refreshToken) throw problem;
    await renew(session);
    return send(method, path, { ...options, token: session.token });
  }
}

// New tokens in the place of the old ones; a refresh token is good once, so that those who ask together share it.
export function renew(session) {
  session.renewal ??= send("POST", "auth/refresh", { json: { refresh_token: session.refreshToken } })
    .then((tokens) => take(session, tokens))
    .finally(() => { session.renewal = null; });
  return session.renewal;
}

// `expiresAt` is on this page's own clock, which no wrong time of day disturbs; of a pasted token it is unknown.
function take(session, { access_token: token, refresh_token: refreshToken, expires_in_s: seconds }) {
  Object.assign(session, { token, refreshToken, expiresAt: seconds ? performance.now() + seconds * 1000 : null });
}

export function closeSession(session) {
  if (session?.refreshToken) call(session, "POST", "auth/sign-out").catch(() => {}); // a pasted token stays good for others
}

// The open events within reach, { id, name }, and whether these are all.
export async function listEvents(session) {
  if (!session.permissions.has("read_events")) {
    return { offered: (session.events ?? []).map((id) => ({ id, name: null })), isWhole: true };
  }
  const offered = [];
  let cursor = null;
  for (let page = 0; page < MAX_EVENT_PAGES && (page === 0 || cursor); page += 1) {
    const found = await call(session, "GET", "events", { query: { closed: "false", limit: "200", cursor } });
    offered.push(...found.events.map(({ id, name }) => ({ id, name })));
    cursor = found.next_cursor;
  }
  return { offered, isWhole: cursor === null };
}
