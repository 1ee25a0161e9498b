// fal's own server-side proxy between a page and this server.

import { ValidationError, createFalClient } from "@fal-ai/client";
import { createHandler } from "@fal-ai/server-proxy/express";
import express from "express";
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";

import { Place } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 4 };

const place = await Place.open({ after });
const key = await place.key();
const server = await place.start("--stand-in=200");

/** The express adapter on a free port. It adds the key, which the page never sees. */
async function proxyInFront() {
  const app = express();
  app.use(express.json());
  const handler = createHandler({
    allowedUrlPatterns: [`${new URL(server.url).host}/**`],
    allowedEndpoints: ["**"],
    allowUnauthorizedRequests: false,
    isAuthenticated: async () => true,
    resolveFalAuth: async () => `Key ${key}`,
  });
  app.all("/api/fal/proxy", (request, response) => handler(request, response, () => undefined));
  const listener = app.listen(0, "127.0.0.1");
  await once(listener, "listening");
  after(() => {
    listener.closeAllConnections();
    listener.close();
  });
  return `http://127.0.0.1:${listener.address().port}/api/fal/proxy`;
}

const url = await proxyInFront();
// the middleware runs first, so the proxy's target is this server
const fal = createFalClient({
  proxyUrl: { url, when: "always" },
  requestMiddleware: async (request) => ({ ...request, url: server.here(request.url) }),
});

test("2 proxy in front: calls reach what their path says, although the target header comes along", async () => {
  const { data } = await fal.run(FLUX, { input });
  assert.equal(data.images.length, 1);
  const { data: queued, requestId } = await fal.subscribe(FLUX, { input, pollInterval: 20 });
  assert.equal(queued.images.length, 1);
  assert.match(requestId, /^[0-9a-f-]{36}$/);
});

test("2 proxy in front: uploads", async () => {
  const file = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
  assert.equal(await (await fetch(file)).text(), "hello");
});

test("36 proxy in front: a stream is one although accept says application/json", async () => {
  const stream = await fal.stream(FLUX, { input: { ...input, seed: 3 } });
  assert.equal((await stream.done()).seed, 3);
  const { data } = await fal.subscribe(FLUX, { input, mode: "streaming" });
  assert.equal(data.images.length, 1);
});

test("36 accept does not decide what is a stream", async () => {
  const authorization = `Key ${key}`;
  for (const accept of ["application/json", "text/event-stream", "*/*"]) {
    const ask = (path) => server.raw("POST", path, { headers: { accept, authorization }, body: input });
    assert.match((await ask(`/run/${FLUX}/stream`)).headers["content-type"], /^text\/event-stream/, accept);
    assert.match((await ask(`/run/${FLUX}`)).headers["content-type"], /^application\/json/, accept);
  }
});

test("13 proxy in front: the body of an error arrives", async () => {
  // the adapter turns every status into 200, which nothing here can help
  const answer = await fal.run(FLUX, { input: { prompt: 3 } }).catch((error) => error);
  const problems = answer instanceof ValidationError ? answer.fieldErrors : answer.data.detail;
  assert.deepEqual(problems[0].loc, ["body", "prompt"]);
});
