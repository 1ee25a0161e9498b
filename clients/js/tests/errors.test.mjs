// Calls that fail: the client's own error classes, at once and without retries.

import { ApiError, ValidationError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, refusal } from "./server.mjs";

const STARTER = "scumble/starter";
const prompt = "a red circle";
const tiny = { width: 7, height: 7 };

const server = await (await Place.open({ after })).start();
let requests = 0;
const counted = (...call) => {
  requests += 1;
  return fetch(...call);
};
const fal = server.client(undefined, { fetch: counted });

const wrong = [
  ["no input at all", undefined, ["body", "prompt"], "missing"],
  ["no prompt", { seed: 1 }, ["body", "prompt"], "missing"],
  ["a prompt that is no text", { prompt: 3 }, ["body", "prompt"], "string_type"],
  ["too many images", { prompt, num_images: 9 }, ["body", "num_images"], "less_than_equal", { le: 4 }],
  ["no steps", { prompt, num_inference_steps: 0 }, ["body", "num_inference_steps"], "greater_than_equal", { ge: 1 }],
  ["a tiny size", { prompt, image_size: tiny }, ["body", "image_size", "width"], "greater_than_equal", { ge: 64 }],
  ["an unknown size", { prompt, image_size: "huge" }, ["body", "image_size"], "literal_error"],
  ["an unknown format", { prompt, output_format: "gif" }, ["body", "output_format"], "literal_error"],
];
for (const [what, input, loc, type, ctx] of wrong) {
  const check = (error) => {
    assert.ok(error instanceof ValidationError, String(error));
    assert.equal(error.status, 422);
    const problem = error.fieldErrors.find((p) => p.loc.join() === loc.join());
    assert.equal(problem?.type, type, JSON.stringify(error.fieldErrors));
    assert.ok(problem.msg.length > 0 && problem.url.endsWith(`#${type}`));
    if (ctx) assert.deepEqual(problem.ctx, ctx);
  };
  test(`12, 13 run with ${what} is a ValidationError`, async () => check(await refusal(fal.run(STARTER, { input }))));
  test(`22 subscribe with ${what} is a ValidationError`, async () => {
    check(await refusal(fal.subscribe(STARTER, { input, pollInterval: 10 })));
  });
}

test("22 subscribe on a request that fails while it runs is a ValidationError", async (t) => {
  const standIn = await (await Place.open(t)).start("--stand-in");
  const updates = [];
  const call = standIn.client().subscribe("fal-ai/flux/dev", {
    input: { prompt: "[fail 422]" },
    pollInterval: 10,
    onQueueUpdate: (update) => updates.push(update),
  });
  const error = await refusal(call);
  assert.ok(error instanceof ValidationError, String(error));
  assert.deepEqual([error.status, error.fieldErrors[0].type], [422, "content_policy_violation"]);
  assert.ok(updates.at(-1).error);
});

test("13 both sides of a tiny size are named", async () => {
  const error = await refusal(fal.run(STARTER, { input: { prompt, image_size: tiny } }));
  assert.deepEqual(error.fieldErrors.map((p) => p.loc.at(-1)), ["width", "height"]);
});

test("59, 61 an endpoint that does not exist is an ApiError 404", async () => {
  for (const call of [fal.run, fal.subscribe, fal.queue.submit]) {
    const error = await refusal(call("fal-ai/no-such-thing", { input: { prompt } }));
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, 404);
    assert.equal(error.body.detail, 'Application "fal-ai/no-such-thing" not found');
    assert.ok(error.requestId);
  }
});

test("23 a request that does not exist is an ApiError 404", async () => {
  const requestId = "00000000-0000-4000-8000-000000000000";
  for (const call of [fal.queue.status, fal.queue.result, fal.queue.cancel]) {
    assert.equal((await refusal(call(STARTER, { requestId }))).status, 404);
  }
});

test("59, 60 an endpoint without weights says what to do, at once and without retries", async () => {
  const began = performance.now();
  const before = requests;
  const error = await refusal(fal.run("fal-ai/flux/schnell", { input: { prompt } }));
  assert.ok(error instanceof ApiError && !(error instanceof ValidationError));
  assert.equal(error.status, 400);
  assert.equal(error.body.error_type, "bad_request");
  assert.match(error.body.detail, /fal-ai\/flux\/schnell has no weights here.*--weights/);
  assert.ok(error.requestId);
  assert.equal(requests - before, 1, "asked once");
  // the client's first pause before a retry alone is longer than half a second
  assert.ok(performance.now() - began < 5_000);

  const updates = [];
  const queued = await refusal(
    fal.subscribe("fal-ai/flux/dev", { input: { prompt }, pollInterval: 10, onQueueUpdate: (u) => updates.push(u) }),
  );
  assert.equal(queued.status, 400);
  assert.match(queued.body.detail, /fal-ai\/flux\/dev has no weights here/);
  const last = updates.at(-1);
  assert.deepEqual([last.status, last.error_type], ["COMPLETED", "bad_request"]);
  assert.equal(last.error, queued.body.detail);
});

test("3 a proxy target outside the service hosts is refused", async () => {
  const elsewhere = ["https://example.com/a/b", "http://fal.run/a/b", "https://fal.run:22/a", "https://u@fal.run/a"];
  for (const target of [undefined, "nonsense", "", ...elsewhere]) {
    const headers = target === undefined ? {} : { "x-fal-target-url": target };
    const answer = await server.raw("POST", "/api/fal/proxy", { headers, body: { prompt } });
    assert.deepEqual([answer.status, answer.json], [400, "Invalid request"], target);
  }
});

test("2 a proxy target is ignored away from the proxy route", async () => {
  const headers = { "x-fal-target-url": "https://queue.fal.run/scumble/starter" };
  const answer = await server.raw("POST", "/run/scumble/starter", { headers, body: {} });
  assert.equal(answer.status, 422, "a direct call, not a submit");
});

test("59, 61 every answer is JSON with a request id, whatever was asked", async () => {
  const asked = [
    ["GET", "/no/such/page", 404],
    ["POST", "/run/fal-ai/no-such-thing", 404],
    ["DELETE", "/run/scumble/starter", 405],
    ["GET", "/cdn/files/no/such.png", 404],
  ];
  for (const [method, path, status] of asked) {
    const answer = await server.raw(method, path);
    assert.equal(answer.status, status, path);
    assert.ok(answer.json?.detail, path);
    assert.ok(answer.headers["x-fal-request-id"], path);
  }
  const broken = await fetch(`${server.url}/run/scumble/starter`, { method: "POST", body: "{" });
  assert.equal(broken.status, 422);
  assert.equal((await broken.json()).detail[0].type, "json_invalid");
});
