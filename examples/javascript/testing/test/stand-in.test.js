// With stand-ins every endpoint answers at once with a drawn card, whatever the prompt: for the ways through your program.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { useServer } from "../fal-server.js";
import { Refused, Unavailable, illustrate } from "../illustrate.js";
import { serve } from "./scumble.js";

const url = await serve({ after }, "--stand-in=0");

test("a text gets a picture", async () => {
  useServer(url);
  const { bytes, contentType } = await illustrate("a red panda");
  assert.equal(contentType, "image/png");
  assert.deepEqual(bytes.subarray(1, 4), Buffer.from("PNG"));
});

test("a text that is too long is refused, with the reason", async () => {
  useServer(url);
  await assert.rejects(illustrate("x".repeat(40_000)), (error) => error instanceof Refused && /32768/.test(error.message));
});

test("a server that is not there is no refusal", async () => {
  // nobody listens on port 1
  useServer("http://127.0.0.1:1");
  await assert.rejects(illustrate("a red panda"), Unavailable);
});
