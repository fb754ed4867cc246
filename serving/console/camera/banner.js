// What can be read from afar: a sign, a title, a word more.

import { make } from "../page/elements.js";
import { KINDS } from "./faces.js";

export class Banner {
  constructor() {
    this.sign = make("span", { id: "banner-sign", "aria-hidden": "true" });
    this.title = make("p", { id: "banner-title" });
    this.detail = make("p", { id: "banner-detail" });
    this.node = make(
      "div", { id: "banner", role: "status", "aria-live": "polite", "aria-atomic": "true", data: { kind: "waiting" } },
      this.sign, make("div", {}, this.title, this.detail),
    );
    this.kind = "waiting";
    this.until = 0;
  }

  // Show this, unless what is shown matters more and has not been seen for long enough.
  offer(kind, title, detail) {
    const stays = this.kind !== "trouble" && performance.now() < this.until;
    if (!stays || KINDS[kind].rank >= KINDS[this.kind].rank) this.set(kind, title, detail);
  }

  set(kind, title, detail = "") {
    this.kind = this.node.dataset.kind = kind;
    this.until = performance.now() + KINDS[kind].stays;
    for (const [part, text] of [[this.sign, KINDS[kind].sign], [this.title, title], [this.detail, detail]]) {
      if (part.textContent !== text) part.textContent = text; // said aloud only when it changes
    }
  }
}
