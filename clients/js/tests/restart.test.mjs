// A request that was acknowledged survives the server, however it ends.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Place, eventually, untilStatus } from "./server.mjs";

const FLUX = "fal-ai/flux/schnell";
const input = { prompt: "a card", seed: 5, image_size: "square" };

test("32 a request whose server is killed while it runs completes after a restart", async (t) => {
  const place = await Place.open(t);
  const config = join(place.folder, "scumble.toml");
  // a lease without a heartbeat lasts four heartbeats: a short one makes the wait short
  await writeFile(config, "[worker]\nheartbeat_s = 1\n");
  const flags = ["--config", config, "--stand-in=3000"];
  const server = await place.start(...flags);
  const submit = async () => (await server.client().queue.submit(FLUX, { input })).request_id;
  const [running, waiting] = [await submit(), await submit()];
  await untilStatus(server.client(), FLUX, running, "IN_PROGRESS");
  await server.kill();

  const fal = (await place.start(...flags)).client();
  for (const requestId of [running, waiting]) {
    const status = await untilStatus(fal, FLUX, requestId, "COMPLETED");
    assert.equal(status.request_id, requestId);
    assert.equal(status.error, undefined);
    const result = await fal.queue.result(FLUX, { requestId });
    assert.equal(result.requestId, requestId);
    assert.equal(result.data.seed, 5);
    assert.equal((await fetch(result.data.images[0].url)).status, 200);
  }
});

test("32 SIGTERM lets the running request end and keeps the waiting one", async (t) => {
  const place = await Place.open(t);
  const server = await place.start("--stand-in=3000");
  const submit = async () => (await server.client().queue.submit(FLUX, { input })).request_id;
  const [running, waiting] = [await submit(), await submit()];
  await untilStatus(server.client(), FLUX, running, "IN_PROGRESS");
  assert.equal(await server.drain(), 0, server.log);
  const finished = [...server.log.matchAll(/job finished.*job\.id=(\S+)/g)].map(([, id]) => id);
  assert.deepEqual(finished, [running]);

  // a server that could not draw it again: the result is the one from before
  const second = await place.start("--stand-in=100");
  const fal = second.client();
  const { status } = await fal.queue.status(FLUX, { requestId: running });
  assert.equal(status, "COMPLETED");
  const result = await fal.queue.result(FLUX, { requestId: running });
  const picture = await fetch(result.data.images[0].url);
  assert.equal(picture.status, 200);
  await untilStatus(fal, FLUX, waiting, "COMPLETED");
  assert.ok(!second.log.includes(`job.id=${running}`), "it did not run twice");
});

test("32 SIGTERM lets a direct call have its answer", async (t) => {
  const server = await (await Place.open(t)).start("--stand-in=3000");
  const call = server.client().run(FLUX, { input });
  await eventually("the job runs", () => server.log.includes("job taken"));
  const [code, { data }] = await Promise.all([server.drain(), call]);
  assert.equal(code, 0);
  assert.equal(data.images.length, 1);
});
