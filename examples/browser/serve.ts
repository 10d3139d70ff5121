/**
 * `deno task browser`: serves the page on this machine.
 *
 * @module
 */

import process from "node:process";
import { portOf } from "../port.ts";
import { adviceFor, type Served, servePage } from "../serve_page.ts";

/** Bundles the page as it is now and serves it; port 0 is any free one. */
export function serve(port: number): Served {
  return servePage({ folder: new URL(".", import.meta.url) }, port);
}

if (import.meta.main) {
  try {
    console.log(
      `The page is at ${serve(portOf(process.argv.slice(2), 8765)).url} (end with Ctrl+C)`,
    );
  } catch (error) {
    console.error(`error: ${adviceFor(error)}`);
    process.exitCode = 1;
  }
}
