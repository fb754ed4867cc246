// What makes a request that may have been done, though its answer was lost, safe to send again.

// A value for the header Idempotency-Key. (`crypto.randomUUID` is kept from pages without https.)
const makeValue = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// One key for as long as the same is asked for, whatever was answered: the service frees it when it refuses.
export class RetryKey {
  // For a request with this content (whatever JSON can hold), which goes out now.
  take(content) {
    const text = JSON.stringify(content);
    if (this.text !== text) Object.assign(this, { text, value: makeValue() });
    return this.value;
  }

  // Whether a request with this content went out last, and so may have been done.
  wasTaken(content) {
    return this.text === JSON.stringify(content);
  }
}
