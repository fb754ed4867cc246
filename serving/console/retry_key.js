// What makes a request that may have been done, though its answer was lost, safe to send again.

// A value for the header Idempotency-Key. (`crypto.randomUUID` is kept from pages without https.)
export const makeRetryKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
