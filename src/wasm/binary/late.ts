/**
 * Programs that are loaded by who needs them, over the memory of the first.
 *
 * @module
 */

import type { BinaryName } from "../../contract/capabilities.ts";
import { isWorkerd } from "../../runtime.ts";
import {
  compiledTooLate,
  compileProgram,
  type PackedProgram,
  type ProgramName,
  unpack,
} from "./module.ts";

/**
 * Compiles one once per process.
 *
 * @throws {BackendUnavailableError} Where that may not be done, and no entry of the package has provided it.
 */
export async function compileLate(
  program: ProgramName,
  packed: PackedProgram,
  name: BinaryName,
  shared: boolean,
): Promise<WebAssembly.Module> {
  try {
    return await compileProgram(program, name, shared, () => unpack(packed, name));
  } catch (error) {
    throw isWorkerd() ? compiledTooLate() : error;
  }
}
