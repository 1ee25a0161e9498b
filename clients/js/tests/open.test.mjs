// Every open model draws its own page's example through the official client: small random networks, pictures that were uploaded.
// What the catalogue lists is what is tested: an endpoint without a network fails here.

import { ValidationError } from "@fal-ai/client";
import assert from "node:assert/strict";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { DRAWING, lora, serveAll, undrawn, writeSmall } from "../../shared/drawing.mjs";
import { Place, eventually, jpegSize, pngSize, refusal } from "./server.mjs";

// a few seconds each; more only where the machine has other things to do
const LONGEST = 120_000;

const place = await Place.open({ after });
let server;
let fal;

before(async () => {
  server = await serveAll(place);
  fal = server.client();
});

/** What an endpoint says of itself: its input's schema, and the whole of its page's example. */
async function described(id) {
  const { json } = await server.raw("GET", `/models/${id}/openapi.json`);
  const { $ref } = json.paths[`/${id}`].post.requestBody.content["application/json"].schema;
  const { bytes } = await server.raw("GET", `/models/${id}/llms.txt`);
  const blocks = [...bytes.toString().matchAll(/```json\n([^]*?)\n```/g)];
  return { schema: json.components.schemas[$ref.split("/").at(-1)], example: JSON.parse(blocks.at(-1)[1]) };
}

/** The same input with every picture inside it uploaded, as a program would do with its files. */
async function uploaded(value) {
  if (Array.isArray(value)) return Promise.all(value.map(uploaded));
  if (typeof value === "string" && value.startsWith("data:")) return fal.storage.upload(await (await fetch(value)).blob());
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(async ([name, inner]) => [name, await uploaded(inner)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** Width and height of a picture that an answer names. */
async function sizeOf({ url, content_type: type }) {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), type);
  const bytes = Buffer.from(await response.arrayBuffer());
  const { width, height } = type === "image/png" ? pngSize(bytes) : jpegSize(bytes);
  return [width, height];
}

test("63 catalogue: every open model has a network here", async () => {
  const standing = ({ metadata }) => metadata["x-scumble-standing"].word;
  const models = await eventually("the worker says what it answers", async () => {
    const { json } = await server.raw("GET", "/v1/models?limit=100");
    return json.models.every((model) => standing(model) !== "no-worker") && json.models;
  });
  const open = models.filter((model) => ["here", "needs-weights"].includes(standing(model)));
  const missing = undrawn(open.map((model) => model.endpoint_id)).filter((id) => id !== "scumble/starter");
  assert.deepEqual(missing, [], "add these to clients/shared/drawing.mjs and to write_tiny");
  assert.ok(open.length > 14, "the catalogue lists open models");
  for (const [id] of DRAWING) {
    const model = models.find((model) => model.endpoint_id === id);
    assert.equal(model && standing(model), "here", `${id} has weights and runs`);
  }
});

for (const [id, variant, size] of [["scumble/starter", null, [256, 256]], ...DRAWING]) {
  test(`1 run: ${id} draws the example of its page`, { timeout: LONGEST }, async () => {
    const { schema, example } = await described(id);
    const input = await uploaded(example);
    // the fewest steps there are, and adapters that are on this machine
    if ("num_inference_steps" in schema.properties) input.num_inference_steps = schema.properties.num_inference_steps.minimum ?? 1;
    if (Array.isArray(input.loras)) input.loras = [{ path: lora(place, variant), scale: 0.5 }];
    const { data } = await fal.subscribe(id, { input });
    assert.equal(data.images.length, input.num_images ?? 1);
    for (const image of data.images) {
      assert.deepEqual(await sizeOf(image), size);
      if (image.width !== undefined) assert.deepEqual([image.width, image.height], size);
    }
    for (const field of ["prompt", "seed"]) {
      if (field in data && input[field] != null) assert.equal(data[field], input[field]);
    }
  });
}

test("1 run: fal-ai/hidream-i1-full with LoRAs as its page names them", { timeout: LONGEST }, async (t) => {
  const other = await Place.open(t);
  const id = "fal-ai/hidream-i1-full";
  const weights = await writeSmall(other, "hidream-full");
  const adapters = join(other.folder, "adapters");
  await mkdir(adapters);
  for (const name of ["fox.safetensors", "snow.safetensors"]) {
    await copyFile(lora(other, "hidream-full"), join(adapters, name));
  }
  const settings = `[adapters]\nfolders = [${JSON.stringify(other.folder)}]\n`;
  const client = (await other.configured(settings, "--weights", `${id}=${weights}`)).client();
  const input = { prompt: "a fox", image_size: { width: 64, height: 64 }, num_inference_steps: 2, seed: 3 };
  const drawn = async (loras) => {
    const { data } = await client.run(id, { input: { ...input, loras } });
    return Buffer.from(await (await fetch(data.images[0].url)).arrayBuffer());
  };
  const plain = await drawn([]);
  const one = await drawn([{ path: join(adapters, "fox.safetensors"), scale: 1 }]);
  assert.notDeepEqual(one, plain);
  assert.deepEqual(await drawn([{ path: adapters, weight_name: "fox.safetensors" }]), one, "one of several files");
  assert.deepEqual(await drawn([{ path: adapters, weight_name: "fox.safetensors", scale: 0 }]), plain);
  assert.notDeepEqual(await drawn([{ path: adapters, weight_name: "fox.safetensors", scale: 0.5 }]), one);
  assert.deepEqual(await drawn([]), plain, "the model is as it was");
  for (const wrong of [{ path: adapters }, { path: adapters, weight_name: "cat.safetensors" }]) {
    const error = await refusal(drawn([wrong]));
    assert.ok(error instanceof ValidationError, String(error));
    assert.deepEqual(error.fieldErrors[0].loc.slice(0, 3), ["body", "loras", 0]);
    assert.match(error.fieldErrors[0].msg, /fox\.safetensors/, "it says what there is");
  }
});

// ------------------------------------------------------------------------------------------------------ streams

/** All events of a stream, and what it ends with. */
async function streamed(client, id, input) {
  const stream = await client.stream(id, { input });
  const events = [];
  for await (const event of stream) events.push(event);
  return { events, result: await stream.done() };
}

for (const [id, variant, steps] of [
  ["fal-ai/hidream-i1-full", "hidream-full", 12],
  ["fal-ai/hidream-i1-fast", "hidream-fast", 16],
]) {
  test(`33 stream: ${id} shows the picture coming and ends with the complete result`, { timeout: LONGEST }, async (t) => {
    const other = await Place.open(t);
    const here = await other.start("--weights", `${id}=${await writeSmall(other, variant)}`);
    // what its page sends, in a size for small networks
    const { example } = await described(id);
    const input = { ...example, image_size: { width: 128, height: 128 }, num_inference_steps: steps, seed: 7 };
    delete input.loras;
    const { events, result } = await streamed(here.client(), id, input);
    assert.deepEqual(events.at(-1), result);
    assert.ok(events.length >= 2, "there is a preview");
    for (const { images } of events.slice(0, -1)) {
      assert.match(images[0].url, /^data:image\/(png|jpeg);base64,/);
      assert.ok(images[0].width > 0 && images[0].height > 0 && images[0].content_type.startsWith("image/"));
    }
    assert.deepEqual([result.seed, result.prompt, result.images.length], [7, input.prompt, 1]);
    assert.deepEqual(result.has_nsfw_concepts, [false]);
    assert.equal(result.images[0].content_type, "image/jpeg");
    assert.deepEqual(await sizeOf(result.images[0]), [128, 128]);
    // the picture of a stream is the one of an ordinary call
    const { data } = await here.client().run(id, { input });
    const bytes = async ({ url }) => Buffer.from(await (await fetch(url)).arrayBuffer());
    assert.deepEqual(await bytes(data.images[0]), await bytes(result.images[0]));
  });
}
