// The status of a request as a stream of events.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, refusal, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: "square", num_inference_steps: 10 };

const server = await (await Place.open({ after })).start("--stand-in=1500");
const fal = server.client();

/** What a status stream sends, each with its time, until it ends. */
async function events(requestId, logs) {
  const stream = await fal.queue.streamStatus(FLUX, { requestId, logs });
  const seen = [];
  stream.on("data", (status) => seen.push({ at: performance.now(), ...status }));
  const last = await stream.done();
  return { seen, last, requestId: stream.requestId };
}

test("31 subscribe in streaming mode reports every state, all log lines, and gives the result", async () => {
  const ahead = await fal.queue.submit(FLUX, { input });
  await untilStatus(fal, FLUX, ahead.request_id, "IN_PROGRESS");
  const updates = [];
  const { data, requestId } = await fal.subscribe(FLUX, {
    input: { ...input, seed: 5 },
    mode: "streaming",
    logs: true,
    onQueueUpdate: (update) => updates.push(structuredClone(update)),
  });
  assert.equal(data.seed, 5);
  const words = updates.map((u) => u.status).filter((word, i, all) => word !== all[i - 1]);
  assert.deepEqual(words, ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]);
  assert.equal(updates[0].queue_position, 0);
  assert.ok(updates.every((u) => u.request_id === requestId && u.response_url && u.status_url && u.cancel_url));

  // the client adds up what each event brings: a line that came twice would be here twice
  const lines = updates.at(-1).logs.map((line) => line.message);
  const polled = await fal.queue.status(FLUX, { requestId, logs: true });
  assert.deepEqual(lines, polled.logs.map((line) => line.message));
  assert.ok(lines.length >= 2, lines);
  assert.ok(updates.at(-1).metrics.inference_time > 0);
});

test("31 status stream: the first event comes at once, the last is COMPLETED, then it closes", async () => {
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input });
  const began = performance.now();
  const { seen, last, requestId: header } = await events(requestId, true);
  assert.ok(seen[0].at - began < 1000, "the request takes longer than this");
  assert.notEqual(seen[0].status, "COMPLETED");
  assert.equal(last.status, "COMPLETED");
  assert.equal(seen.filter((s) => s.status === "COMPLETED").length, 1);
  assert.equal(header, requestId);
  assert.ok(seen.every((s) => Array.isArray(s.logs)));
});

test("31 status stream: without logs the key is there and null", async () => {
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input });
  const { seen } = await events(requestId, false);
  assert.ok(seen.length >= 2);
  assert.ok(seen.every((s) => s.logs === null), JSON.stringify(seen));
});

test("31 status stream: of a request that has ended it is one event", async () => {
  const { requestId } = await fal.subscribe(FLUX, { input, pollInterval: 50 });
  const { seen } = await events(requestId, true);
  assert.deepEqual(seen.map((s) => s.status), ["COMPLETED"]);
  assert.ok(seen[0].logs.length > 0, "all lines are new to a newcomer");
});

test("31 status stream: a failed and a cancelled request end it too", async () => {
  const failed = await fal.queue.submit(FLUX, { input: { prompt: 3 } });
  assert.equal((await events(failed.request_id, false)).last.status, "COMPLETED");

  const cancelled = await fal.queue.submit(FLUX, { input });
  const [{ last }] = await Promise.all([
    events(cancelled.request_id, false),
    fal.queue.cancel(FLUX, { requestId: cancelled.request_id }),
  ]);
  assert.deepEqual([last.status, last.error_type], ["COMPLETED", "client_cancelled"]);
});

test("23, 31 status stream: of an unknown request it is a 404", async () => {
  const stream = await fal.queue.streamStatus(FLUX, { requestId: "00000000-0000-4000-8000-000000000000" });
  const error = await refusal(stream.done());
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, 404);
});

test("9, 31 status stream: a page may read it with a token", async () => {
  const direct = server.fetchClient();
  const { request_id: requestId } = await direct.queue.submit(FLUX, { input });
  const last = await direct.queue.subscribeToStatus(FLUX, { requestId, mode: "streaming", connectionMode: "client" });
  assert.equal(last.status, "COMPLETED");
});
