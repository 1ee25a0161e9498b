// Keys: made on the command line, asked for from then on.

import { ApiError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { test } from "node:test";

import { Place, refusal } from "./server.mjs";

const STARTER = "scumble/starter";
const input = { prompt: "a green triangle", num_inference_steps: 1 };

test("7 without a key 401, with the key a picture, with another 401", async (t) => {
  const place = await Place.open(t);
  const key = await place.scumble("keys", "create", "--data-dir", place.data, "--label", "test");
  const server = await place.start();

  for (const credentials of [undefined, `${key}x`, "wrong:key"]) {
    const error = await refusal(server.client(credentials ?? (() => undefined)).run(STARTER, { input }));
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, 401);
    // a proxy has a word of its own for those who show no key
    if (credentials) assert.match(error.body.detail, /not valid/);
    else assert.equal(error.body, "Unauthorized");
  }
  const fal = server.client(key);
  const { data } = await fal.subscribe(STARTER, { input, pollInterval: 10 });
  // whoever knows the URL of a picture may see it
  assert.equal((await fetch(data.images[0].url)).status, 200);
  assert.equal((await refusal(server.client("wrong:key").queue.submit(STARTER, { input }))).status, 401);

  for (const [scheme, status] of [["Key", 200], ["key", 200], ["Bearer", 200], ["BEARER", 200], ["Basic", 401]]) {
    const headers = { authorization: `${scheme} ${key}` };
    assert.equal((await server.raw("POST", "/run/scumble/starter", { headers, body: input })).status, status, scheme);
  }
  assert.ok(!server.log.includes(key), "the log never holds a key");
});

test("7 keys are made, listed and revoked while the server runs", async (t) => {
  const place = await Place.open(t);
  const server = await place.start();
  const open = server.client();
  await open.run(STARTER, { input });

  const data = ["--data-dir", place.data];
  const key = await place.scumble("keys", "create", ...data, "--label", "laptop");
  assert.equal((await refusal(open.run(STARTER, { input }))).status, 401);
  await server.client(key).run(STARTER, { input });

  const [id] = key.split(":");
  const listed = await place.scumble("keys", "list", ...data);
  assert.match(listed, new RegExp(`^${id} .*valid.*laptop$`, "m"));
  assert.ok(!listed.includes(key));
  await place.scumble("keys", "revoke", id, ...data);
  assert.equal((await refusal(server.client(key).run(STARTER, { input }))).status, 401);
  assert.match(await place.scumble("keys", "list", ...data), new RegExp(`^${id} .*revoked`, "m"));
});
