// A server for tests: on a free port, with a folder of its own, gone with the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Starts `scumble serve` with these flags and gives its address; `t` is the test's context, or any other `{ after }`. */
export async function serve(t, ...flags) {
  const data = await mkdtemp(join(tmpdir(), "scumble-test-"));
  const words = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data, ...flags];
  // no setting or maker's key of yours gets in
  const env = { PATH: process.env.PATH, HOME: data, RUST_LOG: "warn" };
  const child = spawn(process.env.SCUMBLE_BIN || "scumble", words, { env, stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await rm(data, { recursive: true, force: true });
  });
  for await (const line of createInterface(child.stdout)) {
    const url = /^Scumble listens on (http:\S+)/.exec(line)?.[1];
    if (url) return url;
  }
  throw new Error("scumble has not started; its words are above");
}
