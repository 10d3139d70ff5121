/**
 * The page of the story, served on this machine.
 *
 * @module
 */

import { InputError } from "../llama/error.ts";
import { adviceFor, type Page, type Served, servePage } from "../serve_page.ts";
import { algorithms, filesOf } from "./chapters.ts";

const code = new Set(algorithms.flatMap(filesOf).map((file) => `../${file}`));

/** The page, which shows the code that it runs. */
export const page: Page = { folder: new URL("page/", import.meta.url), texts: [...code] };

/**
 * Bundles the page as it is now and serves it; port 0 is any free one.
 *
 * @throws {InputError} When the port cannot be had.
 */
export function serve(port: number): Served {
  try {
    return servePage(page, port);
  } catch (error) {
    throw new InputError(adviceFor(error));
  }
}
