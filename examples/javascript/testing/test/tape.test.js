// Tapes hold what a maker has answered: its own pictures and its own refusals, without its key, its bill or a network.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { useServer } from "../fal-server.js";
import { Refused, Unavailable, illustrate } from "../illustrate.js";
import { serve } from "./scumble.js";

const tapes = fileURLToPath(new URL("../tapes", import.meta.url));
useServer(await serve({ after }, "--replay", tapes));

test("the maker's picture arrives", async () => {
  const { bytes, contentType } = await illustrate("a red panda in the snow");
  assert.equal(contentType, "image/png");
  // width and height
  assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [64, 36]);
});

test("what the maker refuses is a refusal here", async () => {
  await assert.rejects(illustrate("something that the maker does not draw"), Refused);
});

test("what was never recorded is asked of nobody", async () => {
  await assert.rejects(illustrate("a prompt without a tape"), Unavailable);
});
