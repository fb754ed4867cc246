// The live stream to the service: frames out, faces in; it comes back by itself.

import { renew } from "./session.js";

const PROTOCOL = "rollcall.v1";
const MIN_PERIOD_MS = 150; // between two frames
const RENEW_BEFORE_MS = 60_000;
const MIN_RENEWAL_MS = 1_000;
const ANSWER_TIMEOUT_MS = 15_000;
const MAX_DELAY_MS = 30_000;
const SPREAD_MS = 500; // so that all the pages of a service that has restarted do not come in one moment
const MAX_REFUSALS = 2; // of tokens, in a row
const RESTART = 1012;
const FINAL = new Set([4403, 4404, 4409, 4422]); // to connect again would change nothing

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class LiveStream {
  // Of `told`: ready(), faces(message), waits(words, seconds), ends(problem, isSignedOut).
  constructor(session, event, options, takeFrame, told) {
    Object.assign(this, { session, event, options, takeFrame, told, socket: null, isOver: false, failures: 0, refusals: 0, timers: [] });
  }

  open() {
    const url = new URL(`v1/events/${encodeURIComponent(this.event)}/stream`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, PROTOCOL);
    this.socket = socket;
    this.reason = null;
    this.expectWord(socket);
    socket.addEventListener("open", () => this.say({ type: "start", token: this.session.token, ...this.options }));
    socket.addEventListener("message", ({ data }) => { if (this.socket === socket) this.hear(JSON.parse(data)); });
    socket.addEventListener("close", ({ code }) => { if (this.socket === socket && !this.isOver) this.lose(code); });
  }

  close() {
    this.isOver = true;
    this.rest();
    this.socket?.close(1000);
  }

  // A connection that says nothing for long is given up, whatever the network says of it.
  expectWord(socket) {
    this.patience = setTimeout(() => {
      socket.close(4000);
      if (this.socket === socket && !this.isOver) this.lose(1006);
    }, ANSWER_TIMEOUT_MS);
    this.timers.push(this.patience);
  }

  rest() {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers = [];
  }

  say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  hear(message) {
    clearTimeout(this.patience);
    if (message.type === "end") {
      this.reason = message.problem;
      return;
    }
    if (message.type === "ready") {
      this.refusals = 0;
      this.renewBefore(this.socket);
      this.told.ready();
    } else if (message.type === "faces") {
      this.failures = 0;
      this.told.faces(message);
    } else this.told.waits(message.type === "busy" ? "The service is busy" : message.problem.title, null);
    this.sendNext(message.problem ? (message.problem.retry_after_s ?? 1) * 1000 : 0);
  }

  // The next frame, once the last one is answered.
  async sendNext(delayMs) {
    const socket = this.socket;
    const waitMs = Math.max(delayMs, MIN_PERIOD_MS - (performance.now() - (this.sentAt ?? 0)));
    if (waitMs > 0) await sleep(waitMs);
    let frame = null;
    while (this.socket === socket && !this.isOver && socket.readyState === WebSocket.OPEN) {
      frame = await this.takeFrame();
      if (frame) break;
      await sleep(MIN_PERIOD_MS); // hidden, or no picture yet
    }
    if (!frame || this.socket !== socket || this.isOver || socket.readyState !== WebSocket.OPEN) return;
    this.sentAt = performance.now();
    this.timers = this.timers.filter((timer) => timer !== this.patience);
    this.expectWord(socket);
    socket.send(frame);
  }

  // New tokens before the old ones expire, as often as that comes.
  renewBefore(socket) {
    const { expiresAt, refreshToken } = this.session;
    if (!refreshToken || !expiresAt) return;
    const leftMs = expiresAt - performance.now();
    const inMs = Math.max(leftMs - RENEW_BEFORE_MS, leftMs / 2, MIN_RENEWAL_MS);
    this.timers.push(setTimeout(async () => {
      const isNew = await renew(this.session).then(() => true, () => false); // the end of the stream will tell
      if (this.socket !== socket || this.isOver) return;
      if (isNew) this.say({ type: "token", token: this.session.token });
      this.renewBefore(socket);
    }, Math.min(inMs, 2 ** 31 - 1)));
  }

  async lose(code) {
    this.rest();
    this.socket = null;
    if (FINAL.has(code)) return this.end(this.reason, false);
    if (code === 4401) {
      this.refusals += 1;
      if (!this.session.refreshToken || this.refusals > MAX_REFUSALS) return this.end(this.reason, true);
      try {
        await renew(this.session);
        if (!this.isOver) this.open();
        return undefined;
      } catch (problem) {
        if (problem.status === 401) return this.end(this.reason, true);
        this.refusals -= 1; // nobody has said that the session is over
      }
    }
    this.failures += 1;
    const isRestart = code === RESTART && this.failures === 1;
    const asked = (this.reason?.retry_after_s ?? 0) * 1000;
    const leastMs = isRestart ? 0 : Math.max(asked, Math.min(500 * 2 ** this.failures, MAX_DELAY_MS));
    const delayMs = leastMs * (1 + Math.random() / 2) + Math.random() * SPREAD_MS;
    this.told.waits(this.reason?.title ?? "No connection", delayMs / 1000);
    await sleep(delayMs);
    if (!this.isOver) this.open();
    return undefined;
  }

  end(problem, isSignedOut) {
    this.isOver = true;
    this.told.ends(problem, isSignedOut);
  }
}
