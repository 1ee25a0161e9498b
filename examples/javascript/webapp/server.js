// A web app that redraws its visitors' pictures.
//
// The page uses fal's client. Its calls go to the proxy route here, which adds the key and lets pass what this app is for and
// nothing else. Uploads and pictures go between the browser and the image server directly, by addresses that need no key.

import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import express from "express";

const SERVER = (process.env.SCUMBLE_URL || "http://127.0.0.1:8787").replace(/\/+$/, "");
// where browsers reach the same server, if that is another address: its `public_url`
const PUBLIC = new URL(process.env.SCUMBLE_PUBLIC_URL || SERVER).origin;
const ENDPOINT = process.env.ENDPOINT || "fal-ai/flux/dev/image-to-image";
const KEY = process.env.FAL_KEY || "none";
const page = fileURLToPath(new URL("page/", import.meta.url));

const { outputFiles } = await build({
  entryPoints: [`${page}page.js`],
  bundle: true,
  minify: true,
  format: "esm",
  write: false,
  define: { ENDPOINT: JSON.stringify(ENDPOINT) },
});

const app = express();
app.disable("x-powered-by");

app.use((request, response, next) => {
  const policy = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": `'self' ${PUBLIC}`,
    "connect-src": `'self' ${PUBLIC}`,
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
  };
  const words = Object.entries(policy).map(([name, value]) => `${name} ${value}`);
  response.set({
    "content-security-policy": words.join("; "),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
  });
  next();
});

app.get("/page.js", (request, response) => response.type("js").send(outputFiles[0].text));
app.use(express.static(page, { index: "index.html" }));

/** What the page may ask the image server for: its one endpoint, and uploads. */
const endpoint = ENDPOINT.replaceAll(".", "\\.");
const family = endpoint.split("/").slice(0, 2).join("/");
const ALLOWED = [
  ["POST", `https://queue\\.fal\\.run/${endpoint}`],
  ["GET", `https://queue\\.fal\\.run/${family}/requests/[0-9a-f-]{36}`],
  ["GET", `https://queue\\.fal\\.run/${family}/requests/[0-9a-f-]{36}/status\\?logs=[01]`],
  ["POST", "https://rest\\.fal\\.ai/storage/upload/initiate\\?storage_type=fal-cdn-v3"],
].map(([verb, pattern]) => [verb, new RegExp(`^${pattern}$`)]);

function isAllowed(method, target) {
  return ALLOWED.some(([verb, pattern]) => verb === method && pattern.test(target));
}

app.all("/api/fal/proxy", express.text({ type: () => true, limit: "64kb" }), async (request, response) => {
  const target = request.get("x-fal-target-url") ?? "";
  // other sites' pages may not spend your money; visitors who have to sign in, or have a limit, are checked here, too
  const site = request.get("sec-fetch-site") ?? "none";
  if (!isAllowed(request.method, target) || !["same-origin", "none"].includes(site)) {
    return response.status(403).json({ detail: "This app has no use for that." });
  }
  const headers = { authorization: `Key ${KEY}`, "content-type": "application/json", "x-fal-target-url": target };
  const once = request.get("idempotency-key");
  if (once) headers["idempotency-key"] = once;
  let answer, body;
  try {
    const signal = AbortSignal.timeout(30_000);
    const sent = request.method === "GET" ? undefined : request.body;
    answer = await fetch(`${SERVER}/api/fal/proxy`, { method: request.method, headers, body: sent, signal });
    body = Buffer.from(await answer.arrayBuffer());
  } catch {
    return response.status(503).json({ detail: "The image server cannot be reached." });
  }
  const kept = ["content-type", "retry-after", "x-fal-request-id", "x-fal-error-type"];
  for (const name of kept) if (answer.headers.has(name)) response.set(name, answer.headers.get(name));
  response.status(answer.status).send(body);
});

// what goes wrong on the way in, such as a body that is too large
app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  const status = error.status ?? 500;
  if (status >= 500) console.error(error);
  response.status(status).json({ detail: status < 500 ? error.message : "That did not work." });
});

const server = app.listen(Number(process.env.PORT || 3000), process.env.HOST || "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`http://${server.address().address}:${server.address().port}`);
});
process.once("SIGTERM", () => server.close());
