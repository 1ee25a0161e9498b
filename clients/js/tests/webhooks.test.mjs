// Webhooks: what a receiver gets, and how it knows from whom.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { assertSigned, receiver } from "./receiver.mjs";
import { Place, eventually, refusal, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

// receivers listen on this machine, which the owner has to allow
const server = await (await Place.open({ after })).configured("[webhooks]\nallow_private = true\n", "--stand-in");
const fal = server.client();
const jwks = async () => (await server.raw("GET", "/rest/.well-known/jwks.json")).json;

test("46 webhooks: one delivery, with the body that the result has", async (t) => {
  const { url, deliveries } = await receiver(t);
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input, webhookUrl: `${url}?order=7&x=%C3%A9` });
  await eventually("the delivery", () => deliveries.length);
  const [{ method, path, headers, json }] = deliveries;
  assert.deepEqual([method, path], ["POST", "/hook?order=7&x=%C3%A9"]);
  assert.match(headers["content-type"], /^application\/json/);
  assert.equal(headers["x-fal-webhook-request-id"], requestId);
  const { data } = await fal.queue.result(FLUX, { requestId });
  assert.deepEqual(json, { request_id: requestId, gateway_request_id: requestId, status: "OK", payload: data });
  assert.equal((await fetch(json.payload.images[0].url)).status, 200, "its URLs lead somewhere");

  // one that came later would be there when another has come
  await fal.queue.submit(FLUX, { input, webhookUrl: url });
  await eventually("the delivery of another request", () => deliveries.length === 2);
  assert.notEqual(deliveries[1].json.request_id, requestId);
});

test("46 webhooks: subscribe takes one along", async (t) => {
  const { url, deliveries } = await receiver(t);
  const { requestId } = await fal.subscribe(FLUX, { input, webhookUrl: url, pollInterval: 20 });
  await eventually("the delivery", () => deliveries.length);
  assert.equal(deliveries[0].json.request_id, requestId);
});

test("47 webhooks: a failure says so and holds the body of the result", async (t) => {
  const { url, deliveries } = await receiver(t);
  const { request_id: requestId } = await fal.queue.submit(FLUX, { input: { prompt: 3 }, webhookUrl: url });
  await eventually("the delivery", () => deliveries.length);
  const { status, error, payload } = deliveries[0].json;
  assert.deepEqual([status, error], ["ERROR", "Invalid status code: 422"]);
  assert.deepEqual([payload.detail[0].loc, payload.detail[0].type], [["body", "prompt"], "string_type"]);
  assert.deepEqual(payload, (await refusal(fal.queue.result(FLUX, { requestId }))).body);
});

test("47 webhooks: a cancelled request is reported too", async (t) => {
  const slow = await (await Place.open(t)).configured("[webhooks]\nallow_private = true\n", "--stand-in=60000");
  const client = slow.client();
  const { url, deliveries } = await receiver(t);
  const { request_id: requestId } = await client.queue.submit(FLUX, { input, webhookUrl: url });
  await untilStatus(client, FLUX, requestId, "IN_PROGRESS");
  await client.queue.cancel(FLUX, { requestId });
  await eventually("the delivery", () => deliveries.length);
  assert.deepEqual([deliveries[0].json.request_id, deliveries[0].json.status], [requestId, "ERROR"]);
});

test("48 webhooks: the signature verifies with the published keys", async (t) => {
  const { url, deliveries } = await receiver(t);
  await fal.queue.submit(FLUX, { input, webhookUrl: url });
  await eventually("the delivery", () => deliveries.length);
  assertSigned(deliveries[0], await jwks());
});

test("48 webhooks: each key is published without padding and with it, and survives a restart", async (t) => {
  const place = await Place.open(t);
  const first = await place.start();
  const keys = async (at) => (await at.raw("GET", "/rest/.well-known/jwks.json")).json.keys;
  const published = await keys(first);
  assert.ok(published.every((key) => key.kty === "OKP" && key.crv === "Ed25519"));
  assert.ok(published.length > 0 && published.length % 2 === 0);
  for (let at = 0; at < published.length; at += 2) {
    const [bare, padded] = [published[at].x, published[at + 1].x];
    assert.deepEqual([bare.length, padded], [43, `${bare}=`]);
  }
  await first.drain();
  assert.deepEqual(await keys(await place.start()), published);
});

test("49 webhooks: a refused delivery is repeated with a fresh timestamp and signature", async (t) => {
  const { url, deliveries } = await receiver(t, [500]);
  await fal.queue.submit(FLUX, { input, webhookUrl: url });
  await eventually("a second delivery", () => deliveries.length === 2);
  const [first, second] = deliveries;
  assert.deepEqual(first.json, second.json);
  const stamp = ({ headers }) => Number(headers["x-fal-webhook-timestamp"]);
  assert.ok(stamp(second) > stamp(first));
  for (const delivery of deliveries) assertSigned(delivery, await jwks());
});

test("49 webhooks: a redirect is final", async (t) => {
  const { url, deliveries } = await receiver(t, [302]);
  await fal.queue.submit(FLUX, { input, webhookUrl: url });
  await eventually("the delivery", () => deliveries.length);
  // a refused one is repeated after its first pause; this one would have been in the same time
  const other = await receiver(t, [500]);
  await fal.queue.submit(FLUX, { input, webhookUrl: other.url });
  await eventually("the repetition of another", () => other.deliveries.length === 2);
  assert.equal(deliveries.length, 1);
});

test("50 webhooks: nothing goes to a private address unless the owner allows it", async (t) => {
  const strict = await (await Place.open(t)).start("--stand-in");
  const client = strict.client();
  const { url, deliveries } = await receiver(t);
  const loopback = [url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::1]")];
  for (const webhookUrl of [...loopback, "http://10.1.2.3/", "http://169.254.169.254/latest/"]) {
    const submitted = await client.queue.submit(FLUX, { input, webhookUrl }).catch((error) => error);
    if (submitted instanceof ApiError) {
      assert.equal(submitted.status, 422, webhookUrl);
      continue;
    }
    const givenUp = new RegExp(`webhook given up.*${submitted.request_id}`);
    await eventually(`${webhookUrl} is given up`, () => givenUp.test(strict.log));
    await untilStatus(client, FLUX, submitted.request_id, "COMPLETED");
  }
  assert.equal(deliveries.length, 0);
});

test("50 webhooks: what is no address of a receiver is refused at once", async () => {
  for (const webhookUrl of ["ftp://example.com/", "nonsense", "http://"]) {
    const error = await refusal(fal.queue.submit(FLUX, { input, webhookUrl }));
    assert.ok(error instanceof ApiError, String(error));
    assert.equal(error.status, 422, webhookUrl);
  }
});
