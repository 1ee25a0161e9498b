// @hey-api/openapi-ts makes a client of every endpoint's document and of the whole server's, without a word of warning;
// made clients submit, wait with logs, and fetch.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { createClient } from "@hey-api/openapi-ts";
import ts from "typescript";

import { Place, eventually } from "../../shared/place.mjs";

const place = await Place.open({ after });
const server = await place.start("--stand-in=50");
const folder = join(place.folder, "made");
const ids = [];

before(async () => {
  const { json } = await server.raw("GET", "/v1/models?limit=100");
  ids.push(...json.models.map((model) => model.endpoint_id));
  assert.ok(ids.length >= 27, String(ids));
  await mkdir(folder);
});

/** A client of a document; what the maker complains of fails the test. */
async function make(path, name) {
  const { status, json } = await server.raw("GET", path);
  assert.equal(status, 200, path);
  const input = join(folder, `${name}.json`);
  await writeFile(input, JSON.stringify(json));
  const said = [];
  const usual = { warn: console.warn, error: console.error, log: console.log };
  for (const kind of ["warn", "error"]) console[kind] = (...words) => said.push(words.join(" "));
  console.log = () => {};
  try {
    await createClient({
      input,
      output: { path: join(folder, "src", name), importFileExtension: ".js" },
      plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
    });
  } finally {
    Object.assign(console, usual);
  }
  assert.deepEqual(said, [], `${path} makes a client without a warning`);
  return json;
}

/** `fal-ai/flux/dev` as the name of a folder. */
const word = (id) => id.replaceAll(/[^a-z0-9]/g, "_");

test("every endpoint's document makes a client, in both editions", async () => {
  for (const id of ids) {
    await make(`/models/${id}/openapi.json`, word(id));
    await make(`/api/openapi/queue/openapi.json?endpoint_id=${id}`, `older_${word(id)}`);
  }
});

test("the whole server's document makes a client with a call for each thing that can be called", async () => {
  const document = await make("/openapi.json", "server");
  const calls = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  const names = calls.map((call) => call.operationId);
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.length > 5 * ids.length, String(names.length));
});

/** What was made, type-checked and as JavaScript. */
async function compiled(...names) {
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  const outDir = join(folder, "js");
  const program = ts.createProgram(names.map((name) => join(folder, "src", name, "index.ts")), {
    strict: true, skipLibCheck: true, types: [], outDir, rootDir: join(folder, "src"),
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  });
  const { diagnostics } = program.emit();
  const faults = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  assert.deepEqual(faults.map((fault) => ts.flattenDiagnosticMessageText(fault.messageText, "\n")), []);
  const modules = names.map(async (name) => {
    const at = (file) => import(pathToFileURL(join(outDir, name, file)));
    return { ...(await at("index.js")), ...(await at("client.gen.js")) };
  });
  return Promise.all(modules);
}

test("made clients submit, wait with logs and fetch", async () => {
  const [flow, starter, whole] = await compiled("fal_ai_aura_flow", "scumble_starter", "server");
  for (const made of [flow, starter]) {
    made.client.setConfig({ baseUrl: `${server.url}/queue` });
    await subscribe(made.submit, made.status, made.result);
    const unknown = await made.status({ path: { request_id: "764cabcf-b745-4b3e-ae38-1200304cf45b" } });
    assert.equal(unknown.error.detail, "Request not found");
  }
  whole.client.setConfig({ baseUrl: server.url });
  await subscribe(whole.submitFalAiAuraFlow, whole.statusFalAiAuraFlow, whole.resultFalAiAuraFlow);
  const { data } = await whole.runScumbleStarter({ body: { prompt: "a red circle", num_inference_steps: 2 } });
  assert.equal(data.images.length, 1);
  const refused = await whole.runFalAiAuraFlow({ body: { prompt: "x", num_images: 99 } });
  assert.deepEqual(refused.error.detail[0].loc, ["body", "num_images"]);
});

async function subscribe(submit, status, result) {
  const submitted = await submit({ body: { prompt: "a red circle" }, throwOnError: true });
  const path = { request_id: submitted.data.request_id };
  const ended = await eventually("the request has ended", async () => {
    const { data, response } = await status({ path, query: { logs: 1 }, throwOnError: true });
    assert.equal(response.status, data.status === "COMPLETED" ? 200 : 202);
    return data.status === "COMPLETED" && data;
  });
  assert.ok(ended.logs.length > 0 && ended.logs.every((line) => line.message && line.level), JSON.stringify(ended.logs));
  const { data } = await result({ path, throwOnError: true });
  const picture = await fetch(data.images[0].url);
  assert.match(picture.headers.get("content-type"), /^image\//);
}
