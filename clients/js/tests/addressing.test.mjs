// One port, all of fal's services: by host name, by path prefix, by a bare id, and from browsers.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, eventually, pngSize } from "./server.mjs";

const body = { prompt: "a blue square", num_inference_steps: 1, image_size: { width: 64, height: 64 } };

const server = await (await Place.open({ after })).start();
/** Submits, waits, fetches result and picture, all at the URLs that the answers name. */
async function throughTheQueue(submitAt, reach) {
  const submitted = await reach("POST", submitAt, body);
  assert.equal(submitted.status, 200);
  const { status_url, response_url } = submitted.json;
  await eventually("the request has ended", async () => {
    const { status, json } = await reach("GET", `${status_url}?logs=1`);
    assert.equal(status, json.status === "COMPLETED" ? 200 : 202);
    return json.status === "COMPLETED";
  });
  const result = await reach("GET", response_url);
  assert.equal(result.headers["x-fal-request-id"], submitted.json.request_id);
  const picture = await reach("GET", result.json.images[0].url);
  assert.equal(picture.headers["content-type"], "image/png");
  assert.deepEqual(pngSize(picture.bytes), { width: 64, height: 64 });
  return { submitted: submitted.json, result: result.json };
}

/** Asks for a URL of fal's hosts here, as a resolver that points them here would. */
const byHost = (method, url, json) => {
  const { host, pathname, search } = new URL(url);
  return server.raw(method, pathname + search, { headers: { host }, body: json });
};
const byPrefix = (method, url, json) => {
  const { origin, pathname, search } = new URL(url);
  assert.equal(origin, server.url);
  return server.raw(method, pathname + search, { body: json });
};

const hosts = [
  ["fal.run", "queue.fal.run"],
  ["falrun.com", "queue.falrun.com"],
  ["FAL.RUN:8443", "queue.fal.run:8443"],
];
for (const [run, queue] of hosts) {
  test(`1 by the hosts ${run} and ${queue}`, async () => {
    const direct = await byHost("POST", `http://${run}/scumble/starter`, body);
    assert.equal(direct.status, 200);
    assert.ok(direct.headers["x-fal-request-id"]);
    const { submitted } = await throughTheQueue(`http://${queue}/scumble/starter`, byHost);
    const port = queue.includes(":") ? ":8443" : "";
    const expected = `http://queue.fal.run${port}/scumble/starter/requests/${submitted.request_id}`;
    assert.equal(submitted.response_url, expected);
  });
}

test("1, 4 by path prefix", async () => {
  const direct = await byPrefix("POST", `${server.url}/run/scumble/starter`, body);
  assert.equal(direct.status, 200);
  const { submitted, result } = await throughTheQueue(`${server.url}/queue/scumble/starter`, byPrefix);
  assert.ok(submitted.cancel_url.startsWith(`${server.url}/queue/`));
  assert.ok(result.images[0].url.startsWith(`${server.url}/cdn/files/`));
});

test("1 a bare id is a direct call", async () => {
  const answer = await server.raw("POST", "/scumble/starter", { body });
  assert.equal(answer.status, 200);
  assert.equal(answer.json.images.length, 1);
});

test("6, 23 older forms of a request's address are accepted", async () => {
  const { json } = await server.raw("POST", "/queue/scumble/starter", { body });
  const base = `/queue/scumble/starter/requests/${json.request_id}`;
  await eventually("the request has ended", async () => (await server.raw("GET", `${base}/status/`)).status === 200);
  for (const path of [base, `${base}/`, `${base}/response`]) {
    assert.equal((await server.raw("GET", path)).json.images.length, 1, path);
  }
  const elsewhere = await server.raw("GET", `/queue/fal-ai/flux/requests/${json.request_id}`);
  assert.equal(elsewhere.status, 404, "a request is found under its own app only");
});

test("6 a trailing slash does not matter", async () => {
  assert.equal((await server.raw("POST", "/run/scumble/starter/", { body })).status, 200);
  assert.equal((await server.raw("POST", "/queue/scumble/starter/", { body })).status, 200);
});

test("62 browsers are let in", async () => {
  const origin = "https://app.example";
  const headers = {
    origin,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-fal-target-url,x-fal-queue-priority",
  };
  for (const path of ["/api/fal/proxy", "/queue/scumble/starter", "/run/scumble/starter"]) {
    const { status, headers: answer } = await server.raw("OPTIONS", path, { headers });
    assert.equal(status, 200, path);
    assert.equal(answer["access-control-allow-origin"], "*");
    assert.match(answer["access-control-allow-headers"], /authorization/);
    assert.match(answer["access-control-allow-methods"], /POST/);
  }
  // without keys the pages of this machine are; the others are told what to do
  for (const [from, status] of [["http://localhost:3000", 200], [server.url, 200], [origin, 403]]) {
    const call = await server.raw("POST", "/run/scumble/starter", { headers: { origin: from }, body });
    assert.equal(call.status, status, from);
    assert.match(call.headers["access-control-expose-headers"], /x-fal-request-id/);
  }
});
