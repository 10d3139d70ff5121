/**
 * Attention by integers on a GPU, loaded with its shaders: forward() in tiles whose products are formed by bytes, of
 * what dispatches before it make of queries, keys and values.
 *
 * @module
 */

import { BackendUnavailableError } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { type AttentionPlan, countRows } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import type { Target } from "../../operations/attention/target.ts";
import { type Check, forward } from "../attention/forward.ts";
import type { KeyRange } from "../attention/key_ranges.ts";
import type { Extension, PlacedColumns, PlacedRows } from "../attention/extension.ts";
import type { Gpu } from "../device/device.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Grid } from "../device/submission.ts";
import { extent, type Region } from "../transfer/regions.ts";
import { keyBytes, mostOf, placedBytes, tileKeys, withPlaces } from "./places.ts";
import {
  forwardCode,
  integerTile,
  passCode,
  passes,
  passesOf,
  type PassName,
  probeCode,
} from "./shaders.ts";

/** Query rows of a head, at most, that go by f32: making integers of the keys would take longer. */
const exactRows = 16;

const probed = new WeakMap<GPUDevice, Promise<boolean>>();

/** Whether a device's WGSL multiplies bytes: by trying, since not all that can say so. */
function canMultiply({ device, attempt }: Gpu): Promise<boolean> {
  const known = probed.get(device);
  if (known !== undefined) return known;
  const [, refusal] = attempt(() => device.createShaderModule({ code: probeCode }));
  const made = refusal.then((error) => error === null);
  probed.set(device, made);
  made.catch(() => probed.delete(device));
  return made;
}

/** Why a precision cannot be had; `undefined` where it can. */
async function whyNot(gpu: Gpu, { precision }: AttentionPlan): Promise<string | undefined> {
  if (precision === "int16") return 'WGSL multiplies bytes alone; take "int8-qk"';
  if (await canMultiply(gpu)) return undefined;
  return "this device's WGSL lacks packed_4x8_integer_dot_product; leave `precision` out";
}

async function checkDevice(gpu: Gpu, plan: AttentionPlan): Promise<void> {
  const reason = await whyNot(gpu, plan);
  if (reason === undefined) return;
  throw new BackendUnavailableError(
    "webgpu",
    `\`precision: "${plan.precision}"\` needs the wasm backend, ${reason}, or make the engine with { backend: "wasm" }`,
  );
}

/** Workgroups of a dispatch that makes integers. */
function gridOf(name: PassName, plan: AttentionPlan, region: Region, { keys }: KeyRange): Grid {
  const most = mostOf(plan, region), { threads } = passes[name];
  const tiles = Math.ceil(Math.max(0, Math.min(most.keys, keys[1]) - keys[0]) / tileKeys);
  const apart = {
    ...{ sums: tiles, keys: tiles, values: tiles },
    means: Math.ceil(plan.dim / 4 / threads),
    queries: Math.ceil(most.rows / threads),
  };
  return [apart[name], extent(region.heads), extent(region.batch)];
}

/** What a dispatch that makes integers is bound to. */
function bindingsOf(name: PassName, { q, tables }: PlacedRows, { k, v }: PlacedColumns) {
  const reads: readonly string[] = passes[name].reads, operands = { q, k, v };
  const read = (["q", "k", "v"] as const).map((one) => reads.includes(one) ? operands[one] : null);
  return [...read, null, null, null, null, tables!.binding];
}

/** How the products of a plan are formed; compiles what makes its integers. */
async function productsOf({ gpu, bounds }: Session, plan: AttentionPlan): Promise<Extension> {
  const names = passesOf(plan);
  const pipelines = await Promise.all(
    names.map((name) => pipelineOf(gpu, passCode(name, plan), name)),
  );
  return {
    code: (constants) => forwardCode(plan, constants),
    bytes: ({ rows }) => keyBytes(plan, extent(rows), bounds.bindingBytes),
    room: placedBytes,
    make(region, rows, columns, block, submission) {
      const { keyRange } = columns, keyRanges = rows.keys.map(({ keyRange }) => keyRange);
      const uniforms = withPlaces(block, plan, region, keyRanges, keyRange);
      for (const [at, name] of names.entries()) {
        const grid = gridOf(name, plan, region, keyRange);
        if (grid[0] === 0) continue; // There are no keys.
        submission.dispatch(pipelines[at], uniforms, bindingsOf(name, rows, columns), grid);
      }
      return uniforms;
    },
  };
}

/** Whether a segment goes by f32: packed ones are by themselves, batches are alike. */
function isExact({ packed, queries, group }: AttentionPlan, segment: Segment): boolean {
  return (packed ? segment.queries : queries) * group <= exactRows;
}

/** A plan in parts, runs of segments that go by f32, or by integers. */
function* partsOf(plan: AttentionPlan): Generator<{ exact: boolean; part: AttentionPlan }> {
  const { segments, slopes, queryHeads, kv } = plan;
  for (let from = 0, to = 0; from < segments.length; from = to) {
    const exact = isExact(plan, segments[from]);
    const goesOn = (one: Segment) => one.queries === 0 || isExact(plan, one) === exact;
    while (to < segments.length && goesOn(segments[to])) to++;
    const ofPart = slopes && slopes.subarray(from * queryHeads, to * queryHeads);
    const own = kv.kind === "pages" ? { ...kv, pages: kv.pages.slice(from, to) } : kv;
    const part = { ...plan, segments: segments.slice(from, to), slopes: ofPart, kv: own };
    yield { exact, part };
  }
}

/** Runs a plan as `forward()` does. */
export async function attend(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  control: Control,
  check: Check,
): Promise<void> {
  const parts = [...partsOf(plan)], isWhole = parts.length === 1;
  await checkDevice(session.gpu, plan);
  const ofPart = isWhole ? control : { ...control, onProgress: undefined };
  for (const { exact, part } of parts) {
    const tile = exact ? undefined : { ...integerTile, extension: await productsOf(session, part) };
    await forward(session, part, target, ofPart, check, tile);
  }
  const total = countRows(plan);
  if (!isWhole) control.onProgress?.({ done: total, total });
}
