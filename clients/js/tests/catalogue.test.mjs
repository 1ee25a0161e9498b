// What can be called here, for programs and for people. No client asks for these pages.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place } from "./server.mjs";

const server = await (await Place.open({ after })).start("--stand-in");

/** Every entry of the catalogue, a page at a time. */
async function pages(limit) {
  const all = [];
  let cursor;
  do {
    const query = new URLSearchParams({ limit, ...(cursor && { cursor }) });
    const { status, json } = await server.raw("GET", `/v1/models?${query}`);
    assert.equal(status, 200);
    assert.ok(json.models.length <= limit);
    assert.equal(json.has_more, json.next_cursor !== null);
    all.push(...json.models);
    cursor = json.next_cursor;
  } while (cursor);
  return all;
}

test("63 catalogue: it pages, and pages hold what one answer holds", async () => {
  const ids = (models) => models.map((model) => model.endpoint_id);
  const whole = ids(await pages(100));
  assert.ok(whole.includes("scumble/starter") && whole.includes("fal-ai/flux/dev"), String(whole));
  assert.deepEqual(ids(await pages(1)), whole);
});

test("63 catalogue: each endpoint has an OpenAPI document and a text for machines", async () => {
  for (const { endpoint_id: id, metadata } of await pages(100)) {
    for (const field of ["display_name", "category", "description", "status", "updated_at"]) {
      assert.equal(typeof metadata[field], "string", `${id}: ${field}`);
    }
    const paths = [`/api/openapi/queue/openapi.json?endpoint_id=${id}`, `/models/${id}/openapi.json`];
    for (const [path, headers] of [[paths[0], { host: "fal.ai" }], [paths[1], {}]]) {
      const { status, json } = await server.raw("GET", path, { headers });
      assert.equal(status, 200, path);
      assert.ok(json.paths[`/${id}`].post, path);
    }
    const { status, bytes } = await server.raw("GET", `/models/${id}/llms.txt`);
    assert.equal(status, 200);
    assert.ok(bytes.toString().includes(id));
  }
  const unknown = await server.raw("GET", "/api/openapi/queue/openapi.json?endpoint_id=no/such", { headers: { host: "fal.ai" } });
  assert.deepEqual([unknown.status, unknown.json], [404, null]);
});
