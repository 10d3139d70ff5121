/**
 * The port that a server of an example is asked to take.
 *
 * @module
 */

import { parseArgs } from "node:util";

/**
 * Reads `--port N`.
 *
 * @param args The arguments, without program and script.
 * @param usual The port where none is asked for.
 * @throws {Error} When it is not a number from 0 to 65535.
 */
export function portOf(args: readonly string[], usual: number): number {
  // `deno task browser -- --port 9000` hands the `--` on.
  const { values } = parseArgs({
    args: args[0] === "--" ? args.slice(1) : [...args],
    options: { port: { type: "string", default: `${usual}` } },
  });
  const port = /^\d+$/.test(values.port) ? Number(values.port) : NaN;
  if (port <= 65535) return port;
  throw new Error(`Expected --port to be a number from 0 to 65535, got "${values.port}"`);
}
