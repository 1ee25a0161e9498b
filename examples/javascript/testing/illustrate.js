// What is tested here: a small function of an application, which draws a picture for a text.

import { ApiError, fal } from "@fal-ai/client";

const ENDPOINT = "fal-ai/imagen4/preview/fast";

/** The text cannot be illustrated; somebody has to change it. */
export class Refused extends Error {}

/** Not now; the same text may work later. */
export class Unavailable extends Error {}

/** Gives `{ bytes, contentType }` of a picture. */
export async function illustrate(text) {
  let image;
  try {
    const { data } = await fal.subscribe(ENDPOINT, { input: { prompt: text, aspect_ratio: "16:9" }, pollInterval: 100 });
    [image] = data.images;
  } catch (error) {
    if (error instanceof ApiError && error.status === 422) throw new Refused(wordsOf(error), { cause: error });
    throw new Unavailable("no picture could be made", { cause: error });
  }
  const answer = await fetch(image.url);
  if (!answer.ok) throw new Unavailable(`the picture cannot be read: status ${answer.status}`);
  return { bytes: Buffer.from(await answer.arrayBuffer()), contentType: image.content_type };
}

function wordsOf({ body, message }) {
  return Array.isArray(body?.detail) ? body.detail.map(({ msg }) => msg).join("; ") : message;
}
