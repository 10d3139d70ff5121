/**
 * packLinear(): a weight comes into an engine's memory.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import { useAll } from "../../tensor/lending.ts";
import { checkStored } from "./call.ts";
import type { PackCall } from "./linear.ts";
import type { PackLinearOptions } from "./options.ts";
import {
  layoutOf,
  type PackedLayout,
  type PackedLinear,
  packedLinear,
  weightIn,
} from "./packed.ts";
import { packLinear } from "./tokens.ts";

/** How a weight lies in a backend's memory: on a GPU blocks of four bits stay so. */
function layoutIn(
  { name }: Backend,
  layout: PackedLayout,
  { dtype }: PackCall["source"],
): PackedLayout {
  if (name === "wasm" || dtype !== "q4_0") return layout;
  return layoutOf(layout.dtype, layout.inputs, layout.outputs, true);
}

/** Packs what was read, which is in use until that settles. */
export async function runPack(
  asked: Machinery | Promise<Machinery>,
  { source, layout: given }: PackCall,
  control: Pick<PackLinearOptions, "signal">,
): Promise<PackedLinear> {
  const used = { weight: source }, leave = useAll([source]);
  try {
    const machinery = await asked, { own } = machinery;
    const layout = layoutIn(own, given, source);
    checkStored(own, layout.dtype);
    const plan = { source, used, rows: layout.outputs };
    own.check(packLinear, plan, control);
    await own.serving(packLinear, plan, control); // What was lost is there anew before memory is taken of it.
    throwIfAborted(control.signal);
    const memory = own.tensor([layout.bytes / 4], "f32");
    try {
      await own.run(packLinear, plan, weightIn(layout, memory), control);
    } catch (error) {
      memory.free();
      throw error;
    }
    return packedLinear(layout, memory, machinery);
  } finally {
    leave();
  }
}
