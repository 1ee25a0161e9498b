// Makes a picture of every row of a CSV file: `node batch.js prompts.csv OUT [--at-once N]`.
//
// The file has the columns `id` and `prompt`; further ones, such as `seed`, are fields of the endpoint. OUT gets the pictures and
// `results.csv`, a line for each row. Start it again after an interruption or an error: rows that are done are left alone, and
// a request that was submitted already is found again, not made twice.

import { createHash, randomBytes } from "node:crypto";
import { access, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";

import { ApiError, fal } from "@fal-ai/client";

import { useServer } from "./fal-server.js";
import { Problem, read, readResults, writeResults } from "./table.js";

const ENDPOINT = process.env.ENDPOINT || "scumble/starter";
// how long a row may take from its submit to its picture, and how long the server may be away
const ROW_MS = 1000 * Number(process.env.ROW_S || 1800);
const AWAY_MS = 1000 * Number(process.env.AWAY_S || 600);
// answers that say: not now
const PASSES = new Set([408, 429, 502, 503]);

class Batch {
  #out;
  #name;
  #results;
  #saving = Promise.resolve();

  static async open(out) {
    const batch = new Batch();
    batch.#out = out;
    await mkdir(join(out, "pictures"), { recursive: true });
    // requests of this folder have a name of their own: in another folder the same rows are drawn anew
    const name = join(out, ".batch");
    if (!(await exists(name))) await write(name, randomBytes(8).toString("hex"));
    batch.#name = await readFile(name, "utf8");
    batch.#results = new Map((await readResults(join(out, "results.csv"))).map((result) => [result.id, result]));
    return batch;
  }

  /** All rows, some at once, in the order of the file; results are on disk as they come. */
  async run(rows, atOnce) {
    const order = rows.map(({ id }) => id);
    const left = rows.values();
    const worker = async () => {
      for (const { id, input } of left) {
        const result = await this.#row(id, input);
        if (result === this.#results.get(id)) continue;
        this.#results.set(id, result);
        await this.#save(order);
        console.error(`${id}: ${result.error || result.file}`);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    await this.#save(order);
    return order.map((id) => this.#results.get(id));
  }

  async #row(id, input) {
    const result = { id, status: "error", file: "", request_id: "", input: "", attempt: 1, error: "" };
    if (input instanceof Problem) return { ...result, error: `not submitted: ${input.message}` };
    // what the row asked for, and the how many-th time: a changed row is made anew, and so is one that has failed
    result.input = digest(JSON.stringify([ENDPOINT, Object.entries(input).sort()]));
    const before = this.#results.get(id);
    if (before?.input === result.input) {
      if (before.status === "done" && (await exists(join(this.#out, before.file)))) return before;
      result.attempt = before.attempt + (before.status === "error" ? 1 : 0);
    }
    const signal = AbortSignal.timeout(ROW_MS);
    try {
      await this.#draw(result, input, signal);
    } catch (error) {
      // an attempt that is unfinished is asked for again the next time
      result.status = isFinal(error) ? "error" : "unfinished";
      result.error = signal.aborted ? `not within ${ROW_MS / 1000} s` : wordsOf(error);
    }
    return result;
  }

  async #draw(result, input, abortSignal) {
    // the same word for the same request: whatever happens on the way, it is made once
    const once = { "idempotency-key": [this.#name, digest(result.id), result.input, result.attempt].join("-") };
    const submit = () => fal.queue.submit(ENDPOINT, { input, headers: once, abortSignal });
    const { request_id: requestId } = await patiently(submit, abortSignal);
    result.request_id = requestId;
    const status = () => fal.queue.status(ENDPOINT, { requestId, abortSignal });
    while ((await patiently(status, abortSignal)).status !== "COMPLETED") await pause(250, undefined, { signal: abortSignal });
    const { data } = await patiently(() => fal.queue.result(ENDPOINT, { requestId, abortSignal }), abortSignal);
    const [image] = data.images ?? [];
    if (!image) throw new Problem("the answer has no picture");
    const picture = await patiently(() => fetched(image.url, abortSignal), abortSignal);
    const ending = { "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp" }[image.content_type] ?? ".bin";
    const file = `pictures/${nameOf(result.id)}${ending}`;
    await write(join(this.#out, file), picture);
    result.status = "done";
    result.file = file;
  }

  /** One after the other, each with what is known by then. */
  #save(order) {
    this.#saving = this.#saving.then(() => {
      const lines = order.map((id) => this.#results.get(id)).filter(Boolean);
      return write(join(this.#out, "results.csv"), writeResults(lines));
    });
    return this.#saving;
  }
}

async function fetched(url, signal) {
  const answer = await fetch(url, { signal });
  if (answer.status >= 400 && answer.status < 500) throw new Problem(`the picture is not there any more: ${answer.status}`);
  if (!answer.ok) throw new Error(`the picture: status ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

/** Asks again while the server is away or has no room, up to AWAY_S. */
async function patiently(ask, signal) {
  const deadline = performance.now() + AWAY_MS;
  for (let wait = 500; ; wait = Math.min(2 * wait, 15_000)) {
    try {
      return await ask();
    } catch (error) {
      if (isFinal(error) || signal.aborted || performance.now() + wait > deadline) throw error;
    }
    await pause(wait, undefined, { signal });
  }
}

function isFinal(error) {
  return error instanceof Problem || (error instanceof ApiError && !PASSES.has(error.status));
}

/** `detail` is a list of problems, or a text. */
function wordsOf(error) {
  if (error instanceof Problem) return error.message;
  const detail = error.body?.detail;
  if (Array.isArray(detail)) {
    return `${error.status}: ${detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ")}`;
  }
  return `${error.status ?? error.name}: ${detail ?? error.cause?.message ?? error.message}`;
}

const digest = (text) => createHash("sha256").update(text).digest("hex").slice(0, 16);

/** A file name of any id: readable, in one folder, and another for each id. */
function nameOf(id) {
  const plain = id.replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return plain === id ? plain : `${plain}-${digest(id).slice(0, 8)}`.replace(/^-+/, "");
}

/** Whole or not at all, so that an interruption leaves no half of a file. */
async function write(path, data) {
  await writeFile(`${path}.part`, data);
  await rename(`${path}.part`, path);
}

async function exists(path) {
  return access(path).then(
    () => true,
    () => false,
  );
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "at-once": { type: "string", default: "4" } },
});
const atOnce = Number(values["at-once"]);
if (positionals.length !== 2 || !Number.isInteger(atOnce) || atOnce < 1) {
  console.error("usage: node batch.js ROWS.csv OUT [--at-once N]");
  process.exit(2);
}
const [rows, out] = positionals;
useServer();
try {
  const batch = await Batch.open(out);
  const results = await batch.run(await read(rows), atOnce);
  const failed = results.filter(({ status }) => status !== "done").length;
  console.log(`${results.length - failed} done, ${failed} not; see ${join(out, "results.csv")}`);
  process.exitCode = failed ? 1 : 0;
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
