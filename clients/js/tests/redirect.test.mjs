// The four ways to point the client at this server, each over the same calls.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Place, refusal, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

const place = await Place.open({ after });
const key = await place.key();
const server = await place.start("--stand-in=100");

const hooks = { A: "client", B: "middlewareClient", C: "fetchClient" };
for (const [hook, make] of Object.entries(hooks)) {
  const fal = server[make](key);

  test(`1, 11, 17 hook ${hook}: run, submit, status, result and cancel`, async () => {
    const direct = await fal.run(FLUX, { input });
    assert.equal(direct.data.images.length, 1);
    assert.match(direct.requestId, /^[0-9a-f-]{36}$/);

    const submitted = await fal.queue.submit(FLUX, { input });
    const requestId = submitted.request_id;
    assert.equal(submitted.status, "IN_QUEUE");
    assert.equal(typeof submitted.queue_position, "number");
    const base = `${server.url}/queue/fal-ai/flux/requests/${requestId}`;
    const { response_url, status_url, cancel_url } = submitted;
    assert.deepEqual([response_url, status_url, cancel_url], [base, `${base}/status`, `${base}/cancel`]);
    await untilStatus(fal, FLUX, requestId, "COMPLETED");
    assert.equal((await fal.queue.result(FLUX, { requestId })).requestId, requestId);
    assert.equal((await refusal(fal.queue.cancel(FLUX, { requestId }))).status, 400);
  });

  for (const mode of ["polling", "streaming"]) {
    test(`1 hook ${hook}: subscribe by ${mode}`, async () => {
      const { data } = await fal.subscribe(FLUX, { input, mode, pollInterval: 20 });
      assert.equal(data.images.length, 1);
    });
  }
}

test("1, 9 hook C: streams that a page opens itself, with a token", async () => {
  const fal = server.fetchClient(key);
  const { data } = await fal.subscribe(FLUX, { input, mode: "streaming", connectionMode: "client" });
  assert.equal(data.images.length, 1);
  const stream = await fal.stream(FLUX, { input, connectionMode: "client" });
  assert.equal((await stream.done()).images.length, 1);
});

test("1, 4 hook D: fal's own names over TLS, for everything, with no line of code changed", async (t) => {
  const own = await Place.open(t);
  const ownKey = await own.key();
  const tls = await own.start("--tls-dev", "--stand-in=100");
  const here = (path) => fileURLToPath(new URL(path, import.meta.url));
  const words = ["--experimental-websocket", "--require", here("../../shared/redirect.cjs"), here("../everything.mjs")];
  const env = {
    PATH: process.env.PATH,
    FAL_KEY: ownKey,
    SCUMBLE_PORT: new URL(tls.url).port,
    NODE_EXTRA_CA_CERTS: own.authority,
  };
  const { stdout } = await promisify(execFile)(process.execPath, words, { env, timeout: 120_000 });
  const { urls, uploaded, picture, ...calls } = JSON.parse(stdout);
  assert.deepEqual(calls, { run: 1, polled: 1, streamed: 1, stream: 1, realtime: 8, text: "hello" });
  for (const url of urls) assert.match(url, /^https:\/\/queue\.fal\.run\/fal-ai\/flux\/requests\//);
  assert.match(uploaded, /^https:\/\/v3b?\.fal\.media\/files\//);
  assert.match(picture[0], /^https:\/\/v3b?\.fal\.media\/files\//);
  assert.deepEqual(picture.slice(1), [200, "image/jpeg"]);

  // a program that does not trust the authority does not talk to it
  const strange = { ...env, NODE_EXTRA_CA_CERTS: undefined };
  const failed = await refusal(promisify(execFile)(process.execPath, words, { env: strange, timeout: 120_000 }));
  assert.match(failed.stderr, /fetch failed/);
});
