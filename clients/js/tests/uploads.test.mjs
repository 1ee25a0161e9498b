// Files that callers bring: uploads, who may read them, and how long.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, test } from "node:test";

import { Place, eventually, pngSize } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const STARTER = "scumble/starter";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

const place = await Place.open({ after });
const key = await place.key();
const other = await place.key("somebody else");
const server = await place.start("--stand-in");
const authorized = { authorization: `Key ${key}` };

/** Hook C's client, and what it asked for. */
function watched() {
  const calls = [];
  const spy = (url, init) => {
    calls.push({ url: String(url), method: init.method, headers: new Headers(init.headers), body: init.body });
    return fetch(url, init);
  };
  return { calls, fal: server.fetchClient(key, { fetch: spy }) };
}
const read = async (url, headers = {}) => {
  const response = await fetch(url, { headers });
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
};
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const text = Buffer.from("some text, é\n");
for (const hook of ["client", "middlewareClient", "fetchClient"]) {
  test(`1, 51 uploads with ${hook}: initiate, then PUT, then the file is there`, async () => {
    const url = await server[hook](key).storage.upload(new File([text], "a b.txt", { type: "text/plain" }));
    assert.ok(url.startsWith(`${server.url}/cdn/files/`), url);
    assert.match(url, /\/a(%20|_)b\.txt$/);
    const { status, headers, bytes } = await read(url);
    assert.equal(status, 200);
    assert.match(headers.get("content-type"), /^text\/plain/);
    assert.deepEqual(bytes, text);
  });
}

test("51 uploads: the PUT needs no key, and its URL is good for nothing else", async () => {
  const { calls, fal } = watched();
  const url = await fal.storage.upload(new Blob([text], { type: "image/png" }));
  const [initiate, put] = calls;
  assert.ok(initiate.url.endsWith("/rest/storage/upload/initiate?storage_type=fal-cdn-v3"), initiate.url);
  assert.deepEqual([put.method, put.headers.get("authorization")], ["PUT", null]);
  assert.match(url, /\.png$/);

  const changed = new URL(put.url);
  changed.pathname += "x";
  const answer = await fetch(changed, { method: "PUT", body: "other bytes" });
  assert.ok([401, 403, 404].includes(answer.status), String(answer.status));
  assert.deepEqual((await read(url)).bytes, text);
});

test("7, 51 uploads: without a key nothing is initiated", async () => {
  const body = { content_type: "text/plain", file_name: "a.txt" };
  for (const path of ["initiate", "initiate-multipart"]) {
    const answer = await server.raw("POST", `/rest/storage/upload/${path}?storage_type=fal-cdn-v3`, { body });
    assert.equal(answer.status, 401, path);
  }
});

test("51, 62 uploads: a browser may PUT", async () => {
  const { calls, fal } = watched();
  await fal.storage.upload(new Blob([text], { type: "text/plain" }));
  const { status, headers } = await fetch(calls[1].url, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "PUT",
      "access-control-request-headers": "content-type",
    },
  });
  assert.equal(status, 200);
  assert.match(headers.get("access-control-allow-methods"), /PUT/);
});

test("52 uploads: 95 MiB go in parts, one after the other", async () => {
  const { calls, fal } = watched();
  const bytes = Buffer.alloc(95 * 1024 * 1024);
  for (let at = 0; at < bytes.length; at += 4096) bytes.writeUInt32LE(at, at);
  const url = await fal.storage.upload(new File([bytes], "big.bin"));
  const parts = calls.filter((call) => call.method === "PUT");
  assert.equal(parts.length, 10);
  parts.forEach((part, i) => assert.match(new URL(part.url).pathname, new RegExp(`/${i + 1}$`)));
  const complete = JSON.parse(calls.at(-1).body);
  assert.deepEqual(complete.parts.map((part) => part.partNumber), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.ok(complete.parts.every((part) => part.etag));
  assert.equal(sha256((await read(url)).bytes), sha256(bytes));
});

test("56 uploads: a Blob inside the input becomes the URL of an upload", async () => {
  const { calls, fal } = watched();
  const blob = new Blob([text], { type: "image/png" });
  const { data } = await fal.run(FLUX, { input: { ...input, reference: { images: [blob] } } });
  assert.equal(data.images.length, 1);
  const [url] = JSON.parse(calls.at(-1).body).reference.images;
  assert.deepEqual((await read(url)).bytes, text);
});

test("57 lifecycle: an upload is gone after its time", async () => {
  const { fal } = watched();
  const url = await fal.storage.upload(new Blob([text]), { lifecycle: { expiresIn: 2 } });
  assert.equal((await read(url)).status, 200);
  await eventually("the file is gone", async () => (await read(url)).status === 404);
});

for (const [decision, status] of [["allow", 200], ["forbid", 403], ["hide", 404]]) {
  test(`57 access: an upload with "${decision}" is ${status} to strangers and there for its owner`, async () => {
    const { fal } = watched();
    const lifecycle = { initialAcl: { default: decision } };
    const url = await fal.storage.upload(new Blob([text], { type: "text/plain" }), { lifecycle });
    assert.equal((await read(url)).status, status);
    assert.equal((await read(url, { authorization: `Key ${other}` })).status, status);
    assert.equal((await read(url, authorized)).status, 200);
  });

  test(`57 access: a picture with "${decision}" is ${status} to strangers and there for its owner`, async () => {
    const storageSettings = { initialAcl: { default: decision }, expiresIn: "1h" };
    const { data } = await watched().fal.run(FLUX, { input, storageSettings });
    const { url } = data.images[0];
    assert.equal((await read(url)).status, status);
    assert.equal((await read(url, authorized)).status, 200);
  });
}

test("57 access: a rule lets one other key in", async () => {
  const initialAcl = { default: "forbid", rules: [{ user: other.split(":")[0], decision: "allow" }] };
  const url = await watched().fal.storage.upload(new Blob([text]), { lifecycle: { initialAcl } });
  assert.equal((await read(url)).status, 403);
  assert.equal((await read(url, { authorization: `Key ${other}` })).status, 200);
});

test("57 access: a signed URL opens what is forbidden, for a while", async () => {
  const { fal } = watched();
  const lifecycle = { initialAcl: { default: "forbid" } };
  const url = await fal.storage.upload(new Blob([text]), { lifecycle });
  const sign = (duration, headers = authorized) =>
    fetch(`${url}/sign`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: JSON.stringify({ duration, scope: ["read"] }),
    });
  assert.equal((await sign(3600, {})).status, 403);
  const signed = await (await sign(3600)).text();
  assert.ok(signed.startsWith(url) && signed.includes("identity="), signed);
  assert.deepEqual((await read(signed)).bytes, text);
  const brief = await (await sign(1)).text();
  await eventually("the signature has expired", async () => (await read(brief)).status === 403);
});

test("58 outputs: type, length, cache and CORS are right", async () => {
  const { data } = await watched().fal.run(STARTER, { input });
  const { status, headers, bytes } = await read(data.images[0].url, { origin: "https://app.example" });
  assert.equal(status, 200);
  assert.equal(headers.get("content-type"), "image/png");
  assert.equal(headers.get("content-length"), String(bytes.length));
  assert.equal(headers.get("access-control-allow-origin"), "*");
  assert.match(headers.get("cache-control"), /public, max-age=\d+, immutable/);
  assert.deepEqual(pngSize(bytes), { width: 64, height: 64 });
});
