/**
 * `deno task browser [-- --port N]`: serves a page on this machine that runs both backends side by
 * side, and a mask of your own. Ends with Ctrl+C.
 *
 * @module
 */

import "../../tools/help.ts";
import process from "node:process";
import { portOf } from "../port.ts";
import { adviceFor, type Page, type Served, servePage } from "../serve_page.ts";

/** The page. */
export const page: Page = { folder: new URL(".", import.meta.url) };

/** Bundles the page as it is now and serves it; port 0 is any free one. */
export function serve(port: number): Served {
  return servePage(page, port);
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
