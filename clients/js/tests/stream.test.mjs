// Direct calls whose pictures come as a stream of events.

import { ApiError, ValidationError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, eventually, pngSize, refusal } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const STARTER = "scumble/starter";
const small = { width: 64, height: 64 };
const input = { prompt: "a card", image_size: small, num_inference_steps: 8 };

const server = await (await Place.open({ after })).start("--stand-in=600");

const hooks = { A: server.client(), B: server.middlewareClient(), C: server.fetchClient() };
for (const [hook, fal] of Object.entries(hooks)) {
  test(`1, 33 stream with hook ${hook}: the last event is the complete result`, async () => {
    const stream = await fal.stream(FLUX, { input: { ...input, seed: 4 } });
    const events = [];
    for await (const event of stream) events.push(event);
    const result = await stream.done();
    assert.deepEqual(events.at(-1), result);
    assert.deepEqual([result.seed, result.prompt, result.images.length], [4, input.prompt, 1]);
    assert.equal((await fetch(result.images[0].url)).status, 200);
    assert.match(stream.requestId, /^[0-9a-f-]{36}$/);
  });
}

test("33 stream: what comes before the result has its shape, with pictures inside", async () => {
  const stream = await hooks.A.stream(STARTER, { input: { prompt: "a red circle on a white background", seed: 1 } });
  const events = [];
  for await (const event of stream) events.push(event);
  assert.ok(events.length >= 2, "there is a preview");
  for (const { images } of events.slice(0, -1)) {
    assert.match(images[0].url, /^data:image\/(png|jpeg);base64,/);
    assert.ok(images[0].width > 0 && images[0].height > 0 && images[0].content_type.startsWith("image/"));
  }
  const last = await fetch((await stream.done()).images[0].url);
  assert.deepEqual(pngSize(Buffer.from(await last.arrayBuffer())), { width: 256, height: 256 });
});

test("33 stream: on the wire there are JSON events only, no end marker, and a clean close", async () => {
  const response = await fetch(`${server.url}/run/${FLUX}/stream`, { method: "POST", body: JSON.stringify(input) });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type"), /^text\/event-stream/);
  const text = await response.text();
  assert.ok(text.endsWith("\n\n"), "the last event is finished");
  const lines = text.split("\n").filter((line) => line.startsWith("data:"));
  assert.ok(lines.length >= 1);
  lines.forEach((line) => assert.equal(typeof JSON.parse(line.slice(5)), "object"));
  assert.match(text, /^[\x00-\x7f]*$/, "a character in two chunks would be lost");
});

/** A `fetch` whose answers arrive one byte at a time, as the worst of relays would deliver them. */
async function byteByByte(url, init) {
  const { body, status, headers } = await fetch(url, init);
  const bytes = new TransformStream({
    transform: (chunk, controller) => chunk.forEach((_, i) => controller.enqueue(chunk.subarray(i, i + 1))),
  });
  return new Response(body.pipeThrough(bytes), { status, headers });
}

test("34 stream: text beyond ASCII arrives intact however the chunks fall", async () => {
  const prompt = "é ü 星 🎨 \u2028 \"quoted\"";
  const fal = server.fetchClient(undefined, { fetch: byteByByte });
  const stream = await fal.stream(FLUX, { input: { ...input, prompt } });
  assert.equal((await stream.done()).prompt, prompt);
});

test("35 stream: bad input is a ValidationError before the first event", async () => {
  const stream = await hooks.A.stream(FLUX, { input: { prompt: 3 } });
  const error = await refusal(stream.done());
  assert.ok(error instanceof ValidationError, String(error));
  assert.equal(error.status, 422);
  assert.deepEqual(error.fieldErrors[0].loc, ["body", "prompt"]);
  assert.ok(error.requestId);
});

test("35 stream: an unknown endpoint is a 404 before the first event", async () => {
  const error = await refusal((await hooks.A.stream("fal-ai/no-such-thing", { input })).done());
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, 404);
});

test("37 stream: an id that ends in /stream is not doubled", async () => {
  const stream = await hooks.A.stream(`${FLUX}/stream`, { input: { ...input, seed: 6 } });
  assert.equal((await stream.done()).seed, 6);
});

test("38 stream: hanging up stops the work", async (t) => {
  const slow = await (await Place.open(t)).start("--stand-in=60000");
  const stream = await slow.client().stream(FLUX, { input });
  await eventually("the job runs", () => slow.log.includes("job taken"));
  stream.abort();
  await eventually("the job has ended", () => /job finished.*status=499/.test(slow.log));
});
