// Realtime connections of the official client.

export { redirectSockets } from "../../shared/sockets.mjs";

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
