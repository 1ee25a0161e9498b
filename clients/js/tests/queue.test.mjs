// One worker, several requests: order, cancelling, deadlines.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { test } from "node:test";

import { Place, eventually, refusal, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
// A stand-in of half a minute: whatever this machine does meanwhile, the job is still running when a test looks. It
// heeds a wish to cancel after each of its steps.
const LONG = "--stand-in=30000";
const input = { prompt: "a card", image_size: "square", num_inference_steps: 50 };

test("20, 23, 24, 25 a waiting and a running request can be cancelled, a finished one cannot", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  const fal = server.client();
  const submit = async () => (await fal.queue.submit(FLUX, { input })).request_id;
  const cancelled = async (requestId) => {
    const { error_type } = await untilStatus(fal, FLUX, requestId, "COMPLETED");
    assert.equal(error_type, "client_cancelled");
    const error = await refusal(fal.queue.result(FLUX, { requestId }));
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.body.error_type], [499, "client_cancelled"]);
  };

  const running = await submit();
  await untilStatus(fal, FLUX, running, "IN_PROGRESS");
  const [first, second] = [await submit(), await submit()];
  assert.equal((await fal.queue.status(FLUX, { requestId: first })).queue_position, 0);
  assert.equal((await fal.queue.status(FLUX, { requestId: second })).queue_position, 1);
  assert.equal((await refusal(fal.queue.result(FLUX, { requestId: running }))).status, 400, "still in progress");

  await fal.queue.cancel(FLUX, { requestId: first });
  await cancelled(first);
  assert.equal((await fal.queue.status(FLUX, { requestId: second })).queue_position, 0);

  await fal.queue.cancel(FLUX, { requestId: running });
  await cancelled(running);
  const late = await refusal(fal.queue.cancel(FLUX, { requestId: running }));
  assert.deepEqual([late.status, late.body.status], [400, "ALREADY_COMPLETED"]);

  // the worker is free for the next
  await untilStatus(fal, FLUX, second, "IN_PROGRESS");
});

test("24 cancelling answers with fal's codes and words", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  const fal = server.client();
  const [running, waiting] = [await fal.queue.submit(FLUX, { input }), await fal.queue.submit(FLUX, { input })];
  await untilStatus(fal, FLUX, running.request_id, "IN_PROGRESS");
  const cancel = async (id) => {
    const { status, json } = await server.raw("PUT", `/queue/fal-ai/flux/requests/${id}/cancel`);
    return [status, json.status];
  };
  assert.deepEqual(await cancel(waiting.request_id), [200, "OK"]);
  assert.deepEqual(await cancel(running.request_id), [202, "CANCELLATION_REQUESTED"]);
  await untilStatus(fal, FLUX, running.request_id, "COMPLETED");
  assert.deepEqual(await cancel(running.request_id), [400, "ALREADY_COMPLETED"]);
  assert.deepEqual(await cancel("00000000-0000-4000-8000-000000000000"), [404, "NOT_FOUND"]);
});

test("25, 26 the timeout of subscribe cancels the request on the server", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  const fal = server.client();
  let requestId;
  const call = fal.subscribe(FLUX, { input, timeout: 500, pollInterval: 50, onEnqueue: (id) => (requestId = id) });
  assert.match((await refusal(call)).message, /timed out/);
  const status = await untilStatus(fal, FLUX, requestId, "COMPLETED");
  assert.equal(status.error_type, "client_cancelled");
});

test("38 a caller who hangs up takes the job along", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  const controller = new AbortController();
  const call = fetch(`${server.url}/run/${FLUX}`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { "content-type": "application/json" },
    signal: controller.signal,
  });
  await eventually("the job runs", () => server.log.includes("job taken"));
  controller.abort();
  assert.equal((await refusal(call)).name, "AbortError");
  await eventually("the job has ended", () => /job finished.*status=499/.test(server.log));
});

test("27 equal priority is first in, first out, and low waits behind normal", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  const fal = server.client();
  const submit = async (priority) => (await fal.queue.submit(FLUX, { input, priority })).request_id;
  const running = await submit("normal");
  await untilStatus(fal, FLUX, running, "IN_PROGRESS");
  const [low, a, b] = [await submit("low"), await submit("normal"), await submit("normal")];
  for (const [at, next] of [[running, a], [a, b], [b, low]]) {
    await fal.queue.cancel(FLUX, { requestId: at });
    await untilStatus(fal, FLUX, next, "IN_PROGRESS");
  }
  const taken = [...server.log.matchAll(/job taken.*job\.id=(\S+)/g)].map(([, id]) => id);
  assert.deepEqual(taken, [running, a, b, low]);
});

test("14 a request that cannot start in time is an ApiError 504, without retries", async (t) => {
  const server = await (await Place.open(t)).start(LONG);
  let requests = 0;
  const counted = (...call) => {
    requests += 1;
    return fetch(...call);
  };
  const fal = server.client(undefined, { fetch: counted });
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input });
  await untilStatus(fal, FLUX, requestId, "IN_PROGRESS");
  requests = 0;
  const error = await refusal(fal.run(FLUX, { input, startTimeout: 1.1 }));
  assert.ok(error instanceof ApiError && error.isUserTimeout, String(error));
  assert.equal(error.body.error_type, "request_timeout");
  assert.equal(requests, 1);
});
