// Every open model that runs here draws its own page's example: small random networks, the real pages, a real browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { DRAWING, lora, serveAll } from "../../shared/drawing.mjs";
import { Place } from "../../shared/place.mjs";
import { close, visit } from "./browser.mjs";

// a few seconds each; more only where the machine has other things to do
const LONGEST = 120_000;

after(close);
const place = await Place.open({ after });
let server;

before(async () => {
  server = await serveAll(place);
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
      await page.locator('[name="loras.0.path"]').fill(lora(place, variant));
    }
    await page.getByRole("button", { name: "Generate", exact: true }).click();
    const picture = page.locator("#pictures img").first();
    await picture.waitFor();
    const drawn = await picture.evaluate(async (image) => (await image.decode(), [image.naturalWidth, image.naturalHeight]));
    assert.deepEqual(drawn, size);
  });
}
