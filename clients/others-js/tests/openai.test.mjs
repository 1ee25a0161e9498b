// OpenAI's own SDK, unmodified: names that it fixes, edits, variations, streams, errors.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import OpenAI, { toFile } from "openai";

import { Place, pngSize, refusal } from "../../shared/place.mjs";
import { clearLeft, format, png } from "./pictures.mjs";

const place = await Place.open({ after });
const apiKey = await place.key();
const server = await place.configured('[openai]\naliases = { "house-model" = "scumble/starter" }\n', "--stand-in=0");
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });

const file = (bytes, name = "p.png") => toFile(bytes, name, { type: "image/png" });
const inside = (answer, at = 0) => Buffer.from(answer.data[at].b64_json, "base64");
const behind = async (answer, at = 0) => Buffer.from(await (await fetch(answer.data[at].url)).arrayBuffer());

test("gpt-image-1 answers base64, dall-e a URL, and what was asked for", async () => {
  const words = { prompt: "a red circle", size: "1024x1024", quality: "auto" };
  assert.equal(format(inside(await client.images.generate({ model: "gpt-image-1", ...words }))), "png");
  for (const output_format of ["png", "jpeg", "webp"]) {
    const answer = await client.images.generate({ model: "gpt-image-1", ...words, output_format });
    assert.equal(format(inside(answer)), output_format);
  }
  assert.equal(format(await behind(await client.images.generate({ model: "dall-e-3", ...words, style: "vivid" }))), "png");
  const asked = await client.images.generate({ model: "dall-e-2", ...words, response_format: "b64_json" });
  assert.equal(format(inside(asked)), "png");
  assert.ok(asked._request_id);
});

test("the owner's name draws and is listed", async () => {
  const answer = await client.images.generate({ model: "house-model", prompt: "a red circle", size: "256x256" });
  assert.deepEqual(pngSize(await behind(answer)), { width: 256, height: 256 });
  assert.equal((await client.models.retrieve("house-model")).id, "house-model");
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(["house-model", "gpt-image-1", "scumble/starter"].every((id) => ids.includes(id)), String(ids));
});

test("edits take one picture or several, with a mask or without", async () => {
  const image = await file(png(64, 64));
  const redux = await client.images.edit({ model: "fal-ai/flux-pro/v1/redux", image, prompt: "a hat", size: "auto" });
  assert.equal(format(await behind(redux)), "jpeg");
  const several = await client.images.edit({ model: "fal-ai/omnigen-v2", image: [image, image], prompt: "a hat" });
  assert.equal(several.data.length, 1);
  assert.equal(format(inside(await client.images.edit({ model: "gpt-image-1", image, prompt: "a hat" }))), "png");
  const mask = await file(clearLeft(64, 64), "m.png");
  const filled = await client.images.edit({ model: "fal-ai/flux-pro/v1/fill", image, mask, prompt: "a hat" });
  assert.equal(format(await behind(filled)), "jpeg");
  const small = await file(clearLeft(32, 32), "m.png");
  const wrong = await refusal(client.images.edit({ model: "gpt-image-1", image, mask: small, prompt: "a hat" }));
  assert.ok(wrong instanceof OpenAI.BadRequestError, String(wrong));
  assert.equal(wrong.param, "mask");
});

test("variations need no model", async () => {
  const image = await file(png(64, 64));
  assert.equal(format(await behind(await client.images.createVariation({ image, n: 1, size: "512x512" }))), "png");
  const named = await client.images.createVariation({ model: "dall-e-2", image, n: 2, response_format: "b64_json" });
  assert.equal(format(inside(named, 1)), "png");
});

test("streams tell how a picture comes into being", async () => {
  const kinds = async (partial_images) => {
    const words = { model: "scumble/starter", prompt: "a red circle", size: "512x512" };
    const stream = await client.images.generate({ ...words, stream: true, partial_images });
    const events = [];
    for await (const event of stream) events.push(event);
    assert.equal(format(Buffer.from(events.at(-1).b64_json, "base64")), "png");
    events.slice(0, -1).forEach((event, index) => assert.equal(event.partial_image_index, index));
    return events.map((event) => event.type);
  };
  assert.deepEqual(await kinds(0), ["image_generation.completed"]);
  const types = await kinds(2);
  assert.equal(types.pop(), "image_generation.completed");
  assert.ok(types.length <= 2 && types.every((type) => type === "image_generation.partial_image"), String(types));
  const image = await file(png(64, 64));
  const edit = await client.images.edit({ model: "gpt-image-1", image, prompt: "a hat", stream: true });
  const events = [];
  for await (const event of edit) events.push(event.type);
  assert.deepEqual(events, ["image_edit.completed"]);
  const early = client.images.generate({ model: "scumble/starter", prompt: "x", size: "huge", stream: true });
  assert.equal((await refusal(early)).param, "size");
});

test("ten pictures are ten", async () => {
  const words = { model: "fal-ai/aura-flow", prompt: "a card", n: 10, response_format: "b64_json" };
  const { data } = await client.images.generate(words);
  assert.equal(new Set(data.map((picture) => picture.b64_json)).size, 10);
});

test("errors have the SDK's classes and an id", async () => {
  const unknown = await refusal(client.images.generate({ model: "no-such-model", prompt: "x" }));
  assert.ok(unknown instanceof OpenAI.NotFoundError);
  assert.deepEqual([unknown.code, unknown.param], ["model_not_found", "model"]);
  assert.ok(unknown.requestID);
  const chat = await refusal(client.chat.completions.create({ model: "scumble/starter", messages: [] }));
  assert.ok(chat instanceof OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "wrong", maxRetries: 0 });
  const refused = await refusal(stranger.images.edit({ model: "gpt-image-1", image: await file(png(8, 8)), prompt: "x" }));
  assert.ok(refused instanceof OpenAI.AuthenticationError, String(refused));
  assert.ok(refused.requestID);
});
