/**
 * The shaders of products by integers: which a plan needs.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { termFields } from "../attention/fields.ts";
import type { Tile } from "../attention/variants.ts";
import type { WebGpuPages } from "../pages/pages.ts";
import { type Access, accessFlags, type PageAccess } from "../shader/access.ts";
import { integerShaders } from "../shader/integer_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import type { Constants } from "../shader/template.ts";
import { accessOf } from "../transfer/source.ts";
import { integerFields, tileKeys } from "./places.ts";

/** The tile: a thread's four keys are a word of its weights. */
export const integerTile: Tile = {
  ...{ TX: 8, TY: 8, ROWS: 4, RK: 4, SLICE: 8, VALUES: 8, queries: "read" },
};

/** Fields of all of them. */
const fields = { ...termFields, ...integerFields };

/** What makes integers, in this order: of its tables, and of which tensors it reads. */
export const passes = {
  /** Sums of keys, and which tiles can be integers. */
  sums: { reads: ["k", "v"], threads: 64 },
  means: { reads: [], threads: 64 },
  keys: { reads: ["k"], threads: tileKeys },
  values: { reads: ["v"], threads: 64 },
  queries: { reads: ["q"], threads: 64 },
} as const;

/** One of them. */
export type PassName = keyof typeof passes;

/** Those that a plan needs. */
export function passesOf({ precision }: AttentionPlan): PassName[] {
  const all = Object.keys(passes) as PassName[];
  return precision === "int8" ? all : all.filter((name) => name !== "values");
}

/** How the tensors of a plan are read. */
export function accessesOf({ q, kv }: AttentionPlan): {
  readonly q: Access;
  readonly k: PageAccess;
  readonly v: PageAccess;
} {
  if (kv.kind === "tensors") return { q: accessOf(q), k: accessOf(kv.k), v: accessOf(kv.v) };
  const { keys, values } = kv.store as WebGpuPages;
  return { q: accessOf(q), k: keys.access, v: values.access };
}

/** The WGSL of what makes integers of a plan's tensors. */
export function passCode(name: PassName, plan: AttentionPlan): string {
  const accesses = accessesOf(plan);
  const constants: Record<string, number> = {
    ...{ THREADS: passes[name].threads, BC: integerTile.TX * integerTile.RK },
    ...accessFlags(accesses),
  };
  if (plan.kv.kind === "pages") constants.PAGED = 1;
  const code = codeOf(`integer/${name}.wgsl`, fields, constants, integerShaders);
  return code.replace("read> tables", "read_write> tables"); // They are written to.
}

/** The WGSL of the forward shader of a plan, by the constants of its variant. */
export function forwardCode({ dim, precision }: AttentionPlan, variant: Constants): string {
  const constants: Record<string, number> = {
    ...{ ...variant, INTEGERS: 1, BYTE_SLICE: dim <= 32 ? 2 : 4 },
    ...(precision === "int8" && { BYTES: 1 }),
  };
  return codeOf("integer/main.wgsl", fields, constants, integerShaders);
}

/** A shader that multiplies bytes: whether a device compiles it. */
export const probeCode = `@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@compute @workgroup_size(1)
fn main() {
  a[0] = u32(dot4I8Packed(a[0], a[1]));
}
`;
