// Who has sent a webhook: the signature over its headers and body, held against the keys that the server publishes.

import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";

const HEADERS = ["request-id", "user-id", "timestamp", "signature"].map((name) => `x-fal-webhook-${name}`);
// how far a clock may be off, and how old a delivery may be
export const TOLERANCE_S = 300;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/** Nobody has to believe this delivery. */
export class Refused extends Error {}

/** The keys cannot be had at the moment. */
export class Unknown extends Error {}

/**
 * The server's public keys, asked for once a day; and once more when none of them fits, as after a rotation. Whoever sends
 * nonsense makes us ask no more than once a minute.
 */
export class Keys {
  #url;
  #keys = [];
  #asked = -Infinity;

  constructor(url) {
    this.#url = url;
  }

  /** Gives what was signed, `{ request, timestamp }`. */
  async verify(headers, body, now = Date.now() / 1000) {
    const [request, user, timestamp, signature] = HEADERS.map((name) => String(headers[name] ?? ""));
    if (!/^[0-9]{1,12}$/.test(timestamp)) throw new Refused("the timestamp is no number of seconds");
    if (Math.abs(now - Number(timestamp)) > TOLERANCE_S) throw new Refused("it is too old, or this clock is wrong");
    if (!/^[0-9a-f]{128}$/i.test(signature)) throw new Refused("the signature is not 128 hex digits");
    const digest = createHash("sha256").update(body).digest("hex");
    const message = Buffer.from([request, user, timestamp, digest].join("\n"));
    const bytes = Buffer.from(signature, "hex");
    const fits = () => this.#keys.some((key) => verifySignature(null, message, key, bytes));
    if (this.#age > DAY_MS) await this.#ask();
    if (!fits()) {
      if (this.#age > MINUTE_MS) await this.#ask();
      if (!fits()) throw new Refused("nobody whose key is published has signed it");
    }
    return { request, timestamp: Number(timestamp) };
  }

  get #age() {
    return performance.now() - this.#asked;
  }

  async #ask() {
    try {
      const answer = await fetch(this.#url, { signal: AbortSignal.timeout(10_000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const { keys } = await answer.json();
      const plain = ({ kty, crv, x }) => ({ kty, crv, x: x.replace(/=+$/, "") });
      this.#keys = keys.map((key) => createPublicKey({ key: plain(key), format: "jwk" }));
      this.#asked = performance.now();
    } catch (cause) {
      throw new Unknown("the server's keys cannot be had", { cause });
    }
  }
}
