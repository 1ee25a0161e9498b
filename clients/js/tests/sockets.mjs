// The realtime client opens wss://fal.run and no option changes that, so the global WebSocket is replaced.

/** Points every WebSocket of this process here while a test lasts, and keeps what came over them. */
export function redirectSockets(t, server) {
  const Standard = globalThis.WebSocket;
  if (!Standard) throw new Error("this Node needs --experimental-websocket, which npm test gives");
  const seen = { sockets: 0, closes: [], frames: [] };
  globalThis.WebSocket = class extends Standard {
    constructor(url, protocols) {
      super(server.here(String(url), "ws"), protocols);
      seen.sockets += 1;
      this.addEventListener("message", ({ data }) => seen.frames.push(data));
      this.addEventListener("close", ({ code }) => seen.closes.push(code));
    }
  };
  t.after(() => (globalThis.WebSocket = Standard));
  return seen;
}

/** A realtime connection of the official client and what it reports, closed with the test. */
export function connect(t, fal, endpoint, options = {}) {
  const results = [];
  const errors = [];
  const connection = fal.realtime.connect(endpoint, {
    throttleInterval: 0,
    onResult: (result) => results.push(result),
    onError: (error) => errors.push(error),
    ...options,
  });
  t.after(() => connection.close());
  return { results, errors, send: (input) => connection.send(input), close: () => connection.close() };
}
