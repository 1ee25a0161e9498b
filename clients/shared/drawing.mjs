// Small random networks for the open models, and what their pages' examples make of them. WRITE_TINY_BIN names the program that
// writes the networks (crates/testkit/examples/write_tiny.rs).

import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const WRITE_TINY =
  process.env.WRITE_TINY_BIN ?? fileURLToPath(new URL("../../target/release/examples/write_tiny", import.meta.url));
// rows and columns of 16 pixels: up to 1024
const SIDE = "64";

/** Endpoints, what they run on, and how large the example's picture is. */
const ALL = [
  ["fal-ai/flux/schnell", "flux-schnell", [1024, 768]],
  ["fal-ai/flux-1/schnell", "flux-schnell", [1024, 768]],
  ["fal-ai/flux/dev", "flux-dev", [1024, 768]],
  ["fal-ai/flux/dev/image-to-image", "flux-dev", [256, 256]],
  ["fal-ai/flux-lora", "flux-dev", [1024, 768]],
  ["fal-ai/flux-lora/image-to-image", "flux-dev", [256, 256]],
  ["fal-ai/flux-lora-fill", "flux-fill", [256, 256]],
  ["fal-ai/flux-pro/v1/fill", "flux-fill", [256, 256]],
  ["fal-ai/stable-diffusion-v35-large", "sd35", [1024, 768]],
  ["fal-ai/aura-flow", "auraflow", [1024, 1024]],
  ["fal-ai/f-lite/standard", "f-lite", [1024, 768]],
  ["fal-ai/f-lite/texture", "f-lite", [1024, 768]],
  ["fal-ai/hidream-i1-full", "hidream-full", [1024, 1024]],
  ["fal-ai/hidream-i1-dev", "hidream-dev", [1024, 1024]],
  ["fal-ai/hidream-i1-fast", "hidream-fast", [1024, 1024]],
  // as large as the example's picture
  ["fal-ai/omnigen-v2", "omnigen2", [256, 256]],
];

/** The networks that can be written: the program lists them where it is told nothing. */
async function known() {
  const refused = await promisify(execFile)(WRITE_TINY, []).catch((error) => error);
  const names = /usage: write_tiny (\S+)/.exec(refused.stderr)?.[1];
  if (!names) throw new Error(`${WRITE_TINY} does not say which networks it writes`, { cause: refused });
  return names.split("|");
}

const variants = await known();
/** Those that can run. */
export const DRAWING = ALL.filter(([, variant]) => variants.includes(variant));

/** Of these endpoints of open models, those for which there is no network. */
export const undrawn = (ids) => ids.filter((id) => !DRAWING.some(([drawing]) => drawing === id));

/** Where a network is in a place. */
export const folder = (place, variant) => join(place.folder, variant);

/** The LoRA that lies beside each network that takes one. */
export const lora = (place, variant) => join(folder(place, variant), "lora.safetensors");

/** Starts a server on which every open model runs. */
export async function serveAll(place) {
  for (const variant of new Set(DRAWING.map(([, variant]) => variant))) {
    await promisify(execFile)(WRITE_TINY, [variant, folder(place, variant), SIDE]);
  }
  const weights = DRAWING.flatMap(([id, variant]) => ["--weights", `${id}=${folder(place, variant)}`]);
  return place.configured(`[adapters]\nfolders = [${JSON.stringify(place.folder)}]\n`, ...weights);
}

/** Writes a network for small pictures only, with all its blocks. */
export async function writeSmall(place, variant) {
  await promisify(execFile)(WRITE_TINY, [variant, folder(place, variant)]);
  return folder(place, variant);
}
