/**
 * Calls of layers become results.
 *
 * @module
 */

import type { Backend, Machinery } from "../../contract/backend.ts";
import { run, runSync } from "../call.ts";
import { callOf, type Results, type RowsCall } from "./call.ts";
import type { RowsPlan } from "./tokens.ts";

/** Runs a call; what it reads and writes is in use until it settles. */
export async function runRows<Plan extends RowsPlan>(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<Plan>,
): Promise<Results> {
  return await run(asked, callOf(call));
}

/** Runs a call to its end. */
export function runRowsSync<Plan extends RowsPlan>(
  machinery: Machinery,
  call: RowsCall<Plan>,
): Results {
  return runSync(machinery.own as Backend, callOf(call));
}
