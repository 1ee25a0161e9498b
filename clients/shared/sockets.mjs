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
