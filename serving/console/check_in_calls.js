// Calls of the service's interface.

const REQUEST_TIMEOUT_S = 10;

// What went wrong: the service's own words, or that it does not answer (status 0).
export class Problem extends Error {
  constructor(status, code, text, retryAfterS = null) {
    super(text);
    Object.assign(this, { status, code, retryAfterS });
  }
}

function readRetryAfter(text) {
  if (!text) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 300) : null;
}

export async function send(method, path, { query = {}, json, picture, token } = {}) {
  const url = new URL(`v1/${path}`, document.baseURI);
  for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
  const headers = { "X-Timeout-S": String(REQUEST_TIMEOUT_S) };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (json) headers["Content-Type"] = "application/json";
  if (picture) headers["Content-Type"] = picture.type;
  const signal = AbortSignal.timeout((REQUEST_TIMEOUT_S + 2) * 1000);
  let answer;
  try {
    answer = await fetch(url, {
      method, headers, signal, body: picture ?? (json && JSON.stringify(json)), credentials: "omit", cache: "no-store",
    });
    if (answer.ok) return answer.status === 204 ? null : await answer.json();
  } catch {
    throw new Problem(0, "no_answer", "The service does not answer.", 2);
  }
  const told = await answer.json().catch(() => ({}));
  const text = [told.title ?? `The service answered ${answer.status}`, told.cure].filter(Boolean).join(". ");
  throw new Problem(answer.status, told.code, text, readRetryAfter(answer.headers.get("Retry-After")));
}
