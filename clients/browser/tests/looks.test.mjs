// Every page at both widths and in both schemes: nothing serious for axe, nothing over the edge, a picture to look at.

import { after, test } from "node:test";

import { Place } from "../../shared/place.mjs";
import { SCHEMES, WIDTHS, accessible, close, fits, shoot, visit } from "./browser.mjs";

after(close);
const place = await Place.open({ after });
const server = await place.start("--stand-in=200");
const keyed = await (await Place.open({ after })).start();

const prompts = ["two small yellow stars on a purple background", "three green rings on a black background", "a red heart on a white background"];
for (const prompt of prompts) await server.raw("POST", "/run/scumble/starter", { body: { prompt, seed: 3 } });
await server.raw("POST", "/run/fal-ai/flux/schnell", { body: { prompt: "A lighthouse in a storm", seed: 1 } });
await server.raw("POST", "/queue/scumble/starter", { body: { prompt: "x", num_images: 99 } });

const PAGES = [
  ["gallery", "/"],
  ["model", "/models/scumble/starter"],
  ["model-sd35", "/models/fal-ai/stable-diffusion-v35-large"],
  ["model-ideogram-edit", "/models/fal-ai/ideogram/v3/edit"],
  ["history", "/history"],
  ["jobs", "/jobs"],
  ["keys", "/keys"],
  ["docs", "/docs"],
  ["document", "/docs/clients"],
  ["missing", "/models/no/such"],
];

for (const [width, size] of Object.entries(WIDTHS)) {
  for (const scheme of SCHEMES) {
    test(`every page on a ${width}, ${scheme}`, async (t) => {
      const page = await visit(t, server, { size, scheme });
      for (const [name, path] of PAGES) {
        await page.goto(path);
        await accessible(page);
        await fits(page);
        await shoot(page, `${name}-${width}-${scheme}`);
      }
      page.expected("404");
      await page.goto("/history");
      await page.locator(".shots").first().click();
      await page.waitForURL("**/history/*-*");
      await accessible(page);
      await fits(page);
      await shoot(page, `request-${width}-${scheme}`);
    });
  }
}

test("signing in and a new key, in both schemes", async (t) => {
  let key;
  for (const [width, scheme] of [["desk", "light"], ["phone", "dark"]]) {
    const page = await visit(t, keyed, { size: WIDTHS[width], scheme });
    if (key) {
      await page.goto("/keys");
      await accessible(page);
      await fits(page);
      await shoot(page, `sign-in-${width}-${scheme}`);
      await page.getByLabel("Key").fill(key);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL("**/keys");
    } else {
      await page.goto("/keys");
    }
    await page.getByLabel("Name").fill(`key of the ${width}`);
    await page.getByRole("button", { name: "Create key" }).click();
    key = await page.locator("#secret").textContent();
    await accessible(page);
    await fits(page);
    await shoot(page, `key-made-${width}-${scheme}`);
  }
});
