// Keys and signing in.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place } from "../../shared/place.mjs";
import { accessible, close, visit } from "./browser.mjs";

after(close);

test("the first key closes the door, signs its maker in, and opens it for others", async (t) => {
  const server = await (await Place.open(t)).start();
  const page = await visit(t, server);
  await page.goto("/keys");
  await page.getByText("There is no key yet").waitFor();
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByText("Give it a name").waitFor();
  page.expected("422");
  await page.getByLabel("Name").fill("laptop");
  await page.getByRole("button", { name: "Create key" }).click();
  const key = await page.locator("#secret").textContent();
  assert.match(key, /^[0-9a-f-]{36}:[0-9a-f]{64}$/);
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
  assert.ok(!cookie.value.includes(key.split(":")[1]), "the cookie is not the key");
  // once
  await page.goto("/keys");
  assert.ok(!(await page.content()).includes(key.split(":")[1]));
  await accessible(page);

  // whoever made it is in, and can generate
  await page.goto("/models/scumble/starter");
  await page.locator('[name="num_inference_steps"]').fill("2");
  await page.getByRole("button", { name: "Generate", exact: true }).click();
  await page.locator("#pictures img").waitFor();
  assert.ok(await page.locator("#pictures img").evaluate((image) => image.decode().then(() => image.naturalWidth > 0)));

  // others are not
  const other = await visit(t, server);
  await other.goto("/history");
  await other.waitForURL("**/sign-in?next=%2Fhistory");
  await other.getByLabel("Key").fill("not a key");
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByText("not valid here").waitFor();
  other.expected("401");
  await accessible(other);
  await other.getByLabel("Key").fill(key);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.waitForURL("**/history");
  await other.locator(".entry").first().waitFor();

  // an upload of the page goes with the cookie
  await other.goto("/models/fal-ai/ideogram/v3/edit");
  await other.getByRole("button", { name: "Paint the mask" }).click();
  await other.locator("#mask").focus();
  await other.keyboard.press("Space");
  await other.getByRole("button", { name: "Use this mask" }).click();
  await other.getByText("mask.png is uploaded").waitFor();

  // a revoked key is out at once, with everybody who signed in with it
  await other.goto("/keys");
  other.once("dialog", (dialog) => dialog.accept());
  await other.getByRole("button", { name: "Revoke" }).click();
  await other.waitForURL("**/sign-in**");
  await page.goto("/jobs");
  await page.waitForURL("**/sign-in?next=%2Fjobs");
});

test("signing out", async (t) => {
  const place = await Place.open(t);
  const server = await place.start();
  const key = await place.key();
  const page = await visit(t, server);
  await page.goto("/");
  await page.getByLabel("Key").fill(key);
  await page.getByLabel("Key").press("Enter");
  await page.getByRole("heading", { name: "Models" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/sign-in");
  assert.deepEqual(await page.context().cookies(), []);
  await page.goto("/history");
  await page.waitForURL("**/sign-in?next=%2Fhistory");
});
