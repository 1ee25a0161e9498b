// The current client as it was at 1.2, which many programs still have, unmodified against the real binary.

import { createFalClient } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, refusal } from "../../shared/place.mjs";
import { redirectSockets } from "../../shared/sockets.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 4 };

const place = await Place.open({ after });
const credentials = await place.key();
const server = await place.start("--stand-in=200");
const client = (credentials) =>
  createFalClient({
    credentials,
    requestMiddleware: async (request) => ({ ...request, url: server.here(request.url) }),
  });
const fal = client(credentials);

test("1, 17 client 1.2: run, subscribe and the queue", async () => {
  assert.equal((await fal.run(FLUX, { input })).data.images.length, 1);
  for (const mode of ["polling", "streaming"]) {
    const states = [];
    const onQueueUpdate = (update) => states.push(update.status);
    const options = { input: { ...input, seed: 3 }, logs: true, mode, pollInterval: 20, onQueueUpdate };
    const { data, requestId } = await fal.subscribe(FLUX, options);
    assert.equal(data.seed, 3);
    assert.equal(states.at(-1), "COMPLETED");
    assert.deepEqual((await fal.queue.result(FLUX, { requestId })).data, data);
  }
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input: { ...input, seed: 4 } });
  await fal.queue.subscribeToStatus(FLUX, { requestId, pollInterval: 20 });
  assert.equal((await fal.queue.result(FLUX, { requestId })).data.seed, 4);
});

test("33 client 1.2: a stream's result is the complete one", async () => {
  const stream = await fal.stream(FLUX, { input: { ...input, seed: 6 } });
  const events = [];
  stream.on("data", (event) => events.push(event));
  const result = await stream.done();
  assert.equal(result.seed, 6);
  assert.deepEqual(events.at(-1), result);
});

test("51 client 1.2: uploads", async () => {
  const url = await fal.storage.upload(new File(["hello"], "a b.txt", { type: "text/plain" }));
  assert.equal(await (await fetch(url)).text(), "hello");
});

test("39 client 1.2: realtime", async (t) => {
  redirectSockets(t, server);
  const seed = await new Promise((resolve, reject) => {
    const connection = fal.realtime.connect(FLUX, {
      throttleInterval: 0,
      onResult: (result) => resolve(result.seed),
      onError: reject,
    });
    t.after(() => connection.close());
    connection.send({ ...input, seed: 8 });
  });
  assert.equal(seed, 8);
});

test("7, 13 client 1.2: errors have its classes", async () => {
  const wrong = await refusal(fal.run(FLUX, { input: { prompt: 3 } }));
  assert.deepEqual([wrong.name, wrong.fieldErrors[0].loc], ["ValidationError", ["body", "prompt"]]);
  const stranger = await refusal(client("wrong:key").run(FLUX, { input }));
  assert.deepEqual([stranger.name, stranger.status], ["ApiError", 401]);
});
