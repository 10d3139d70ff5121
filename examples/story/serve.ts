/**
 * The page of the story, served on this machine.
 *
 * @module
 */

import { InputError } from "../llama/error.ts";
import { adviceFor, type Served, servePage } from "../serve_page.ts";
import { algorithms, filesOf } from "./chapters.ts";

/**
 * Bundles the page as it is now and serves it; port 0 is any free one.
 *
 * @throws {InputError} When the port cannot be had.
 */
export function serve(port: number): Served {
  const code = new Set(algorithms.flatMap(filesOf).map((file) => `../${file}`));
  try {
    return servePage({ folder: new URL("page/", import.meta.url), texts: [...code] }, port);
  } catch (error) {
    throw new InputError(adviceFor(error));
  }
}
