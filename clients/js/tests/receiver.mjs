// A receiver of webhooks that answers as the test says and verifies signatures as fal's documentation does.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { once } from "node:events";
import http from "node:http";

/** Listens on a free port until the test has ended. `answers` are the statuses of the first deliveries, then 200. */
export async function receiver(t, answers = []) {
  const deliveries = [];
  const left = [...answers];
  const server = http.createServer(async (request, response) => {
    const bytes = Buffer.concat(await request.toArray());
    deliveries.push({ method: request.method, path: request.url, headers: request.headers, bytes, json: JSON.parse(bytes) });
    const status = left.shift() ?? 200;
    // a receiver that is asked to look elsewhere would be asked here
    response.writeHead(status, status >= 300 && status < 400 ? { location: "/moved" } : {}).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/hook`, deliveries };
}

/** The documented verification: all four headers, a fresh timestamp, and one published key that fits. */
export function assertSigned({ headers, bytes }, { keys }) {
  const [id, user, timestamp, signature] = ["request-id", "user-id", "timestamp", "signature"].map(
    (name) => headers[`x-fal-webhook-${name}`],
  );
  assert.ok(id && user && timestamp, JSON.stringify(headers));
  assert.match(signature, /^[0-9a-f]{128}$/);
  assert.ok(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300, timestamp);
  const digest = createHash("sha256").update(bytes).digest("hex");
  const message = Buffer.from([id, user, timestamp, digest].join("\n"));
  const fits = (key) =>
    verify(null, message, createPublicKey({ key, format: "jwk" }), Buffer.from(signature, "hex"));
  assert.ok(keys.some(fits), "no published key verifies the signature");
  const changed = Buffer.concat([message, Buffer.from("0")]);
  const fitsToo = (key) => verify(null, changed, createPublicKey({ key, format: "jwk" }), Buffer.from(signature, "hex"));
  assert.ok(!keys.some(fitsToo), "the check notices a change");
}
