// The real binary as a child process with a folder and a port of its own, and what the tests need to talk to it.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const BINARY = process.env.SCUMBLE_BIN ?? fileURLToPath(new URL("../../target/release/scumble", import.meta.url));
const ANNOUNCED = /^Scumble listens on (http:\/\/\S+)/m;

/** Where this server answers for each of fal's services. */
const SERVICES = [
  ["://queue.fal.run/", "/queue/"],
  ["://fal.run/", "/run/"],
  ["://rest.fal.ai/", "/rest/"],
  ["://rest.alpha.fal.ai/", "/rest/"],
  ["://v3.fal.media/", "/cdn/"],
];

/** Nothing of the caller's own settings reaches the binary, and its home is the folder of the test. */
const environment = (home) => ({ PATH: process.env.PATH, HOME: home, RUST_LOG: "info", NO_COLOR: "1" });

/** A fresh folder and the servers that live in it; all is gone when the test, or the file, has ended. */
export class Place {
  /** What its servers are; suites add their client to it. */
  static Server;
  #servers = [];

  /** `t` is a test's context, or any other `{ after }`. */
  static async open(t) {
    const place = new this();
    place.folder = await mkdtemp(join(tmpdir(), "scumble-js-"));
    t.after(() => place.#close());
    return place;
  }

  /** Starts a server on a free port. All servers of a place have the same data. */
  async start(...flags) {
    const server = new this.constructor.Server();
    this.#servers.push(server);
    await server.spawn(this.folder, ["serve", "--listen", "127.0.0.1:0", "--data-dir", this.data, ...flags]);
    return server;
  }

  /** The same with a scumble.toml of these words. */
  async configured(settings, ...flags) {
    const config = join(this.folder, `scumble-${this.#servers.length}.toml`);
    await writeFile(config, settings);
    return this.start("--config", config, ...flags);
  }

  get data() {
    return join(this.folder, "data");
  }

  /** The certificate that programs have to trust, where a server runs with --tls-dev. */
  get authority() {
    return join(this.data, "tls", "ca.pem");
  }

  /** Makes a key. From then on every caller needs one. */
  key(label = "test") {
    return this.scumble("keys", "create", "--data-dir", this.data, "--label", label);
  }

  /** Runs a command of the binary to its end and gives what it printed. */
  async scumble(...words) {
    const { stdout } = await promisify(execFile)(BINARY, words, { env: environment(this.folder) });
    return stdout.trim();
  }

  async #close() {
    await Promise.all(this.#servers.map((server) => server.kill()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Asks again and again until there is an answer that is not undefined, null or false. */
export async function eventually(what, ask, deadlineMs = 60_000) {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await pause(20);
  }
}

/** A running `scumble serve`. */
export class Server {
  #child;
  #exited;
  #log = "";

  async spawn(home, words) {
    this.#child = spawn(BINARY, words, { env: environment(home), stdio: ["ignore", "pipe", "pipe"] });
    this.#exited = once(this.#child, "exit");
    let printed = "";
    this.#child.stdout.on("data", (text) => (printed += text));
    this.#child.stderr.on("data", (text) => (this.#log += text));
    this.url = await eventually("the server says where it listens", () => {
      if (this.#child.exitCode !== null) throw new Error(`the server ended at once:\n${this.#log}`);
      return ANNOUNCED.exec(printed)?.[1];
    });
  }

  /** What the server has written to its log. */
  get log() {
    return this.#log;
  }

  /** A URL of fal's as one of this server's, by path prefix. What is not fal's stays as it is. */
  here(url, scheme = "http") {
    const [host, prefix] = SERVICES.find(([host]) => url.includes(host)) ?? [];
    return host ? url.replace(/^\w+/, scheme).replace(host, this.url.slice(this.url.indexOf("://")) + prefix) : url;
  }

  /** A request as it is, where no client would send it. */
  async raw(method, path, { headers = {}, body } = {}) {
    const all = { "content-type": "application/json", ...headers };
    const request = http.request(new URL(path, this.url), { method, headers: all });
    request.end(body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body));
    const [response] = await once(request, "response");
    const bytes = Buffer.concat(await response.toArray());
    const isJson = response.headers["content-type"]?.startsWith("application/json");
    const json = isJson ? JSON.parse(bytes) : undefined;
    return { status: response.statusCode, headers: response.headers, bytes, json };
  }

  /** SIGTERM, which drains; gives the exit code. */
  async drain() {
    this.#child.kill("SIGTERM");
    const [code] = await this.#exited;
    return code;
  }

  /** SIGKILL, as a power cut would. */
  async kill() {
    if (this.#child?.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

Place.Server = Server;

/** The error that a call ends with. */
export async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call succeeded");
}

/** Width and height from the header of a PNG. */
export function pngSize(bytes) {
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  if (!signature.equals(bytes.subarray(0, 8))) throw new Error("this is no PNG");
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
}

/** Width and height from the frame header of a JPEG. */
export function jpegSize(bytes) {
  if (bytes.readUInt16BE(0) !== 0xffd8) throw new Error("this is no JPEG");
  for (let at = 2; at < bytes.length; at += 2 + bytes.readUInt16BE(at + 2)) {
    const marker = bytes.readUInt16BE(at);
    // a frame header: 0xffc0 to 0xffcf but for tables of Huffman codes, extensions and arithmetic conditions
    if (marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      return { width: bytes.readUInt16BE(at + 7), height: bytes.readUInt16BE(at + 5) };
    }
  }
  throw new Error("this JPEG has no frame");
}
