// Deliveries that were taken, on disk before they are acknowledged: each request once, however often it is told.

import { link, mkdir, open, readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

export class Inbox {
  #folder;
  /** Deliveries of the last minutes. After a restart a replay passes for a repetition, which is not done again either. */
  #seen = new Map();

  static async open(folder) {
    const inbox = new Inbox();
    inbox.#folder = folder;
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) if (name.endsWith(".part")) await rm(join(folder, name));
    return inbox;
  }

  /** Whether this is news: "new", "known" (told again, with a new signature) or "replayed" (the same delivery). */
  async take(request, timestamp, body, keepS) {
    for (const [delivery, at] of this.#seen) if (at < Date.now() / 1000 - keepS) this.#seen.delete(delivery);
    const delivery = `${request} ${timestamp}`;
    if (this.#seen.has(delivery)) return "replayed";
    this.#seen.set(delivery, timestamp);
    try {
      return (await this.#write(request, timestamp, body)) ? "new" : "known";
    } catch (error) {
      this.#seen.delete(delivery);
      throw error;
    }
  }

  /** A link is made by one of those who try, and to a whole file. */
  async #write(request, timestamp, body) {
    const aside = join(this.#folder, `${request}-${timestamp}.part`);
    await flushed(aside, body);
    try {
      await link(aside, join(this.#folder, `${request}.json`));
      await flushFolder(this.#folder);
      return true;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      return false;
    } finally {
      await rm(aside, { force: true });
    }
  }

  /** What was taken and is not done, oldest first. */
  async waiting() {
    const names = new Set(await readdir(this.#folder));
    const open = [...names].filter((name) => name.endsWith(".json") && !names.has(name.replace(/json$/, "done")));
    const aged = await Promise.all(open.map(async (name) => [(await stat(join(this.#folder, name))).mtimeMs, name]));
    aged.sort(([a], [b]) => a - b);
    return Promise.all(aged.map(async ([, name]) => JSON.parse(await readFile(join(this.#folder, name), "utf8"))));
  }

  async done(request) {
    await flushed(join(this.#folder, `${request}.done`), "");
  }
}

async function flushed(path, data) {
  const file = await open(path, "w");
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function flushFolder(path) {
  const folder = await open(path, "r");
  await folder.sync().finally(() => folder.close());
}
