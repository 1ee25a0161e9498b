// What the owner limits, and what callers limit themselves.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { test } from "node:test";

import { Place, eventually, refusal, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

/** A `fetch` that keeps the status of every answer. */
function statuses() {
  const seen = [];
  const spy = async (url, init) => {
    const response = await fetch(url, init);
    seen.push(response.status);
    return response;
  };
  return { seen, spy };
}

test("15 limits: a direct call over the limit is a 429, and the client's retry succeeds", async (t) => {
  const server = await (await Place.open(t)).configured("[limits]\nper_key_concurrency = 1\n", "--stand-in=1500");
  const first = server.client().run(FLUX, { input });
  await eventually("it runs", () => server.log.includes("job taken"));
  const { seen, spy } = statuses();
  const { data } = await server.client(undefined, { fetch: spy }).run(FLUX, { input });
  assert.equal(data.images.length, 1);
  assert.deepEqual([seen[0], seen.at(-1)], [429, 200]);
  await first;
});

test("15 limits: the 429 names its type and says that trying again helps", async (t) => {
  const server = await (await Place.open(t)).configured("[limits]\nper_key_concurrency = 1\n", "--stand-in=60000");
  const running = await server.client().queue.submit(FLUX, { input });
  await untilStatus(server.client(), FLUX, running.request_id, "IN_PROGRESS");
  const { status, headers, json } = await server.raw("POST", `/run/${FLUX}`, { body: input });
  assert.deepEqual([status, json.error_type], [429, "concurrent_requests_limit"]);
  assert.equal(headers["x-fal-error-type"], "concurrent_requests_limit");
  assert.equal(headers["x-fal-needs-retry"], "1");
  // the queue waits instead of failing
  const { request_id: requestId } = await server.client().queue.submit(FLUX, { input });
  assert.equal((await server.client().queue.status(FLUX, { requestId })).status, "IN_QUEUE");
});

test("28 limits: a submit that allows no more than so many before it is a 429", async (t) => {
  const server = await (await Place.open(t)).start("--stand-in=60000");
  const fal = server.client();
  const running = await fal.queue.submit(FLUX, { input });
  await untilStatus(fal, FLUX, running.request_id, "IN_PROGRESS");
  const submit = (most) => server.raw("POST", `/queue/${FLUX}?fal_max_queue_length=${most}`, { body: input });
  for (const expected of [0, 1]) assert.equal((await submit(1)).json.queue_position, expected);
  const refused = await submit(1);
  assert.equal(refused.status, 429);
  assert.ok(refused.json.detail && refused.headers["x-fal-request-id"]);
  assert.equal((await submit(10)).json.queue_position, 2, "the refused one is not in the queue");
});

test("30 submit: when an answer is lost the client asks again, and both requests have results", async (t) => {
  const server = await (await Place.open(t)).start("--stand-in");
  const ids = [];
  const losesTheFirst = async (url, init) => {
    const response = await fetch(url, init);
    if (init.method !== "POST") return response;
    ids.push((await response.clone().json()).request_id);
    // undici says this of a connection that broke
    if (ids.length === 1) throw new TypeError("fetch failed", { cause: Object.assign(new Error(), { code: "ECONNRESET" }) });
    return response;
  };
  const fal = server.client(undefined, { fetch: losesTheFirst });
  const { request_id: answered } = await fal.queue.submit(FLUX, { input });
  assert.equal(new Set(ids).size, 2);
  assert.equal(answered, ids[1]);
  for (const requestId of ids) {
    await untilStatus(fal, FLUX, requestId, "COMPLETED");
    assert.equal((await fal.queue.result(FLUX, { requestId })).data.images.length, 1);
  }
});

test("30 submit: callers who name what they submit get one request for it", async (t) => {
  const server = await (await Place.open(t)).start("--stand-in");
  const fal = server.client();
  const submit = (word, more = {}) =>
    fal.queue.submit(FLUX, { input: { ...input, ...more }, headers: { "idempotency-key": word } });
  const first = await submit("order-1");
  const again = await submit("order-1");
  assert.equal(again.request_id, first.request_id);
  assert.notEqual((await submit("order-2")).request_id, first.request_id);
  const error = await refusal(submit("order-1", { seed: 1 }));
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, 422, "not 409, which clients retry");
});

test("29 retries: a failure that passes is tried again by the server, unless the caller says no", async (t) => {
  const server = await (await Place.open(t)).start("--stand-in");
  const fal = server.client();
  const again = { input: { ...input, prompt: "a card [fail 503 x1]" }, pollInterval: 20 };
  const { data } = await fal.subscribe(FLUX, again);
  assert.equal(data.images.length, 1);
  const { request_id: requestId } = await fal.queue.submit(FLUX, { ...again, headers: { "x-fal-no-retry": "1" } });
  const status = await untilStatus(fal, FLUX, requestId, "COMPLETED");
  assert.equal(status.error_type, "runner_connection_error");
  const { status: code, headers } = await server.raw("GET", `/queue/fal-ai/flux/requests/${requestId}`);
  assert.deepEqual([code, headers["x-fal-error-type"]], [503, "runner_connection_error"]);
});

test("61 limits: a body that is too large is a JSON error with a request id", async (t) => {
  const server = await (await Place.open(t)).configured("[limits]\nbody_bytes = 2000\n", "--stand-in");
  const error = await refusal(server.client().run(FLUX, { input: { prompt: "x".repeat(5000) } }));
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, 413);
  assert.equal(typeof error.body.detail, "string");
  assert.ok(error.requestId);
});
