// The servers of this suite: the real binary, and the official client pointed at it.

import { createFalClient } from "@fal-ai/client";

import { Place as AnyPlace, Server as AnyServer, eventually } from "../../shared/place.mjs";

export { eventually, jpegSize, pngSize, refusal } from "../../shared/place.mjs";

/** A running `scumble serve` with clients for it. */
class Server extends AnyServer {
  /** The official client, pointed here through the proxy route: hook A. */
  client(credentials = () => undefined, more = {}) {
    const proxyUrl = { url: `${this.url}/api/fal/proxy`, when: "always" };
    return createFalClient({ credentials, proxyUrl, ...more });
  }

  /** Pointed here by the client's middleware: hook B. */
  middlewareClient(credentials = () => undefined, more = {}) {
    const requestMiddleware = async (request) => ({ ...request, url: this.here(request.url) });
    return createFalClient({ credentials, requestMiddleware, ...more });
  }

  /** Pointed here by a `fetch` of our own, the widest: hook C. */
  fetchClient(credentials = () => undefined, { fetch: inner = fetch, ...more } = {}) {
    return createFalClient({ credentials, fetch: (url, init) => inner(this.here(String(url)), init), ...more });
  }
}

/** A folder whose servers have clients. */
export class Place extends AnyPlace {
  static Server = Server;
}

/** Polls a request's status through the client until it is this one. */
export function untilStatus(fal, endpoint, requestId, wanted) {
  return eventually(`${requestId} is ${wanted}`, async () => {
    const status = await fal.queue.status(endpoint, { requestId, logs: true });
    return status.status === wanted && status;
  });
}
