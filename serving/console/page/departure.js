// Asking before a view is left while something in it would be lost.

import { confirmWith } from "./elements.js";

// From now on a link, "back" or another address leaves the view only after a yes to `question` (confirmWith's); whoever
// closes or reloads the page is asked by the browser. Returns the function that ends this. Browsers without the
// Navigation API, or where "back" is pressed twice, leave unasked.
export function askBeforeLeaving(question) {
  const ended = new AbortController();
  const { signal } = ended;
  let isAsking = false;
  const ask = async (event) => {
    const { url, sameDocument: isView } = event.destination;
    if (!event.cancelable || !isView) return;
    event.preventDefault();
    if (isAsking) return;
    isAsking = true;
    const mayLeave = await confirmWith(question);
    isAsking = false;
    if (!mayLeave) return;
    ended.abort();
    location.hash = new URL(url).hash;
  };
  window.navigation?.addEventListener("navigate", ask, { signal });
  window.addEventListener("beforeunload", (event) => event.preventDefault(), { signal });
  return () => ended.abort();
}
