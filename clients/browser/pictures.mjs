// Makes the picture of the README with the real binary: `CHROMIUM_BIN=… SCUMBLE_BIN=… node pictures.mjs`.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { Place } from "../shared/place.mjs";

const OUT = fileURLToPath(new URL("../../docs/pictures/", import.meta.url));
const STARTER = "/models/scumble/starter";
const PROMPT = "three green rings on a black background";

const ends = [];
const place = await Place.open({ after: (end) => ends.push(end) });
const server = await place.start();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
await mkdir(OUT, { recursive: true });

/** A page in which a picture was just made. */
async function playground() {
  const page = await browser.newPage({ baseURL: server.url, viewport: { width: 1280, height: 880 } });
  await page.goto(STARTER);
  await page.locator('[name="prompt"]').fill(PROMPT);
  await page.locator('[name="seed"]').fill("2");
  await page.getByRole("button", { name: "Generate", exact: true }).click();
  await page.getByRole("link", { name: "Download" }).first().waitFor();
  await page.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
  await page.screenshot({ path: `${OUT}playground.png` });
}

try {
  await playground();
} finally {
  await browser.close();
  for (const end of ends.reverse()) await end();
}
