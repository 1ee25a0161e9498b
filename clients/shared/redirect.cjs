// Stands in for a resolver and for port 443: fal's host names lead to 127.0.0.1:$SCUMBLE_PORT. Names are still what
// certificates are checked against. Preload it with --require; nobody needs to be root and no file of the system changes.

const net = require("node:net");

const HOSTS = ["fal.run", "queue.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media", "v3b.fal.media"];
const port = Number(process.env.SCUMBLE_PORT);
if (!port) throw new Error("SCUMBLE_PORT is not set");

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (options, ...rest) {
  const ours = HOSTS.includes(options?.host) && Number(options.port) === 443;
  return connect.call(this, ours ? { ...options, host: "127.0.0.1", port } : options, ...rest);
};
