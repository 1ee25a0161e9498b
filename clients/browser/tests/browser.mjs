// A real browser that watches itself: what goes wrong on a page, and whoever else it asks, fails the test.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import axe from "axe-core";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const SHOTS = fileURLToPath(new URL("../../../target/screenshots/", import.meta.url));

/** What people hold in their hands, and what stands on their desks. */
export const WIDTHS = { phone: { width: 390, height: 844 }, desk: { width: 1600, height: 1000 } };
export const SCHEMES = ["light", "dark"];

let browser;

/** A fresh profile on a server; closed, and found without fault, when the test has ended. */
export async function visit(t, server, { size = WIDTHS.desk, scheme = "light", ...more } = {}) {
  // pages of tests are no stranger's: root may go without the sandbox
  browser ??= await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  const context = await browser.newContext({
    baseURL: server.url,
    viewport: size,
    colorScheme: scheme,
    reducedMotion: "reduce",
    ...more,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const faults = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`script: ${error.stack}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (["http:", "https:", "ws:", "wss:"].includes(url.protocol) && url.origin !== server.url) {
      faults.push(`asked another host: ${url}`);
    }
  });
  // a refusal that the test wants is no fault: browsers log every answer of 400 and above
  page.expected = (...parts) => {
    for (const part of parts) {
      const at = faults.findIndex((fault) => fault.includes(part));
      assert.notEqual(at, -1, `expected a fault with ${JSON.stringify(part)} among ${JSON.stringify(faults)}`);
      faults.splice(at, 1);
    }
  };
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, [], "the page had no fault");
  });
  return page;
}

/** Ends the browser; for the end of a test file. */
export async function close() {
  await browser?.close();
  browser = undefined;
}

/** What axe finds, of what matters. */
export async function accessible(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} (${node.any[0]?.message ?? ""})`).join("; ")}`);
  assert.deepEqual(told, [], `${page.url()} is accessible`);
}

/** Nothing hangs over the edge. */
export async function fits(page) {
  const { scroll, client } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    client: document.documentElement.clientWidth,
  }));
  assert.ok(scroll <= client, `${page.url()} is ${scroll} px wide on ${client} px`);
}

/** Keeps how a page looks, for people. */
export async function shoot(page, name) {
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true });
}
