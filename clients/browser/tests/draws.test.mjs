// Every open model that runs here draws its own page's example: small random networks, the real pages, a real browser.
// WRITE_TINY_BIN names the program that writes the networks (crates/testkit/examples/write_tiny.rs).

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Place } from "../../shared/place.mjs";
import { close, visit } from "./browser.mjs";

const WRITE_TINY =
  process.env.WRITE_TINY_BIN ?? fileURLToPath(new URL("../../../target/release/examples/write_tiny", import.meta.url));
// rows and columns of 16 pixels: up to 1024
const SIDE = "64";
// a few seconds each; more only where the machine has other things to do
const LONGEST = 120_000;

/** Endpoints, what they run on, and how large the example's picture is. */
const DRAWING = [
  ["fal-ai/flux/schnell", "flux-schnell", [1024, 768]],
  ["fal-ai/flux/dev", "flux-dev", [1024, 768]],
  ["fal-ai/flux/dev/image-to-image", "flux-dev", [256, 256]],
  ["fal-ai/flux-lora", "flux-dev", [1024, 768]],
  ["fal-ai/flux-lora/image-to-image", "flux-dev", [256, 256]],
  ["fal-ai/flux-lora-fill", "flux-fill", [256, 256]],
  ["fal-ai/flux-pro/v1/fill", "flux-fill", [256, 256]],
  ["fal-ai/stable-diffusion-v35-large", "sd35", [1024, 768]],
  ["fal-ai/aura-flow", "auraflow", [1024, 1024]],
  ["fal-ai/f-lite/standard", "f-lite", [1024, 768]],
  ["fal-ai/f-lite/texture", "f-lite", [1024, 768]],
  // as large as the example's picture
  ["fal-ai/omnigen-v2", "omnigen2", [256, 256]],
];

after(close);
const place = await Place.open({ after });
const folder = (variant) => join(place.folder, variant);
let server;

before(async () => {
  const variants = new Set(DRAWING.map(([, variant]) => variant));
  for (const variant of variants) await promisify(execFile)(WRITE_TINY, [variant, folder(variant), SIDE]);
  const weights = DRAWING.flatMap(([id, variant]) => ["--weights", `${id}=${folder(variant)}`]);
  server = await place.configured(`[adapters]\nfolders = [${JSON.stringify(place.folder)}]\n`, ...weights);
});

for (const [id, variant, size] of DRAWING) {
  test(`${id} draws the example of its page`, { timeout: 2 * LONGEST }, async (t) => {
    const page = await visit(t, server);
    page.setDefaultTimeout(LONGEST);
    await page.goto(`/models/${id}`);
    const steps = page.locator('[name="num_inference_steps"]');
    if (await steps.count()) await steps.fill((await steps.getAttribute("min")) ?? "1");
    if (await page.getByRole("button", { name: "Add Lora" }).count()) {
      await page.getByRole("button", { name: "Add Lora" }).click();
      await page.locator('[name="loras.0.path"]').fill(join(folder(variant), "lora.safetensors"));
    }
    await page.getByRole("button", { name: "Generate", exact: true }).click();
    const picture = page.locator("#pictures img").first();
    await picture.waitFor();
    const drawn = await picture.evaluate(async (image) => (await image.decode(), [image.naturalWidth, image.naturalHeight]));
    assert.deepEqual(drawn, size);
  });
}
