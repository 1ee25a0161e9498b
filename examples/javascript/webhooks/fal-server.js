// Points fal's client, unmodified, at a server of your own: SCUMBLE_URL says where it is, FAL_KEY is a key of it.

import { fal } from "@fal-ai/client";

/** Call this before the first request. */
export function useServer(url = process.env.SCUMBLE_URL || "http://127.0.0.1:8787") {
  const proxy = `${url.replace(/\/+$/, "")}/api/fal/proxy`;
  fal.config({ credentials: process.env.FAL_KEY || "none", proxyUrl: { url: proxy, when: "always" } });
}
