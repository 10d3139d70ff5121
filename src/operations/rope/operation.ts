/**
 * Rotary position embedding (Su et al., arXiv 2104.09864): pairs of a row are turned by angles that
 * grow with its position, so that the product of a query and a key depends on their distance.
 *
 * @module
 */

import type { Backend, Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { useAll } from "../../tensor/lending.ts";
import { type Call, checkSync, run, runSync } from "../call.ts";
import { cannot, type RopeCall } from "./options.ts";
import type { Rotation } from "./rotation.ts";

/** The operation, which writes what it reads. */
export const rope: Operation<Rotation, null> = {
  name: "rope",
  cannot,
  inputs: ({ views: [q, k = null] }) => ({ q, k }),
  work: () => 0,
  rows: ({ views }) =>
    views.reduce((sum, { shape: [batch, heads, rows] }) => sum + batch * heads * rows, 0),
};

/** What is loaded at the first call: asking for it again takes some microseconds. */
let loaded: typeof import("./plan.ts") | undefined;

/** What becomes of a call. */
function placed(
  call: RopeCall,
  { planRotation }: NonNullable<typeof loaded>,
): Call<Rotation, null, void> {
  return {
    ...{ operation: rope, plan: planRotation(call), control: {}, results: {} },
    target: () => null,
    finish: () => {},
  };
}

/** Rotates in place. */
export async function runRope(
  asked: Machinery | Promise<Machinery>,
  call: RopeCall,
): Promise<void> {
  const leave = useAll([call.q, call.k]);
  try {
    loaded ??= await import("./plan.ts");
    await run(asked, placed(call, loaded));
  } finally {
    leave();
  }
}

/** The same to its end. */
export function runRopeSync(backend: Backend, call: RopeCall): void {
  checkSync(backend, rope);
  if (loaded === undefined) {
    throw new Error(
      `${cannot}: what works out angles is not loaded yet, call \`await engine.warmup({ rope: true })\` first`,
    );
  }
  runSync(backend, placed(call, loaded));
}
