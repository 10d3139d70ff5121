/**
 * Calls of layers become results.
 *
 * @module
 */

import type { Backend, Machinery } from "../../contract/backend.ts";
import { run, runSync } from "../call.ts";
import { callOf, checkHost, type Results, type RowsCall } from "./call.ts";
import type { RowsPlan } from "./tokens.ts";

/** By what it has: whoever replaces `Promise` has promises of other kinds. */
function isHere(asked: Machinery | Promise<Machinery>): asked is Machinery {
  return "serving" in asked;
}

/** Runs a call; what it reads and writes is in use until it settles. */
export async function runRows<Plan extends RowsPlan>(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<Plan>,
): Promise<Results> {
  const { operation, plan: { used } } = call;
  const checked = (machinery: Machinery) => {
    checkHost(machinery, operation, used);
    return machinery;
  };
  return await run(isHere(asked) ? checked(asked) : asked.then(checked), callOf(call));
}

/** Runs a call to its end. */
export function runRowsSync<Plan extends RowsPlan>(
  machinery: Machinery,
  call: RowsCall<Plan>,
): Results {
  checkHost(machinery, call.operation, call.plan.used);
  return runSync(machinery.own as Backend, callOf(call));
}
