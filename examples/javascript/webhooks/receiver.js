// Takes webhooks: verifies them, writes them down, answers at once, and fetches the pictures afterwards.

import { mkdir, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { Inbox } from "./inbox.js";
import { Keys, Refused, TOLERANCE_S, Unknown } from "./verify.js";

const SERVER = (process.env.SCUMBLE_URL || "http://127.0.0.1:8787").replace(/\/+$/, "");
const FOLDER = process.env.FOLDER || "received";
const BODY_BYTES = 4 * 1024 * 1024;
// between two attempts to fetch what could not be fetched
const PAUSE_MS = 5_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const keys = new Keys(`${SERVER}/rest/.well-known/jwks.json`);
const inbox = await Inbox.open(join(FOLDER, "inbox"));

/** 2xx says: this is on disk, do not send it again. Anything else makes the server try again later. */
async function receive(request) {
  if (request.method !== "POST" || request.url !== "/hook") return [404, "nothing is here"];
  const body = await read(request);
  if (body === undefined) return [413, "that is larger than a webhook"];
  const signed = await keys.verify(request.headers, body);
  const told = parsed(body);
  // the id becomes a name of files
  if (told?.request_id !== signed.request || !UUID.test(signed.request)) {
    return [400, "the body is not that of a webhook"];
  }
  const news = await inbox.take(signed.request, signed.timestamp, body, 2 * TOLERANCE_S);
  if (news === "replayed") return [409, "this very delivery was taken already"];
  if (news === "new") work();
  return [200, news];
}

/** The body, byte for byte as it was signed. */
async function read(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    length += piece.length;
    if (length > BODY_BYTES) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

let working = false;
let again = false;

/** Does what was taken, one request after the other; also what an earlier run has left. */
async function work() {
  again = true;
  if (working) return;
  working = true;
  while (again) {
    again = false;
    for (const told of await inbox.waiting()) {
      try {
        await handle(told);
        await inbox.done(told.request_id);
      } catch (error) {
        if (error instanceof Away) {
          console.error(`${told.request_id}: ${error.message}; trying again`);
          pause(PAUSE_MS, undefined, { ref: false }).then(work);
        } else {
          // what fails each time must not keep the others waiting
          console.error(`${told.request_id} cannot be handled:`, error);
          await inbox.done(told.request_id);
        }
      }
    }
  }
  working = false;
}

/** The server does not give the picture now. */
class Away extends Error {}

/** Yours to change. It may run twice for a request if the program ends in between, so it overwrites. */
async function handle(told) {
  if (told.status !== "OK") {
    console.error(`${told.request_id} failed: ${told.error}`);
    return;
  }
  const folder = join(FOLDER, told.request_id);
  await mkdir(folder, { recursive: true });
  for (const [at, image] of told.payload.images.entries()) {
    const ending = { "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp" }[image.content_type] ?? ".bin";
    const path = join(folder, `${at + 1}${ending}`);
    await writeFile(`${path}.part`, await fetched(image.url));
    await rename(`${path}.part`, path);
  }
  console.error(`${told.request_id} is here`);
}

async function fetched(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return Buffer.from(await answer.arrayBuffer());
  } catch (cause) {
    throw new Away(`the picture cannot be fetched (${cause.message})`, { cause });
  }
}

const server = createServer(async (request, response) => {
  let status, words;
  try {
    [status, words] = await receive(request);
  } catch (error) {
    if (error instanceof Refused) [status, words] = [400, error.message];
    else if (error instanceof Unknown) [status, words] = [503, `${error.message}; send it again later`];
    else [status, words] = [500, "it could not be taken"];
    console.error(`refused: ${error.message}`);
  }
  // the rest of a body that nobody reads would keep the connection waiting
  if (!request.complete) response.setHeader("connection", "close");
  response.writeHead(status, { "content-type": "text/plain" }).end(`${words}\n`);
});
server.listen(Number(process.env.PORT || 4002), process.env.HOST || "127.0.0.1", () => {
  console.log(`http://${server.address().address}:${server.address().port}/hook`);
});
process.once("SIGTERM", () => server.close());
work();
