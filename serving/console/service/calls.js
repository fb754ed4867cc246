// Calls of the service's interface.

const REQUEST_TIMEOUT_S = 10;
const STALL_TIMEOUT_S = 60; // of an upload of which nothing more goes out, or that has gone out and is not answered

// What went wrong: the service's own words, or that it does not answer (status 0).
export class Problem extends Error {
  constructor(status, code, text, retryAfterS = null, { title = text, context = {} } = {}) {
    super(text);
    Object.assign(this, { status, code, retryAfterS, title, context }); // context: facts of it, such as limits
  }

  // For people: what happened, what to do, and when to try again.
  get advice() {
    return this.message + (this.retryAfterS ? ` Try again in ${Math.ceil(this.retryAfterS)} s.` : "");
  }
}

function readRetryAfter(text) {
  if (!text) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 300) : null;
}

function writeBody({ json, picture, form, body }) {
  if (json) return ["application/json", JSON.stringify(json)];
  if (picture) return [picture.type, picture];
  if (form) return [null, form]; // the browser adds the boundary
  return [body?.type ?? null, body];
}

// The answer of `v1/{path}` (or of `path` itself when it begins with "/"): an object; with `as: "text"` or
// `as: "blob"` what it holds. `query` leaves out what is empty; `json`, `picture`, `form` or `body` is sent.
// With `onUpload(sentBytes)` it may take as long as bytes go out, in place of `timeoutS`.
// Raises Problem; when `signal` was aborted, what the browser raises then.
export async function send(method, path, { query = {}, token, signal, timeoutS = REQUEST_TIMEOUT_S, as = "json", headers: more = {}, onUpload, ...sent } = {}) {
  const url = new URL(path.startsWith("/") ? path.slice(1) : `v1/${path}`, document.baseURI);
  for (const [key, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") url.searchParams.set(key, value);
  const [type, body] = writeBody(sent);
  const headers = { "X-Timeout-S": String(Math.min(timeoutS, REQUEST_TIMEOUT_S)), ...more };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (type) headers["Content-Type"] = type;
  let answer;
  try {
    if (onUpload) {
      answer = await upload(method, url, headers, body, signal, onUpload);
    } else {
      const deadline = AbortSignal.timeout((timeoutS + 2) * 1000);
      answer = await fetch(url, {
        method, headers, body, signal: signal ? AbortSignal.any([signal, deadline]) : deadline, credentials: "omit", cache: "no-store",
      });
    }
    if (answer.ok) return answer.status === 204 ? null : await answer[as]();
  } catch (error) {
    signal?.throwIfAborted();
    throw new Problem(0, "no_answer", "The service does not answer.", 2);
  }
  const told = await answer.json().catch(() => ({}));
  const text = [told.title ?? `The service answered ${answer.status}`, told.cure].filter(Boolean).join(". ");
  throw new Problem(answer.status, told.code, text, readRetryAfter(answer.headers.get("Retry-After")), told);
}

// What `fetch` cannot do: it never says how much of a body has gone out.
function upload(method, url, headers, body, signal, onUpload) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    let stall = 0;
    const end = () => {
      clearTimeout(stall);
      signal?.removeEventListener("abort", stop);
    };
    const stop = () => {
      end();
      request.abort();
      failed(signal?.aborted ? signal.reason : new Error("nothing goes out any more"));
    };
    const goOn = () => {
      clearTimeout(stall);
      stall = setTimeout(stop, STALL_TIMEOUT_S * 1000);
    };
    request.upload.addEventListener("progress", (event) => {
      goOn();
      onUpload(event.loaded);
    });
    request.addEventListener("error", () => {
      end();
      failed(new Error("no answer"));
    });
    request.addEventListener("load", () => {
      end();
      const told = request.getAllResponseHeaders().trim().split("\r\n").filter(Boolean).map((line) => {
        const [name, ...value] = line.split(":");
        return [name, value.join(":").trim()];
      });
      done(new Response(request.status === 204 ? null : request.response, { status: request.status, headers: told }));
    });
    if (signal?.aborted) { stop(); return; }
    signal?.addEventListener("abort", stop, { once: true });
    request.open(method, url);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    goOn();
    request.send(body ?? null);
  });
}
