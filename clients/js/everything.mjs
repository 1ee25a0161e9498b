// One of each kind of call with the official client and nothing but its own addresses, in a process that was started
// for it. Prints what came back. Its own file, because hook D changes the process and not the program.

import { fal } from "@fal-ai/client";

const endpoint = "fal-ai/flux/dev";
const input = { prompt: "a card", image_size: { width: 64, height: 64 }, num_inference_steps: 1 };

fal.config({ credentials: process.env.FAL_KEY });

const run = await fal.run(endpoint, { input });
const polled = await fal.subscribe(endpoint, { input, pollInterval: 20 });
const streamed = await fal.subscribe(endpoint, { input, mode: "streaming", connectionMode: "client" });
const stream = await fal.stream(endpoint, { input, connectionMode: "client" });
const last = await stream.done();
const submitted = await fal.queue.submit(endpoint, { input });
const uploaded = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
const text = await (await fetch(uploaded)).text();
const picture = await fetch(run.data.images[0].url);
const realtime = await new Promise((onResult, onError) => {
  const connection = fal.realtime.connect(endpoint, {
    onResult: (result) => {
      connection.close();
      onResult(result);
    },
    onError,
  });
  connection.send({ ...input, seed: 8 });
});

console.log(
  JSON.stringify({
    run: run.data.images.length,
    polled: polled.data.images.length,
    streamed: streamed.data.images.length,
    stream: last.images.length,
    realtime: realtime.seed,
    urls: [submitted.status_url, submitted.response_url, submitted.cancel_url],
    uploaded,
    text,
    picture: [run.data.images[0].url, picture.status, picture.headers.get("content-type")],
  }),
);
