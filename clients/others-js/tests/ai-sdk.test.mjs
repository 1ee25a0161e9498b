// The AI SDK, unmodified: OpenAI's provider at /v1, fal's at /run.

import { createFal } from "@ai-sdk/fal";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, jpegSize, pngSize } from "../../shared/place.mjs";
import { clearLeft, format, png } from "./pictures.mjs";

const place = await Place.open({ after });
const apiKey = await place.key();
const server = await place.start("--stand-in=0");
const openai = createOpenAI({ baseURL: `${server.url}/v1`, apiKey });
const fal = createFal({ baseURL: `${server.url}/run`, apiKey });
const none = { maxRetries: 0 };

test("OpenAI's provider: pictures from a prompt", async () => {
  const { images } = await generateImage({ ...none, model: openai.image("gpt-image-1"), prompt: "a red circle", n: 3 });
  assert.deepEqual(images.map((image) => format(image.uint8Array)), ["png", "png", "png"]);
  const providerOptions = { openai: { outputFormat: "webp", quality: "high", background: "auto" } };
  const asked = { ...none, model: openai.image("gpt-image-1"), prompt: "a red circle", size: "1536x1024", providerOptions };
  assert.equal(format((await generateImage(asked)).image.uint8Array), "webp");
  const schnell = { ...none, model: openai.image("fal-ai/flux/schnell"), prompt: "a red circle", size: "640x480" };
  assert.deepEqual(pngSize(Buffer.from((await generateImage(schnell)).image.uint8Array)), { width: 640, height: 480 });
});

test("OpenAI's provider: pictures from pictures", async () => {
  const model = openai.image("gpt-image-1");
  const picture = png(64, 64);
  const one = await generateImage({ ...none, model, prompt: { text: "a hat", images: [picture] } });
  assert.equal(format(one.image.uint8Array), "png");
  const two = await generateImage({ ...none, model, prompt: { text: "a hat", images: [picture, picture] } });
  assert.equal(format(two.image.uint8Array), "png");
  const prompt = { text: "a hat", images: [picture], mask: clearLeft(64, 64) };
  assert.equal(format((await generateImage({ ...none, model, prompt })).image.uint8Array), "png");
});

test("fal's provider: ratios and sizes on the starter", async () => {
  const model = fal.image("scumble/starter");
  for (const [aspectRatio, ratio] of [["1:1", 1], ["16:9", 16 / 9], ["3:4", 3 / 4]]) {
    const { image } = await generateImage({ ...none, model, prompt: "a red circle", aspectRatio });
    const { width, height } = pngSize(Buffer.from(image.uint8Array));
    assert.ok(Math.abs(width / height / ratio - 1) < 0.07 && Math.max(width, height) === 512, `${width}x${height}`);
  }
  const { image } = await generateImage({ ...none, model, prompt: "a red circle", size: "256x128", seed: 7 });
  assert.deepEqual(pngSize(Buffer.from(image.uint8Array)), { width: 256, height: 128 });
});

test("fal's provider: pictures from pictures, and several", async () => {
  const prompt = { text: "a hat", images: [png(64, 64)] };
  const redux = await generateImage({ ...none, model: fal.image("fal-ai/flux-pro/v1/redux"), prompt });
  assert.deepEqual(jpegSize(Buffer.from(redux.image.uint8Array)), { width: 1024, height: 768 });
  const { images } = await generateImage({ ...none, model: fal.image("fal-ai/flux/dev"), prompt: "a card", n: 3 });
  assert.equal(images.length, 3);
});

test("fal's provider: an error says what is wrong", async () => {
  const wrong = generateImage({ ...none, model: fal.image("fal-ai/nope"), prompt: "x" });
  await assert.rejects(wrong, (error) => error.statusCode === 404);
});
