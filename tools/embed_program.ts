/**
 * A program that embeds texts, of which `check_size.ts` says how much it loads.
 *
 * @module
 */

export { loadEncoder } from "../src/models/mod.ts";
