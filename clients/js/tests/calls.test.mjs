// Calls that succeed: what an application gets from subscribe, run and the queue.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Place, eventually, jpegSize, pngSize, refusal, untilStatus } from "./server.mjs";

const STARTER = "scumble/starter";
const prompt = "two small yellow stars on a purple background";

// stand-ins answer the endpoints that have no weights here, slowly enough to be waited for
const server = await (await Place.open({ after })).start("--stand-in=1500");
const fal = server.client();

test("11, 17, 19, 20, 58 subscribe reports the queue, the progress with log lines, and gives a PNG of the right size", async () => {
  // keeps the one worker busy, so that there is a queue to wait in
  const ahead = await fal.queue.submit("fal-ai/flux/schnell", { input: { prompt } });
  const updates = [];
  let enqueued;
  const result = await fal.subscribe(STARTER, {
    input: { prompt, seed: 7, num_inference_steps: 12 },
    logs: true,
    pollInterval: 10,
    onEnqueue: (requestId) => (enqueued = requestId),
    onQueueUpdate: (update) => updates.push(update),
  });

  const seen = updates.map((u) => u.status).filter((status, i, all) => status !== all[i - 1]);
  assert.deepEqual(seen, ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]);
  assert.equal(updates[0].queue_position, 0, "the job ahead runs, it does not wait");
  assert.ok(updates.every((u) => u.request_id === enqueued && u.status_url && u.response_url && u.cancel_url));
  const { logs, metrics } = updates.at(-1);
  assert.ok(logs.length > 0 && logs.every((l) => l.level === "INFO" && l.source === "USER" && Date.parse(l.timestamp)));
  assert.ok(logs.some((l) => l.message === "denoise 12/12"), JSON.stringify(logs.map((l) => l.message)));
  assert.ok(metrics.inference_time > 0);

  assert.equal(result.requestId, enqueued);
  const [image] = result.data.images;
  assert.deepEqual(result.data.images.length, 1);
  assert.deepEqual({ ...image, url: "" }, { url: "", width: 256, height: 256, content_type: "image/png" });
  assert.equal(result.data.seed, 7);
  assert.equal(result.data.prompt, prompt);
  assert.deepEqual(result.data.has_nsfw_concepts, [false]);

  assert.ok(image.url.startsWith(`${server.url}/`), image.url);
  const response = await fetch(image.url);
  const bytes = Buffer.from(await response.arrayBuffer());
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "image/png");
  assert.equal(response.headers.get("content-length"), String(bytes.length));
  assert.deepEqual(pngSize(bytes), { width: 256, height: 256 });

  const part = await fetch(image.url, { headers: { range: "bytes=8-31" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers.get("content-range"), `bytes 8-31/${bytes.length}`);
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(8, 32));
  const beyond = await fetch(image.url, { headers: { range: `bytes=${bytes.length}-` } });
  assert.equal(beyond.status, 416);

  await untilStatus(fal, "fal-ai/flux/schnell", ahead.request_id, "COMPLETED");
});

test("11 run answers with the output, and the same seed gives the same picture", async () => {
  const input = { prompt, seed: 11, image_size: { width: 128, height: 96 }, num_images: 2 };
  const pictures = async () => {
    const { data, requestId } = await fal.run(STARTER, { input });
    assert.match(requestId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(data.images.map((i) => [i.width, i.height]), [[128, 96], [128, 96]]);
    return Promise.all(data.images.map(async ({ url }) => Buffer.from(await (await fetch(url)).arrayBuffer())));
  };
  const [first, again] = [await pictures(), await pictures()];
  assert.deepEqual(first, again);
  assert.deepEqual(first.map(pngSize), Array(2).fill({ width: 128, height: 96 }));
  assert.notDeepEqual(first[0], first[1]);
});

test("11 run takes its input from the query too", async () => {
  const { data } = await fal.run(STARTER, { method: "get", input: { prompt, num_inference_steps: "2", seed: "3" } });
  assert.equal(data.seed, 3);
});

test("64 a chosen seed comes back, and repeats the picture", async () => {
  const first = await fal.run(STARTER, { input: { prompt, num_inference_steps: 2, sync_mode: true } });
  const { seed } = first.data;
  const again = await fal.run(STARTER, { input: { prompt, num_inference_steps: 2, sync_mode: true, seed } });
  assert.equal(again.data.images[0].url, first.data.images[0].url);
});

test("17, 19 submit, status and result work one by one", async () => {
  const submitted = await fal.queue.submit(STARTER, { input: { prompt, num_inference_steps: 2 } });
  const requestId = submitted.request_id;
  assert.equal(submitted.status, "IN_QUEUE");
  assert.equal(submitted.response_url, `${server.url}/queue/scumble/starter/requests/${requestId}`);
  assert.equal(submitted.status_url, `${submitted.response_url}/status`);
  assert.equal(submitted.cancel_url, `${submitted.response_url}/cancel`);
  const status = await untilStatus(fal, STARTER, requestId, "COMPLETED");
  assert.equal(status.error, undefined);
  const result = await fal.queue.result(STARTER, { requestId });
  assert.equal(result.requestId, requestId);
  assert.equal(result.data.images.length, 1);

  const quiet = await fal.queue.status(STARTER, { requestId, logs: false });
  assert.equal(quiet.logs, null, "the key is there without logs too");
});

test("18 the status is 202 until the request has ended, then 200", async () => {
  const { request_id: requestId } = await fal.queue.submit("fal-ai/flux/schnell", { input: { prompt } });
  const path = `/queue/fal-ai/flux/requests/${requestId}/status`;
  const seen = new Set();
  await eventually("the request has ended", async () => {
    const { status, json } = await server.raw("GET", path);
    seen.add(status);
    assert.equal(status, json.status === "COMPLETED" ? 200 : 202);
    return json.status === "COMPLETED";
  });
  assert.deepEqual([...seen], [202, 200]);
});

test("16 an id with a sub path is addressed by its app", async () => {
  const { request_id: requestId, status_url } = await fal.queue.submit("fal-ai/flux/schnell", { input: { prompt } });
  assert.ok(status_url.endsWith(`/queue/fal-ai/flux/requests/${requestId}/status`), status_url);
  await untilStatus(fal, "fal-ai/flux/schnell", requestId, "COMPLETED");
  const { data } = await fal.queue.result("fal-ai/flux/schnell", { requestId });
  assert.deepEqual([data.images[0].width, data.images[0].height], [1024, 768]);
});

test("6 a request is found under its full id too, as older programs and generated clients ask", async () => {
  const { requestId } = await fal.subscribe("fal-ai/flux/schnell", { input: { prompt }, pollInterval: 50 });
  for (const path of ["", "/", "/response", "/status", "/status/"]) {
    const { status, json } = await server.raw("GET", `/queue/fal-ai/flux/schnell/requests/${requestId}${path}`);
    assert.equal(status, 200, path);
    assert.ok(json.images ?? json.status === "COMPLETED", path);
  }
});

test("16 ids in namespaces, of any depth and in the old form are understood", async () => {
  const ids = { "workflows/me/wf/x": "workflows/me/wf/x", "comfy/me/wf": "comfy/me/wf", "110602490-myapp": "110602490/myapp" };
  for (const [id, understood] of Object.entries(ids)) {
    for (const call of [fal.run, fal.queue.submit]) {
      const error = await refusal(call(id, { input: { prompt } }));
      assert.deepEqual([error.status, error.body.detail], [404, `Application "${understood}" not found`]);
    }
  }
});

test("64 sync_mode puts the picture into the answer", async () => {
  const { data } = await fal.run(STARTER, { input: { prompt, num_inference_steps: 2, sync_mode: true } });
  const [head, base64] = data.images[0].url.split(",");
  assert.equal(head, "data:image/png;base64");
  assert.deepEqual(pngSize(Buffer.from(base64, "base64")), { width: 256, height: 256 });
});

test("58 output_format jpeg gives a JPEG", async () => {
  const input = { prompt, num_inference_steps: 2, output_format: "jpeg", image_size: { width: 192, height: 64 } };
  const { data } = await fal.run(STARTER, { input });
  assert.equal(data.images[0].content_type, "image/jpeg");
  const response = await fetch(data.images[0].url);
  assert.equal(response.headers.get("content-type"), "image/jpeg");
  assert.deepEqual(jpegSize(Buffer.from(await response.arrayBuffer())), { width: 192, height: 64 });
});

test("11 stand-ins are marked", async () => {
  const answer = await server.raw("POST", "/run/fal-ai/flux/dev", { body: { prompt, image_size: "square" } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["x-scumble-stand-in"], "1");
  const real = await server.raw("POST", "/run/scumble/starter", { body: { prompt, num_inference_steps: 1 } });
  assert.equal(real.headers["x-scumble-stand-in"], undefined);
});
