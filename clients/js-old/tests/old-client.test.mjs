// The deprecated client, still widely installed, unmodified against the real binary.

import * as fal from "@fal-ai/serverless-client";
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";

import { Place, eventually, pngSize, refusal } from "../../shared/place.mjs";
import { redirectSockets } from "../../shared/sockets.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 4 };

const place = await Place.open({ after });
const credentials = await place.key();
const server = await place.start("--stand-in=200");

const middleware = { requestMiddleware: async (request) => ({ ...request, url: server.here(request.url) }) };
// what its own proxy setting does, which it ignores outside of browsers
const proxy = {
  requestMiddleware: async (request) => ({
    url: `${server.url}/api/fal/proxy`,
    headers: { ...request.headers, "x-fal-target-url": request.url },
  }),
};
const fetching = { fetch: (url, init) => fetch(server.here(String(url)), init) };

beforeEach(() => fal.config({ credentials, ...middleware }));

for (const [name, hook] of Object.entries({ middleware, proxy, fetching })) {
  test(`1 the old client by ${name}: run, subscribe and the queue`, async () => {
    fal.config({ credentials, ...hook });
    assert.equal((await fal.run(FLUX, { input })).images.length, 1);

    const updates = [];
    const result = await fal.subscribe(FLUX, {
      input: { ...input, seed: 3 },
      logs: true,
      pollInterval: 20,
      onQueueUpdate: (update) => updates.push(update),
    });
    assert.equal(result.seed, 3);
    assert.equal(updates.at(-1).status, "COMPLETED");
    assert.ok(updates.at(-1).logs.length > 0);

    const { request_id: requestId } = await fal.queue.submit(FLUX, { input });
    await eventually("the request has ended", async () => {
      return (await fal.queue.status(FLUX, { requestId })).status === "COMPLETED";
    });
    assert.equal((await fal.queue.result(FLUX, { requestId })).images.length, 1);
    const late = await refusal(fal.queue.cancel(FLUX, { requestId }));
    assert.deepEqual([late.status, late.body.status], [400, "ALREADY_COMPLETED"]);
  });
}

test("1 the old client: the starter draws a picture", async () => {
  const { images } = await fal.run("scumble/starter", { input: { prompt: "a red circle", num_inference_steps: 1 } });
  const bytes = Buffer.from(await (await fetch(images[0].url)).arrayBuffer());
  assert.deepEqual(pngSize(bytes), { width: 256, height: 256 });
});

test("7, 13 the old client: errors have its classes", async () => {
  const wrong = await refusal(fal.run(FLUX, { input: { prompt: 3 } }));
  assert.ok(wrong instanceof fal.ValidationError, String(wrong));
  assert.deepEqual(wrong.fieldErrors[0].loc, ["body", "prompt"]);
  fal.config({ credentials: "wrong:key", ...middleware });
  const refused = await refusal(fal.run(FLUX, { input }));
  assert.ok(refused instanceof fal.ApiError);
  assert.equal(refused.status, 401);
});

test("31 the old client: subscribe by status stream", async () => {
  const updates = [];
  const result = await fal.subscribe(FLUX, {
    input: { ...input, seed: 5 },
    mode: "streaming",
    logs: true,
    onQueueUpdate: (update) => updates.push(update.status),
  });
  assert.equal(result.seed, 5);
  assert.equal(updates.at(-1), "COMPLETED");
});

test("33 the old client: stream", async () => {
  const stream = await fal.stream(FLUX, { input: { ...input, seed: 6 } });
  const events = [];
  // its iterator forgets what came shortly before the end
  stream.on("data", (event) => events.push(event));
  const result = await stream.done();
  assert.equal(result.seed, 6);
  assert.deepEqual(events.at(-1), result);
});

test("33 the old client: its iterator hands out the last event, with previews and without", async () => {
  for (const [endpoint, steps] of [["scumble/starter", 1], ["scumble/starter", 16], [FLUX, 1]]) {
    const stream = await fal.stream(endpoint, { input: { prompt: "a red circle", num_inference_steps: steps } });
    let last;
    for await (const event of stream) {
      assert.ok(event.images.length > 0, "an event has a picture");
      last = event;
    }
    assert.ok(last, "there is one");
    assert.equal(last.images[0].url, (await stream.done()).images[0].url);
  }
});

test("51 the old client: uploads, by hand and inside an input", async () => {
  const url = await fal.storage.upload(new File(["hello"], "a b.txt", { type: "text/plain" }));
  assert.equal(await (await fetch(url)).text(), "hello");

  let sent;
  const spy = (to, init) => {
    if (String(to).includes("fal.run/")) sent = JSON.parse(init.body);
    return fetching.fetch(to, init);
  };
  fal.config({ credentials, fetch: spy });
  await fal.run(FLUX, { input: { ...input, reference: { images: [new Blob(["pixels"], { type: "image/png" })] } } });
  assert.equal(await (await fetch(sent.reference.images[0])).text(), "pixels");
});

test("8, 45 the old client: realtime echoes the request_id of each input", async (t) => {
  redirectSockets(t, server);
  const results = [];
  const errors = [];
  const connection = fal.realtime.connect(FLUX, {
    throttleInterval: 0,
    onResult: (result) => results.push(result),
    onError: (error) => errors.push(error),
  });
  t.after(() => connection.close());
  for (const [i, own] of ["first", undefined].entries()) {
    connection.send({ ...input, seed: i, ...(own && { request_id: own }) });
    await eventually("the result", () => {
      if (errors.length) throw errors[0];
      return results.length === i + 1;
    });
  }
  assert.deepEqual(results.map((result) => result.seed), [0, 1]);
  assert.equal(results[0].request_id, "first");
  assert.match(results[1].request_id, /^[0-9a-f-]{36}$/, "the client made one");
});
