// Tokens: what a page gets instead of a key, for some apps and for a while.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, eventually, refusal } from "./server.mjs";
import { connect, redirectSockets } from "./sockets.mjs";

const FLUX = "fal-ai/flux/dev";
const STARTER = "scumble/starter";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

const place = await Place.open({ after });
const key = await place.key();
const server = await place.start("--stand-in");
const fal = server.fetchClient(key);
const authorized = { authorization: `Key ${key}` };

const token = async (body) => {
  const answer = await server.raw("POST", "/rest/tokens/", { headers: authorized, body });
  assert.equal(answer.status, 200, answer.bytes.toString());
  return answer.json;
};
/** How a stream of this endpoint ends that has a token and no key. */
const streamWith = async (endpoint, word) => {
  const path = `/run/${endpoint}/stream?fal_jwt_token=${encodeURIComponent(word)}`;
  return (await server.raw("POST", path, { body: input })).status;
};

test("8 tokens: the answer is a bare JSON string", async () => {
  const word = await token({ allowed_apps: ["flux"], token_expiration: 120 });
  assert.equal(typeof word, "string");
  assert.equal(encodeURIComponent(word), word, "it goes into URLs");
});

test("7, 8 tokens: without a valid key there is none", async () => {
  for (const headers of [{}, { authorization: "Key wrong:key" }]) {
    const answer = await server.raw("POST", "/rest/tokens/", { headers, body: { allowed_apps: ["flux"] } });
    assert.equal(answer.status, 401);
    assert.equal(typeof answer.json.detail, "string");
  }
});

test("9 tokens: a stream of the app they were made for", async () => {
  const stream = await fal.stream(FLUX, { input: { ...input, seed: 2 }, connectionMode: "client" });
  assert.equal((await stream.done()).seed, 2);
});

test("9 tokens: the client's own provider names the path, and that path is what opens", async () => {
  let asked;
  const tokenProvider = (app) => token({ allowed_apps: [(asked = app)], token_expiration: 60 });
  const stream = await fal.stream(FLUX, { input, connectionMode: "client", tokenProvider });
  assert.equal((await stream.done()).images.length, 1);
  assert.equal(asked, "fal-ai/flux/dev/stream");
});

test("9 tokens: they open no other app, and nothing that needs a key", async () => {
  for (const form of ["flux", "fal-ai/flux", "fal-ai/flux/dev/stream"]) {
    const word = await token({ allowed_apps: [form], token_expiration: 60 });
    assert.equal(await streamWith(FLUX, word), 200, form);
    const other = await streamWith(STARTER, word);
    assert.ok(other === 401 || other === 403, `${form}: ${other}`);
    const headers = { authorization: `Key ${word}` };
    const answer = await server.raw("POST", `/run/${FLUX}`, { headers, body: input });
    assert.equal(answer.status, 401, "a token is no key");
  }
});

test("9 tokens: a changed one, a made up one and an expired one are refused", async () => {
  const word = await token({ allowed_apps: ["flux"], token_expiration: 1 });
  assert.equal(await streamWith(FLUX, `${word.slice(0, -4)}AAAA`), 401);
  assert.equal(await streamWith(FLUX, "made-up"), 401);
  await eventually("the token has expired", async () => (await streamWith(FLUX, word)) === 401);
});

test("9 tokens: a client that only has an expired token gets an ApiError 401", async () => {
  const word = await token({ allowed_apps: ["flux"], token_expiration: 1 });
  await eventually("the token has expired", async () => (await streamWith(FLUX, word)) === 401);
  const stream = await fal.stream(FLUX, { input, connectionMode: "client", tokenProvider: async () => word });
  const error = await refusal(stream.done());
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, 401);
});

test("10 tokens: tokens/realtime answers an object, and its token opens a connection", async (t) => {
  redirectSockets(t, server);
  let asked;
  const tokenProvider = async (app) => {
    const body = { allowed_apps: [(asked = app)], duration: 60 };
    const answer = await server.raw("POST", "/rest/tokens/realtime", { headers: authorized, body });
    assert.equal(answer.status, 200);
    assert.deepEqual(Object.keys(answer.json).includes("token"), true);
    return answer.json.token;
  };
  const connection = connect(t, fal, FLUX, { tokenProvider });
  connection.send({ ...input, seed: 3 });
  await eventually("there is a result", () => connection.results.length);
  assert.equal(asked, "fal-ai/flux/dev/realtime");
  assert.equal(connection.results[0].seed, 3);
});

test("9 tokens: the log never holds one", async () => {
  const word = await token({ allowed_apps: ["flux"], token_expiration: 60 });
  assert.equal(await streamWith(FLUX, word), 200);
  assert.ok(!server.log.includes(word));
  assert.ok(!server.log.includes(key));
});
