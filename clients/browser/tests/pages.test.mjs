// Pages as people use them: the real binary, its starter, a real browser.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";

import { Place, eventually } from "../../shared/place.mjs";
import { WIDTHS, accessible, close, fits, shoot, visit } from "./browser.mjs";

const STARTER = "/models/scumble/starter";
const LONG = "fal-ai/flux/schnell";

after(close);
const place = await Place.open({ after });
// a card takes half a minute: long enough to be cancelled
const server = await place.start("--stand-in=30000");

const generate = (page) => page.getByRole("button", { name: "Generate", exact: true });
const field = (page, name) => page.locator(`[name="${name}"]`);

async function endpoints() {
  const { json } = await server.raw("GET", "/v1/models?limit=100");
  return json.models.map(({ endpoint_id: id }) => id);
}

test("the gallery has every endpoint, finds them and leads to their pages", async (t) => {
  const html = (await server.raw("GET", "/")).bytes.toString();
  const ids = await endpoints();
  for (const id of ids) assert.ok(html.includes(`href="/models/${id}"`), `${id} is in what the server sends`);
  const page = await visit(t, server);
  await page.goto("/");
  const cards = page.locator(".card:visible");
  assert.equal(await cards.count(), ids.length);
  await page.getByLabel("Search models").fill("tiger nothing");
  await page.getByText("No model matches").waitFor();
  await page.getByLabel("Search models").fill("schnell");
  assert.equal(await cards.count(), ids.filter((id) => id.includes("schnell")).length);
  await page.getByLabel("Search models").fill("");
  await page.getByLabel(/^Runs here/).check({ force: true });
  assert.equal(await cards.count(), 1);
  await cards.getByRole("link").click();
  await page.waitForURL(`**${STARTER}`);
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "Starter");
});

test("a picture of the asked size is made with visible progress, and is there in gallery and history", async (t) => {
  const page = await visit(t, server);
  await page.goto(STARTER);
  await field(page, "prompt").fill("a red heart on a white background");
  await field(page, "image_size").selectOption("custom");
  await page.getByLabel("Width").fill("192");
  await page.getByLabel("Height").fill("128");
  await field(page, "num_inference_steps").fill("30");
  await field(page, "seed").fill("7");
  await page.evaluate(() => {
    window.seen = { bars: [], words: new Set(), preview: false };
    new MutationObserver(() => {
      const bar = document.querySelector("#bar");
      if (bar.checkVisibility() && bar.hasAttribute("value")) window.seen.bars.push([bar.value, bar.max]);
      window.seen.words.add(document.querySelector("#status").textContent);
      window.seen.preview ||= document.querySelector("#preview").checkVisibility();
    }).observe(document.querySelector("#result"), { subtree: true, attributes: true, childList: true, characterData: true });
  });
  await generate(page).click();
  const picture = page.locator("#pictures img");
  await picture.waitFor();
  const size = await picture.evaluate(async (image) => (await image.decode(), [image.naturalWidth, image.naturalHeight]));
  assert.deepEqual(size, [192, 128]);
  const seen = await page.evaluate(() => ({ ...window.seen, words: [...window.seen.words] }));
  assert.ok(seen.bars.some(([value, max]) => max === 30 && value > 0 && value < 30), `the bar moves: ${JSON.stringify(seen)}`);
  assert.ok(seen.words.includes("Drawing"), `it says what it does: ${seen.words}`);
  assert.ok(seen.preview, "a preview is shown");
  assert.match(await page.locator("#numbers").textContent(), /Seed7/);
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download" }).click();
  assert.match((await download).suggestedFilename(), /\.png$/);
  await page.getByRole("button", { name: "Keep this seed" }).click();
  await accessible(page);
  await shoot(page, "model-result-desk-light");
  await page.goto("/");
  await page.getByAltText("The latest picture of Starter").waitFor();
  await page.goto("/history");
  await page.getByText("a red heart on a white background").first().waitFor();
});

test("what the server refuses is said beside the field", async (t) => {
  const page = await visit(t, server);
  await page.goto(STARTER);
  await field(page, "prompt").fill("");
  await field(page, "num_images").fill("9");
  await generate(page).click();
  const said = async (name) => {
    const control = field(page, name);
    await page.locator(`[name="${name}"][aria-invalid="true"]`).waitFor();
    const ids = (await control.getAttribute("aria-describedby")).split(" ");
    return (await Promise.all(ids.map((id) => page.locator(`[id="${id}"]`).textContent()))).join(" ");
  };
  assert.match(await said("prompt"), /Field required/);
  assert.match(await said("num_images"), /less than or equal to 4/);
  await accessible(page);
  await shoot(page, "model-refused-desk-light");
  page.expected("422");
  await field(page, "prompt").fill("a blue ring on a white background");
  await field(page, "num_images").fill("1");
  await generate(page).click();
  await page.locator("#pictures img").waitFor();
  assert.equal(await page.locator("[aria-invalid]").count(), 0);
});

test("a problem inside of a list is said at its entry, and lists grow and shrink", async (t) => {
  const page = await visit(t, server);
  await page.goto("/models/fal-ai/stable-diffusion-v35-large");
  const add = page.getByRole("button", { name: "Add Lora" });
  await add.click();
  await add.click();
  await field(page, "loras.0.path").fill("owner/one");
  await generate(page).click();
  await page.locator('[name="loras.1.path"][aria-invalid="true"]').waitFor();
  page.expected("422");
  await page.locator(".item").first().getByRole("button", { name: "Remove" }).click();
  await field(page, "loras.1.path").fill("owner/two");
  await field(page, "loras.1.scale").fill("0.5");
  const curl = await page.locator('code[data-language="curl"]').textContent();
  assert.match(curl, /"path": "owner\/two",\s+"scale": 0.5/);
  assert.doesNotMatch(curl, /owner\/one/);
});

test("the programs are in step with the form, in tabs that the keyboard reaches", async (t) => {
  const page = await visit(t, server);
  await page.goto(STARTER);
  await field(page, "prompt").fill('it\'s "so"');
  await field(page, "seed").fill("18446744073709551615");
  const code = (language) => page.locator(`code[data-language="${language}"]`).textContent();
  assert.match(await code("js"), /prompt: "it's \\"so\\"",\n\s+seed: 18446744073709551615,/);
  assert.match(await code("python"), /"prompt": "it's \\"so\\"",/);
  assert.match(await code("curl"), /'\\''s/);
  assert.match(await code("rust"), /json!\(\{\n\s+"prompt"/);
  const tab = (name) => page.getByRole("tab", { name, exact: true });
  await tab("JavaScript").focus();
  for (const [name, language] of [["Python", "python"], ["curl", "curl"], ["Rust", "rust"]]) {
    await page.keyboard.press("ArrowRight");
    assert.equal(await tab(name).getAttribute("aria-selected"), "true");
    assert.ok(await page.locator(`#panel-${language}`).isVisible());
  }
  assert.equal(await page.getByRole("tabpanel").count(), 1);
});

test("a request is cancelled", async (t) => {
  const page = await visit(t, server);
  await page.goto(`/models/${LONG}`);
  await generate(page).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.locator("#empty", { hasText: "Cancelled" }).waitFor();
  assert.ok(await page.locator("#progress").isHidden());
  await page.goto("/history?state=cancelled");
  await page.locator(".state-cancelled").first().waitFor();
});

test("jobs show what runs, where, and can be cancelled", async (t) => {
  const submit = (prompt) => server.raw("POST", `/queue/${LONG}`, { body: { prompt } });
  await submit("the first");
  await submit("the second");
  const page = await visit(t, server);
  await page.goto("/jobs");
  await page.locator(".running", { hasText: "the first" }).waitFor();
  assert.match(await page.locator(".running").textContent(), /denoise|beginning/);
  assert.match(await page.getByRole("region", { name: "Workers" }).textContent(), /cpu/);
  assert.match(await page.locator(".big").textContent(), /Waiting1\s*Running1\s*Workers1\s*Slots here1/);
  await accessible(page);
  await shoot(page, "jobs-busy-desk-light");
  await page.locator(".line", { hasText: "the second" }).getByRole("button", { name: "Cancel" }).click();
  await page.locator(".running", { hasText: "the first" }).getByRole("button", { name: "Cancel" }).click();
  // the list keeps up by itself
  await page.getByText("Nothing runs.").waitFor();
  assert.equal(await page.locator(".state-cancelled", { hasText: "Cancelled" }).first().isVisible(), true);
});

test("pictures go in by file, drop and paste, and masks are painted over them", async (t) => {
  const page = await visit(t, server);
  await page.goto("/models/fal-ai/ideogram/v3/edit");
  const made = await page.evaluate(() => {
    const canvas = new OffscreenCanvas(200, 100);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#3a7";
    pen.fillRect(0, 0, 200, 100);
    return canvas.convertToBlob({ type: "image/png" }).then(async (blob) => [...new Uint8Array(await blob.arrayBuffer())]);
  });
  const file = join(place.folder, "green.png");
  await writeFile(file, Buffer.from(made));
  const image = page.locator('.field[data-name="image_url"]');
  await image.locator('input[type="file"]').setInputFiles(file);
  await image.getByText("green.png is uploaded").waitFor();
  assert.match(await field(page, "image_url").inputValue(), /\/files\/.*green\.png$/);
  const given = await field(page, "image_url").inputValue();
  for (const [type, key] of [["drop", "dataTransfer"], ["paste", "clipboardData"]]) {
    await image.getByRole("button", { name: "Clear" }).click();
    const transfer = await page.evaluateHandle((bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "moved.png", { type: "image/png" }));
      return transfer;
    }, made);
    await image.locator("[data-drop]").evaluate(
      (node, { type, key, transfer }) => {
        const Kind = type === "paste" ? ClipboardEvent : DragEvent;
        node.dispatchEvent(new Kind(type, { bubbles: true, cancelable: true, [key]: transfer }));
      },
      { type, key, transfer },
    );
    await image.getByText("moved.png is uploaded").waitFor();
    assert.notEqual(await field(page, "image_url").inputValue(), given);
    assert.equal(await image.locator("[data-thumb] img").count(), 1);
  }

  await page.getByRole("button", { name: "Paint the mask" }).click();
  const canvas = page.locator("#mask");
  await canvas.waitFor();
  await page.locator("#brush").fill("40");
  const box = await canvas.boundingBox();
  // across the middle, from a quarter to three quarters
  await page.mouse.move(box.x + box.width * 0.25, box.y + box.height * 0.5);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.75, box.y + box.height * 0.5, { steps: 8 });
  await page.mouse.up();
  await accessible(page);
  await shoot(page, "mask-desk-light");
  await page.getByRole("button", { name: "Use this mask" }).click();
  await canvas.waitFor({ state: "hidden" });
  await field(page, "prompt").fill("a kite");
  const [answer] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === "POST" && response.url().endsWith("/v3/edit")),
    generate(page).click(),
  ]);
  const { request_id: id } = await answer.json();
  const sent = answer.request().postDataJSON();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.locator("#empty", { hasText: "Cancelled" }).waitFor();

  // the very file that the server keeps as this request's input
  await page.goto(`/history/${id}`);
  const kept = await page.getByAltText("Mask URL").getAttribute("src");
  assert.ok(sent.mask_url.endsWith(kept), `${sent.mask_url} is ${kept}`);
  const pixels = await page.evaluate(async (url) => {
    const bitmap = await createImageBitmap(await (await fetch(url)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const pen = canvas.getContext("2d");
    pen.drawImage(bitmap, 0, 0);
    const { data } = pen.getImageData(0, 0, bitmap.width, bitmap.height);
    const at = (x, y) => [...data.slice(4 * (y * bitmap.width + x), 4 * (y * bitmap.width + x) + 4)];
    const pure = data.every((value, n) => value === 0 || value === 255 || n < 0);
    const black = data.filter((value, n) => n % 4 === 0 && value === 0).length;
    return { size: [bitmap.width, bitmap.height], middle: at(100, 50), corner: at(5, 5), below: at(100, 95), pure, black };
  }, kept);
  // black where it changes, white elsewhere, nothing in between, in the picture's own size
  assert.deepEqual(pixels.size, [200, 100]);
  assert.deepEqual([pixels.middle, pixels.corner, pixels.below], [[0, 0, 0, 255], [255, 255, 255, 255], [255, 255, 255, 255]]);
  assert.ok(pixels.pure);
  // a stroke of 100 by 40 with round ends
  const expected = 100 * 40 + Math.PI * 20 * 20;
  assert.ok(Math.abs(pixels.black - expected) < expected * 0.1, `${pixels.black} of about ${expected} pixels`);
});

test("a mask of the result is painted on an empty canvas of its size", async (t) => {
  const page = await visit(t, server);
  await page.goto("/models/fal-ai/stable-diffusion-v35-large");
  const group = page.locator('.field[data-name="ip_adapter"]');
  await group.getByText("Use it").click();
  // the picture that is followed is another one
  await group.locator('.field[data-name="ip_adapter.image_url"] input[type="text"]').fill(`${server.url}/none.png`);
  const opened = async () => {
    await page.getByRole("button", { name: "Paint the mask" }).click();
    await page.locator("#mask").waitFor();
    const size = await page.locator("#mask").evaluate(({ width, height }) => [width, height]);
    const said = await page.locator("#painter-about").textContent();
    assert.ok(said.includes(`of the result`) && said.includes(`${size[0]} × ${size[1]}`), said);
    await page.getByRole("button", { name: "Close", exact: true }).click();
    return size;
  };
  assert.deepEqual(await opened(), [1024, 768]);
  await field(page, "image_size").selectOption("portrait_16_9");
  assert.deepEqual(await opened(), [576, 1024]);
  await field(page, "image_size").selectOption("custom");
  await page.getByLabel("Width", { exact: true }).fill("320");
  await page.getByLabel("Height", { exact: true }).fill("200");
  assert.deepEqual(await opened(), [320, 200]);
  await page.getByRole("button", { name: "Paint the mask" }).click();
  await page.locator("#mask").focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Use this mask" }).click();
  await group.getByText("mask.png is uploaded").waitFor();
  page.expected("404");
});

test("on a phone no field's name is broken within a word", async (t) => {
  const page = await visit(t, server, { size: WIDTHS.phone });
  await page.goto("/models/fal-ai/stable-diffusion-v35-large");
  for (const use of await page.locator(".use").all()) await use.click();
  const broken = await page.evaluate(() =>
    [...document.querySelectorAll(".field .name code")].filter((code) => code.getClientRects().length && code.offsetHeight > 24).map((code) => code.textContent),
  );
  assert.deepEqual(broken, []);
});

test("a mask can be painted by keyboard, undone, inverted", async (t) => {
  const page = await visit(t, server);
  await page.goto("/models/fal-ai/ideogram/v3/edit");
  await page.getByRole("button", { name: "Paint the mask" }).click();
  await page.locator("#mask").waitFor();
  const shade = () =>
    page.evaluate(() => {
      const canvas = document.querySelector("#mask");
      const copy = new OffscreenCanvas(1, 1).getContext("2d");
      copy.drawImage(canvas, -canvas.width / 2, -canvas.height / 2);
      return [...copy.getImageData(0, 0, 1, 1).data];
    });
  const plain = await shade();
  await page.locator("#mask").focus();
  await page.keyboard.press("Space");
  const painted = await shade();
  assert.notDeepEqual(painted, plain);
  await page.getByRole("button", { name: "Invert" }).click();
  assert.deepEqual(await shade(), plain);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByRole("button", { name: "Undo" }).click();
  assert.deepEqual(await shade(), plain);
  await page.getByRole("button", { name: "Close", exact: true }).click();
});

test("history: filters, opens a request in the playground, runs it again, deletes it", async (t) => {
  const prompt = "a green triangle on a black background";
  const { json } = await server.raw("POST", "/run/scumble/starter", { body: { prompt, seed: 11, num_inference_steps: 4 } });
  assert.equal(json.seed, 11);
  const page = await visit(t, server);
  await page.goto("/history");
  await page.getByLabel("Model").selectOption("scumble/starter");
  await page.waitForURL("**model=scumble*");
  await page.getByLabel("State").selectOption("done");
  await page.waitForURL("**state=done*");
  const entry = page.locator(".entry", { hasText: prompt }).first();
  await entry.getByRole("link", { name: "Open", exact: true }).click();
  await page.waitForURL("**/models/scumble/starter?from=*");
  assert.equal(await field(page, "prompt").inputValue(), prompt);
  assert.equal(await field(page, "seed").inputValue(), "11");
  assert.equal(await field(page, "num_inference_steps").inputValue(), "4");
  await page.goBack();
  await entry.getByRole("button", { name: "Run again" }).click();
  await page.waitForURL("**/history/*-*");
  // the page follows by itself
  await page.locator(".state-done").waitFor();
  await page.locator("figure img").waitFor();
  await accessible(page);
  const again = page.url();
  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Delete" }).click();
  await page.waitForURL("**/history");
  assert.equal((await page.goto(again)).status(), 404);
  page.expected("404");
});

test("use as input leads a picture to a model that takes one", async (t) => {
  await server.raw("POST", "/run/scumble/starter", { body: { prompt: "a red star", num_inference_steps: 2 } });
  const page = await visit(t, server);
  await page.goto(STARTER);
  await field(page, "num_inference_steps").fill("2");
  await generate(page).click();
  await page.getByRole("link", { name: "Use as input" }).click();
  await page.waitForURL("**image=*");
  await page.locator(".card:visible a").first().click();
  await page.waitForURL("**/models/**");
  const thumb = page.locator('.field[data-kind="image"] [data-thumb] img').first();
  await thumb.waitFor();
  assert.equal(await thumb.evaluate((image) => image.decode().then(() => image.naturalWidth)), 256);
});

test("without scripts the form still makes a picture and shows what is refused", async (t) => {
  const page = await visit(t, server, { javaScriptEnabled: false });
  await page.goto(STARTER);
  await field(page, "prompt").fill("");
  await generate(page).click();
  assert.match(await page.locator("#field-prompt-error").textContent(), /Field required/);
  page.expected("422");
  await field(page, "prompt").fill("a white circle on a red background");
  await field(page, "num_inference_steps").fill("2");
  await generate(page).click();
  await page.waitForURL("**/history/*-*");
  await eventually("the picture is there", async () => {
    await page.reload();
    return (await page.locator("figure img").count()) === 1;
  });
});

test("hostile words stay words", async (t) => {
  const prompt = `<img src=x onerror="document.title='gone'"><script>document.title='gone'</script>`;
  await server.raw("POST", "/run/scumble/starter", { body: { prompt, num_inference_steps: 1 } });
  const page = await visit(t, server);
  await page.goto("/history");
  await page.getByText(prompt).first().waitFor();
  assert.equal(await page.title(), "History · Scumble");
  await page.locator(".entry", { hasText: "<script>" }).first().getByRole("link", { name: "Open", exact: true }).click();
  assert.equal(await field(page, "prompt").inputValue(), prompt);
  await field(page, "num_inference_steps").fill("1");
  await generate(page).click();
  await page.locator("#pictures img").waitFor();
  assert.equal(await page.title(), "Starter · Scumble");
});

test("the first picture of the gallery is painted at once, and pages are light", async (t) => {
  const page = await visit(t, server);
  const bytes = new Map();
  page.on("response", async (response) => {
    if (!response.headers()["content-type"]?.startsWith("image/")) {
      bytes.set(response.url(), (await response.body().catch(() => Buffer.alloc(0))).length);
    }
  });
  for (const path of ["/", STARTER, "/models/fal-ai/stable-diffusion-v35-large", "/history", "/jobs", "/keys"]) {
    bytes.clear();
    await page.goto(path, { waitUntil: "networkidle" }).catch(() => {});
    const total = [...bytes.values()].reduce((sum, n) => sum + n, 0);
    console.log(`${path}: ${(total / 1000).toFixed(0)} kB without pictures`);
    assert.ok(total > 0 && total < 150_000, `${path} weighs ${total} bytes: ${[...bytes]}`);
  }
  const painted = () =>
    new Promise((resolve) => {
      const first = (list) => list.getEntriesByName("first-contentful-paint").forEach((paint) => resolve(paint.startTime));
      new PerformanceObserver(first).observe({ type: "paint", buffered: true });
    });
  const best = async (path) => {
    const paints = [];
    while (paints.length < 20) {
      await page.goto(path);
      paints.push(await page.evaluate(painted));
    }
    return Math.min(...paints);
  };
  const [gallery, text] = [await best("/"), await best("/llms.txt")];
  console.log(`first paint, best of 20: the gallery ${gallery.toFixed(0)} ms, a plain text ${text.toFixed(0)} ms`);
  // where the machine is so busy that even a plain text takes its time, the gallery may take thrice that
  assert.ok(gallery < Math.max(100, 3 * text), `${gallery} ms, and ${text} ms for a plain text`);
});
