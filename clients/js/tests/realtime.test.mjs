// A connection that stays open: inputs in, pictures out.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, eventually } from "./server.mjs";
import { connect, redirectSockets } from "./sockets.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };
const seeds = (connection) => connection.results.map((result) => result.seed);

const place = await Place.open({ after });
const key = await place.key();
const server = await place.start("--stand-in=200");
const fal = server.client(key);

/** A connection that has brought its first result, so that what is sent next is sent at once. */
async function opened(t, options, at = fal) {
  const connection = connect(t, at, FLUX, options);
  connection.send({ ...input, seed: 1 });
  await eventually("the first result", () => {
    if (connection.errors.length) throw connection.errors[0];
    return connection.results.length === 1;
  });
  return connection;
}

test("8, 39 realtime: MessagePack in, MessagePack out, in order", async (t) => {
  const seen = redirectSockets(t, server);
  const connection = await opened(t, {});
  for (const seed of [2, 3, 4]) connection.send({ ...input, seed });
  await eventually("all results", () => connection.results.length === 4);
  assert.deepEqual(seeds(connection), [1, 2, 3, 4]);
  assert.deepEqual(connection.errors, []);
  assert.equal(seen.sockets, 1);
  const binary = seen.frames.filter((frame) => typeof frame !== "string");
  assert.equal(binary.length, 4, "results are binary frames");
  for (const { images, prompt } of connection.results) {
    assert.equal(prompt, input.prompt);
    const [{ content, url, width, height }] = images;
    assert.deepEqual([width, height], [64, 64]);
    assert.ok(content instanceof Uint8Array ? content.length > 50 : url, "the bytes or where they are");
  }
});

test("39 realtime: JSON text in works too", async (t) => {
  redirectSockets(t, server);
  // the client encodes its first message twice
  const encodeMessage = (message) => (typeof message === "string" ? message : JSON.stringify(message));
  const connection = connect(t, fal, FLUX, { encodeMessage });
  connection.send({ ...input, seed: 9 });
  await eventually("the result", () => connection.results.length);
  assert.deepEqual(seeds(connection), [9]);
});

test("40 realtime: what goes wrong is a JSON text frame, and an ApiError", async (t) => {
  const seen = redirectSockets(t, server);
  const connection = await opened(t, {});
  connection.send({ prompt: 3 });
  const error = await eventually("an error", () => connection.errors[0]);
  assert.ok(error instanceof ApiError);
  assert.equal(error.status, 400);
  assert.equal(error.body.type, "x-fal-error");
  assert.match(error.message, /prompt/);
  const texts = seen.frames.filter((frame) => typeof frame === "string").map((text) => JSON.parse(text));
  assert.ok(texts.some((notice) => notice.type === "x-fal-error"), JSON.stringify(texts));
});

test("41 realtime: an idle connection is closed with 1000, and the next input opens another", async (t) => {
  const idle = await (await Place.open(t)).configured("[limits]\nrealtime_idle_s = 1\n", "--stand-in");
  const seen = redirectSockets(t, idle);
  const connection = await opened(t, {}, idle.client());
  await eventually("the server has closed", () => seen.closes.length === 1);
  assert.deepEqual(seen.closes, [1000]);
  const notice = JSON.parse(seen.frames.findLast((frame) => typeof frame === "string"));
  assert.deepEqual([notice.type, notice.error], ["x-fal-error", "TIMEOUT"]);
  assert.deepEqual(connection.errors, [], "the client takes it as it is meant");

  connection.send({ ...input, seed: 2 });
  await eventually("a result over a new connection", () => connection.results.length === 2);
  assert.deepEqual(seeds(connection), [1, 2]);
  assert.equal(seen.sockets, 2);
});

test("42 realtime: when its token has expired the client gets a new one and goes on", async (t) => {
  const seen = redirectSockets(t, server);
  let tokens = 0;
  const tokenProvider = async (app) => {
    tokens += 1;
    const body = { allowed_apps: [app], duration: tokens === 1 ? 4 : 60 };
    const answer = await server.raw("POST", "/rest/tokens/realtime", { headers: { authorization: `Key ${key}` }, body });
    return answer.json.token;
  };
  const connection = await opened(t, { tokenProvider });
  const unauthorized = (frame) => typeof frame === "string" && JSON.parse(frame).error === "Unauthorized";
  await eventually("the expiry is noticed", async () => {
    connection.send({ ...input, seed: 2 });
    return seen.frames.some(unauthorized);
  });
  const before = connection.results.length;
  connection.send({ ...input, seed: 3 });
  await eventually("a result with the new token", () => connection.results.slice(before).some((r) => r.seed === 3));
  assert.equal(tokens, 2);
  assert.equal(seen.sockets, 2);
});

test("43 realtime: without a valid token the handshake is refused with 401", async (t) => {
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  for (const query of ["", "?fal_jwt_token=made-up"]) {
    const answer = await server.raw("GET", `/run/${FLUX}/realtime${query}`, { headers: upgrade });
    assert.equal(answer.status, 401);
    assert.ok(answer.json.detail);
  }
  redirectSockets(t, server);
  const connection = connect(t, fal, FLUX, { tokenProvider: async () => "made-up" });
  connection.send(input);
  await eventually("the client hears of it", () => connection.errors.length);
  assert.deepEqual(connection.results, []);
});

test("44 realtime: a full buffer loses its oldest input", async (t) => {
  const slow = await (await Place.open(t)).start("--stand-in=1000");
  redirectSockets(t, slow);
  const connection = await opened(t, { maxBuffering: 1 }, slow.client());
  const taken = () => slow.log.match(/job taken/g).length;
  const before = taken();
  connection.send({ ...input, seed: 2 });
  await eventually("the second input runs", () => taken() > before);
  for (const seed of [3, 4, 5, 6]) connection.send({ ...input, seed });
  await eventually("the newest input is done", () => seeds(connection).includes(6));
  assert.deepEqual(seeds(connection), [1, 2, 6]);
});
